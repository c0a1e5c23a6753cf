//! The ledger in one SQLite file: durable, for one gate.
//!
//! One thread makes all decisions and owns the only writing connection. It takes all calls that wait, runs
//! them in one transaction, and answers them once the transaction is on disk: one sync for many calls. The
//! counters of limits are kept in memory and written in the same transaction. Running jobs, which clients
//! poll, are kept in memory too. Other reads use their own connections and never wait for the thread. The
//! database is in WAL mode: operators may read it at any time, with any client.

mod access;
mod adjustments;
mod bill;
mod calls;
mod check;
mod claims;
mod columns;
mod correction;
mod error;
mod evidence;
mod open;
mod prune;
mod readers;
mod reloads;
mod reroute;
mod rows;
mod state;
mod sums;
mod wal;
mod writer;
mod writer_db;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use self::readers::Readers;
use self::state::{Running, WriterState, limits_of, locked};
use self::wal::WriteAheadLog;
use self::writer::Writer;
use self::writer_db::WriterDb;
use super::adjustment::AdjustmentSum;
use super::charge::{Charge, Claim, Confirmation, Confirmed, Draft};
use super::charge::{Reroute, Rerouted, ReservationId, Resolution};
use super::counters::{BindingLimits, Counters, LimitReached, Usage};
use super::evidence::{DisputeRecord, Note, RecordQuery};
use super::job::{Job, JobsAfter, Unmatched, UnresolvedCount};
use super::reload::ConfigLoad;
use super::{ClaimState, Claimed, Ledger, Reserved, Unavailable};
use crate::policy::{Key, Limit, Timestamp};

pub use self::adjustments::{credit, void};
pub use self::bill::read_bill;
pub use self::error::OpenError;
pub use self::reloads::read_reloads;

/// A [`Ledger`] in an SQLite file, which no other gate can use.
///
/// Its calls need a tokio runtime. Dropping the ledger waits until all calls that were begun have ended.
pub struct SqliteLedger {
    counters: Arc<Mutex<Counters>>,
    running: Arc<Running>,
    readers: Arc<Readers>,
    log: WriteAheadLog,
    writer: Writer,
}

