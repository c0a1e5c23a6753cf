//! Jobs that this gate knows: whose they are never changes, so a poll need not ask the
//! ledger, and known jobs can be polled while it is away.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::FixedState;

use crate::ledger::{Job, ReservationId};
use crate::map::Map;
use crate::policy::Timestamp;

/// How many jobs are remembered, at least the last this many that were asked for.
const REMEMBERED: usize = 50_000;

/// A job, and what this gate has seen of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) job: Job,
    resolved: AtomicBool,
    /// Whether its end is in the metrics of this gate.
    counted: AtomicBool,
    /// When a client last asked for it.
    polled: AtomicU64,
    /// Of the last answer that has taught all it can; 0 before the first.
    heard: AtomicU64,
}

/// What an answer is recognised by when it comes again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Echo(u64);

impl Echo {
    pub(super) fn of(answer: &[u8]) -> Self {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(answer);
        Self(hasher.finish() | 1)
    }
}

impl Known {
    pub(super) fn new(job: Job) -> Arc<Self> {
        Arc::new(Self {
            resolved: AtomicBool::new(job.resolution.is_some()),
            counted: AtomicBool::new(false),
            polled: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            job,
        })
    }

    /// Whether its charge is resolved, as far as this gate has heard: the ledger's word wins.
    pub(super) fn is_resolved(&self) -> bool {
        self.resolved.load(Ordering::Relaxed)
    }

    pub(super) fn set_resolved(&self) {
        self.resolved.store(true, Ordering::Relaxed);
    }

    /// Notes that its end is counted. Whether it was already.
    pub(super) fn was_counted(&self) -> bool {
        self.counted.swap(true, Ordering::Relaxed)
    }

    /// The ledger has lost that its charge was resolved: each answer may tell its end again.
    pub(super) fn reopen(&self) {
        self.resolved.store(false, Ordering::Relaxed);
        self.heard.store(0, Ordering::Relaxed);
    }

    /// Whether this answer was the last one that was heard: most polls get the same answer
    /// as the one before, and to read that again would be the largest part of their cost.
    pub(super) fn has_heard(&self, answer: Echo) -> bool {
        self.heard.load(Ordering::Relaxed) == answer.0
    }

    /// An answer has taught all that it can.
    pub(super) fn heard(&self, answer: Echo) {
        self.heard.store(answer.0, Ordering::Relaxed);
    }

    /// A client has asked for it.
    pub(super) fn polled(&self, now: Timestamp) {
        self.polled.store(now.0, Ordering::Relaxed);
    }

    /// When a client last asked for it here.
    pub(super) fn last_poll(&self) -> Timestamp {
        Timestamp(self.polled.load(Ordering::Relaxed))
    }
}

/// The jobs that were asked for last. In two halves: when the younger one is full, the
/// older one is dropped, and what is asked for there moves over.
#[derive(Debug, Default)]
pub(super) struct KnownJobs {
    halves: RwLock<[Map<Arc<str>, Arc<Known>>; 2]>,
}

impl KnownJobs {
    pub(super) fn get(&self, id: &str) -> Option<Arc<Known>> {
        let found = {
            let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = halves[0].get(id) {
                return Some(known.clone());
            }
            halves[1].get(id).cloned()?
        };
        Some(self.insert(found))
    }

    pub(super) fn is_empty(&self) -> bool {
        let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
        halves.iter().all(Map::is_empty)
    }

    /// Forgets a job that turned out to be another reservation's.
    pub(super) fn forget(&self, id: &str, reservation: ReservationId) {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        for half in &mut *halves {
            if half
                .get(id)
                .is_some_and(|known| known.job.reservation == reservation)
            {
                half.remove(id);
            }
        }
    }

    /// Remembers a job in the younger half; answers what that knows of it, if it did.
    pub(super) fn insert(&self, known: Arc<Known>) -> Arc<Known> {
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        // One that moves over stays in the older half too: it goes with that.
        let known = match halves[0].entry(known.job.id.clone()) {
            Entry::Occupied(entry) => return entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(known).clone(),
        };
        if halves[0].len() < REMEMBERED {
            return known;
        }
        // With room at once: a table that grows is made anew each time.
        let younger = Map::with_capacity_and_hasher(REMEMBERED, Default::default());
        let younger = std::mem::replace(&mut halves[0], younger);
        let forgotten = std::mem::replace(&mut halves[1], younger);
        // Tens of thousands of jobs are let go of while nobody waits for it.
        drop(halves);
        drop(forgotten);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PriceList;
    use crate::ledger::{Charge, Payer};
    use crate::money::{Amount, Multiplier};

    fn known(number: u32) -> Arc<Known> {
        let name = || Arc::<str>::from("x");
        let id: Arc<str> = format!("video_{number}").into();
        Known::new(Job {
            upstream_id: id.clone(),
            id,
            reservation: ReservationId(number.into()),
            charge: Arc::new(Charge {
                payer: Payer {
                    key: name(),
                    group: name(),
                    currency: name(),
                    multiplier: Multiplier::from_thousandths(1000).unwrap(),
                },
                channel: name(),
                model: name(),
                size: name(),
                seconds: 4,
                list: Amount::ZERO,
                billed: Amount::ZERO,
                prices: PriceList::default(),
            }),
            created: Timestamp(0),
            remix_of: None,
            resolution: None,
            end: None,
            deleted: false,
        })
    }

    #[test]
    fn the_last_ones_are_remembered_and_no_more_than_twice_as_many() {
        let jobs = KnownJobs::default();
        let first = jobs.insert(known(0));
        first.set_resolved();
        assert!(jobs.insert(known(0)).is_resolved(), "it stays the same one");
        for id in 1..(4 * REMEMBERED as u32) {
            jobs.insert(known(id));
            // One that is asked for stays.
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
