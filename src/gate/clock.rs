//! The clock that a gate goes by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::books::millis;
use crate::policy::Timestamp;

/// Tells a gate the time of day, which limits, windows and the ages of jobs are judged by. All
/// time that the core is told comes from here. Deadlines go by a clock that is never set, and
/// not by this one.
///
/// The default is the machine's clock. A test sets one by hand, and gives each gate its own
/// where their clocks are to differ.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Milliseconds since 1970; `None` where the machine's clock counts.
    manual: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// A clock that stands still unless it is [set](Self::set). Its clones are the same clock.
    pub fn manual(at: Timestamp) -> Self {
        Self {
            manual: Some(Arc::new(AtomicU64::new(at.0))),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            None => now(),
            Some(at) => Timestamp(at.load(Ordering::Relaxed)),
        }
    }

    /// Sets a manual clock, forwards or back. The machine's clock is not ours to set.
    pub fn set(&self, to: Timestamp) {
        if let Some(at) = &self.manual {
            at.store(to.0, Ordering::Relaxed);
        }
    }
}

/// The time of the machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_where_it_was_set() {
        let clock = Clock::manual(Timestamp(5));
        let same = clock.clone();
        assert_eq!(same.now(), Timestamp(5));
        clock.set(Timestamp(3));
        assert_eq!(same.now(), Timestamp(3));
        let before = now();
        let system = Clock::default();
        system.set(Timestamp(0));
        assert!(system.now() >= before);
    }
}
