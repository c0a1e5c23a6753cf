//! Adjustments of the bill, as operators record them: credits, debits, and voids of posted charges.
//!
//! An adjustment is never changed or deleted, and it changes no charge. It is a line of its own on the bill
//! of the month in which it is recorded. A charge can be voided only once.

use std::fmt;
use std::sync::Arc;

use super::charge::Charge;
use super::evidence::DisputeRecord;
use super::job::State;
use super::reservation_id::ReservationId;
use crate::money::SignedAmount;
use crate::policy::Timestamp;

/// The operator who records an adjustment, with the time and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The time of the adjustment. The adjustment is on the bill of the day and the month of this time.
    pub at: Timestamp,
    /// The name of the operator: the value of the option `--by`, or else the user and the host of the
    /// command as `user@host`.
    pub made_by: Arc<str>,
    /// The reason for the adjustment.
    pub reason: Arc<str>,
}

/// The kind of an adjustment, with the charge that it voids or the amount that it credits or debits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdjustmentKind {
    /// The void of a posted charge: the charge is not owed any more.
    Void(VoidedCharge),
    /// A credit: the key owes less. Where the amount is negative, it is a debit: the key owes more.
    Credit {
        /// The key's group.
        group: Arc<str>,
        /// The key's name.
        key: Arc<str>,
        /// The group's currency.
        currency: Arc<str>,
        /// The amount by which the key owes less; negative for a debit.
        amount: SignedAmount,
    },
}

/// A posted charge that an operator has voided: it is not owed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidedCharge {
    /// The charge's reservation.
    pub reservation: ReservationId,
    /// The time of the reservation.
    pub reserved: Timestamp,
    /// The public id of the reservation's job.
    pub job: Option<Arc<str>>,
    /// The charge that was owed. The ledger does not keep its prices and its purchase cost, so a void that is
    /// read from the ledger has none.
    pub charge: Arc<Charge>,
}

/// A line that an operator has added to the bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The id of the adjustment, unique in the ledger.
    pub id: Arc<str>,
    /// The operator who recorded the adjustment, with the time and the reason.
    pub author: Author,
    /// The kind of the adjustment, with the charge that it voids or the amount that it credits or debits.
    pub kind: AdjustmentKind,
}

/// The prefix of a void's id; the rest is the reservation's id. No other adjustment's id has this prefix.
pub const VOID_ID: &str = "void_";

impl Adjustment {
    /// Returns the amount that the adjustment adds to the bill, in the currency of the adjustment: negative
    /// for a void and a credit.
    pub fn billed(&self) -> SignedAmount {
        match &self.kind {
            AdjustmentKind::Void(voided) => -SignedAmount::from(voided.charge.billed),
            AdjustmentKind::Credit { amount, .. } => -*amount,
        }
    }

    /// Tests whether the adjustment voids the charge of `reservation`.
    pub(in crate::ledger) fn is_of(&self, reservation: ReservationId) -> bool {
        matches!(&self.kind, AdjustmentKind::Void(voided) if voided.reservation == reservation)
    }

    /// Returns the name of the adjustment's kind on the bill: `void`, `credit` or `debit`.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            AdjustmentKind::Void(_) => "void",
            AdjustmentKind::Credit { amount, .. } if *amount < SignedAmount::ZERO => "debit",
            AdjustmentKind::Credit { .. } => "credit",
        }
    }
}

/// The result of [`find_charge`]: the charge that an operator wants to void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) enum NamedCharge {
    /// The reservation of the charge, which the ledger still has.
    Found(ReservationId),
    /// The adjustment that voided the charge. The reservation of the charge has been pruned since.
    Pruned(Adjustment),
    /// The reason why the name does not identify exactly one charge.
    Refuse(VoidRefusal),
}

/// Finds the charge that an operator wants to void. `name` is the id that the operator has given.
///
/// `records` are the records that the ledger finds by that id. `void` is the adjustment that voided the
/// reservation or job with that id, if there is one. Only a reservation's id and a job's public id identify
/// a charge. Clients choose the ids of requests, and channels choose the upstream ids of jobs, so such an id
/// may equal the id of another charge, such as one that was voided before.
pub(in crate::ledger) fn find_charge(
    name: &str,
    records: &[DisputeRecord],
    void: Option<Adjustment>,
) -> NamedCharge {
    let id = ReservationId::read(name);
    if let Some(record) = records.iter().find(|record| Some(record.id) == id) {
        return NamedCharge::Found(record.id);
    }
    let of_job = records
        .iter()
        .find(|record| record.job.as_deref() == Some(name));
    match (of_job, void) {
        // A channel may use a job's id again once that job is pruned.
        (Some(record), Some(void)) if record.voided_by.is_none() && !void.is_of(record.id) => {
            NamedCharge::Refuse(VoidRefusal::VoidedBefore {
                void: void.id,
                other: ChargeOfKey::of(record),
            })
        }
        (Some(record), _) => NamedCharge::Found(record.id),
        (None, Some(void)) => NamedCharge::Pruned(void),
        (None, None) if records.is_empty() => NamedCharge::Refuse(VoidRefusal::NotFound),
        (None, None) => {
            let charges = records.iter().map(ChargeOfKey::of).collect();
            NamedCharge::Refuse(VoidRefusal::NotItsId(charges))
        }
    }
}

