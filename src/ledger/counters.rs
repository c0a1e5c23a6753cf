//! What limits are counted in, for engines that keep their counters in memory.
//!
//! A counter is the sum of what the reservations of one key or group take from one measure
//! in one window. It exists from the first time that a limit asks for it, when it is summed
//! up from the reservations themselves; from then on every reservation moves it, whether or
//! not a limit still asks. So a limit that is configured later, or again, counts what was
//! charged before.

use std::sync::Arc;

use super::charge::{Charge, Payer};
use crate::map::Map;
use crate::policy::{Key, Limit, Measure, Timestamp, Window};

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// That key's.
    Key(Arc<str>),
    /// That group's, shared by its keys.
    Group(Arc<str>),
}

impl Scope {
    /// The two scopes that a charge counts in.
    pub(super) fn of(charge: &Charge) -> [Self; 2] {
        let payer = &charge.payer;
        [
            Self::Key(payer.key.clone()),
            Self::Group(payer.group.clone()),
        ]
    }

    /// Whether a charge counts in it.
    pub(super) fn holds(&self, charge: &Charge) -> bool {
        match self {
            Self::Key(name) => *name == charge.payer.key,
            Self::Group(name) => *name == charge.payer.group,
        }
    }
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// The limit.
    pub limit: Limit,
    /// Whose it is.
    pub scope: Scope,
    /// How much is reserved or posted already.
    pub used: u64,
    /// When the window ends, in seconds since the epoch; `None` where waiting for it does
    /// not help: it never ends, or the request alone is more than the limit.
    pub resets: Option<u64>,
}

impl LimitReached {
    /// By something that would take so much more.
    pub(super) fn by(takes: u64, limit: Limit, scope: Scope, used: u64, now: Timestamp) -> Self {
        let resets = limit.window.end(now).filter(|_| takes <= limit.most);
        Self {
            limit,
            scope,
            used,
            resets,
        }
    }
}

/// How far a limit is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// Whose it is.
    pub scope: Scope,
    /// How much is reserved or posted.
    pub used: u64,
}

/// All limits that a key is under: its own, then its group's.
pub(super) fn limits(key: &Key) -> impl Iterator<Item = (Limit, Scope)> {
    let group = &key.group;
    let own = key.limits.iter();
    let shared = group.limits.iter();
    own.map(|limit| (*limit, Scope::Key(key.name.clone())))
        .chain(shared.map(|limit| (*limit, Scope::Group(group.name.clone()))))
}

/// The limits that bind the correction of a charge: those that its payer is under, by the
/// names that the charge has, wherever its key is by now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindingLimits {
    /// The limits of the key of the payer's name.
    pub key: Vec<Limit>,
    /// The limits of the group of the payer's name.
    pub group: Vec<Limit>,
}

impl BindingLimits {
    /// Each limit with whose it is.
    pub(super) fn of(&self, payer: &Payer) -> impl Iterator<Item = (Limit, Scope)> {
        let (own, shared) = (self.key.iter(), self.group.iter());
        own.map(|limit| (*limit, Scope::Key(payer.key.clone())))
            .chain(shared.map(|limit| (*limit, Scope::Group(payer.group.clone()))))
    }
}

impl From<&Key> for BindingLimits {
    fn from(key: &Key) -> Self {
        Self {
            key: key.limits.clone(),
            group: key.group.limits.clone(),
        }
    }
}

/// The sum of one measure in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) measure: Measure,
    pub(super) window: Window,
    /// When the window began that the sum belongs to, in seconds since the epoch.
    pub(super) start: u64,
    pub(super) used: u64,
}

impl Counter {
    /// The sum in the window that holds `now`. A window that began later means that the
    /// clock was put back: it still counts, or every limit would be open until the clock
    /// has caught up.
    fn at(&self, now: Timestamp) -> u64 {
        let runs = self.start >= self.window.start(now);
        if runs { self.used } else { 0 }
    }
}

/// The counters of every key and group.
#[derive(Debug, Default)]
pub(super) struct Counters {
    keys: Map<Arc<str>, Vec<Counter>>,
    groups: Map<Arc<str>, Vec<Counter>>,
}

/// The counter of a limit, among those of its scope.
fn find(counters: &[Counter], limit: Limit) -> Option<&Counter> {
    let mut counters = counters.iter();
    counters.find(|c| c.measure == limit.measure && c.window == limit.window)
}

impl Counters {
    /// The counter of a limit, if it exists.
    pub(super) fn find(&self, limit: Limit, scope: &Scope) -> Option<&Counter> {
        find(self.of(scope), limit)
    }

    /// The limits of a key that have no counter yet.
    pub(super) fn missing(&self, key: &Key) -> Vec<(Limit, Scope)> {
        let group = &key.group;
        let lacks = |limits: &[Limit], counters: &[Counter]| {
            let mut limits = limits.iter();
            limits.any(|limit| find(counters, *limit).is_none())
        };
        let complete = !lacks(&key.limits, counters_of(&self.keys, &key.name))
            && !lacks(&group.limits, counters_of(&self.groups, &group.name));
        if complete {
            return vec![];
        }
        self.missing_of(limits(key))
    }

