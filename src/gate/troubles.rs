//! One line in the log for each change of a channel's state, however many requests meet it:
//! when it begins to fail in some way, and when it works again. In between failures are
//! counted, here and in the metrics.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::Gate;
use super::books::millis;
use crate::policy::Timestamp;

/// A channel works again when a request succeeds so long after the last failure: one that
/// fails now and then is in one state, and not in two by turns.
const QUIET: Duration = Duration::from_secs(30);

/// What is wrong with channels.
#[derive(Default)]
pub(super) struct Troubles {
    /// How many there are: looked at for each success.
    open: AtomicUsize,
    /// By the channel's name and the kind of failure, as in the metrics.
    all: Mutex<HashMap<(String, &'static str), Trouble>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble {
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

/// What was wrong with a channel, and is not any more.
#[derive(Debug, PartialEq, Eq)]
struct Over {
    kind: &'static str,
    trouble: Trouble,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, trouble } = self;
        let span = trouble.last.since(trouble.first) / 1000;
        let count = trouble.count;
        write!(f, "{count} failures ({kind}) in {span} s")
    }
}

impl Troubles {
    /// Notes a failure; says whether it is news.
    fn failed(&self, channel: &str, kind: &'static str, at: Timestamp) -> bool {
        let mut all = self.lock();
        let trouble = all.entry((channel.to_owned(), kind)).or_insert(Trouble {
            first: at,
            last: at,
            count: 0,
        });
        trouble.last = at;
        trouble.count += 1;
        let is_news = trouble.count == 1;
        self.open.store(all.len(), Ordering::Relaxed);
        is_news
    }

    /// Notes a success; says what is over by it.
    fn works(&self, channel: &str, at: Timestamp) -> Vec<Over> {
        if self.open.load(Ordering::Relaxed) == 0 {
            return vec![];
        }
        let mut all = self.lock();
        let quiet = millis(QUIET);
        let ended =
            all.extract_if(|(of, _), trouble| of == channel && at.since(trouble.last) >= quiet);
        let ended = ended.map(|((_, kind), trouble)| Over { kind, trouble });
        let ended = ended.collect();
        self.open.store(all.len(), Ordering::Relaxed);
        ended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, &'static str), Trouble>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Counts a failure of a channel, in one of the ways that the metrics know, and says what
    /// it is where the channel has not failed so before.
    pub(super) fn channel_failed(&self, name: &str, kind: &'static str, what: impl fmt::Display) {
        self.metrics.channel_error(name, kind);
        if self.troubles.failed(name, kind, self.now()) {
            log::warn!(
                "channel {name} fails ({kind}): {what}; until it works again, further failures \
                 are only counted in channel_errors_total"
            );
        }
    }

    /// Counts an answer of a channel by its status, and says so where it works again.
    pub(super) fn channel_answered(&self, name: &str, status: StatusCode) {
        self.metrics.upstream_request(name, status.as_str());
        let fails = status.is_server_error() || matches!(status.as_u16(), 401..=403 | 408 | 429);
        if fails {
            return;
        }
        for over in self.troubles.works(name, self.now()) {
            log::info!("channel {name} works again, after {over}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_news_once() {
        let troubles = Troubles::default();
        let at = |seconds: u64| Timestamp(seconds * 1000);
        assert!(troubles.works("a", at(0)).is_empty());
        assert!(troubles.failed("a", "broken", at(1)));
        for second in 2..100 {
            assert!(!troubles.failed("a", "broken", at(second)));
            // One that fails every other time does not work again in between.
            assert!(troubles.works("a", at(second)).is_empty());
        }
        assert!(troubles.failed("a", "connect", at(100)));
        assert!(troubles.failed("b", "broken", at(100)));
        assert!(troubles.works("a", at(128)).is_empty());
        let over = troubles.works("a", at(129));
        let over: Vec<_> = over.iter().map(ToString::to_string).collect();
        assert_eq!(over, ["99 failures (broken) in 98 s"]);
        assert_eq!(troubles.works("a", at(130)).len(), 1);
        assert!(troubles.works("a", at(131)).is_empty());
        assert_eq!(troubles.works("b", at(131)).len(), 1);
        assert!(troubles.failed("a", "broken", at(132)));
    }
}
