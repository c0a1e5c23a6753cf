//! The ledger in memory: for demonstrations, tests and embedders that keep no accounts.
//! It forgets everything when the process ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Charge, Confirmation, Job, Ledger, LimitReached, ReservationId, Reserved, Unavailable, Usage,
};
use crate::policy::{Key, Limit, Measure, Timestamp, Window};

/// How many resolved reservations are remembered, so that their jobs can still be reached.
/// The oldest go first.
const RESOLVED_KEPT: usize = 100_000;

/// A [`Ledger`] behind one mutex: no call waits for anything, so none holds it for long.
#[derive(Default)]
pub struct MemoryLedger {
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    entries: HashMap<ReservationId, Entry>,
    jobs: HashMap<String, ReservationId>,
    used: HashMap<Counter, Used>,
    resolved: VecDeque<ReservationId>,
}

struct Entry {
    charge: Charge,
    job: Option<String>,
    state: State,
    created: Timestamp,
}

#[derive(PartialEq)]
enum State {
    Pending,
    Unknown,
    Posted,
    Voided,
}

/// One limit of one key or group.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Counter {
    of_group: bool,
    name: Arc<str>,
    measure: Measure,
    window: Window,
}

#[derive(Default)]
struct Used {
    /// When the window began that the amount belongs to.
    start: u64,
    amount: u64,
}

fn limits(key: &Key) -> impl Iterator<Item = (Limit, bool, &Arc<str>)> {
    let own = key.limits.iter().map(|limit| (*limit, false, &key.name));
    let group = &key.group;
    own.chain(group.limits.iter().map(|limit| (*limit, true, &group.name)))
}

impl Counter {
    fn of(limit: Limit, of_group: bool, name: &Arc<str>) -> Self {
        Self {
            of_group,
            name: name.clone(),
            measure: limit.measure,
            window: limit.window,
        }
    }
}

impl Books {
    fn used(&self, limit: Limit, of_group: bool, name: &Arc<str>, now: Timestamp) -> u64 {
        let used = self.used.get(&Counter::of(limit, of_group, name));
        let start = limit.window.start(now);
        // A window that began later than this one means that the clock was put back: it
        // still counts, or every limit would be open until the clock has caught up.
        used.filter(|u| u.start >= start).map_or(0, |u| u.amount)
    }

    fn reached(
        &self,
        key: &Key,
        takes: impl Fn(Measure) -> u64,
        now: Timestamp,
    ) -> Option<LimitReached> {
        limits(key).find_map(|(limit, of_group, name)| {
            let used = self.used(limit, of_group, name, now);
            let fits = used
                .checked_add(takes(limit.measure))
                .is_some_and(|sum| sum <= limit.most);
            (!fits).then(|| LimitReached {
                limit,
                of_group,
                used,
                resets: limit.window.end(now),
            })
        })
    }

    /// Counts a charge. A correction of an earlier one counts in the window of that one
    /// only, if it still runs.
    fn take(&mut self, charge: &Charge, now: Timestamp, correction: bool) {
        for (limit, of_group, name) in limits(&charge.key) {
            let used = self.used.entry(Counter::of(limit, of_group, name));
            let used = used.or_default();
            let start = limit.window.start(now);
            if correction && start < used.start {
                continue;
            }
            if start > used.start {
                *used = Used { start, amount: 0 };
            }
            used.amount = used.amount.saturating_add(charge.takes(limit.measure));
        }
    }

    /// Gives back what a charge took at `taken`, in the windows that still run; `only`
    /// restricts it to some measures.
    fn give_back(&mut self, charge: &Charge, taken: Timestamp, only: impl Fn(Measure) -> bool) {
        for (limit, of_group, name) in limits(&charge.key) {
            if !only(limit.measure) {
                continue;
            }
            let Some(used) = self.used.get_mut(&Counter::of(limit, of_group, name)) else {
                continue;
            };
            if used.start == limit.window.start(taken) {
                used.amount = used.amount.saturating_sub(charge.takes(limit.measure));
            }
        }
    }

