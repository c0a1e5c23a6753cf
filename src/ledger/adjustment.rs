//! Adjustments of the bill: voids of posted charges, credits and debits, as operators record them.
//!
//! An adjustment is never changed or deleted, and changes no charge: it is a line of its own in the
//! month in which it is recorded. A charge is voided once.

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

    /// Returns the word for its kind, as the bill has it.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            AdjustmentKind::Void(_) => "void",
            AdjustmentKind::Credit { amount, .. } if *amount < SignedAmount::ZERO => "debit",
            AdjustmentKind::Credit { .. } => "credit",
        }
    }
}

/// Selects the charges that a name means: clients choose the ids of their requests, so that the id of
/// a reservation or of a job comes before one of a request.
pub(in crate::ledger) fn meant_by(name: &str, records: Vec<DisputeRecord>) -> Vec<DisputeRecord> {
    let id = ReservationId::read(name);
    let ids = |record: &DisputeRecord| Some(record.id) == id;
    let jobs = |record: &DisputeRecord| record.job.as_deref() == Some(name);
    for is_meant in [&ids as &dyn Fn(&DisputeRecord) -> bool, &jobs] {
        if let Some(record) = records.iter().find(|record| is_meant(record)) {
            return vec![record.clone()];
        }
    }
    records
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

/// Why a charge cannot be voided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoidRefusal {
    /// There is no such charge.
    #[error(
        "the ledger has no such charge: a refused request makes none, and old ones are pruned \
         (jobs.keep_days); `tollgate credit` takes off the bill what a pruned one has cost"
    )]
    NotFound,
    /// The name is that of several charges.
    #[error(
        "several charges have that name: void one by its job's id or its reservation's, which \
         `tollgate job` prints ({})",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Several(Vec<ReservationId>),
    /// It is not known yet what it comes to.
    #[error(
        "reservation {0} is not resolved yet, so nothing is on the bill for it: repeat this when \
         `tollgate job` says that it was posted; if it is voided by then, nothing is owed"
    )]
    Open(ReservationId),
}

/// Decides about a charge that is to be voided, by all the charges of the name that was given, and
/// by what voided the one of that name that has been pruned since. A charge that is open is left alone: whoever sees its end resolves it once, and its gate has it in
/// memory. One that is posted stays posted, so nothing charges it again.
pub fn decide_void(
    records: &[DisputeRecord],
    pruned: Option<Adjustment>,
    author: Author,
) -> VoidDecision {
    let record = match records {
        [] => {
            let not_found = VoidDecision::Refuse(VoidRefusal::NotFound);
            return pruned.map_or(not_found, VoidDecision::Already);
        }
        [record] => record,
        several => {
            let ids = several.iter().map(|record| record.id).collect();
            return VoidDecision::Refuse(VoidRefusal::Several(ids));
        }
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

#[cfg(test)]
mod tests;
