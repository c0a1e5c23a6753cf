//! Adjustments of the bill: voids of posted charges, credits and debits, as operators record them.
//!
//! An adjustment is never changed or deleted, and changes no charge: it is a line of its own in the
//! month in which it is recorded. A charge is voided once.

use std::fmt;
use std::sync::Arc;

use super::charge::Charge;
use super::evidence::DisputeRecord;
use super::job::State;
use super::reservation_id::ReservationId;
use crate::money::SignedAmount;
use crate::policy::Timestamp;

/// Who records an adjustment, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// When: the day and month that it is billed in.
    pub at: Timestamp,
    /// Who: a user and a host.
    pub made_by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

/// What an adjustment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdjustmentKind {
    /// A posted charge is not owed any more.
    Void(VoidedCharge),
    /// The key owes less, or more where the amount is negative.
    Credit {
        /// The key's group.
        group: Arc<str>,
        /// The key's name.
        key: Arc<str>,
        /// The group's currency.
        currency: Arc<str>,
        /// By how much the key owes less.
        amount: SignedAmount,
    },
}

/// A posted charge that is not owed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidedCharge {
    /// Its reservation.
    pub reservation: ReservationId,
    /// When it was reserved.
    pub reserved: Timestamp,
    /// The public id of its job.
    pub job: Option<Arc<str>>,
    /// What was owed. Its prices and what the channel is paid are not kept.
    pub charge: Arc<Charge>,
}

/// A line that an operator has added to the bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Its id, unique in the ledger.
    pub id: Arc<str>,
    /// Who recorded it, when and why.
    pub author: Author,
    /// What it is.
    pub kind: AdjustmentKind,
}

/// What begins the id of a void, and of nothing else: the reservation's id comes behind it.
pub const VOID_ID: &str = "void_";

impl Adjustment {
    /// Returns what it adds to the bill, in nanos of its currency.
    pub fn billed(&self) -> SignedAmount {
        match &self.kind {
            AdjustmentKind::Void(voided) => -SignedAmount::from(voided.charge.billed),
            AdjustmentKind::Credit { amount, .. } => -*amount,
        }
    }

    /// Tests whether it voids that reservation.
    pub(in crate::ledger) fn is_of(&self, reservation: ReservationId) -> bool {
        matches!(&self.kind, AdjustmentKind::Void(voided) if voided.reservation == reservation)
    }

    /// Returns the word for its kind, as the bill has it.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            AdjustmentKind::Void(_) => "void",
            AdjustmentKind::Credit { amount, .. } if *amount < SignedAmount::ZERO => "debit",
            AdjustmentKind::Credit { .. } => "credit",
        }
    }
}

/// The charge that an operator names to void it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) enum NamedCharge {
    /// The ledger has it.
    Found(ReservationId),
    /// It was voided by this adjustment, and has been pruned since.
    Pruned(Adjustment),
    /// No charge can be taken for the one that is meant.
    Refuse(VoidRefusal),
}

/// Finds the charge that an operator names to void it, by what the ledger has of that name, and by a
/// void of the reservation or job of that name. Only a reservation's id and a job's public id name a
/// charge: clients choose the ids of their requests, and channels those of their jobs, so that these
/// may be the name of a charge that was voided before.
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
        // A channel may give an id anew once the job that had it is pruned.
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

/// What is to be done about a charge that an operator wants to be voided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoidDecision {
    /// It is owed: this adjustment voids it.
    Record(Adjustment),
    /// An adjustment has voided it before.
    Already(Adjustment),
    /// It was voided when its job or its request ended: nothing is owed.
    NothingOwed(ReservationId),
    /// Nothing can be recorded.
    Refuse(VoidRefusal),
}

/// The reason why a charge cannot be voided, with what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoidRefusal {
    /// There is no such charge.
    #[error(
        "the ledger has no such charge: a refused request makes none, and old ones are pruned \
         (jobs.keep_days); `tollgate credit` takes off the bill what a pruned one has cost"
    )]
    NotFound,
    /// The name is what clients call their requests, or a channel its jobs.
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
    /// It is not known yet what it comes to.
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

/// The maximum number of charges that a message names.
const MAX_LISTED: usize = 20;

fn listed(charges: &[ChargeOfKey]) -> String {
    let shown = charges.iter().take(MAX_LISTED).map(ToString::to_string);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if charges.len() > MAX_LISTED {
        text.push_str(", and more");
    }
    text
}

/// Decides about a charge that is to be voided, by its record, or by what voided it where it has been
/// pruned. A charge that is open is left alone: whoever sees its end resolves it once, and its gate
/// has it in memory. One that is posted stays posted, so nothing charges it again.
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

/// What is to be done about a credit or debit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreditDecision {
    /// It is new.
    Record,
    /// It was recorded before.
    Already(Adjustment),
    /// Its id is that of another adjustment.
    IdTaken(Adjustment),
}

/// Decides about a credit or debit, by the adjustment that has its id, if there is one. The repetition
/// of a command may come later and from another host, and says the same in all else.
pub fn decide_credit(found: Option<Adjustment>, wanted: &Adjustment) -> CreditDecision {
    match found {
        None => CreditDecision::Record,
        Some(found) if found.kind == wanted.kind && found.author.reason == wanted.author.reason => {
            CreditDecision::Already(found)
        }
        Some(found) => CreditDecision::IdTaken(found),
    }
}

/// How many adjustments of one kind a key has in one currency, and what they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentSum {
    /// The key's name.
    pub key: Arc<str>,
    /// The currency of the amount.
    pub currency: Arc<str>,
    /// `void`, `credit` or `debit`.
    pub kind: Arc<str>,
    /// How many.
    pub count: u64,
    /// By how much the key owes less for them, or more for debits: never below zero.
    pub amount: SignedAmount,
}

#[cfg(test)]
mod tests;
