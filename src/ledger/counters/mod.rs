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

mod limit;
mod series;

use std::ops::Range;
use std::sync::Arc;

use super::charge::{Charge, Resolution};
use crate::map::Map;
use crate::policy::{Key, Limit, Measure, Timestamp};

pub use self::limit::{BindingLimits, LimitReached, Scope, Usage};
pub(super) use self::limit::{ScopedLimit, limits};
pub(super) use self::series::{Counter, KEPT, Series};

/// The counters of every key and group.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Counters {
    keys: Map<Arc<str>, Vec<Series>>,
    groups: Map<Arc<str>, Vec<Series>>,
}

/// Finds the sum that a limit asks for among the series of its scope.
fn used(series: &[Series], limit: Limit, currency: &str, at: Timestamp) -> Option<u64> {
    let mut series = series.iter();
    let series = series.find(|series| series.is_for(limit, currency))?;
    series.used(at)
}

impl Counters {
    /// Lists the limits of a key whose sum at `now` is not known.
    pub(in crate::ledger) fn missing(&self, key: &Key, now: Timestamp) -> Vec<ScopedLimit> {
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

    /// Selects the limits whose sum at `now` is not known.
    pub(in crate::ledger) fn missing_of(
        &self,
        limits: impl Iterator<Item = ScopedLimit>,
        now: Timestamp,
    ) -> Vec<ScopedLimit> {
        let missing = limits.filter(|scoped| self.used(scoped, now).is_none());
        missing.collect()
    }

    /// Returns the times, in seconds since the epoch, that have to be summed up so that a limit's sums
    /// are known from the window that holds `now` on.
    pub(in crate::ledger) fn unknown(&self, scoped: &ScopedLimit, now: Timestamp) -> Range<u64> {
        let known = self.find(scoped).map_or(u64::MAX, |series| series.since);
        scoped.limit.window.start(now)..known
    }

    /// Begins to keep the counters of a limit from `since` on, with the sums of the windows
    /// that were unknown until now.
    pub(in crate::ledger) fn track(
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

    /// Adds a series that was read from a database.
    pub(in crate::ledger) fn insert(&mut self, scope: &Scope, series: Series) {
        self.of_mut(scope).push(series);
    }

    fn find(&self, scoped: &ScopedLimit) -> Option<&Series> {
        let currency = scoped.currency.as_deref().unwrap_or_default();
        let mut series = self.of(&scoped.scope).iter();
        series.find(|series| series.is_for(scoped.limit, currency))
    }

    /// Returns the series of a scope.
    pub(in crate::ledger) fn of(&self, scope: &Scope) -> &[Series] {
        match scope {
            Scope::Key(name) => series_of(&self.keys, name),
            Scope::Group(name) => series_of(&self.groups, name),
        }
    }

    /// Returns the series of a scope, to be changed.
    pub(in crate::ledger) fn of_mut(&mut self, scope: &Scope) -> &mut Vec<Series> {
        match scope {
            Scope::Key(name) => self.keys.entry(name.clone()).or_default(),
            Scope::Group(name) => self.groups.entry(name.clone()).or_default(),
        }
    }

    /// Returns how much of a limit is used in the window that holds `at`; `None` where it is not
    /// known.
    pub(in crate::ledger) fn used(&self, scoped: &ScopedLimit, at: Timestamp) -> Option<u64> {
        self.find(scoped)?.used(at)
    }

    /// Finds the first limit of a key that something would exceed which takes `takes` more.
    pub(in crate::ledger) fn reached(
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
                let fits = used.checked_add(takes).is_some_and(|sum| sum <= limit.max);
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

    /// Returns how far each limit of a key is used up.
    pub(in crate::ledger) fn usage(&self, key: &Key, now: Timestamp) -> Vec<Usage> {
        let usage = limits(key).map(|scoped| Usage {
            used: self.used(&scoped, now).unwrap_or(0),
            limit: scoped.limit,
            scope: scoped.scope,
        });
        usage.collect()
    }

    /// Counts a charge.
    pub(in crate::ledger) fn take(&mut self, charge: &Charge, now: Timestamp) {
        self.each(charge, |series| {
            series.take(charge.takes(series.measure), now)
        });
    }

    /// Counts that a charge which was taken at `taken` is resolved: one that is posted is in
    /// flight no longer, and one that is voided takes nothing any more.
    pub(in crate::ledger) fn resolve(
        &mut self,
        charge: &Charge,
        taken: Timestamp,
        resolution: Resolution,
    ) {
        self.each(charge, |series| {
            let releases = match (resolution, series.measure) {
                (Resolution::Posted, Measure::InFlight) | (Resolution::Voided, _) => {
                    charge.takes(series.measure)
                }
                (Resolution::Posted, _) => return,
            };
            if let Some(counter) = series.counter(taken) {
                counter.change(releases, 0);
            }
        });
    }

    /// Replaces a charge that was taken at `taken` by its correction.
    pub(in crate::ledger) fn correct(&mut self, before: &Charge, after: &Charge, taken: Timestamp) {
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

/// Decides about the correction of a charge that was taken at `taken`. Returns the charge as it
/// is to be, and the limit that forbids the correction, if one does: the charge stays as it was
/// then.
pub(in crate::ledger) fn decide_correction(
    counters: &Counters,
    before: &Arc<Charge>,
    corrected: &Arc<Charge>,
    taken: Timestamp,
    limits: &BindingLimits,
    now: Timestamp,
) -> (Arc<Charge>, Option<LimitReached>) {
    let exceeded = correction_exceeds(counters, before, corrected, taken, limits, now);
    let charge = match exceeded {
        Some(_) => before,
        None => corrected,
    };
    (charge.clone(), exceeded)
}

/// Finds the first limit that a correction would exceed by what it adds. A window that has
/// passed refuses nothing any more.
fn correction_exceeds(
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
        let fits = used.checked_add(adds).is_some_and(|sum| sum <= limit.max);
        (!fits).then(|| scoped.reached(adds, used, now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PriceList;
    use crate::ledger::charge::Payer;
    use crate::money::{Amount, Multiplier};
    use crate::policy::Window;

    const TAKEN: Timestamp = Timestamp(1_800_000_000_000);

    fn charge(seconds: u32) -> Arc<Charge> {
        Arc::new(Charge {
            payer: Payer {
                key: "studio".into(),
                group: "video".into(),
                currency: "CNY".into(),
                multiplier: Multiplier::from_thousandths(1000).unwrap(),
            },
            channel: "official".into(),
            model: "sora-2".into(),
            size: "1280x720".into(),
            seconds,
            list: Amount::from_nanos(0).unwrap(),
            billed: Amount::from_nanos(0).unwrap(),
            prices: PriceList::from_text(""),
        })
    }

    #[test]
    fn a_correction_is_left_out_where_it_would_exceed_a_limit() {
        let minute_later = Timestamp(TAKEN.0 + 60_000);
        let (minute, total) = (Window::Minute, Window::Total);
        // Of a charge of 4 seconds, with so many seconds taken in all.
        for (to, used, window, max, now, fits) in [
            (8, 16, total, 20, TAKEN, true),
            (9, 16, total, 20, TAKEN, false),
            // What adds nothing is never refused, though the limit is exceeded already.
            (2, 16, total, 10, TAKEN, true),
            (9, 16, minute, 20, TAKEN, false),
            // A window that has passed refuses nothing.
            (9, 16, minute, 20, minute_later, true),
            (9, 16, total, 20, minute_later, false),
        ] {
            let measure = Measure::VideoSeconds;
            let limit = Limit {
                measure,
                window,
                max,
            };
            let limits = BindingLimits {
                key: vec![limit],
                group: vec![],
            };
            let (before, after) = (charge(4), charge(to));
            let mut counters = Counters::default();
            for scoped in limits.of(&before.payer) {
                let start = window.start(TAKEN);
                counters.track(&scoped, start, [(start, used)]);
            }
            let (decided, exceeded) =
                decide_correction(&counters, &before, &after, TAKEN, &limits, now);
            let expected = if fits { &after } else { &before };
            assert_eq!((&decided, exceeded.is_none()), (expected, fits), "to {to}");
        }
    }

    #[test]
    fn a_posted_charge_leaves_the_flight_and_a_voided_one_takes_nothing() {
        for (resolution, in_flight, seconds) in
            [(Resolution::Posted, 0, 4), (Resolution::Voided, 0, 0)]
        {
            let charge = charge(4);
            let limit = |measure| Limit {
                measure,
                window: Window::Total,
                max: 100,
            };
            let limits = BindingLimits {
                key: vec![limit(Measure::InFlight), limit(Measure::VideoSeconds)],
                group: vec![],
            };
            let mut counters = Counters::default();
            for scoped in limits.of(&charge.payer) {
                counters.track(&scoped, 0, []);
            }
            counters.take(&charge, TAKEN);
            counters.resolve(&charge, TAKEN, resolution);
            let used = limits.of(&charge.payer);
            let used: Vec<_> = used.map(|scoped| counters.used(&scoped, TAKEN)).collect();
            assert_eq!(used, [Some(in_flight), Some(seconds)]);
        }
    }
}
