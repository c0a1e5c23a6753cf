//! The counters of one measure, one for each window.

use std::sync::Arc;

use super::limit::ScopedLimit;
use crate::policy::{Limit, Measure, Timestamp, Window};

/// The time for which counters are kept after their window has ended, in seconds: one hour. Clocks differ
/// by less than that, so no counter has to be summed up again.
pub(in crate::ledger) const KEPT: u64 = 3600;

/// The largest sum that a counter can have: the maximum of an integer in the databases. No limit is higher.
///
/// A counter that has reached this value stays there, even if charges are given back, since its true sum is
/// not known any more. It then refuses every request that would add to it, and never counts too little.
pub(in crate::ledger) const MAX_COUNTED: u64 = i64::MAX as u64;

/// The sum of one measure in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) struct Counter {
    /// The beginning of the window, in seconds since the epoch.
    pub(in crate::ledger) start: u64,
    pub(in crate::ledger) used: u64,
    /// Whether the counter has changed since it was last written to the database.
    pub(in crate::ledger) moved: bool,
}

impl Counter {
    /// Subtracts `gives` from the counter, then adds `takes`. A counter at [`MAX_COUNTED`] stays there.
    pub(super) fn change(&mut self, gives: u64, takes: u64) {
        if self.used < MAX_COUNTED {
            let left = self.used.saturating_sub(gives);
            self.used = left.saturating_add(takes).min(MAX_COUNTED);
            self.moved = true;
        }
    }
}

/// The counters of one measure in the windows of one length.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Series {
    pub(in crate::ledger) measure: Measure,
    pub(in crate::ledger) window: Window,
    /// The currency of a billed or purchase cost: each currency has a series of its own. `None` for other
    /// measures.
    pub(in crate::ledger) currency: Option<Arc<str>>,
    /// The beginning of the first window for which the series is complete: where this window or a later one
    /// has no counter, its sum is zero.
    pub(in crate::ledger) since: u64,
    /// Whether `since` has changed since it was last written to the database.
    pub(in crate::ledger) since_moved: bool,
    /// The counters in the order of their windows, none of which began before `since`.
    pub(in crate::ledger) counters: Vec<Counter>,
}

impl Series {
    pub(in crate::ledger) fn of(scoped: &ScopedLimit, since: u64) -> Self {
        Self {
            measure: scoped.limit.measure,
            window: scoped.limit.window,
            currency: scoped.currency.clone(),
            since,
            since_moved: true,
            counters: Vec::new(),
        }
    }

    pub(super) fn is_for(&self, limit: Limit, currency: &str) -> bool {
        self.measure == limit.measure && self.window == limit.window && self.counts(currency)
    }

    /// Returns whether the series counts charges in `currency`.
    pub(super) fn counts(&self, currency: &str) -> bool {
        let own = self.currency.as_ref();
        own.is_none_or(|own| **own == *currency)
    }

    fn place(&self, start: u64) -> Result<usize, usize> {
        self.counters.binary_search_by_key(&start, |c| c.start)
    }

    /// Returns the sum in the window that contains `at`; `None` where it is not known.
    pub(super) fn used(&self, at: Timestamp) -> Option<u64> {
        let start = self.window.start(at);
        match self.place(start) {
            Ok(place) => self.counters.get(place).map(|counter| counter.used),
            Err(_) => (start >= self.since).then_some(0),
        }
    }

    /// Adds `takes` to the counter of the window that contains `now`, if that counter is known.
    pub(super) fn take(&mut self, takes: u64, now: Timestamp) {
        let start = self.window.start(now);
        if let Some(counter) = self.counter(now) {
            counter.change(0, takes);
            return;
        }
        // A window that is not known is summed up when a limit needs it, and then includes this charge.
        if start < self.since {
            return;
        }
        self.forget_before(now.seconds().saturating_sub(KEPT));
        self.add(start, takes);
    }

    /// Adds a counter with the sum `used` for the window that begins at `start`, unless it has one.
    pub(in crate::ledger) fn add(&mut self, start: u64, used: u64) {
        if let Err(place) = self.place(start) {
            let (used, moved) = (used.min(MAX_COUNTED), true);
            self.counters.insert(place, Counter { start, used, moved });
        }
    }

    /// Deletes the counters of windows that had ended by `seconds` since the epoch.
    fn forget_before(&mut self, seconds: u64) {
        let end = self.window.start(Timestamp(seconds.saturating_mul(1000)));
        let over = self.counters.partition_point(|counter| counter.start < end);
        if over > 0 {
            self.counters.drain(..over);
            self.since = self.since.max(end);
            self.since_moved = true;
        }
    }

    /// Returns the counter of the window that contains `at`; `None` where the series has none: nothing was
    /// taken in that window, or its sum is not known.
    pub(super) fn counter(&mut self, at: Timestamp) -> Option<&mut Counter> {
        let place = self.place(self.window.start(at)).ok()?;
        self.counters.get_mut(place)
    }
}
