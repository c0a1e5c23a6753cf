//! The types that describe a reservation: its draft, its charge, its confirmation and its resolution.

use std::sync::Arc;

use bytes::Bytes;

use super::counters::LimitReached;
use super::evidence::ChannelAnswer;
pub use super::reservation_id::ReservationId;
use crate::catalog::{PriceList, PurchaseTerms};
use crate::money::{Amount, Multiplier};
use crate::policy::{Key, Limit, Measure, Timestamp};

/// The payer of a charge, with the names and the multiplier at the time of the reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// The client key's name.
    pub key: Arc<str>,
    /// The name of the key's group.
    pub group: Arc<str>,
    /// The group's currency.
    pub currency: Arc<str>,
    /// The group's multiplier.
    pub multiplier: Multiplier,
}

impl Payer {
    /// Tests whether the payer is `key`, with the group, currency and multiplier that the key has now.
    pub fn is_of(&self, key: &Key) -> bool {
        let Self {
            key: name,
            group,
            currency,
            multiplier,
        } = self;
        let of = &key.group;
        (name, group, currency, *multiplier) == (&key.name, &of.name, &of.currency, of.multiplier)
    }
}

impl From<&Key> for Payer {
    fn from(key: &Key) -> Self {
        let group = &key.group;
        Self {
            key: key.name.clone(),
            group: group.name.clone(),
            currency: group.currency.clone(),
            multiplier: group.multiplier,
        }
    }
}

/// The purchase cost of a job: the amount that the channel charges the operator's account for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseCost {
    /// The amount of the cost.
    pub amount: Amount,
    /// The currency of the amount.
    pub currency: Arc<str>,
    /// The terms by which the cost was computed when the reservation was made. A correction of the charge
    /// uses the same terms.
    pub terms: PurchaseTerms,
}

/// The charge for a job: its payer and its costs. A charge is immutable, so its users share it in an
/// [`Arc`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The payer of the job.
    pub payer: Payer,
    /// The name of the channel that makes the job.
    pub channel: Arc<str>,
    /// The name of the model.
    pub model: Arc<str>,
    /// The size of the video.
    pub size: Arc<str>,
    /// The length of the video in seconds.
    pub seconds: u32,
    /// The list cost of the job in USD.
    pub list: Amount,
    /// The billed cost of the job, in the payer's currency.
    pub billed: Amount,
    /// The model's list prices when the reservation was made. A correction of the charge uses these prices.
    /// Empty for reservations of earlier versions, which did not store prices.
    pub prices: PriceList,
    /// The purchase cost of the job; `None` where the configuration has no purchase price for it.
    pub purchase: Option<PurchaseCost>,
}

impl Charge {
    /// Returns the amount by which the charge uses up a limit of `measure`, in the unit of the measure.
    pub fn takes(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests | Measure::InFlight => 1,
            Measure::VideoSeconds => u64::from(self.seconds),
            Measure::ListCost => self.list.nanos(),
            Measure::BilledCost => self.billed.nanos(),
            Measure::Cost => (self.purchase.as_ref()).map_or(0, |cost| cost.amount.nanos()),
        }
    }

    /// Returns the currency of the purchase cost; an empty string where the charge has no purchase cost.
    pub(in crate::ledger) fn purchase_currency(&self) -> &str {
        self.purchase.as_ref().map_or("", |cost| &cost.currency)
    }
}

#[cfg(test)]
impl Charge {
    /// Makes a charge of zero, for tests whose subject does not depend on the charge.
    pub(crate) fn of_nothing() -> Arc<Self> {
        let name = || Arc::<str>::from("x");
        Arc::new(Self {
            payer: Payer {
                key: name(),
                group: name(),
                currency: name(),
                multiplier: Multiplier::from_thousandths(1000).unwrap(),
            },
            channel: name(),
            model: name(),
            size: name(),
            seconds: 4,
            list: Amount::ZERO,
            billed: Amount::ZERO,
            prices: PriceList::default(),
            purchase: None,
        })
    }
}

/// The address, clock and limits of the channel that a reservation is made on.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// The channel's address to which the request is sent, where the channel has several.
    pub address: Option<Arc<str>>,
    /// The time on the channel's clock when the reservation is made, computed from the dates in the
    /// channel's answers; `None` where the channel has sent no date within the last minute.
    pub channel_clock: Option<Timestamp>,
    /// The channel's limits.
    pub limits: Arc<[Limit]>,
}

/// A move of a pending reservation to another channel, after the first channel has proved that it
/// created nothing.
#[derive(Debug, Clone)]
pub struct Reroute {
    /// The charge on the other channel, with the same payer, the same job and the same cost to the payer.
    pub charge: Arc<Charge>,
    /// The address, clock and limits of the other channel.
    pub placement: Placement,
    /// The channels that have refused the request so far, each with the reason: `a:429, b:connect`.
    pub refused_by: Arc<str>,
}

