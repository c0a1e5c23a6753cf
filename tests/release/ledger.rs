//! A ledger that counts, fails and waits on demand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::Semaphore;

use tollgate::ledger::{
    BindingLimits, Charge, Claim, ClaimState, Claimed, Confirmation, Confirmed, Draft, Job,
    JobsAfter, Ledger, LimitReached, MemoryLedger, Note, Reroute, Rerouted, ReservationId,
    Reserved, Resolution, Unavailable, Unmatched, UnresolvedCount, Usage,
};
use tollgate::policy::{Key, Limit, Timestamp};

/// A search for the job with this id waits until [`Watched::let_searches_pass`] is called.
pub const HELD: &str = "video_held";

/// A ledger in memory, watched.
pub struct Watched {
    inner: MemoryLedger,
    /// How often a reservation was asked for, and how many were made.
    pub asked: AtomicU64,
    pub reserved: AtomicU64,
    /// Whether these calls fail.
    pub fail_check: AtomicBool,
    pub fail_reserve: AtomicBool,
    pub fail_confirm: AtomicBool,
    /// Whether the answer of a confirmation is lost, which is made all the same.
    pub lose_confirm: AtomicBool,
    pub fail_mark_deleted: AtomicBool,
    /// The reservations for which the error of a job was recorded.
    pub job_errors: Mutex<Vec<ReservationId>>,
    /// Whether a search for the job [`HELD`] has begun.
    pub has_search_begun: AtomicBool,
    search: Semaphore,
    /// Each reservation takes one of these.
    gate: Semaphore,
}

impl Watched {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::with(Semaphore::MAX_PERMITS))
    }

    /// One in which every reservation waits for [`Watched::let_one_pass`].
    pub fn waiting() -> Arc<Self> {
        Arc::new(Self::with(0))
    }

    fn with(permits: usize) -> Self {
        Self {
            inner: MemoryLedger::default(),
            asked: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            fail_check: AtomicBool::new(false),
            fail_reserve: AtomicBool::new(false),
            fail_confirm: AtomicBool::new(false),
            lose_confirm: AtomicBool::new(false),
            fail_mark_deleted: AtomicBool::new(false),
            job_errors: Mutex::default(),
            has_search_begun: AtomicBool::new(false),
            search: Semaphore::new(0),
            gate: Semaphore::new(permits),
        }
    }

    pub fn let_one_pass(&self) {
        self.gate.add_permits(1);
    }

    /// Lets all searches for the job [`HELD`] pass from now on, one at a time.
    pub fn let_searches_pass(&self) {
        self.search.add_permits(1);
    }

    /// The ledger itself, by which a test acts in the place of another gate.
    pub fn inner(&self) -> &MemoryLedger {
        &self.inner
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::SeqCst)
    }
}

fn fails(flag: &AtomicBool) -> Result<(), Unavailable> {
    match flag.load(Ordering::SeqCst) {
        true => Err(Unavailable::transient("told to fail")),
        false => Ok(()),
    }
}

#[async_trait]
impl Ledger for Watched {
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        fails(&self.fail_check)?;
        self.inner.check(key, charge, now).await
    }

    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        fails(&self.fail_reserve)?;
        let permit = self.gate.acquire().await;
        permit
            .map_err(|e| Unavailable::permanent(e.to_string()))?
            .forget();
        let reserved = self.inner.reserve_counted(draft, key, now).await?;
        if reserved.0 == Reserved::Done {
            self.reserved.fetch_add(1, Ordering::SeqCst);
        }
        Ok(reserved)
    }

    async fn note(&self, id: ReservationId, note: &Note) -> Result<(), Unavailable> {
        if let Note::JobError(_) = note {
            self.job_errors.lock().unwrap().push(id);
        }
        self.inner.note(id, note).await
    }

    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        self.inner.check_channel(charge, limits, now).await
    }

    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable> {
        self.inner.reroute(id, to).await
    }

    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable> {
        self.inner.claim(key, idempotency_key, now).await
    }

    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable> {
        self.inner.claimed(key, claim, now).await
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        fails(&self.fail_confirm)?;
        let confirmed = self.inner.confirm(id, confirmation, limits, now).await?;
        fails(&self.lose_confirm)?;
        Ok(confirmed)
    }

    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        self.inner.mark_unknown(id, now).await
    }

    async fn void(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        self.inner.void(id, why, now).await
    }

    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        self.inner.settle(id, resolution, end, now).await
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        if job == HELD {
            self.has_search_begun.store(true, Ordering::SeqCst);
            let _permit = self.search.acquire().await;
        }
        self.inner.job(job).await
    }

    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable> {
        self.inner.job_of_channel(channel, upstream_id).await
    }

    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable> {
        self.inner.reconciled(channel, upstream_id).await
    }

    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable> {
        self.inner.jobs(key, page).await
    }

    async fn mark_deleted(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        fails(&self.fail_mark_deleted)?;
        self.inner.mark_deleted(id, now).await
    }

    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        self.inner.usage(key, now).await
    }

    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable> {
        self.inner.count_unresolved().await
    }

    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable> {
        self.inner.heartbeat(now, lost_after).await
    }

    async fn lease(&self, name: &str, span: Duration) -> Result<bool, Unavailable> {
        self.inner.lease(name, span).await
    }

    async fn unmatched(&self, channel: &str, limit: u32) -> Result<Vec<Unmatched>, Unavailable> {
        self.inner.unmatched(channel, limit).await
    }

    async fn recently_voided(
        &self,
        channel: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unmatched>, Unavailable> {
        self.inner.recently_voided(channel, since, limit).await
    }

    async fn due(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, Unavailable> {
        self.inner.due(channel, now, limit).await
    }

    async fn set_next_poll(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable> {
        self.inner.set_next_poll(id, at).await
    }

    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, Unavailable> {
        self.inner.prune(before, now, limit).await
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        self.inner.ready().await
    }
}