/// The decision about a charge that an operator wants to void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoidDecision {
    /// The charge is owed, and this adjustment voids it.
    Record(Adjustment),
    /// An operator has voided the charge before, by this adjustment.
    Already(Adjustment),
    /// The charge of this reservation was voided when its job or its request ended, so nothing is owed.
    NothingOwed(ReservationId),
    /// No charge is voided, for this reason.
    Refuse(VoidRefusal),
}

/// The reason why a charge cannot be voided, with what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoidRefusal {
    /// No reservation, job or request in the ledger has the id that the operator has given.
    #[error(
        "the ledger has no such charge: a refused request makes none, and old ones are pruned \
         (jobs.keep_days); `tollgate credit` takes off the bill what a pruned one has cost"
    )]
    NotFound,
    /// The operator has given an id that a client chose for its request, or that a channel chose for its job.
    /// Such an id may belong to several charges. The list has the charges that were found by it.
    #[error(
        "that is no reservation's id and no job's that its client has, but the id of a request or a \
         channel's id of a job: see by `tollgate job` which charge is meant, and repeat this with its \
         reservation's id: {}",
        listed(.0)
    )]
    NotItsId(Vec<ChargeOfKey>),
    /// The job id was used twice: the first job that had it was voided and pruned, and a later one has
    /// it now.
    #[error(
        "a job of that id was voided before ({void}), and another job has the id now: to void that \
         one, repeat this with its reservation's id: {other}"
    )]
    VoidedBefore {
        /// The id of the adjustment that voided the first job.
        void: Arc<str>,
        /// The charge of the job that has the id now.
        other: ChargeOfKey,
    },
    /// The charge of this reservation is not resolved yet, so its amount is not known.
    #[error(
        "reservation {0} is not resolved yet, so nothing is on the bill for it: repeat this when \
         `tollgate job` says that it was posted; if it is voided by then, nothing is owed"
    )]
    Open(ReservationId),
}

/// A reservation, and the name of the key that pays for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeOfKey {
    /// The reservation.
    pub reservation: ReservationId,
    /// The key's name.
    pub key: Arc<str>,
}

impl ChargeOfKey {
    fn of(record: &DisputeRecord) -> Self {
        Self {
            reservation: record.id,
            key: record.charge.payer.key.clone(),
        }
    }
}

impl fmt::Display for ChargeOfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of key {}", self.reservation, self.key)
    }
}

/// The maximum number of charges that an error message lists.
const MAX_LISTED: usize = 20;

fn listed(charges: &[ChargeOfKey]) -> String {
    let shown = charges.iter().take(MAX_LISTED).map(ToString::to_string);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if charges.len() > MAX_LISTED {
        text.push_str(", and more");
    }
    text
}

/// Decides whether an operator can void a charge.
///
/// `record` is the record of the charge. `pruned` is the adjustment that voided the charge, for a charge
/// whose record has been pruned. An unresolved charge cannot be voided: it is resolved once, when its job
/// ends, and its gate has it in memory until then. A charge that an operator voids keeps the state posted,
/// so nothing charges it again.
pub(in crate::ledger) fn decide_void(
    record: Option<&DisputeRecord>,
    pruned: Option<Adjustment>,
    author: Author,
) -> VoidDecision {
    let Some(record) = record else {
        let not_found = VoidDecision::Refuse(VoidRefusal::NotFound);
        return pruned.map_or(not_found, VoidDecision::Already);
    };
    match (record.state, &record.voided_by) {
        (_, Some(before)) => VoidDecision::Already(before.clone()),
        (State::Posted, None) => VoidDecision::Record(Adjustment {
            id: format!("{VOID_ID}{}", record.id).into(),
            author,
            kind: AdjustmentKind::Void(VoidedCharge {
                reservation: record.id,
                reserved: record.reserved,
                job: record.job.clone(),
                charge: record.charge.clone(),
            }),
        }),
        (State::Voided, None) => VoidDecision::NothingOwed(record.id),
        (State::Pending | State::Unknown | State::Confirmed, None) => {
            VoidDecision::Refuse(VoidRefusal::Open(record.id))
        }
    }
}

/// The decision about a credit or debit that an operator wants to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreditDecision {
    /// The adjustment is new, and can be recorded.
    Record,
    /// This adjustment, which is the same, was recorded before.
    Already(Adjustment),
    /// The id belongs to this other adjustment, whose kind, key, group, currency, amount or reason differs.
    IdTaken(Adjustment),
}

/// Decides whether the credit or debit `wanted` is recorded. `found` is the recorded adjustment that has
/// the same id.
///
/// An operator may repeat a command later and from another host. The repetition has the same kind, key,
/// amount and reason, so the time and the operator's name are not compared.
pub fn decide_credit(found: Option<Adjustment>, wanted: &Adjustment) -> CreditDecision {
    match found {
        None => CreditDecision::Record,
        Some(found) if found.kind == wanted.kind && found.author.reason == wanted.author.reason => {
            CreditDecision::Already(found)
        }
        Some(found) => CreditDecision::IdTaken(found),
    }
}

/// The number and the sum of a key's adjustments of one kind and currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentSum {
    /// The key's name.
    pub key: Arc<str>,
    /// The currency of the amount.
    pub currency: Arc<str>,
    /// The kind of the adjustments: `void`, `credit` or `debit`.
    pub kind: Arc<str>,
    /// The number of adjustments.
    pub count: u64,
    /// The sum of the adjustments without a sign: the key owes that much less, or more for debits.
    pub amount: SignedAmount,
}

#[cfg(test)]
mod tests;
