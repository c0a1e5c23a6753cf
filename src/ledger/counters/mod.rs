//! The counters of limits, for ledgers that keep their counters in memory.
//!
//! A counter is the sum of one measure over the reservations that one key, group or channel has in one
//! window. A reservation counts in the window that contains the time at which it was made, by the clock of
//! the gate that made it. So a gate with a wrong clock counts in the windows of that clock's time, and
//! changes no other sums.
//!
//! A series of counters is made when a limit first needs it, by summing up the existing reservations. From
//! then on every reservation changes the series, even if no limit needs it any more. So a limit that is
//! configured later, or again, counts what was charged before. Counters of windows that ended more than an
//! hour ago are deleted. If a clock goes back to such a window, its reservations are summed up again.

mod correction;
mod limit;
mod series;

use std::ops::Range;
use std::sync::Arc;

use super::Reserved;
use super::charge::{Charge, Resolution};
use crate::map::Map;
use crate::policy::{Key, Limit, Measure, Timestamp};

pub(super) use self::correction::decide_correction;
pub use self::limit::{BindingLimits, LimitReached, Scope, Usage};
pub(super) use self::limit::{ChannelLimits, ScopedLimit, all_limits, limits};
pub(super) use self::series::{Counter, KEPT, Series};

/// The counters of every key, group and channel.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Counters {
    keys: Map<Arc<str>, Vec<Series>>,
    groups: Map<Arc<str>, Vec<Series>>,
    channels: Map<Arc<str>, Vec<Series>>,
}

/// Returns the sum that `limit` counts in the window that contains `at`; `None` where it is not known.
/// `series` are those of the limit's scope.
fn used(series: &[Series], limit: Limit, currency: &str, at: Timestamp) -> Option<u64> {
    let mut series = series.iter();
    let series = series.find(|series| series.is_for(limit, currency))?;
    series.used(at)
}

