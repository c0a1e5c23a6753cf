//! What limits are counted in, for engines that keep their counters in memory.
//!
//! A counter is the sum of what the reservations of one key or group take from one measure
//! in one window: there is one for each window, and a reservation counts in the one that
//! holds the time at which it was made, whatever the clocks of others say. So clocks that
//! differ, or were wrong, fill windows of their own and no others.
//!
//! A series of counters exists from the first time that a limit asks for it, when it is
//! summed up from the reservations themselves; from then on every reservation moves it,
//! whether or not a limit still asks. So a limit that is configured later, or again, counts
//! what was charged before. Counters of windows that are long over are forgotten. Where a
//! clock goes back to one of these, it is summed up once more.

use std::ops::Range;
use std::sync::Arc;

use super::charge::{Charge, Payer};
use crate::map::Map;
use crate::policy::{Key, Limit, Measure, Timestamp, Window};

/// How long counters are kept after their window has ended, in seconds: longer than clocks
/// differ, so that none has to be summed up again.
pub(super) const KEPT: u64 = 3600;

/// The largest sum that is counted, as the databases hold it. What is beyond is not known, so a
/// counter that has reached it stays there, whatever is given back: it refuses all that costs
/// something, and never counts less than there is. No limit is higher.
pub(super) const MOST_COUNTED: u64 = i64::MAX as u64;

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
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// The limit.
    pub limit: Limit,
    /// Whose it is.
    pub scope: Scope,
    /// The currency that is counted, where it is the billed cost.
    pub currency: Option<Arc<str>>,
    /// How much is reserved or posted already.
    pub used: u64,
    /// When the window ends, in seconds since the epoch; `None` where waiting for it does
    /// not help: it never ends, or the request alone is more than the limit.
    pub resets: Option<u64>,
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

/// A limit, with what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScopedLimit {
    pub(super) limit: Limit,
    /// Whose charges.
    pub(super) scope: Scope,
    /// In which currency, where it is the billed cost: there is no sum over several.
    pub(super) currency: Option<Arc<str>>,
}

impl ScopedLimit {
    fn new(limit: Limit, scope: Scope, currency: &Arc<str>) -> Self {
        let currency = (limit.measure == Measure::BilledCost).then(|| currency.clone());
        Self {
            limit,
            scope,
            currency,
        }
    }

    /// Whether a charge counts in it.
    pub(super) fn counts(&self, charge: &Charge) -> bool {
        let payer = &charge.payer;
        let currency = self.currency.as_ref();
        let is_of = match &self.scope {
            Scope::Key(name) => *name == payer.key,
            Scope::Group(name) => *name == payer.group,
        };
        is_of && currency.is_none_or(|currency| *currency == payer.currency)
    }

    /// That it is reached, by something that would take so much more.
    pub(super) fn reached(self, takes: u64, used: u64, now: Timestamp) -> LimitReached {
        let Self {
            limit,
            scope,
            currency,
        } = self;
        LimitReached {
            resets: limit.window.end(now).filter(|_| takes <= limit.most),
            limit,
            scope,
            currency,
            used,
        }
    }
}

/// All limits that a key is under: its own, then its group's.
pub(super) fn limits(key: &Key) -> impl Iterator<Item = ScopedLimit> {
    let (group, currency) = (&key.group, &key.group.currency);
    let own = key.limits.iter();
    let own = own.map(|l| ScopedLimit::new(*l, Scope::Key(key.name.clone()), currency));
    let shared = group.limits.iter();
    own.chain(shared.map(|l| ScopedLimit::new(*l, Scope::Group(group.name.clone()), currency)))
}

/// The limits that bind the correction of a charge: those that its payer is under, by the
/// names that the charge has, wherever its key is by now. Limits of the billed cost are of
/// the charge's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindingLimits {
    /// The limits of the key of the payer's name.
    pub key: Vec<Limit>,
    /// The limits of the group of the payer's name.
    pub group: Vec<Limit>,
}

