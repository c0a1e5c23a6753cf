//! A ledger that counts, fails and waits on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tollgate::ledger::{
    Charge, Confirmation, Job, Ledger, LimitReached, MemoryLedger, ReservationId, Reserved,
    Unavailable, Usage,
};
use tollgate::policy::{Key, Timestamp};

/// A ledger in memory, watched.
pub struct Watched {
    inner: MemoryLedger,
    /// How often a reservation was asked for, and how many were made.
    pub asked: AtomicU64,
    pub reserved: AtomicU64,
    /// Whether these calls fail.
    pub fail_check: AtomicBool,
    pub fail_reserve: AtomicBool,
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
            gate: Semaphore::new(permits),
        }
    }

    pub fn let_one_pass(&self) {
        self.gate.add_permits(1);
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
        true => Err(Unavailable("told to fail".into())),
        false => Ok(()),
    }
}

#[async_trait]
impl Ledger for Watched {
    async fn check(
        &self,
        key: &Arc<Key>,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        fails(&self.fail_check)?;
        self.inner.check(key, charge, now).await
    }

    async fn reserve(
        &self,
        id: ReservationId,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        fails(&self.fail_reserve)?;
        let permit = self.gate.acquire().await;
        permit.map_err(|e| Unavailable(e.to_string()))?.forget();
        let reserved = self.inner.reserve(id, charge, now).await?;
        if reserved == Reserved::Done {
            self.reserved.fetch_add(1, Ordering::SeqCst);
        }
        Ok(reserved)
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        now: Timestamp,
    ) -> Result<Option<Charge>, Unavailable> {
        self.inner.confirm(id, confirmation, now).await
    }

    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        self.inner.mark_unknown(id, now).await
    }

    async fn post(&self, id: ReservationId, now: Timestamp) -> Result<Option<Charge>, Unavailable> {
        self.inner.post(id, now).await
    }

    async fn void(&self, id: ReservationId, now: Timestamp) -> Result<Option<Charge>, Unavailable> {
        self.inner.void(id, now).await
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        self.inner.job(job).await
    }

    async fn usage(&self, key: &Arc<Key>, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        self.inner.usage(key, now).await
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        self.inner.ready().await
    }
}
