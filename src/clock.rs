//! Clocks: the time of day, and a monotonic time that goes on while the machine is suspended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::policy::Timestamp;

/// Converts a duration to whole milliseconds, rounded down; at most `u64::MAX`.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the time `span` before `now`; at the earliest 1970.
pub(crate) fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(millis(span)))
}

/// The clock of a gate: the time of day, by which limits, windows and the ages of jobs are judged. Modules
/// that do no IO get its times as parameters. Deadlines do not use it; they use a monotonic clock.
///
/// The default is the machine's clock. Tests use manual clocks, and give each gate a clock of its own if the
/// times of the gates are to differ.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// The manual clock; `None` for the machine's clock.
    manual: Option<Arc<Manual>>,
}

/// A clock that is set by hand, in milliseconds.
#[derive(Debug, Default)]
struct Manual {
    /// The time in milliseconds since 1970.
    at: AtomicU64,
    /// The time, in milliseconds, for which a test pretends that the machine was suspended.
    suspended: AtomicU64,
}

impl Clock {
    /// Makes a clock that shows `at` until it is [set](Self::set). Setting a clone sets all clones.
    pub fn manual(at: Timestamp) -> Self {
        Self {
            manual: Some(Arc::new(Manual {
                at: at.0.into(),
                suspended: 0.into(),
            })),
        }
    }

    /// Returns the time of day.
    pub fn now(&self) -> Timestamp {
        match &self.manual {
            None => now(),
            Some(manual) => Timestamp(manual.at.load(Ordering::Relaxed)),
        }
    }

    /// Sets a manual clock, forwards or back. Has no effect on the machine's clock.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.manual {
            manual.at.store(to.0, Ordering::Relaxed);
        }
    }

    /// Returns the time since some fixed moment, by a monotonic clock. The difference of two results is the
    /// time between the calls. It counts on while the machine is suspended, if the system has such a clock.
    pub(crate) fn running(&self) -> Duration {
        let suspended = self.manual.as_ref();
        let suspended = suspended.map_or(0, |manual| manual.suspended.load(Ordering::Relaxed));
        running() + Duration::from_millis(suspended)
    }

    /// Pretends that the machine was suspended for `span`, if the clock is manual.
    pub fn suspend(&self, span: Duration) {
        if let Some(manual) = &self.manual {
            manual.suspended.fetch_add(millis(span), Ordering::Relaxed);
        }
    }
}

/// Reads the system's monotonic clock that goes on while the machine is suspended. On these systems `Instant`
/// stops during that time.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
fn running() -> Duration {
    #[cfg(not(target_os = "macos"))]
    const ID: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;
    // On macOS it is this clock that goes on, and not the one that `Instant` uses.
    #[cfg(target_os = "macos")]
    const ID: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;
    match nix::time::clock_gettime(ID) {
        Ok(time) => time.into(),
        // A kernel without that clock.
        Err(_) => since_first_asked(),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn running() -> Duration {
    since_first_asked()
}

/// Returns the time since some fixed moment, by a monotonic clock that may be some milliseconds late, but is
/// read ten times as fast as a precise one: each request reads it for the idle times of connections.
pub(crate) fn coarse() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(time) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE) {
        return time.into();
    }
    since_first_asked()
}

fn since_first_asked() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// Returns the time of day by the machine's clock; 1970 if that clock shows an earlier time. The time may be
/// late by one tick of the kernel, which is 1 to 10 ms: each request needs the time several times, and reading
/// the exact time takes ten times as long.
pub fn now() -> Timestamp {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(time) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE) {
        let since = nix::sys::time::TimeValLike::num_milliseconds(&time);
        return Timestamp(u64::try_from(since).unwrap_or(0));
    }
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

    /// Compares with the kernel's own time since boot, which includes suspended time.
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