impl BindingLimits {
    /// Each limit with what it counts.
    pub(super) fn of(&self, payer: &Payer) -> impl Iterator<Item = ScopedLimit> {
        let (own, shared, currency) = (self.key.iter(), self.group.iter(), &payer.currency);
        own.map(|l| ScopedLimit::new(*l, Scope::Key(payer.key.clone()), currency))
            .chain(
                shared.map(|l| ScopedLimit::new(*l, Scope::Group(payer.group.clone()), currency)),
            )
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
    /// When the window began, in seconds since the epoch.
    pub(super) start: u64,
    pub(super) used: u64,
    /// Whether it has moved since it was last written.
    pub(super) moved: bool,
}

impl Counter {
    /// Gives back, then takes; see [`MOST_COUNTED`].
    fn change(&mut self, gives: u64, takes: u64) {
        if self.used < MOST_COUNTED {
            let left = self.used.saturating_sub(gives);
            self.used = left.saturating_add(takes).min(MOST_COUNTED);
            self.moved = true;
        }
    }
}

/// The counters of one measure in the windows of one length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) measure: Measure,
    pub(super) window: Window,
    /// Of the billed cost: each currency has a series of its own.
    pub(super) currency: Option<Arc<str>>,
    /// From which window on it is complete: of what is missing there, nothing was taken.
    pub(super) since: u64,
    /// Whether that has changed since it was last written.
    pub(super) since_moved: bool,
    /// In the order of their windows, none of which began before `since`.
    pub(super) counters: Vec<Counter>,
}

impl Series {
    pub(super) fn of(scoped: &ScopedLimit, since: u64) -> Self {
        Self {
            measure: scoped.limit.measure,
            window: scoped.limit.window,
            currency: scoped.currency.clone(),
            since,
            since_moved: true,
            counters: Vec::new(),
        }
    }

    fn is_for(&self, limit: Limit, currency: &str) -> bool {
        self.measure == limit.measure && self.window == limit.window && self.counts(currency)
    }

    /// Whether charges in that currency count.
    fn counts(&self, currency: &str) -> bool {
        let own = self.currency.as_ref();
        own.is_none_or(|own| **own == *currency)
    }

    fn place(&self, start: u64) -> Result<usize, usize> {
        self.counters.binary_search_by_key(&start, |c| c.start)
    }

    /// The sum in the window that holds `at`; `None` where it is not known.
    fn used(&self, at: Timestamp) -> Option<u64> {
        let start = self.window.start(at);
        match self.place(start) {
            Ok(place) => self.counters.get(place).map(|counter| counter.used),
            Err(_) => (start >= self.since).then_some(0),
        }
    }

    /// Adds what a charge takes that is made at `now`.
    fn take(&mut self, takes: u64, now: Timestamp) {
        let start = self.window.start(now);
        if let Some(counter) = self.counter(now) {
            counter.change(0, takes);
            return;
        }
        // A window that is not known is summed up, with this charge, when it is asked for.
        if start < self.since {
            return;
        }
        self.forget_before(now.seconds().saturating_sub(KEPT));
        self.add(start, takes);
    }

    /// Sets the sum of a window, where there is none yet.
    pub(super) fn add(&mut self, start: u64, used: u64) {
        if let Err(place) = self.place(start) {
            let (used, moved) = (used.min(MOST_COUNTED), true);
            self.counters.insert(place, Counter { start, used, moved });
        }
    }

    /// Forgets the windows that had ended by then.
    fn forget_before(&mut self, seconds: u64) {
        let end = self.window.start(Timestamp(seconds.saturating_mul(1000)));
        let over = self.counters.partition_point(|counter| counter.start < end);
        if over > 0 {
            self.counters.drain(..over);
            self.since = self.since.max(end);
            self.since_moved = true;
        }
    }

    /// The counter of the window that holds `at`, if something was taken there.
    fn counter(&mut self, at: Timestamp) -> Option<&mut Counter> {
        let place = self.place(self.window.start(at)).ok()?;
        self.counters.get_mut(place)
    }
}

