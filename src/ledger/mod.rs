//! The ledger: reservations, the jobs they became, and the limits they count against.
//!
//! A charge is **two-phase**. [`Ledger::reserve`] makes it pending. [`Ledger::confirm`] ties
//! it to the job that the channel created; [`Ledger::settle`] resolves it when that job has
//! ended. Where no job came of it, [`Ledger::void`] voids it; where nobody can tell,
//! [`Ledger::mark_unknown`] says so until the channel has been asked.
//!
//! ```text
//!            reserve            confirm             settle
//!  nothing ─────────▶ pending ───────────▶ confirmed ─────▶ posted or voided
//!                     │  │ mark_unknown        ▲
//!                     │  └─────▶ unknown ──────┘ confirm
//!                     └── void ────┴──▶ voided
//! ```
//!
//! Rules for every implementation:
//! - `reserve` is **one atomic decision** over the idempotency key and all limits, durable
//!   when it returns. Never read, compare, write.
//! - Every call can be repeated: what has been resolved stays resolved, and the answer says
//!   that this call changed nothing.
//! - No clock is read: the caller says what time it is. (How long a lease lasts is the one
//!   thing that a database's own clock may decide.)

mod adjustment;
mod bill;
mod charge;
mod counters;
mod error;
mod evidence;
mod ids;
mod job;
mod memory;
mod postgres;
mod reload;
mod reservation_id;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use adjustment::{Adjustment, AdjustmentKind, Author, ChargeOfKey, CreditDecision, VOID_ID};
pub use adjustment::{AdjustmentSum, VoidDecision, VoidRefusal, VoidedCharge};
pub use bill::{AdjustmentLine, BillLine, BillQuery, BillReading, BillSum, BillTotals, LineKind};
pub use charge::{Charge, Claim, Confirmation, Confirmed, Draft, Payer};
pub use charge::{
    FirstAnswer, Placement, PromptDigest, PurchaseCost, Reroute, Rerouted, Resolution, Uncorrected,
};
pub use counters::{BindingLimits, LimitReached, Scope, Usage};
pub use error::Unavailable;
pub use evidence::{ChannelAnswer, DisputeRecord, JobError, MAX_RECORDS, Note, RecordQuery, kept};
pub use ids::generated_public_id;
pub use job::{Job, JobsAfter, NOT_CREATED, NOT_FOUND_OUT, State, Unmatched, UnresolvedCount};
pub use memory::MemoryLedger;
pub use postgres::{ParseUrlError, PostgresLedger, read_records as read_postgres_records};
pub use postgres::{
    credit as credit_postgres, read_bill as read_postgres_bill,
    read_reloads as read_postgres_reloads, void as void_postgres,
};
pub use reload::{ConfigLoad, LoadEvent};
pub use reservation_id::ReservationId;
pub use sqlite::{OpenError, SqliteLedger};
pub use sqlite::{
    credit as credit_sqlite, read_bill as read_sqlite_bill, read_reloads as read_sqlite_reloads,
    void as void_sqlite,
};

use crate::policy::{Key, Limit, Timestamp};

/// The outcome of [`Ledger::reserve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// The charge is pending.
    Done,
    /// A limit is reached: nothing was reserved.
    Refused(LimitReached),
    /// The idempotency key stands for an earlier request: nothing was reserved.
    Claimed(Claimed),
}

/// The request that an idempotency key stands for already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// A request whose outcome is not known yet.
    InFlight,
    /// Another request: the fingerprints differ.
    Other,
    /// The same request, with the answer that it got.
    Answered(FirstAnswer),
}

/// The maximum time until the next poll of a job, in milliseconds: no wait in the configuration is longer
/// than a day.
pub const FARTHEST_POLL: u64 = 25 * 3600 * 1000;