impl Counters {
    /// Lists the limits of a key, its group and a channel whose sums in the windows at `now` are not known.
    pub(in crate::ledger) fn missing(
        &self,
        key: &Key,
        channel: Option<ChannelLimits<'_>>,
        now: Timestamp,
    ) -> Vec<ScopedLimit> {
        let (group, currency) = (&key.group, &*key.group.currency);
        let lacks = |limits: &[Limit], series: &[Series], currency: &str| {
            let mut limits = limits.iter();
            limits.any(|limit| used(series, *limit, currency, now).is_none())
        };
        let channel_lacks = |channel: ChannelLimits<'_>| {
            let series = series_of(&self.channels, channel.name);
            lacks(channel.limits, series, channel.currency)
        };
        let complete = !lacks(&key.limits, series_of(&self.keys, &key.name), currency)
            && !lacks(
                &group.limits,
                series_of(&self.groups, &group.name),
                currency,
            )
            && !channel.is_some_and(channel_lacks);
        if complete {
            return vec![];
        }
        let of_channel = channel.into_iter().flat_map(ChannelLimits::scoped);
        self.missing_of(limits(key).chain(of_channel), now)
    }

    /// Selects those of `limits` whose sum in the window at `now` is not known.
    pub(in crate::ledger) fn missing_of(
        &self,
        limits: impl Iterator<Item = ScopedLimit>,
        now: Timestamp,
    ) -> Vec<ScopedLimit> {
        let missing = limits.filter(|scoped| self.used(scoped, now).is_none());
        missing.collect()
    }

    /// Returns the span of time whose reservations have to be summed up for a limit, in seconds since the
    /// epoch: from the start of the window that contains `now` to the time from which the sums are known.
    pub(in crate::ledger) fn unknown(&self, scoped: &ScopedLimit, now: Timestamp) -> Range<u64> {
        let known = self.find(scoped).map_or(u64::MAX, |series| series.since);
        scoped.limit.window.start(now)..known
    }

    /// Adds the counters of a limit from `since` on, in seconds since the epoch. `sums` has the start and the
    /// sum of each window that was not known until now.
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
            Scope::Channel(name) => series_of(&self.channels, name),
        }
    }

    /// Returns the series of a scope for changes; an empty list where the scope has none yet.
    pub(in crate::ledger) fn of_mut(&mut self, scope: &Scope) -> &mut Vec<Series> {
        match scope {
            Scope::Key(name) => self.keys.entry(name.clone()).or_default(),
            Scope::Group(name) => self.groups.entry(name.clone()).or_default(),
            Scope::Channel(name) => self.channels.entry(name.clone()).or_default(),
        }
    }

    /// Returns how much of a limit is used in the window that contains `at`; `None` where that is not known.
    pub(in crate::ledger) fn used(&self, scoped: &ScopedLimit, at: Timestamp) -> Option<u64> {
        self.find(scoped)?.used(at)
    }

    /// Finds the first limit that a request would exceed: of its key, then of the key's group, then of its
    /// channel. `takes` returns the amount that the request adds to a counter of a measure.
    pub(in crate::ledger) fn reached(
        &self,
        key: &Key,
        channel: Option<ChannelLimits<'_>>,
        takes: impl Fn(Measure) -> u64,
        now: Timestamp,
    ) -> Option<LimitReached> {
        let (group, currency) = (&key.group, &*key.group.currency);
        let reached = |limits: &[Limit], series: &[Series], currency: &str| {
            limits.iter().find_map(|limit| {
                let used = used(series, *limit, currency, now).unwrap_or(0);
                let takes = takes(limit.measure);
                let fits = used.checked_add(takes).is_some_and(|sum| sum <= limit.max);
                (!fits && takes > 0).then_some((takes, *limit, used))
            })
        };
        let refusal = |(takes, limit, used), scope, currency: &str| {
            ScopedLimit::new(limit, scope, currency).reached(takes, used, now)
        };
        let own = series_of(&self.keys, &key.name);
        if let Some(own) = reached(&key.limits, own, currency) {
            return Some(refusal(own, Scope::Key(key.name.clone()), currency));
        }
        let shared = series_of(&self.groups, &group.name);
        if let Some(shared) = reached(&group.limits, shared, currency) {
            return Some(refusal(shared, Scope::Group(group.name.clone()), currency));
        }
        let ChannelLimits {
            name,
            currency,
            limits,
        } = channel?;
        let of_channel = reached(limits, series_of(&self.channels, name), currency)?;
        Some(refusal(of_channel, Scope::Channel(name.clone()), currency))
    }

    /// Finds the first limit of a channel that `charge` would exceed in the windows that contain `taken`.
    pub(in crate::ledger) fn channel_reached(
        &self,
        channel: ChannelLimits<'_>,
        charge: &Charge,
        taken: Timestamp,
    ) -> Option<LimitReached> {
        channel.scoped().find_map(|scoped| {
            let takes = charge.takes(scoped.limit.measure);
            let used = self.used(&scoped, taken).unwrap_or(0);
            let fits = used
                .checked_add(takes)
                .is_some_and(|sum| sum <= scoped.limit.max);
            (!fits && takes > 0).then(|| scoped.reached(takes, used, taken))
        })
    }

    /// Returns how much of each limit of a key, and then of its group, is used after a reservation was
    /// made. The list is empty for other outcomes, after which no caller asks for the amounts, and where no
    /// limit applies.
    pub(in crate::ledger) fn used_after(
        &self,
        reserved: &Reserved,
        key: &Key,
        now: Timestamp,
    ) -> Box<[u64]> {
        let (group, currency) = (&key.group, &*key.group.currency);
        let is_limited = !key.limits.is_empty() || !group.limits.is_empty();
        if *reserved != Reserved::Done || !is_limited {
            return Box::default();
        }
        let (own, shared) = (
            series_of(&self.keys, &key.name),
            series_of(&self.groups, &group.name),
        );
        let own = key.limits.iter().map(|limit| (own, limit));
        let all = own.chain(group.limits.iter().map(|limit| (shared, limit)));
        let used = all.map(|(series, limit)| used(series, *limit, currency, now).unwrap_or(0));
        used.collect()
    }

    /// Returns how much of each limit of a key and its group is used.
    pub(in crate::ledger) fn usage(&self, key: &Key, now: Timestamp) -> Vec<Usage> {
        let usage = limits(key).map(|scoped| Usage {
            used: self.used(&scoped, now).unwrap_or(0),
            limit: scoped.limit,
            scope: scoped.scope,
        });
        usage.collect()
    }

    /// Adds a charge that is reserved at `now` to the counters of its key, group and channel.
    pub(in crate::ledger) fn take(&mut self, charge: &Charge, now: Timestamp) {
        self.each(charge, |series| {
            series.take(charge.takes(series.measure), now)
        });
    }

    /// Updates the counters for the resolution of a charge that was reserved at `taken`. A posted charge is
    /// subtracted from the jobs in flight, and a voided charge is subtracted from all its counters.
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

    /// Gives a posted charge that an operator has voided back to the limits of its key and group, but not to
    /// those of its channel, which has done the work. `taken` is the time of the reservation.
    pub(in crate::ledger) fn give_back(&mut self, charge: &Charge, taken: Timestamp) {
        for series in self.of_payer(charge) {
            let measure = series.measure;
            if measure != Measure::InFlight
                && let Some(counter) = series.counter(taken)
            {
                counter.change(charge.takes(measure), 0);
            }
        }
    }

    /// Moves a charge that was reserved at `taken` from the counters of its channel, `before`, to those of
    /// another channel, `after`.
    pub(in crate::ledger) fn reroute(&mut self, before: &Charge, after: &Charge, taken: Timestamp) {
        let (gives, takes) = (before, after);
        for series in self.of_channel(gives) {
            let measure = series.measure;
            if let Some(counter) = series.counter(taken) {
                counter.change(gives.takes(measure), 0);
            }
        }
        for series in self.of_channel(takes) {
            let measure = series.measure;
            series.take(takes.takes(measure), taken);
        }
    }

    /// Corrects the counters of the charge `before`, which was reserved at `taken`, to the charge `after`.
    pub(in crate::ledger) fn correct(&mut self, before: &Charge, after: &Charge, taken: Timestamp) {
        self.each(before, |series| {
            let (gives, takes) = (before.takes(series.measure), after.takes(series.measure));
            if let Some(counter) = series.counter(taken) {
                counter.change(gives, takes);
            }
        });
    }

    fn each(&mut self, charge: &Charge, change: impl Fn(&mut Series)) {
        self.of_payer(charge).for_each(&change);
        self.of_channel(charge).for_each(change);
    }

    fn of_payer<'a>(&'a mut self, charge: &'a Charge) -> impl Iterator<Item = &'a mut Series> {
        let payer = &charge.payer;
        let series = self.keys.get_mut(&payer.key).into_iter();
        let series = series.chain(self.groups.get_mut(&payer.group)).flatten();
        series.filter(|series| series.counts(&payer.currency))
    }

    fn of_channel(&mut self, charge: &Charge) -> impl Iterator<Item = &mut Series> {
        let series = self.channels.get_mut(&charge.channel);
        let currency = charge.purchase_currency().to_owned();
        let series = series.into_iter().flatten();
        series.filter(move |series| series.counts(&currency))
    }
}

fn series_of<'a>(series: &'a Map<Arc<str>, Vec<Series>>, name: &str) -> &'a [Series] {
    series.get(name).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PriceList;
    use crate::ledger::charge::Payer;
    use crate::money::{Amount, Multiplier};
    use crate::policy::Window;

    pub(super) const TAKEN: Timestamp = Timestamp(1_800_000_000_000);

    pub(super) fn charge(seconds: u32) -> Arc<Charge> {
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
            purchase: None,
        })
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
