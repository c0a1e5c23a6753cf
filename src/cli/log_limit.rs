//! The process's logger, with a rate limit for the lines of libraries.
//!
//! Pingora logs each connection that it cannot accept and each TLS handshake that fails, at a level that
//! operators must see: anybody who can connect could fill the disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use env_logger::Logger;
use log::{Level, Log, Metadata, Record};

/// The time within which a place in a library writes one line at most.
const WINDOW: Duration = Duration::from_secs(60);

/// A logger that writes all lines of the program itself, and one a minute from each place in a library.
pub(super) struct Limited {
    logger: Logger,
    places: Mutex<Places>,
}

/// A place in the code that writes a line: file, line and level.
type Place = (Option<&'static str>, Option<u32>, Level);

/// For each place, the time of its last written line, and the number of lines suppressed since.
#[derive(Default)]
struct Places(HashMap<Place, (Instant, u64)>);

impl Places {
    /// Decides whether `place` may write a line at `now`: returns the number of lines suppressed before
    /// that line, or `None` if the line is suppressed as well.
    fn admit(&mut self, place: Place, now: Instant) -> Option<u64> {
        match self.0.get_mut(&place) {
            Some((last, suppressed)) if now.saturating_duration_since(*last) < WINDOW => {
                *suppressed += 1;
                None
            }
            Some((last, suppressed)) => {
                *last = now;
                Some(std::mem::take(suppressed))
            }
            None => {
                self.0.insert(place, (now, 0));
                Some(0)
            }
        }
    }
}

impl Limited {
    /// Installs `logger`, with the limit, as the process's logger.
    pub(super) fn install(logger: Logger) {
        let level = logger.filter();
        let limited = Self {
            logger,
            places: Mutex::default(),
        };
        // This fails only if there is a logger already, and there is none.
        if log::set_boxed_logger(Box::new(limited)).is_ok() {
            log::set_max_level(level);
        }
    }
}

/// Returns whether a log line with `target` comes from the program itself, and not from a library.
fn is_own(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or_default();
    matches!(first, "tollgate" | "mock")
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_own(record.target()) || !self.logger.matches(record) {
            return self.logger.log(record);
        }
        let place = (record.file_static(), record.line(), record.level());
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = places.admit(place, Instant::now());
        drop(places);
        match admitted {
            None => {}
            Some(0) => self.logger.log(record),
            Some(suppressed) => {
                let line = format_args!("{} (and {suppressed} more like it before)", record.args());
                let mut builder = Record::builder();
                let builder = builder.metadata(record.metadata().clone());
                self.logger.log(&builder.args(line).build());
            }
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_once_a_minute_and_counts_the_rest() {
        let mut places = Places::default();
        let place = |line| (Some("listening.rs"), Some(line), Level::Error);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(places.admit(place(1), at(0)), Some(0));
        for _ in 0..40_000 {
            assert_eq!(places.admit(place(1), at(59)), None);
        }
        assert_eq!(places.admit(place(2), at(59)), Some(0));
        assert_eq!(places.admit(place(1), at(60)), Some(40_000));
        assert_eq!(places.admit(place(1), at(61)), None);
        assert_eq!(places.admit(place(1), at(120)), Some(1));
    }

    #[test]
    fn own_lines_are_told_from_those_of_libraries() {
        assert!(is_own("tollgate::gate") && is_own("mock") && is_own("tollgate"));
        assert!(!is_own("pingora_core::services::listening") && !is_own("tollgates"));
    }
}
