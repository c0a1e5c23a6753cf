//! Caches jobs. The owner of a job does not change while the ledger has its record, so a poll of a cached job
//! need not ask the ledger, and works while the ledger is unavailable.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::FixedState;

use crate::ledger::{Job, ReservationId};
use crate::map::Map;
use crate::policy::Timestamp;

/// The maximum number of jobs in one half of the cache. At least this many of the most recently used jobs
/// are kept, except for old ones.
const REMEMBERED: usize = 50_000;

/// The span after `time` for which [`JobCache::forget_before`] removes jobs too, in milliseconds: one hour.
const FORGOTTEN_AT_ONCE: u64 = 3_600_000;

/// A job of the ledger in the cache, with what this gate has recorded about the job's end, polls and last
/// answer.
#[derive(Debug)]
pub(crate) struct JobEntry {
    pub(crate) job: Job,
    /// Whether the ledger is known to have the job.
    confirmed: AtomicBool,
    resolved: AtomicBool,
    /// Whether the job's end has been counted in this gate's metrics.
    counted: AtomicBool,
    /// The time of the last client poll that the channel answered with the job, in milliseconds since 1970;
    /// 0 if there was none.
    polled: AtomicU64,
    /// The digest of the last answer that was passed to a client unchanged and left nothing to settle, so
    /// that an equal answer is not read again; 0 if there is none.
    last_answer: AtomicU64,
}

/// A digest of an answer's body, by which an equal answer is recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerDigest(u64);

impl AnswerDigest {
    pub(crate) fn of(answer: &[u8]) -> Self {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(answer);
        Self(hasher.finish() | 1)
    }
}

impl JobEntry {
    /// Makes the entry of a job that the ledger has.
    pub(crate) fn new(job: Job) -> Arc<Self> {
        Arc::new(Self {
            confirmed: AtomicBool::new(true),
            resolved: AtomicBool::new(job.resolution.is_some()),
            counted: AtomicBool::new(false),
            polled: AtomicU64::new(0),
            last_answer: AtomicU64::new(0),
            job,
        })
    }

    /// Makes the entry of a job whose confirmation is still to be written to the ledger.
    pub(crate) fn unconfirmed(job: Job) -> Arc<Self> {
        let entry = Self::new(job);
        entry.confirmed.store(false, Ordering::Relaxed);
        entry
    }

    /// Returns whether the ledger is known to have the job, by the public id that the entry has.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Returns the job's upstream id if it differs from the public id.
    pub(crate) fn upstream_id(&self) -> Option<&str> {
        let job = &self.job;
        (job.upstream_id != job.id).then_some(&*job.upstream_id)
    }

    /// Returns whether this gate knows that the job's charge is resolved. Another gate may have resolved it
    /// without this gate's knowledge: only the ledger knows for certain.
    pub(crate) fn is_resolved(&self) -> bool {
        self.resolved.load(Ordering::Relaxed)
    }

    pub(crate) fn set_resolved(&self) {
        self.resolved.store(true, Ordering::Relaxed);
    }

    /// Marks the job's end as counted in the metrics. Returns whether it had been marked before.
    pub(crate) fn was_counted(&self) -> bool {
        self.counted.swap(true, Ordering::Relaxed)
    }

    /// Marks the job's charge as unresolved again, after the ledger has lost its resolution. The next
    /// answer is settled even if it equals the last one.
    pub(crate) fn reopen(&self) {
        self.resolved.store(false, Ordering::Relaxed);
        self.last_answer.store(0, Ordering::Relaxed);
    }

    /// Returns whether `answer` equals the last answer that was read and settled. Most polls get the same
    /// answer as the poll before, and reading it again would be the largest part of their cost.
    pub(crate) fn is_last_answer(&self, answer: AnswerDigest) -> bool {
        self.last_answer.load(Ordering::Relaxed) == answer.0
    }

    /// Records `answer`, the digest of the last answer. Everything that this answer reports must have been
    /// settled.
    pub(crate) fn set_last_answer(&self, answer: AnswerDigest) {
        self.last_answer.store(answer.0, Ordering::Relaxed);
    }

    /// Records a client's poll, which came at `at`, and which the channel has answered with the job.
    pub(crate) fn note_poll(&self, at: Timestamp) {
        self.polled.store(at.0, Ordering::Relaxed);
    }

    /// Returns the time of the last client poll at this gate that the channel answered with the job; time 0
    /// if there was none.
    pub(crate) fn last_poll(&self) -> Timestamp {
        Timestamp(self.polled.load(Ordering::Relaxed))
    }
}

