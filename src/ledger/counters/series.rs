//! The counters of one measure, one for each window.

use std::sync::Arc;

use super::limit::ScopedLimit;
use crate::policy::{Limit, Measure, Timestamp, Window};

/// How long counters are kept after their window has ended, in seconds: longer than clocks
/// differ, so that none has to be summed up again.
pub(in crate::ledger) const KEPT: u64 = 3600;

/// The largest sum that is counted, as the databases hold it. What is beyond is not known, so a
/// counter that has reached it stays there, whatever is given back: it refuses all that costs
/// something, and never counts less than there is. No limit is higher.
pub(in crate::ledger) const MAX_COUNTED: u64 = i64::MAX as u64;

/// The sum of one measure in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) struct Counter {
    /// When the window began, in seconds since the epoch.
    pub(in crate::ledger) start: u64,
    pub(in crate::ledger) used: u64,
    /// Whether it has moved since it was last written.
    pub(in crate::ledger) moved: bool,
}

impl Counter {
    /// Gives back, then takes; see [`MAX_COUNTED`].
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
    /// Of the billed cost: each currency has a series of its own.
    pub(in crate::ledger) currency: Option<Arc<str>>,
    /// From which window on it is complete: of what is missing there, nothing was taken.
    pub(in crate::ledger) since: u64,
    /// Whether that has changed since it was last written.
    pub(in crate::ledger) since_moved: bool,
    /// In the order of their windows, none of which began before `since`.
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

    /// Returns whether charges in that currency count.
    pub(super) fn counts(&self, currency: &str) -> bool {
        let own = self.currency.as_ref();
        own.is_none_or(|own| **own == *currency)
    }

    fn place(&self, start: u64) -> Result<usize, usize> {
        self.counters.binary_search_by_key(&start, |c| c.start)
    }

    /// Returns the sum in the window that holds `at`; `None` where it is not known.
    pub(super) fn used(&self, at: Timestamp) -> Option<u64> {
        let start = self.window.start(at);
        match self.place(start) {
            Ok(place) => self.counters.get(place).map(|counter| counter.used),
            Err(_) => (start >= self.since).then_some(0),
        }
    }

    /// Adds what a charge takes that is made at `now`.
    pub(super) fn take(&mut self, takes: u64, now: Timestamp) {
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
    pub(in crate::ledger) fn add(&mut self, start: u64, used: u64) {
        if let Err(place) = self.place(start) {
            let (used, moved) = (used.min(MAX_COUNTED), true);
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

    /// Returns the counter of the window that holds `at`, if something was taken there.
    pub(super) fn counter(&mut self, at: Timestamp) -> Option<&mut Counter> {
        let place = self.place(self.window.start(at)).ok()?;
        self.counters.get_mut(place)
    }
}