impl SqliteLedger {
    /// Opens or makes the database at `path`, and brings its tables up to date. The folder has to exist. The
    /// lock file beside the database (`path` with `.lock` added) is locked until the ledger is dropped.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = open::open(path)?;
        let counters = Arc::<Mutex<Counters>>::default();
        let running = Arc::<Running>::default();
        let state = WriterState::new(opened.run, counters.clone(), running.clone());
        let readers = Arc::new(Readers::new(&opened.path));
        let log = WriteAheadLog::of(&opened.path);
        let writer = Writer::start(opened, state)?;
        Ok(Self {
            counters,
            running,
            readers,
            log,
            writer,
        })
    }

    /// Checks whether [`open`](Self::open) could open the ledger at `path`, without making one. It is no
    /// error if a gate uses the ledger already.
    pub fn check(path: &Path) -> Result<(), OpenError> {
        check::check(path)
    }

    /// Reads the records of charges from the ledger at `path`, which a gate may be using.
    ///
    /// # Errors
    /// Where there is no ledger of this program's version.
    pub fn read_records(path: &Path, query: &RecordQuery) -> Result<Vec<DisputeRecord>, OpenError> {
        open::read_only(path, |db| evidence::records(db, query))
    }

    /// Adds the counters that are missing for the limits of a key and its group.
    async fn track(&self, key: &Key, now: Timestamp) -> Result<(), Unavailable> {
        let missing = locked(&self.counters).missing(key, None, now);
        if !missing.is_empty() {
            let call = move |state: &mut WriterState, db: &WriterDb<'_>| {
                state.track(db, missing.clone(), now)
            };
            self.writer.call(call).await?;
        }
        Ok(())
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.readers.close();
        self.writer.stop();
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        self.writer.ready().await?;
        self.track(key, now).await?;
        // A request whose charge is not known yet counts as 1 in each measure.
        let takes = |measure| charge.map_or(1, |charge| charge.takes(measure));
        let reached = || locked(&self.counters).reached(key, None, takes, now);
        if reached().is_none() {
            return Ok(None);
        }
        // The reservation that uses up the limit, and its idempotency key, may not be on disk yet: an empty
        // call waits until they are.
        self.writer
            .call(|_: &mut WriterState, _: &WriterDb<'_>| Ok(()))
            .await?;
        Ok(reached())
    }

    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable> {
        let (key, name) = (key.to_owned(), idempotency_key.to_owned());
        let read = move |db: &_| rows::claim_state(db, &key, &name, now);
        self.readers.read(read).await
    }

    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable> {
        let (key, claim) = (key.to_owned(), claim.clone());
        let read = move |db: &_| claims::claimed(db, &key, &claim, now);
        self.readers.read(read).await
    }

    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable> {
        let (draft, key) = (draft.clone(), limits_of(key));
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| {
            let reserved = state.reserve(db, &draft, &key, now)?;
            let used = locked(&state.counters).used_after(&reserved, &key, now);
            Ok((reserved, used))
        };
        self.writer.call(call).await
    }

    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        if limits.is_empty() {
            return Ok(None);
        }
        let (charge, limits) = (charge.clone(), limits.to_vec());
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| {
            reroute::channel_reached(state, db, &charge, &limits, now)
        };
        self.writer.call(call).await
    }

    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable> {
        let to = to.clone();
        let call =
            move |state: &mut WriterState, db: &WriterDb<'_>| reroute::reroute(state, db, id, &to);
        self.writer.call(call).await
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        let (confirmation, limits) = (confirmation.clone(), limits.clone());
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| {
            state.confirm(db, id, &confirmation, &limits, now)
        };
        self.writer.call(call).await
    }

    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        let call =
            move |state: &mut WriterState, db: &WriterDb<'_>| state.mark_unknown(db, id, now);
        self.writer.call(call).await
    }

    async fn void(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| state.void(db, id, why, now);
        self.writer.call(call).await
    }

    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| {
            state.settle(db, id, resolution, end, now)
        };
        self.writer.call(call).await
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        if let Some(job) = self.running.get(job) {
            return Ok(Some(job));
        }
        let job = job.to_owned();
        self.readers.read(move |db| rows::job(db, &job)).await
    }

    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable> {
        let is_it = |job: &Job| *job.upstream_id == *upstream_id && *job.charge.channel == *channel;
        if let Some(job) = self.running.get(upstream_id).filter(is_it) {
            return Ok(Some(job));
        }
        let (channel, upstream_id) = (channel.to_owned(), upstream_id.to_owned());
        let read = move |db: &_| rows::job_of_channel(db, &channel, &upstream_id);
        self.readers.read(read).await
    }

    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable> {
        let (channel, upstream_id) = (channel.to_owned(), upstream_id.to_owned());
        let read = move |db: &_| rows::reconciled(db, &channel, &upstream_id);
        self.readers.read(read).await
    }

    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable> {
        let (key, after) = (key.to_owned(), page.after.map(str::to_owned));
        let (ascending, limit) = (page.ascending, page.limit);
        let read = move |db: &_| {
            let after = after.as_deref();
            rows::jobs(
                db,
                &key,
                &JobsAfter {
                    after,
                    ascending,
                    limit,
                },
            )
        };
        self.readers.read(read).await
    }

    async fn mark_deleted(&self, id: ReservationId, _now: Timestamp) -> Result<(), Unavailable> {
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| state.mark_deleted(db, id);
        self.writer.call(call).await
    }

    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        self.track(key, now).await?;
        Ok(locked(&self.counters).usage(key, now))
    }

    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable> {
        self.readers.read(rows::count_unresolved).await
    }

    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable> {
        self.log.watch();
        let call = move |state: &mut WriterState, db: &WriterDb<'_>| {
            adjustments::count_voids(state, db)?;
            state.mark_lost(db, now, lost_after)
        };
        self.writer.call(call).await
    }

    /// Returns `true` always: no other gate has this file.
    async fn lease(&self, _name: &str, _span: Duration) -> Result<bool, Unavailable> {
        Ok(true)
    }

    async fn unmatched(&self, channel: &str, limit: u32) -> Result<Vec<Unmatched>, Unavailable> {
        let channel = channel.to_owned();
        let read = move |db: &_| rows::unmatched(db, &channel, limit);
        self.readers.read(read).await
    }

    async fn recently_voided(
        &self,
        channel: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unmatched>, Unavailable> {
        let channel = channel.to_owned();
        let read = move |db: &_| rows::recently_voided(db, &channel, since, limit);
        self.readers.read(read).await
    }

    async fn due(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, Unavailable> {
        let channel = channel.to_owned();
        let read = move |db: &_| rows::due(db, &channel, now, limit);
        self.readers.read(read).await
    }

    async fn set_next_poll(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable> {
        let call =
            move |state: &mut WriterState, db: &WriterDb<'_>| state.set_next_poll(db, id, at);
        self.writer.call(call).await
    }

    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, Unavailable> {
        prune::run(&self.readers, &self.writer, (before, now), limit).await
    }

    async fn note(&self, id: ReservationId, note: &Note) -> Result<(), Unavailable> {
        let note = note.clone();
        let call = move |_: &mut WriterState, db: &WriterDb<'_>| evidence::note(db, id, &note);
        self.writer.call(call).await
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<DisputeRecord>, Unavailable> {
        let query = query.clone();
        let read = move |db: &_| evidence::records(db, &query);
        self.readers.read(read).await
    }

    async fn note_load(&self, load: &ConfigLoad) -> Result<(), Unavailable> {
        let load = load.clone();
        let call = move |_: &mut WriterState, db: &WriterDb<'_>| reloads::insert(db, &load);
        self.writer.call(call).await
    }

    async fn adjustments(&self) -> Result<Vec<AdjustmentSum>, Unavailable> {
        self.readers.read(adjustments::sums).await
    }

    /// Tries a small write if the last write failed, so that the ledger recovers without a reservation.
    async fn ready(&self) -> Result<(), Unavailable> {
        self.writer.ready().await
    }

    fn wal_bytes(&self) -> Option<u64> {
        Some(self.log.bytes())
    }
}