/// The counters of every key and group.
#[derive(Debug, Default)]
pub(super) struct Counters {
    keys: Map<Arc<str>, Vec<Series>>,
    groups: Map<Arc<str>, Vec<Series>>,
}

/// The sum that a limit asks for, among the series of its scope.
fn used(series: &[Series], limit: Limit, currency: &str, at: Timestamp) -> Option<u64> {
    let mut series = series.iter();
    let series = series.find(|series| series.is_for(limit, currency))?;
    series.used(at)
}

impl Counters {
    /// The limits of a key of which the sum at `now` is not known.
    pub(super) fn missing(&self, key: &Key, now: Timestamp) -> Vec<ScopedLimit> {
        let (group, currency) = (&key.group, &*key.group.currency);
        let lacks = |limits: &[Limit], series: &[Series]| {
            let mut limits = limits.iter();
            limits.any(|limit| used(series, *limit, currency, now).is_none())
        };
        let complete = !lacks(&key.limits, series_of(&self.keys, &key.name))
            && !lacks(&group.limits, series_of(&self.groups, &group.name));
        if complete {
            return vec![];
        }
        self.missing_of(limits(key), now)
    }

    /// Those of these limits of which the sum at `now` is not known.
    pub(super) fn missing_of(
        &self,
        limits: impl Iterator<Item = ScopedLimit>,
        now: Timestamp,
    ) -> Vec<ScopedLimit> {
        let missing = limits.filter(|scoped| self.used(scoped, now).is_none());
        missing.collect()
    }

    /// What is to be summed up so that a limit's sums are known from the window that holds
    /// `now` on: the times, in seconds since the epoch.
    pub(super) fn unknown(&self, scoped: &ScopedLimit, now: Timestamp) -> Range<u64> {
        let known = self.find(scoped).map_or(u64::MAX, |series| series.since);
        scoped.limit.window.start(now)..known
    }

    /// Begins to keep the counters of a limit from `since` on, with the sums of the windows
    /// that were unknown until now.
    pub(super) fn track(
        &mut self,
        scoped: &ScopedLimit,
        since: u64,
        sums: impl IntoIterator<Item = (u64, u64)>,
    ) {
        let currency = scoped.currency.as_deref().unwrap_or_default();
        let all = self.of_mut(&scoped.scope);
        let place = all.iter().position(|s| s.is_for(scoped.limit, currency));
        let series = match place.and_then(|place| all.get_mut(place)) {
            Some(series) => series,
            None => {
                all.push(Series::of(scoped, since));
                let Some(series) = all.last_mut() else {
                    return;
                };
                series
            }
        };
        series.since = series.since.min(since);
        series.since_moved = true;
        for (start, used) in sums {
            series.add(start, used);
        }
    }

    /// Keeps a series as it was written.
    pub(super) fn insert(&mut self, scope: &Scope, series: Series) {
        self.of_mut(scope).push(series);
    }

    fn find(&self, scoped: &ScopedLimit) -> Option<&Series> {
        let currency = scoped.currency.as_deref().unwrap_or_default();
        let mut series = self.of(&scoped.scope).iter();
        series.find(|series| series.is_for(scoped.limit, currency))
    }

    /// The series of a scope.
    pub(super) fn of(&self, scope: &Scope) -> &[Series] {
        match scope {
            Scope::Key(name) => series_of(&self.keys, name),
            Scope::Group(name) => series_of(&self.groups, name),
        }
    }

    /// Likewise, to be changed.
    pub(super) fn of_mut(&mut self, scope: &Scope) -> &mut Vec<Series> {
        match scope {
            Scope::Key(name) => self.keys.entry(name.clone()).or_default(),
            Scope::Group(name) => self.groups.entry(name.clone()).or_default(),
        }
    }

    /// How much of a limit is used in the window that holds `at`; `None` where it is not
    /// known.
    pub(super) fn used(&self, scoped: &ScopedLimit, at: Timestamp) -> Option<u64> {
        self.find(scoped)?.used(at)
    }

