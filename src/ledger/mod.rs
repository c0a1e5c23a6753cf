//! The ledger: the store of reservations, of the jobs that they pay for, and of the counters of limits.
//!
//! A charge is **two-phase**. [`Ledger::reserve`] makes the charge pending. [`Ledger::confirm`] ties the
//! charge to the job that the channel created. [`Ledger::settle`] resolves the charge when that job has
//! ended. [`Ledger::void`] voids the charge if no job was created, or none was found.
//! [`Ledger::mark_unknown`] marks the charge as unknown while nobody can tell whether the channel created a
//! job.
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
//! - `reserve` is **one atomic decision** over the idempotency key and all limits. The reservation is
//!   durable when `reserve` returns. Never read a counter, compare it and write it in separate steps.
//! - Every call can be repeated. A resolved reservation stays resolved: `void` and `settle` return its charge
//!   to the call that resolved it, or to that call's repetition if its answer was lost, and otherwise `None`.
//! - No decision reads a clock: the caller passes the time. Only the end of a lease and the deletion of old
//!   counters may depend on a database's own clock.

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
    /// The charge would exceed this limit, so nothing was reserved.
    Refused(LimitReached),
    /// An earlier request has used the same idempotency key, so nothing was reserved.
    Claimed(Claimed),
}

/// The earlier request that has used an idempotency key, compared with a new request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The same request, whose outcome is not known yet.
    InFlight,
    /// Another request: its fingerprint differs from that of the new request.
    Other,
    /// The same request, with the answer that it got.
    Answered(FirstAnswer),
}

/// The maximum time until the next poll of a job, in milliseconds: 25 hours. The configuration allows no
/// wait that is longer than a day, so a poll further ahead was set by a wrong clock.
pub const FARTHEST_POLL: u64 = 25 * 3600 * 1000;

