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

/// What an idempotency key stands for already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// A request of which the outcome is not known yet.
    InFlight,
    /// Another request: the fingerprints differ.
    Other,
    /// The same request, which was answered with this.
    Answered(FirstAnswer),
}

/// Bounds how far ahead the next poll of a job lies, in milliseconds: no wait in the configuration
/// is longer than a day.
pub const FARTHEST_POLL: u64 = 25 * 3600 * 1000;

/// Where reservations, jobs and limits are kept.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Checks whether a request of that key, with a charge as far as it is known, would be refused
    /// now. A hint, read without a decision, to spare an upload that cannot end well: an
    /// error where no reservation can be taken, whether or not the key has limits.
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Looks up whether an idempotency key of that client key stands for a request already, and if
    /// so whether its outcome is known. A hint, like [`Ledger::check`].
    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable>;

    /// Looks up what an idempotency key of that client key stands for, to a request of that
    /// fingerprint; `None` where it stands for nothing.
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
    /// `key` is whose limits are to hold; the charge names it as its payer.
    async fn reserve(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable>;

    /// Does what [`Ledger::reserve`] does, and tells how much of each limit of the key, and then of its
    /// group, is used with it. Nothing where it was not made, or where the engine's decision does not
    /// tell that at no further cost: nobody waits for it.
    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable> {
        Ok((self.reserve(draft, key, now).await?, Box::default()))
    }

    /// Checks whether the limits of its channel have room for a charge now. A hint, like
    /// [`Ledger::check`].
    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Moves a pending reservation to another channel, if the limits of that one have room for it
    /// in the windows in which it was reserved. It keeps its place under all other limits, and its
    /// idempotency key. Where it is refused, nothing is changed.
    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable>;

    /// Ties a reservation to its job, and corrects its amounts as far as `limits` allow: a
    /// correction that would exceed one is left out, and the answer says so, so that no
    /// budget is ever exceeded. A window that has passed refuses nothing.
    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable>;

    /// Marks a reservation as unknown: nobody can tell whether the channel created a job. The
    /// charge stays until that is found out. Changes pending reservations only.
    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Voids a reservation that became no job: nothing is owed, the limits get back what it
    /// took, and its idempotency key is free again. `why` is a word for operators, such as
    /// `refused`. Returns the charge, or `None` where it has a job or was resolved already.
    async fn void(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable>;

    /// Resolves a reservation whose job has ended: posted stays owed, voided gives back what
    /// was taken. `end` is how the job ended, such as `completed`. Returns the charge, or
    /// `None` where it has no job or was resolved already.
    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable>;

    /// Looks up the job of that public id, on whichever channel.
    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable>;

    /// Looks up the job of that upstream id on that channel.
    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable>;

    /// Looks up the reservation that has the job of that upstream id on that channel, if its outcome
    /// was unknown before: what tied it to the job was no answer to its request.
    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable>;

    /// Lists a page of a key's jobs, without deleted ones, in the order in which they were
    /// confirmed: jobs that are confirmed later come after all earlier ones, so that paging
    /// misses and repeats none. `None` where `after` is no job of that key (a deleted one
    /// still marks its place).
    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable>;

    /// Marks a job as deleted at its channel. Its charge is not changed.
    async fn mark_deleted(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Sums up how much of each limit of a key and its group is reserved or posted in the window
    /// that runs.
    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable>;

    /// Counts the reservations that are not resolved, by key, channel and state.
    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable>;

    /// Renews the lease of this gate. Marks as unknown the pending reservations of gates whose lease
    /// has expired, and those of this gate that are older than `lost_after`. To be called every few
    /// seconds. Returns how many were marked.
    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable>;

    /// Takes or renews the lease of that name for this gate: `true` while no other gate
    /// holds it. It ends `span` after its last renewal.
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
    /// then those whose next poll lies further ahead than [`FARTHEST_POLL`]: a clock that was wrong
    /// has set it.
    async fn due(&self, channel: &str, now: Timestamp, limit: u32)
    -> Result<Vec<Job>, Unavailable>;

    /// Sets when a job that has not ended is polled next.
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

    /// Keeps a fact about a reservation for disputes. It decides nothing, and is not to be waited
    /// for. A ledger that keeps no evidence ignores it.
    async fn note(&self, _id: ReservationId, _note: &Note) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Reads all that is known of charges, at most [`MAX_RECORDS`] of them. A ledger that keeps no
    /// evidence has none.
    async fn records(&self, _query: &RecordQuery) -> Result<Vec<DisputeRecord>, Unavailable> {
        Ok(Vec::new())
    }

    /// Keeps that a gate has loaded a configuration. It decides nothing, and is not to be waited for.
    /// A ledger that keeps no evidence ignores it.
    async fn note_load(&self, _load: &ConfigLoad) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Sums up the adjustments of the bill, by key, currency and kind. A ledger that keeps none has
    /// none.
    async fn adjustments(&self) -> Result<Vec<AdjustmentSum>, Unavailable> {
        Ok(Vec::new())
    }

    /// Checks that the ledger can take reservations.
    async fn ready(&self) -> Result<(), Unavailable>;

    /// Returns the length of the write-ahead log, if the ledger has one of its own.
    fn wal_bytes(&self) -> Option<u64> {
        None
    }
}

/// Whether the outcome of the request that an idempotency key stands for is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Not yet.
    InFlight,
    /// It was answered.
    Answered,
}