/// The store of reservations, jobs and limits.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Checks whether a limit would refuse a request of `key` now, with its `charge` if that is known, and
    /// returns the limit. The result is a hint, read without a decision, to spare an upload that cannot end
    /// well. It is an error where no reservation can be taken, whether or not the key has limits.
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Looks up the progress of the request that an idempotency key of the client key `key` stands for;
    /// `None` where the idempotency key stands for nothing. The result is a hint, like [`Ledger::check`].
    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable>;

    /// Looks up the request that an idempotency key of the client key `key` stands for, and compares its
    /// fingerprint with that of `claim`; `None` where the idempotency key stands for nothing.
    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable>;

    /// Makes a charge pending, if its idempotency key (where it has one) stands for nothing
    /// yet and all limits of the key, its group and its channel allow it. In that order: the
    /// repetition of a request takes nothing from a limit.
    ///
    /// The limits that have to hold are those of `key`; the charge names it as its payer.
    async fn reserve(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        Ok(self.reserve_counted(draft, key, now).await?.0)
    }

    /// Does what [`Ledger::reserve`] does, and returns how much of each limit of the key, and then of its
    /// group, is used with the reservation. The list is empty where nothing was reserved, and where the
    /// answer to the attempt that made the reservation was lost.
    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable>;

    /// Checks whether `limits`, those of the charge's channel, have room for the charge now, and returns
    /// the limit that has none. The result is a hint, like that of [`Ledger::check`].
    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Moves a pending reservation to another channel, if that channel's limits have room for it in the
    /// windows in which it was reserved. The reservation keeps its place under all other limits, and its
    /// idempotency key. A refusal changes nothing.
    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable>;

    /// Ties a reservation to its job, and corrects its amounts as far as `limits` allow. A correction
    /// that would exceed a limit is left out, and the answer says so, so that no budget is ever exceeded.
    /// A window that has passed refuses nothing.
    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable>;

    /// Marks a pending reservation as unknown: nobody can tell whether the channel created a job. The
    /// charge stays until that is found out. Other reservations are not changed.
    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Voids a reservation that became no job: nothing is owed, the limits get back what it took, and its
    /// idempotency key is free again. `why` is a word for operators, such as `refused`. Returns the
    /// charge, or `None` where the reservation has a job or was resolved already.
    async fn void(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable>;

    /// Resolves a reservation whose job has ended: a posted charge stays owed, a voided one is given back
    /// to the limits. `end` is how the job ended, such as `completed`. Returns the charge, or `None`
    /// where the reservation has no job or was resolved already.
    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable>;

    /// Looks up the job of the public id `job`, on whichever channel.
    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable>;

    /// Looks up the job of the id `upstream_id` on `channel`.
    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable>;

    /// Looks up the reservation that reconciliation has tied to the job `upstream_id` on `channel`: its
    /// outcome was unknown before, and no answer to its request named the job.
    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable>;

    /// Lists a page of a key's jobs, without deleted ones, in the order in which they were confirmed:
    /// jobs that are confirmed later come after all earlier ones, so that paging neither misses nor
    /// repeats a job. `None` where `after` is no job of that key (a deleted one still marks its place).
    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable>;

    /// Marks a job as deleted at its channel. Its charge is not changed.
    async fn mark_deleted(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Returns how much of each limit of a key and its group is reserved or posted in the current window.
    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable>;

    /// Counts the reservations that are not resolved, by key, channel and state.
    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable>;

    /// Renews the lease of this gate. Marks as unknown the pending reservations of gates whose lease
    /// has expired, and those of this gate that are older than `lost_after`. To be called every few
    /// seconds. Returns how many were marked.
    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable>;

    /// Takes or renews the lease `name` for this gate. Returns whether this gate holds the lease now:
    /// `false` while another gate does. The lease ends `span` after its last renewal.
    async fn lease(&self, name: &str, span: Duration) -> Result<bool, Unavailable>;

    /// Lists the pending and unknown reservations of a channel, which have no job, oldest first.
    async fn unmatched(&self, channel: &str, limit: u32) -> Result<Vec<Unmatched>, Unavailable>;

    /// Lists the reservations of a channel that were voided at `since` or later without a proof that
    /// no job was created ([`NOT_CREATED`], [`NOT_FOUND_OUT`]), oldest first: a job that turns up
    /// now may be theirs.
    async fn recently_voided(
        &self,
        channel: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unmatched>, Unavailable>;

    /// Lists the jobs of a channel that have not ended and whose next poll is due, longest due first;
    /// then the jobs whose next poll lies further ahead than [`FARTHEST_POLL`], which a wrong clock has
    /// set.
    async fn due(&self, channel: &str, now: Timestamp, limit: u32)
    -> Result<Vec<Job>, Unavailable>;

    /// Sets the time of the next poll of a job that has not ended.
    async fn set_next_poll(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable>;

    /// Deletes idempotency keys that have expired and reservations that were resolved before
    /// `before`, at most `limit` in all, and adds the latter to the totals of the bill. Returns how
    /// many it deleted.
    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, Unavailable>;

    /// Stores a fact about a reservation for disputes. The fact decides nothing, and callers do not wait
    /// for the write. A ledger that keeps no evidence ignores it.
    async fn note(&self, _id: ReservationId, _note: &Note) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Reads the records of the charges that a query selects, at most [`MAX_RECORDS`] of them. A ledger
    /// that keeps no evidence returns none.
    async fn records(&self, _query: &RecordQuery) -> Result<Vec<DisputeRecord>, Unavailable> {
        Ok(Vec::new())
    }

    /// Stores the load of a configuration by a gate. The load decides nothing, and callers do not wait
    /// for the write. A ledger that keeps no evidence ignores it.
    async fn note_load(&self, _load: &ConfigLoad) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Sums up the adjustments of the bill, by key, currency and kind. A ledger that keeps no adjustments
    /// returns none.
    async fn adjustments(&self) -> Result<Vec<AdjustmentSum>, Unavailable> {
        Ok(Vec::new())
    }

    /// Checks that the ledger can take reservations.
    async fn ready(&self) -> Result<(), Unavailable>;

    /// Returns the length of the write-ahead log in bytes; `None` where the ledger has no log of its own.
    fn wal_bytes(&self) -> Option<u64> {
        None
    }
}

/// The progress of the request that an idempotency key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// The outcome of the request is not known yet.
    InFlight,
    /// The request was answered.
    Answered,
}
