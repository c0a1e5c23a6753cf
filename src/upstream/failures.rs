//! Decides which failures of channels are logged. The first failure of a kind is logged, and later the fact
//! that the channel works again. Failures in between are only counted, here and in the metrics.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::millis;
use crate::plural::Counted;
use crate::policy::Timestamp;

/// The time without a failure after which a success shows that a channel works again. Without this time, a
/// channel that fails now and then would be logged as failing and working by turns.
const QUIET: Duration = Duration::from_secs(30);

/// The minimum number of logged answers about single jobs that are remembered, so as not to log them again.
const MIN_JOBS: usize = 5_000;

/// An unexpected answer about one job: the job's public id, the `kind` in the metrics, and the HTTP status.
type JobFailure = (Arc<str>, &'static str, u16);

/// The unexpected answers that channels gave to polls and deletions of single jobs, and that were logged. The
/// number of answers is bounded: those that have not occurred for the longest time are forgotten.
#[derive(Default)]
struct NamedJobs {
    recent: HashSet<JobFailure>,
    older: HashSet<JobFailure>,
}

impl NamedJobs {
    /// Adds `failure`, an unexpected answer about one job. Returns whether it is new and must be logged.
    fn insert(&mut self, failure: JobFailure) -> bool {
        if self.recent.contains(&failure) {
            return false;
        }
        let is_new = !self.older.contains(&failure);
        if self.recent.len() >= MIN_JOBS {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(failure);
        is_new
    }
}

/// The present failures of channels, and the unexpected answers about single jobs that have been logged.
#[derive(Default)]
pub(super) struct FailureLog {
    /// The number of entries in `all`, which each success reads without a lock.
    open: AtomicUsize,
    /// The failures by the channel's name and the kind of failure, as in the metrics.
    all: Mutex<HashMap<(String, &'static str), Failures>>,
    jobs: Mutex<NamedJobs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failures {
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

/// The failures of one kind that have ended, since their channel works again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    kind: &'static str,
    failures: Failures,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, failures } = self;
        let span = failures.last.since(failures.first) / 1000;
        write!(
            f,
            "{} ({kind}) in {span} s",
            Counted(failures.count, "failure")
        )
    }
}

impl FailureLog {
    /// Records a failure of a channel. Returns whether the failure must be logged: whether it is the first of
    /// its kind since the channel worked.
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

    /// Records an unexpected answer about the job with the public id `job`. Later successes of the channel do
    /// not remove it. Returns whether the answer must be logged: once for each job, kind and status.
    pub(super) fn job_failed(&self, job: &str, kind: &'static str, status: u16) -> bool {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert((job.into(), kind, status))
    }

    /// Returns whether no failure of any channel is recorded, so that a success ends none.
    pub(super) fn is_empty(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }

    /// Records a success of a channel at `at`. Returns the failures that it ends: those that have not been
    /// repeated for the time `QUIET`.
    pub(super) fn succeeded(&self, channel: &str, at: Timestamp) -> Vec<Ended> {
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
            // A channel that fails every other time does not work again in between.
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

    #[test]
    fn a_job_is_named_once_for_each_state() {
        let log = FailureLog::default();
        assert!(log.job_failed("video_1", "status", 404));
        // The job is polled every ten minutes, among other jobs that are answered.
        for second in (0..10_000).step_by(600) {
            assert!(log.succeeded("a", Timestamp(second * 1000)).is_empty());
            assert!(!log.job_failed("video_1", "status", 404));
        }
        assert!(log.job_failed("video_1", "no_job", 200));
        assert!(log.job_failed("video_2", "status", 404));
        assert!(!log.job_failed("video_1", "status", 404));
    }

    #[test]
    fn what_is_remembered_of_jobs_is_bounded_and_keeps_those_that_are_seen() {
        let mut named = NamedJobs::default();
        let job = |number: usize| (Arc::from(format!("video_{number}")), "status", 404);
        assert!(named.insert(job(0)));
        for number in 1..MIN_JOBS * 4 {
            assert!(named.insert(job(number)), "{number}");
            // The job is polled still.
            assert!(!named.insert(job(0)), "{number}");
            assert!(named.recent.len() + named.older.len() <= MIN_JOBS * 2);
        }
        assert!(named.insert(job(1)));
    }
}
