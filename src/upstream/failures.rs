//! Decides which failures of channels are logged: the first of a kind, and that the channel
//! works again. In between failures are only counted, here and in the metrics.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::millis;
use crate::policy::Timestamp;

/// A channel works again when a request succeeds so long after the last failure: one that
/// fails now and then is in one state, and not in two by turns.
const QUIET: Duration = Duration::from_secs(30);

/// Remembers which channels fail, and how.
#[derive(Default)]
pub(super) struct FailureLog {
    /// How many entries there are, which is read at each success.
    open: AtomicUsize,
    /// By the channel's name and the kind of failure, as in the metrics.
    all: Mutex<HashMap<(String, &'static str), Failures>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failures {
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

/// Failures of a channel that have ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    kind: &'static str,
    failures: Failures,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, failures } = self;
        let span = failures.last.since(failures.first) / 1000;
        let count = failures.count;
        write!(f, "{count} failures ({kind}) in {span} s")
    }
}

impl FailureLog {
    /// Notes a failure. Returns whether it is to be logged.
    pub(super) fn failed(&self, channel: &str, kind: &'static str, at: Timestamp) -> bool {
        let mut all = self.lock();
        let failures = all.entry((channel.to_owned(), kind)).or_insert(Failures {
            first: at,
            last: at,
            count: 0,
        });
        failures.last = at;
        failures.count += 1;
        let is_news = failures.count == 1;
        self.open.store(all.len(), Ordering::Relaxed);
        is_news
    }

    /// Notes a success. Returns which failures have ended.
    pub(super) fn succeeded(&self, channel: &str, at: Timestamp) -> Vec<Ended> {
        if self.open.load(Ordering::Relaxed) == 0 {
            return vec![];
        }
        let mut all = self.lock();
        let quiet = millis(QUIET);
        let ended =
            all.extract_if(|(of, _), failures| of == channel && at.since(failures.last) >= quiet);
        let ended = ended.map(|((_, kind), failures)| Ended { kind, failures });
        let ended = ended.collect();
        self.open.store(all.len(), Ordering::Relaxed);
        ended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, &'static str), Failures>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_news_once() {
        let log = FailureLog::default();
        let at = |seconds: u64| Timestamp(seconds * 1000);
        assert!(log.succeeded("a", at(0)).is_empty());
        assert!(log.failed("a", "broken", at(1)));
        for second in 2..100 {
            assert!(!log.failed("a", "broken", at(second)));
            // One that fails every other time does not work again in between.
            assert!(log.succeeded("a", at(second)).is_empty());
        }
        assert!(log.failed("a", "connect", at(100)));
        assert!(log.failed("b", "broken", at(100)));
        assert!(log.succeeded("a", at(128)).is_empty());
        let ended = log.succeeded("a", at(129));
        let ended: Vec<_> = ended.iter().map(ToString::to_string).collect();
        assert_eq!(ended, ["99 failures (broken) in 98 s"]);
        assert_eq!(log.succeeded("a", at(130)).len(), 1);
        assert!(log.succeeded("a", at(131)).is_empty());
        assert_eq!(log.succeeded("b", at(131)).len(), 1);
        assert!(log.failed("a", "broken", at(132)));
    }
}