/// A cache of the most recently used jobs, in two halves. When the younger half is full, it becomes the older
/// half, and the previous older half is dropped. A job that is found in the older half is added to the
/// younger one.
#[derive(Debug, Default)]
pub(crate) struct JobCache {
    halves: RwLock<[Map<Arc<str>, Arc<JobEntry>>; 2]>,
    /// A lower bound of the creation times of the cached jobs, in milliseconds since 1970; 0 until the first
    /// search for old jobs.
    oldest: AtomicU64,
}

impl JobCache {
    pub(crate) fn get(&self, id: &str) -> Option<Arc<JobEntry>> {
        let found = {
            let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = halves[0].get(id) {
                return Some(entry.clone());
            }
            halves[1].get(id).cloned()?
        };
        Some(self.insert(found))
    }

    pub(crate) fn is_empty(&self) -> bool {
        let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
        halves.iter().all(Map::is_empty)
    }

    /// Removes the job `id` if its entry names `reservation`, after the job turned out to belong to another
    /// reservation.
    pub(crate) fn forget(&self, id: &str, reservation: ReservationId) {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        for half in &mut *halves {
            if half
                .get(id)
                .is_some_and(|entry| entry.job.reservation == reservation)
            {
                half.remove(id);
            }
        }
    }

    /// Removes the job `id`, unless its entry names `reservation`.
    pub(crate) fn forget_others(&self, id: &str, reservation: ReservationId) {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        for half in &mut *halves {
            let is_others = |entry: &Arc<JobEntry>| entry.job.reservation != reservation;
            if half.get(id).is_some_and(is_others) {
                half.remove(id);
            }
        }
    }

    /// Marks the job `id` as one that the ledger has, if its entry names `reservation`.
    pub(crate) fn set_confirmed(&self, id: &str, reservation: ReservationId) {
        let entry = self.get(id);
        if let Some(entry) = entry.filter(|entry| entry.job.reservation == reservation) {
            entry.confirmed.store(true, Ordering::Relaxed);
        }
    }

    /// Removes the jobs that were created before `time`: their records may be pruned, and then their ids may
    /// become those of other jobs. Also removes those created in the hour after `time`, so that the cache,
    /// which is locked during a search, is searched only about once an hour.
    pub(crate) fn forget_before(&self, time: Timestamp) {
        if self.oldest.load(Ordering::Relaxed) >= time.0 {
            return;
        }
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        let until = time.0.saturating_add(FORGOTTEN_AT_ONCE);
        let (mut oldest, mut forgotten) = (u64::MAX, Vec::new());
        for half in &mut *halves {
            forgotten.extend(half.extract_if(|_, entry| entry.job.created.0 < until));
            let created = half.values().map(|entry| entry.job.created.0);
            oldest = created.fold(oldest, u64::min);
        }
        self.oldest.store(oldest, Ordering::Relaxed);
        // They are freed after the lock is released.
        drop(halves);
        drop(forgotten);
    }

    /// Returns the entry of `job`, a job that the ledger returned, and marks it as confirmed. Adds one if there
    /// is none, and replaces one that names another reservation.
    pub(crate) fn entry_of(&self, job: &Job) -> Arc<JobEntry> {
        match self.get(&job.id) {
            Some(entry) if entry.job.reservation == job.reservation => {
                entry.confirmed.store(true, Ordering::Relaxed);
                entry
            }
            _ => self.insert_known(JobEntry::new(job.clone())),
        }
    }

    /// Adds `entry`, whose job the ledger knows, and returns it. If the job is there already, returns the
    /// existing entry instead. Replaces an entry of the same id that names another reservation: that of an
    /// earlier job whose record is pruned, or of one that was not confirmed.
    pub(crate) fn insert_known(&self, entry: Arc<JobEntry>) -> Arc<JobEntry> {
        let reservation = entry.job.reservation;
        self.insert_over(entry, |cached| cached.job.reservation != reservation)
    }

    /// Adds `entry` to the younger half and returns it. If that half has an entry of the same id, returns
    /// that one instead.
    pub(crate) fn insert(&self, entry: Arc<JobEntry>) -> Arc<JobEntry> {
        self.insert_over(entry, |_| false)
    }