    /// Those of these limits that have no counter yet.
    pub(super) fn missing_of(
        &self,
        limits: impl Iterator<Item = (Limit, Scope)>,
    ) -> Vec<(Limit, Scope)> {
        let missing = limits.filter(|(limit, scope)| self.find(*limit, scope).is_none());
        missing.collect()
    }

    /// Begins to keep a counter.
    pub(super) fn insert(&mut self, scope: Scope, counter: Counter) {
        let counters = match scope {
            Scope::Key(name) => self.keys.entry(name),
            Scope::Group(name) => self.groups.entry(name),
        };
        counters.or_default().push(counter);
    }

    /// The counters of a scope.
    pub(super) fn of(&self, scope: &Scope) -> &[Counter] {
        match scope {
            Scope::Key(name) => counters_of(&self.keys, name),
            Scope::Group(name) => counters_of(&self.groups, name),
        }
    }

    /// How much of a limit is used.
    pub(super) fn used(&self, limit: Limit, scope: &Scope, now: Timestamp) -> u64 {
        self.find(limit, scope).map_or(0, |counter| counter.at(now))
    }

    /// The first limit of a key under which something does not fit that takes `takes` more.
    pub(super) fn reached(
        &self,
        key: &Key,
        takes: impl Fn(Measure) -> u64,
        now: Timestamp,
    ) -> Option<LimitReached> {
        let reached = |limits: &[Limit], counters: &[Counter]| {
            limits.iter().find_map(|limit| {
                let used = find(counters, *limit).map_or(0, |counter| counter.at(now));
                let takes = takes(limit.measure);
                let fits = used.checked_add(takes).is_some_and(|sum| sum <= limit.most);
                (!fits && takes > 0).then_some((takes, *limit, used))
            })
        };
        let group = &key.group;
        let own = reached(&key.limits, counters_of(&self.keys, &key.name));
        let (found, scope) = match own {
            Some(own) => (own, Scope::Key(key.name.clone())),
            None => {
                let shared = counters_of(&self.groups, &group.name);
                let shared = reached(&group.limits, shared)?;
                (shared, Scope::Group(group.name.clone()))
            }
        };
        let (takes, limit, used) = found;
        Some(LimitReached::by(takes, limit, scope, used, now))
    }

    /// How far each limit of a key is used up.
    pub(super) fn usage(&self, key: &Key, now: Timestamp) -> Vec<Usage> {
        let usage = limits(key).map(|(limit, scope)| Usage {
            limit,
            used: self.used(limit, &scope, now),
            scope,
        });
        usage.collect()
    }

    /// Counts a charge.
    pub(super) fn take(&mut self, charge: &Charge, now: Timestamp) {
        self.each(charge, |counter| {
            let start = counter.window.start(now);
            if start > counter.start {
                (counter.start, counter.used) = (start, 0);
            }
            let takes = charge.takes(counter.measure);
            counter.used = counter.used.saturating_add(takes);
        });
    }

    /// Gives back what a charge took at `taken`, in the windows that still run.
    pub(super) fn give_back(&mut self, charge: &Charge, taken: Timestamp) {
        self.each(charge, |counter| {
            if counter.start == counter.window.start(taken) {
                let takes = charge.takes(counter.measure);
                counter.used = counter.used.saturating_sub(takes);
            }
        });
    }

    /// A job has ended, and stays owed: only that it was in flight is given back.
    pub(super) fn landed(&mut self, charge: &Charge) {
        self.each(charge, |counter| {
            if counter.measure == Measure::InFlight {
                counter.used = counter.used.saturating_sub(1);
            }
        });
    }

    /// Replaces a charge by its correction, in the windows of `taken` that still run.
    pub(super) fn correct(&mut self, before: &Charge, after: &Charge, taken: Timestamp) {
        self.each(before, |counter| {
            if counter.start == counter.window.start(taken) {
                let given = counter.used.saturating_sub(before.takes(counter.measure));
                counter.used = given.saturating_add(after.takes(counter.measure));
            }
        });
    }

    fn each(&mut self, charge: &Charge, change: impl Fn(&mut Counter)) {
        let payer = &charge.payer;
        let counters = self.keys.get_mut(&payer.key).into_iter();
        let counters = counters.chain(self.groups.get_mut(&payer.group));
        counters.flatten().for_each(change);
    }
}

fn counters_of<'a>(counters: &'a Map<Arc<str>, Vec<Counter>>, name: &str) -> &'a [Counter] {
    counters.get(name).map_or(&[], Vec::as_slice)
}

/// The first limit that a correction of a charge that was taken at `taken` would exceed by
/// what it adds. A window that has passed refuses nothing any more.
pub(super) fn correction_exceeds(
    counters: &Counters,
    before: &Charge,
    after: &Charge,
    taken: Timestamp,
    limits: &BindingLimits,
    now: Timestamp,
) -> Option<LimitReached> {
    limits.of(&before.payer).find_map(|(limit, scope)| {
        let adds = after.takes(limit.measure);
        let adds = adds.saturating_sub(before.takes(limit.measure));
        let has_passed = limit.window.start(taken) < limit.window.start(now);
        if adds == 0 || has_passed {
            return None;
        }
        let used = counters.used(limit, &scope, now);
        let fits = used.checked_add(adds).is_some_and(|sum| sum <= limit.most);
        (!fits).then(|| LimitReached::by(adds, limit, scope, used, now))
    })
}