    /// The first limit of a key under which something does not fit that takes `takes` more.
    pub(super) fn reached(
        &self,
        key: &Key,
        takes: impl Fn(Measure) -> u64,
        now: Timestamp,
    ) -> Option<LimitReached> {
        let (group, currency) = (&key.group, &key.group.currency);
        let reached = |limits: &[Limit], series: &[Series]| {
            limits.iter().find_map(|limit| {
                let used = used(series, *limit, currency, now).unwrap_or(0);
                let takes = takes(limit.measure);
                let fits = used.checked_add(takes).is_some_and(|sum| sum <= limit.most);
                (!fits && takes > 0).then_some((takes, *limit, used))
            })
        };
        let own = reached(&key.limits, series_of(&self.keys, &key.name));
        let ((takes, limit, used), scope) = match own {
            Some(own) => (own, Scope::Key(key.name.clone())),
            None => {
                let shared = series_of(&self.groups, &group.name);
                let shared = reached(&group.limits, shared)?;
                (shared, Scope::Group(group.name.clone()))
            }
        };
        Some(ScopedLimit::new(limit, scope, currency).reached(takes, used, now))
    }

    /// How far each limit of a key is used up.
    pub(super) fn usage(&self, key: &Key, now: Timestamp) -> Vec<Usage> {
        let usage = limits(key).map(|scoped| Usage {
            used: self.used(&scoped, now).unwrap_or(0),
            limit: scoped.limit,
            scope: scoped.scope,
        });
        usage.collect()
    }

    /// Counts a charge.
    pub(super) fn take(&mut self, charge: &Charge, now: Timestamp) {
        self.each(charge, |series| {
            series.take(charge.takes(series.measure), now)
        });
    }

    /// Gives back what a charge took at `taken`.
    pub(super) fn give_back(&mut self, charge: &Charge, taken: Timestamp) {
        self.each(charge, |series| {
            let takes = charge.takes(series.measure);
            if let Some(counter) = series.counter(taken) {
                counter.change(takes, 0);
            }
        });
    }

    /// A job has ended, and stays owed: only that it was in flight is given back.
    pub(super) fn landed(&mut self, charge: &Charge, taken: Timestamp) {
        self.each(charge, |series| {
            if series.measure == Measure::InFlight
                && let Some(counter) = series.counter(taken)
            {
                counter.change(1, 0);
            }
        });
    }

    /// Replaces a charge that was taken at `taken` by its correction.
    pub(super) fn correct(&mut self, before: &Charge, after: &Charge, taken: Timestamp) {
        self.each(before, |series| {
            let (gives, takes) = (before.takes(series.measure), after.takes(series.measure));
            if let Some(counter) = series.counter(taken) {
                counter.change(gives, takes);
            }
        });
    }

    fn each(&mut self, charge: &Charge, change: impl Fn(&mut Series)) {
        let payer = &charge.payer;
        let series = self.keys.get_mut(&payer.key).into_iter();
        let series = series.chain(self.groups.get_mut(&payer.group)).flatten();
        series
            .filter(|series| series.counts(&payer.currency))
            .for_each(change);
    }
}

fn series_of<'a>(series: &'a Map<Arc<str>, Vec<Series>>, name: &str) -> &'a [Series] {
    series.get(name).map_or(&[], Vec::as_slice)
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
    limits.of(&before.payer).find_map(|scoped| {
        let limit = scoped.limit;
        let adds = after.takes(limit.measure);
        let adds = adds.saturating_sub(before.takes(limit.measure));
        let has_passed = limit.window.start(taken) < limit.window.start(now);
        if adds == 0 || has_passed {
            return None;
        }
        let used = counters.used(&scoped, taken).unwrap_or(0);
        let fits = used.checked_add(adds).is_some_and(|sum| sum <= limit.most);
        (!fits).then(|| scoped.reached(adds, used, now))
    })
}
