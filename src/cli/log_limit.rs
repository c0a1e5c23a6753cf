//! The process's logger, with a rate limit for the lines of libraries.
//!
//! Pingora logs each connection that it cannot accept and each TLS handshake that fails, at a level that
//! operators must see. Without the limit, anybody who can connect could fill the disk.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use env_filter::Filter;
use log::{Level, Log, Metadata, Record};

use super::log_queue::Queue;
use super::{log_format, log_request};
use crate::access_log::{Line, TARGET, set_writer};

/// The time within which a place in a library's code can write at most one line.
const WINDOW: Duration = Duration::from_secs(60);

/// The logger of this process; not set before [`Limited::install`].
static LOGGER: OnceLock<Limited> = OnceLock::new();

/// A logger that writes all lines of the program itself, and one a minute from each place in a library.
pub(super) struct Limited {
    filter: Filter,
    /// Whether the filter lets the lines of requests through.
    shows_requests: bool,
    places: Mutex<Places>,
    /// The queue of standard error; `None` if its thread could not be started.
    queue: Option<Arc<Queue>>,
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
    /// Installs the process's logger, which writes the lines that `filter` lets through to standard error.
    /// `by_message` says whether the filter looks at messages. If it does, the lines of requests pass through
    /// the crate `log`, as all others do, so that they have messages. If the thread of the queue cannot be
    /// started, each thread writes its own lines.
    pub(super) fn install(filter: Filter, by_message: bool) {
        let level = filter.filter();
        let of_requests = Metadata::builder()
            .target(TARGET)
            .level(Level::Info)
            .build();
        let limited = LOGGER.get_or_init(|| Self {
            shows_requests: filter.enabled(&of_requests),
            filter,
            places: Mutex::default(),
            queue: Queue::start(io::stderr()).ok(),
        });
        // This fails only if there is a logger already, and there is none.
        if log::set_logger(limited).is_ok() {
            log::set_max_level(level);
            if !by_message {
                set_writer(write_request);
            }
        }
    }

    /// Writes the line of a record. Drops a record that cannot be formatted.
    fn write(&self, record: &Record<'_>) {
        let mut line = Vec::with_capacity(256);
        if log_format::append(&mut line, record).is_ok() {
            self.write_with(|text| text.extend_from_slice(&line));
        }
    }

    /// Writes the line that `append` appends to a text.
    fn write_with(&self, append: impl FnOnce(&mut Vec<u8>)) {
        match &self.queue {
            Some(queue) => queue.push(append),
            None => {
                let mut line = Vec::new();
                append(&mut line);
                // There is no other place to report an error.
                let _ = io::stderr().write_all(&line);
            }
        }
    }
}

/// Writes the line of a request.
fn write_request(request: &Line<'_>) {
    if let Some(logger) = LOGGER.get().filter(|logger| logger.shows_requests) {
        logger.write_with(|text| log_request::append(text, request));
    }
}

/// Returns whether a log line with `target` comes from the program itself, and not from a library.
fn is_own(target: &str) -> bool {
    ["tollgate", "mock"].iter().any(|own| {
        let rest = target.strip_prefix(own);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        if is_own(record.target()) {
            return self.write(record);
        }
        let place = (record.file_static(), record.line(), record.level());
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = places.admit(place, Instant::now());
        drop(places);
        match admitted {
            None => {}
            Some(0) => self.write(record),
            Some(suppressed) => {
                let line = format_args!("{} (and {suppressed} more like it before)", record.args());
                let mut builder = Record::builder();
                let builder = builder.metadata(record.metadata().clone());
                self.write(&builder.args(line).build());
            }
        }
    }

    fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
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
