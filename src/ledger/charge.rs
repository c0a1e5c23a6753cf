//! What is charged: the content of a reservation, from its draft to its resolution.

use std::sync::Arc;

use bytes::Bytes;

use super::counters::LimitReached;
use super::evidence::ChannelAnswer;
pub use super::reservation_id::ReservationId;
use crate::catalog::{PriceList, PurchaseTerms};
use crate::money::{Amount, Multiplier};
use crate::policy::{Key, Limit, Measure, Timestamp};

/// Who pays, by the names in force when the reservation was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// The client key's name.
    pub key: Arc<str>,
    /// Its group's name.
    pub group: Arc<str>,
    /// The group's currency.
    pub currency: Arc<str>,
    /// The group's multiplier.
    pub multiplier: Multiplier,
}

impl Payer {
    /// Tests whether this is how the key pays.
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

/// What the account of a channel is charged for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseCost {
    /// How much.
    pub amount: Amount,
    /// In which currency.
    pub currency: Arc<str>,
    /// By what it was computed when the reservation was made: a correction uses the same.
    pub terms: PurchaseTerms,
}

/// What a job costs and who pays for it. It is shared by all who keep it, since it does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Who pays.
    pub payer: Payer,
    /// Where the job is made.
    pub channel: Arc<str>,
    /// What is made.
    pub model: Arc<str>,
    /// In which size.
    pub size: Arc<str>,
    /// How long.
    pub seconds: u32,
    /// List cost, USD.
    pub list: Amount,
    /// Billed cost, in the payer's currency.
    pub billed: Amount,
    /// The model's list prices when the reservation was made: a correction uses these. Empty
    /// for reservations that were made before they were kept.
    pub prices: PriceList,
    /// What the job costs the channel's account; `None` where the configuration names no price.
    pub purchase: Option<PurchaseCost>,
}

impl Charge {
    /// Returns how much the charge takes from a limit of that measure.
    pub fn takes(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests | Measure::InFlight => 1,
            Measure::VideoSeconds => u64::from(self.seconds),
            Measure::ListCost => self.list.nanos(),
            Measure::BilledCost => self.billed.nanos(),
            Measure::Cost => (self.purchase.as_ref()).map_or(0, |cost| cost.amount.nanos()),
        }
    }

    /// Returns the currency of what its channel is paid; empty where that is not known.
    pub(in crate::ledger) fn purchase_currency(&self) -> &str {
        self.purchase.as_ref().map_or("", |cost| &cost.currency)
    }
}

#[cfg(test)]
impl Charge {
    /// Makes a charge of nothing, for tests of what does not depend on it.
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

/// What counts of the channel that a reservation is made on, besides its name.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// Which of the channel's addresses gets the request, where it has several.
    pub address: Option<Arc<str>>,
    /// What the channel's clock shows, by the dates of its answers; `None` while it has sent none.
    pub channel_clock: Option<Timestamp>,
    /// The channel's limits.
    pub limits: Arc<[Limit]>,
}

/// A move of a pending reservation to another channel, since the one that it was made on has
/// proved that it created nothing.
#[derive(Debug, Clone)]
pub struct Reroute {
    /// The charge on the other channel. Who pays, what for and how much is the same.
    pub charge: Arc<Charge>,
    /// The other channel.
    pub placement: Placement,
    /// The channels that have refused it so far, each with the reason: `a:429, b:connect`.
    pub refused_by: Arc<str>,
}

/// The outcome of [`Ledger::reroute`](super::Ledger::reroute).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rerouted {
    /// It is pending on the other channel.
    Done,
    /// A limit of the other channel is reached: it stays where it is.
    Refused(LimitReached),
    /// It is not pending any more.
    Closed,
}

/// The SHA-256 of a prompt: what a job is recognised by in a channel's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptDigest(pub [u8; 32]);

/// A reservation that is to be made.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its name.
    pub id: ReservationId,
    /// The id of the client's request, where that is not
    /// [the reservation's own](ReservationId::request_id).
    pub request_id: Option<Arc<str>>,
    /// What it charges.
    pub charge: Arc<Charge>,
    /// The SHA-256 of the prompt.
    pub prompt: PromptDigest,
    /// The job that a remix is made from.
    pub remix_of: Option<Arc<str>>,
    /// The idempotency key that is to stand for it.
    pub claim: Option<Claim>,
    /// When its job is first polled, if no client asks for it before.
    pub next_poll: Timestamp,
    /// What counts of its channel.
    pub placement: Placement,
}

/// An idempotency key, in the words of `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The header's value: up to 255 visible ASCII characters. Each client key has its own.
    pub idempotency_key: Arc<str>,
    /// What the request asks for: another fingerprint is another request.
    pub fingerprint: [u8; 32],
    /// Until when it stands for this request; in any case until that has an outcome.
    pub expires: Timestamp,
}

/// The answer that the repetition of a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstAnswer {
    /// The status.
    pub status: u16,
    /// The body, JSON.
    pub body: Bytes,
}

/// What the channel made of a request, as its answer says.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The job's public id, unique in the ledger: what clients see.
    pub job: Arc<str>,
    /// The job's id at its channel, unique there: up to 1 KiB of any text.
    pub upstream_id: Arc<str>,
    /// The charge, corrected where the answer names another size or duration.
    pub charge: Arc<Charge>,
    /// How the channel answered, where this is its answer.
    pub channel_answer: ChannelAnswer,
    /// What repetitions under the same idempotency key are answered with: it has to be there
    /// where the reservation has one, and is dropped where it has none.
    pub answer: Option<FirstAnswer>,
}

/// What a request asked for and what that cost, where its charge was corrected to another job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncorrected {
    /// In which size.
    pub size: Arc<str>,
    /// How long.
    pub seconds: u32,
    /// List cost, USD.
    pub list: Amount,
    /// Billed cost, in the payer's currency.
    pub billed: Amount,
}

impl Uncorrected {
    /// Returns what a charge was before a correction; `None` where that changed nothing.
    pub(in crate::ledger) fn of(before: &Charge, after: &Charge) -> Option<Self> {
        let is_same = (&before.size, before.seconds) == (&after.size, after.seconds);
        (!is_same).then(|| Self {
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
    /// Confirmed by this call.
    Done {
        /// The charge as it was.
        before: Arc<Charge>,
        /// The charge as it is.
        after: Arc<Charge>,
        /// The limit that the correction would have exceeded: the charge stays as it was.
        limit_reached: Option<LimitReached>,
    },
    /// The reservation had that job already.
    Already {
        /// Its public id.
        job: Arc<str>,
    },
    /// The upstream id is that of another reservation's job on the same channel.
    Taken,
    /// The public id is another job's, and nothing was changed: to be repeated with another
    /// one, such as [`generated_public_id`](super::generated_public_id).
    IdTaken,
    /// The reservation is voided, has another job, or does not exist.
    Closed,
}

/// How a charge is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// It is owed for good.
    Posted,
    /// It is not owed.
    Voided,
}