    /// Adds `entry` to the younger half and returns it. If that half has an entry of the same id that is not
    /// `wrong`, returns that one instead.
    fn insert_over(
        &self,
        entry: Arc<JobEntry>,
        wrong: impl Fn(&JobEntry) -> bool,
    ) -> Arc<JobEntry> {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        self.oldest
            .fetch_min(entry.job.created.0, Ordering::Relaxed);
        // A job that moves over stays in the older half too, and is dropped with it.
        let entry = match halves[0].entry(entry.job.id.clone()) {
            Entry::Occupied(mut cached) => {
                if wrong(cached.get()) {
                    cached.insert(entry);
                }
                return cached.get().clone();
            }
            Entry::Vacant(place) => place.insert(entry).clone(),
        };
        if halves[0].len() < REMEMBERED {
            return entry;
        }
        // With its full capacity at once: a table that grows is rebuilt each time.
        let younger = Map::with_capacity_and_hasher(REMEMBERED, Default::default());
        let younger = std::mem::replace(&mut halves[0], younger);
        let forgotten = std::mem::replace(&mut halves[1], younger);
        // Tens of thousands of jobs are freed after the lock is released.
        drop(halves);
        drop(forgotten);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32) -> Arc<JobEntry> {
        JobEntry::new(Job::numbered(number))
    }

    #[test]
    fn an_id_may_become_that_of_another_job() {
        let jobs = JobCache::default();
        let earlier = jobs.insert(entry(0));
        earlier.set_resolved();
        assert!(jobs.entry_of(&earlier.job).is_resolved(), "the same job");
        let mut other = earlier.job.clone();
        other.reservation = ReservationId(1);
        other.created = Timestamp(1000);
        let unconfirmed = jobs.insert(JobEntry::new(other.clone()));
        let reservation = unconfirmed.job.reservation;
        assert_eq!(reservation, ReservationId(0), "the ledger does not know");
        for _ in 0..2 {
            let found = jobs.entry_of(&other);
            assert_eq!(found.job.reservation, ReservationId(1));
            assert!(!found.is_resolved());
        }
        assert_eq!(jobs.get("video_0").unwrap().job.created, Timestamp(1000));
        let again = jobs.insert_known(JobEntry::new(earlier.job.clone()));
        assert_eq!(again.job.reservation, ReservationId(0));
    }

    #[test]
    fn a_job_that_the_ledger_returns_is_confirmed() {
        let jobs = JobCache::default();
        let job = entry(0).job.clone();
        let cached = jobs.insert(JobEntry::unconfirmed(job.clone()));
        jobs.set_confirmed(&job.id, ReservationId(1));
        assert!(!cached.is_confirmed(), "that was another reservation");
        assert!(jobs.entry_of(&job).is_confirmed() && cached.is_confirmed());
        let other = jobs.insert(JobEntry::unconfirmed(entry(1).job.clone()));
        jobs.set_confirmed(&other.job.id, other.job.reservation);
        assert!(other.is_confirmed());
    }

    #[test]
    fn old_jobs_are_forgotten_an_hour_of_them_at_once() {
        let jobs = JobCache::default();
        let add = |number, created| {
            let mut job = entry(number).job.clone();
            job.created = Timestamp(created);
            jobs.insert(JobEntry::new(job));
        };
        let is_there = |number: u32| jobs.get(&format!("video_{number}")).is_some();
        add(0, 5_000);
        add(1, 5_000 + FORGOTTEN_AT_ONCE);
        jobs.forget_before(Timestamp(5_000));
        // The first search finds no older one, but those of the hour.
        assert!(!is_there(0) && is_there(1));
        jobs.forget_before(Timestamp(5_000 + FORGOTTEN_AT_ONCE));
        assert!(is_there(1), "nothing is older, so nothing is searched");
        add(2, 4_000);
        jobs.forget_before(Timestamp(4_000));
        assert!(is_there(2), "nothing is older than that, either");
        jobs.forget_before(Timestamp(4_001));
        assert!(!is_there(2) && is_there(1));
        jobs.forget_before(Timestamp(5_001 + FORGOTTEN_AT_ONCE));
        assert!(jobs.is_empty());
    }

    #[test]
    fn the_last_ones_are_remembered_and_no_more_than_twice_as_many() {
        let jobs = JobCache::default();
        let first = jobs.insert(entry(0));
        first.set_resolved();
        assert!(jobs.insert(entry(0)).is_resolved(), "it stays the same one");
        for id in 1..(4 * REMEMBERED as u32) {
            jobs.insert(entry(id));
            // A job that is asked for stays.
            assert!(jobs.get("video_0").unwrap().is_resolved());
        }
        assert!(jobs.get("video_1").is_none());
        let last = 4 * REMEMBERED as u32 - 1;
        for id in last - (REMEMBERED as u32 - 2)..=last {
            assert!(jobs.get(&format!("video_{id}")).is_some(), "{id}");
        }
        let halves = jobs.halves.read().unwrap();
        assert!(halves.iter().all(|half| half.len() <= REMEMBERED));
    }
}