    fn resolve(&mut self, id: ReservationId, to: State) -> Option<Charge> {
        let entry = self.entries.get_mut(&id)?;
        if matches!(entry.state, State::Posted | State::Voided) {
            return None;
        }
        let void = to == State::Voided;
        entry.state = to;
        let (charge, taken) = (entry.charge.clone(), entry.created);
        self.give_back(&charge, taken, |measure| {
            void || measure == Measure::InFlight
        });
        self.resolved.push_back(id);
        if self.resolved.len() > RESOLVED_KEPT {
            self.forget_oldest();
        }
        Some(charge)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.resolved.pop_front();
        let entry = oldest.and_then(|id| self.entries.remove(&id));
        if let Some(job) = entry.and_then(|entry| entry.job) {
            self.jobs.remove(&job);
        }
    }
}

impl MemoryLedger {
    /// No panic can leave the books half-written: every change is made after its last
    /// fallible step. So a poisoned lock is taken as it is.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn check(
        &self,
        key: &Arc<Key>,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        // Nothing can be asked for that takes nothing.
        let takes = |measure| charge.map_or(1, |charge| charge.takes(measure));
        Ok(self.books().reached(key, takes, now))
    }

    async fn reserve(
        &self,
        id: ReservationId,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        let mut books = self.books();
        if books.entries.contains_key(&id) {
            return Ok(Reserved::Done);
        }
        if let Some(reached) = books.reached(&charge.key, |m| charge.takes(m), now) {
            return Ok(Reserved::Refused(reached));
        }
        books.take(charge, now, false);
        let entry = Entry {
            charge: charge.clone(),
            job: None,
            state: State::Pending,
            created: now,
        };
        books.entries.insert(id, entry);
        Ok(Reserved::Done)
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        _now: Timestamp,
    ) -> Result<Option<Charge>, Unavailable> {
        let mut books = self.books();
        if books.jobs.contains_key(&confirmation.job) {
            // A channel that names a job twice does not hand it to another key.
            return Ok(None);
        }
        let Some(entry) = books.entries.get_mut(&id) else {
            return Ok(None);
        };
        let open = matches!(entry.state, State::Pending | State::Unknown);
        if !open || entry.job.is_some() {
            return Ok(None);
        }
        entry.state = State::Pending;
        entry.job = Some(confirmation.job.clone());
        let before = std::mem::replace(&mut entry.charge, confirmation.charge.clone());
        let taken = entry.created;
        books.give_back(&before, taken, |_| true);
        books.take(&confirmation.charge, taken, true);
        books.jobs.insert(confirmation.job.clone(), id);
        Ok(Some(before))
    }

    async fn mark_unknown(&self, id: ReservationId, _now: Timestamp) -> Result<(), Unavailable> {
        if let Some(entry) = self.books().entries.get_mut(&id)
            && entry.state == State::Pending
        {
            entry.state = State::Unknown;
        }
        Ok(())
    }

    async fn post(
        &self,
        id: ReservationId,
        _now: Timestamp,
    ) -> Result<Option<Charge>, Unavailable> {
        Ok(self.books().resolve(id, State::Posted))
    }

    async fn void(
        &self,
        id: ReservationId,
        _now: Timestamp,
    ) -> Result<Option<Charge>, Unavailable> {
        Ok(self.books().resolve(id, State::Voided))
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        let books = self.books();
        let found = books.jobs.get(job);
        Ok(found.and_then(|id| {
            let entry = books.entries.get(id)?;
            Some(Job {
                reservation: *id,
                charge: entry.charge.clone(),
                created: entry.created,
                resolved: matches!(entry.state, State::Posted | State::Voided),
            })
        }))
    }

    async fn usage(&self, key: &Arc<Key>, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        let books = self.books();
        let usage = limits(key).map(|(limit, of_group, name)| Usage {
            limit,
            of_group,
            used: books.used(limit, of_group, name, now),
        });
        Ok(usage.collect())
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