/// A store of reservations, jobs, idempotency keys and the counters of limits.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Returns the limit of `key` or its group that a request would exceed now; `None` where there is none.
    /// `charge` is the charge of the request; where it is `None`, the request counts as 1 in every measure.
    ///
    /// The result is a hint, which spares the client an upload that [`Ledger::reserve`] would refuse. The
    /// call fails where the ledger can make no reservation, even if the key has no limits.
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Looks up the progress of the request that has used `idempotency_key` with the client key named `key`.
    /// Returns `None` where no request has used the idempotency key, or its claim has expired. The result is
    /// a hint, like that of [`Ledger::check`].
    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable>;

    /// Compares the new request that makes `claim` with the earlier request that has used the same
    /// idempotency key with the same client key, named `key`. Returns `None` where no request has used the
    /// idempotency key, or the earlier claim has expired.
    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable>;

    /// Makes the charge of `draft` pending, if the draft's idempotency key is free and no limit would be
    /// exceeded.
    ///
    /// The idempotency key, if the draft has one, is checked first: the repetition of a request takes
    /// nothing from a limit. Then the limits of `key`, of its group and of the draft's channel are checked.
    /// `key` is the payer of the charge.
    async fn reserve(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        Ok(self.reserve_counted(draft, key, now).await?.0)
    }

    /// Reserves like [`Ledger::reserve`], and returns how much of each limit is used after the reservation.
    /// The amounts are those of the limits of `key`, then of the limits of its group, each in the unit of
    /// the limit's measure. The list is empty where nothing was reserved, and may be empty where an earlier
    /// attempt, whose answer was lost, made the reservation.
    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable>;

    /// Returns the first of `limits` that `charge` would exceed now; `None` where all of them allow it.
    /// `limits` are those of the charge's channel. The result is a hint, like that of [`Ledger::check`].
    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Moves a pending reservation to another channel, if that channel's limits allow its charge. The charge
    /// counts there in the windows that contain the time of the reservation. It still counts against the
    /// limits of its key and group, and keeps its idempotency key. A refusal changes nothing.
    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable>;

    /// Ties a reservation to its job, and corrects its charge if `limits` allow the correction.
    ///
    /// A correction that would exceed a limit is left out, so that no budget is ever exceeded, and
    /// [`Confirmed::Done`] names the limit. A limit refuses nothing if the window in which the reservation
    /// counts has ended.
    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable>;

    /// Marks a pending reservation as unknown: nobody can tell whether the channel created a job. The
    /// charge stays reserved until that is found out. A reservation in another state is not changed.
    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Voids a reservation that has no job: the channel created none, or none was found. Nothing is owed,
    /// the limits get back what the reservation took, and its idempotency key is free again. `why` is the
    /// outcome that operators see, such as `refused`. Returns the charge, or `None` where the reservation
    /// has a job or was resolved already.
    async fn void(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable>;

    /// Posts or voids the charge of a reservation whose job has ended, as `resolution` says. A posted charge
    /// is owed; a voided charge is given back to the limits. `end` is how the job ended, such as
    /// `completed`. Returns the charge, or `None` where the reservation has no job or was resolved already.
    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable>;

    /// Looks up the job whose public id is `job`, on any channel.
    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable>;

    /// Looks up the job whose id at the channel named `channel` is `upstream_id`.
    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable>;

    /// Looks up the reservation of the job `upstream_id` on `channel`, if the reservation was unknown before
    /// it was tied to the job. Most likely the gate has found the job in the channel's list: an answer to the
    /// create rarely comes so late. Returns `None` where the job has no reservation that was ever unknown.
    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable>;

    /// Lists a page of the jobs of the key named `key`, without deleted jobs. The jobs are in the order in
    /// which they were confirmed, or in the reverse order. A job that is confirmed later comes after all
    /// earlier ones, so paging neither misses nor repeats a job. Returns `None` where `page.after` is no job
    /// of the key; a deleted job is accepted there.
    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable>;

    /// Marks the job of the reservation `id` as deleted at its channel. The charge is not changed, and a
    /// repetition of the call that confirmed the reservation is still recognised.
    async fn mark_deleted(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Returns how much of each limit of a key and its group is reserved or posted in the window at `now`.
    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable>;

    /// Counts the reservations that are not resolved, by key, channel and state.
    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable>;

    /// Renews the lease of this gate, and marks lost reservations as unknown. A pending reservation is lost
    /// if the lease of its gate has expired, or if it is this gate's own and older than `lost_after`. The
    /// gate calls this every few seconds. Returns the number of reservations that were marked.
    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable>;

    /// Takes or renews the lease `name` for this gate. Returns whether this gate holds the lease now:
    /// `false` while another gate does. The lease ends `span` after its last renewal.
    async fn lease(&self, name: &str, span: Duration) -> Result<bool, Unavailable>;

    /// Lists at most `limit` pending and unknown reservations of a channel, the oldest first. They have no
    /// job yet.
    async fn unmatched(&self, channel: &str, limit: u32) -> Result<Vec<Unmatched>, Unavailable>;

    /// Lists reservations of a channel that were voided at `since` or later without a proof that no job was
    /// created: their outcome is [`NOT_CREATED`] or [`NOT_FOUND_OUT`]. A job that turns up now may belong to
    /// one of them. Returns at most `limit` reservations, the oldest first.
    async fn recently_voided(
        &self,
        channel: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unmatched>, Unavailable>;

    /// Lists at most `limit` jobs of a channel that have not ended and are to be polled now. The jobs whose
    /// next poll is due come first, the longest due before the others. Then come the jobs whose next poll
    /// is more than [`FARTHEST_POLL`] ahead, since a wrong clock has set it.
    async fn due(&self, channel: &str, now: Timestamp, limit: u32)
    -> Result<Vec<Job>, Unavailable>;

    /// Sets the time of the next poll of the job of reservation `id`, if the job has not ended.
    async fn set_next_poll(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable>;

    /// Deletes expired idempotency keys, and reservations that were made and resolved before `before`, except
    /// that a ledger in memory keeps a fixed number of resolved reservations instead. Adds the posted
    /// charges among them to the totals of the bill. Deletes at most `limit` keys and reservations in all,
    /// and returns how many it deleted.
    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, Unavailable>;

    /// Stores a fact about a reservation for disputes. No decision depends on the fact, and no client waits
    /// for the write. A ledger that keeps no evidence ignores the fact.
    async fn note(&self, _id: ReservationId, _note: &Note) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Reads the records of the charges that a query selects, at most [`MAX_RECORDS`] of them. A ledger
    /// that keeps no evidence returns none.
    async fn records(&self, _query: &RecordQuery) -> Result<Vec<DisputeRecord>, Unavailable> {
        Ok(Vec::new())
    }

    /// Records that a gate has loaded a configuration. No decision depends on the record, and no client waits
    /// for the write. A ledger that keeps no evidence stores nothing.
    async fn note_load(&self, _load: &ConfigLoad) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Sums up the adjustments of the bill, by key, currency and kind. A ledger that keeps no adjustments
    /// returns none.
    async fn adjustments(&self) -> Result<Vec<AdjustmentSum>, Unavailable> {
        Ok(Vec::new())
    }

    /// Checks that the ledger can make reservations, and returns an error where it cannot.
    async fn ready(&self) -> Result<(), Unavailable>;

    /// Returns the length of the ledger's write-ahead log in bytes; `None` where it keeps no log itself.
    fn wal_bytes(&self) -> Option<u64> {
        None
    }
}

/// The progress of the request that has used an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// The outcome of the request is not known yet.
    InFlight,
    /// The request was answered.
    Answered,
}
