//! Tells the time: of day for limits and ages, and since a moment for deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::policy::Timestamp;

/// Converts a span to whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Computes the time `span` before `now`.
pub(crate) fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(millis(span)))
}

/// Tells a gate the time of day, which limits, windows and the ages of jobs are judged by. All
/// time that the core is told comes from here. Deadlines go by a clock that is never set, and
/// not by this one.
///
/// The default is the machine's clock. A test sets one by hand, and gives each gate its own
/// where their clocks are to differ.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// `None` where the machine's clock counts.
    manual: Option<Arc<Manual>>,
}

/// A clock that is set by hand, in milliseconds.
#[derive(Debug, Default)]
struct Manual {
    /// Since 1970.
    at: AtomicU64,
    /// For how long the machine was suspended, as far as a test wants it to have been.
    suspended: AtomicU64,
}

impl Clock {
    /// Makes a clock that stands still unless it is [set](Self::set). Clones are the same clock.
    pub fn manual(at: Timestamp) -> Self {
        Self {
            manual: Some(Arc::new(Manual {
                at: at.0.into(),
                suspended: 0.into(),
            })),
        }
    }

    /// Reads the time of day.
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            None => now(),
            Some(manual) => Timestamp(manual.at.load(Ordering::Relaxed)),
        }
    }

    /// Sets a manual clock, forwards or back. The machine's clock is not ours to set.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.manual {
            manual.at.store(to.0, Ordering::Relaxed);
        }
    }

    /// A span since some moment, by a clock that is never set and, where the system has one,
    /// goes on while the machine is suspended: two readings tell how old something is.
    pub(crate) fn running(&self) -> Duration {
        let suspended = self.manual.as_ref();
        let suspended = suspended.map_or(0, |manual| manual.suspended.load(Ordering::Relaxed));
        running() + Duration::from_millis(suspended)
    }

    /// Pretends that the machine was suspended for that long, where the clock is manual.
    pub fn suspend(&self, span: Duration) {
        if let Some(manual) = &self.manual {
            manual.suspended.fetch_add(millis(span), Ordering::Relaxed);
        }
    }
}

/// `Instant` stops in suspend on these systems, and other clocks of theirs do not.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
fn running() -> Duration {
    #[cfg(not(target_os = "macos"))]
    const ID: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;
    // Here it is the one that `Instant` does not use which goes on.
    #[cfg(target_os = "macos")]
    const ID: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;
    match nix::time::clock_gettime(ID) {
        Ok(time) => time.into(),
        // A kernel without it.
        Err(_) => since_first_asked(),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn running() -> Duration {
    since_first_asked()
}

fn since_first_asked() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// Reads the machine's clock.
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

    #[test]
    fn running_time_does_not_stop_in_suspend() {
        let clock = Clock::manual(Timestamp(5));
        let before = clock.running();
        clock.set(Timestamp(0));
        assert!(
            clock.running() >= before,
            "setting the clock does not change it"
        );
        let night = Duration::from_secs(8 * 3600);
        clock.clone().suspend(night);
        assert!(clock.running() >= before + night);
        assert!(since_first_asked() <= since_first_asked());
    }

    /// The kernel's own count of the time since boot, in which suspended time is contained.
    #[cfg(target_os = "linux")]
    #[test]
    fn running_time_is_the_time_since_boot() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let seconds = text.split_whitespace().next().unwrap();
            Duration::from_secs_f64(seconds.parse().unwrap())
        };
        let (before, running) = (uptime(), Clock::default().running());
        let tick = Duration::from_millis(20);
        assert!(before <= running + tick && running <= uptime() + tick);
    }
}