/// The outcome of [`Ledger::reroute`](super::Ledger::reroute).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rerouted {
    /// The reservation is pending on the other channel.
    Done,
    /// The charge would exceed this limit of the other channel, so the reservation stays where it is.
    Refused(LimitReached),
    /// The reservation is not pending any more.
    Closed,
}

/// The SHA-256 of a prompt, by which a job is recognised in a channel's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptDigest(pub [u8; 32]);

/// The content of a reservation before it is made.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The id of the reservation.
    pub id: ReservationId,
    /// The id of the client's request; `None` where it is
    /// [the one made from the reservation's id](ReservationId::request_id).
    pub request_id: Option<Arc<str>>,
    /// The charge that becomes pending.
    pub charge: Arc<Charge>,
    /// The SHA-256 of the prompt.
    pub prompt: PromptDigest,
    /// The public id of the job that a remix is made from; `None` where the request is no remix.
    pub remix_of: Option<Arc<str>>,
    /// The claim to the request's idempotency key; `None` where the request has no such key.
    pub claim: Option<Claim>,
    /// The time of the gate's first poll of the job, if no client asks for the job earlier.
    pub next_poll: Timestamp,
    /// The address, clock and limits of the channel.
    pub placement: Placement,
}

/// A request's claim to an idempotency key, which is the value of its header `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The header's value: up to 255 visible ASCII characters. It is compared only with the values that the
    /// same client key has sent.
    pub idempotency_key: Arc<str>,
    /// The fingerprint of the request. A repetition has the same fingerprint; another request has another.
    pub fingerprint: [u8; 32],
    /// The time at which the claim expires; it never expires before the request has an outcome.
    pub expires: Timestamp,
}

/// The answer to the first request under an idempotency key, which repetitions of the request get too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, which is JSON.
    pub body: Bytes,
}

/// The job that a channel created for a request, with the channel's answer.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The job's public id, unique in the ledger: what clients see.
    pub job: Arc<str>,
    /// The job's id at its channel, unique there: up to 1 KiB of any text.
    pub upstream_id: Arc<str>,
    /// The charge, corrected where the channel reports another size or length than was reserved. All but its
    /// size, seconds and costs is as in the reservation.
    pub charge: Arc<Charge>,
    /// The channel's answer to the create, if that answer names the job. An empty value if the gate has found
    /// the job in the channel's list of jobs instead.
    pub channel_answer: ChannelAnswer,
    /// The answer that repetitions under the same idempotency key get. It is required where the reservation
    /// has such a key, and ignored where it has none.
    pub answer: Option<FirstAnswer>,
}

/// The size, seconds and costs that a charge had before it was corrected. A charge is corrected where the
/// channel reports another size or length than was reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncorrected {
    /// The size that was reserved.
    pub size: Arc<str>,
    /// The length of the video that was reserved, in seconds.
    pub seconds: u32,
    /// The list cost that was reserved, in USD.
    pub list: Amount,
    /// The billed cost that was reserved, in the payer's currency.
    pub billed: Amount,
}

impl Uncorrected {
    /// Returns the size, seconds and costs of the charge `before`; `None` where the charge `after`, its
    /// correction, is the same.
    pub(in crate::ledger) fn of(before: &Charge, after: &Charge) -> Option<Self> {
        (before != after).then(|| Self {
            size: before.size.clone(),
            seconds: before.seconds,
            list: before.list,
            billed: before.billed,
        })
    }
}

/// The outcome of [`Ledger::confirm`](super::Ledger::confirm).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The reservation was confirmed by this call.
    Done {
        /// The charge before the confirmation.
        before: Arc<Charge>,
        /// The charge after the confirmation.
        after: Arc<Charge>,
        /// The limit that the correction would have exceeded: the charge was then not corrected. `None`
        /// where no limit forbade the correction.
        limit_reached: Option<LimitReached>,
    },
    /// The reservation had the same job already, and nothing was changed.
    Already {
        /// The public id of the job.
        job: Arc<str>,
    },
    /// The upstream id belongs to another reservation's job on the same channel, and nothing was changed.
    Taken,
    /// The public id belongs to another job, and nothing was changed: repeat the call with another id,
    /// such as [`generated_public_id`](super::generated_public_id).
    IdTaken,
    /// The reservation is voided, has another job, or does not exist.
    Closed,
}

/// The resolution of a charge: owed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The charge is owed. Only an operator's adjustment can take it off the bill later.
    Posted,
    /// The charge is not owed.
    Voided,
}
