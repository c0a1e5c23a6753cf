//! The settings for following jobs to their end, and for keeping reservations.

use std::time::Duration;

use super::error::{Problems, Reported};
use super::file;
use super::scalar::{count, duration, parsed, parsed_or};

/// The settings for following jobs and keeping reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// Whether jobs that failed or were cancelled are charged.
    pub charge_failed_jobs: bool,
    /// The minimum time from a job's creation or last poll until the gate itself polls the job.
    pub poll_after: Duration,
    /// The maximum number of polls per second that the gate itself sends for the jobs of one channel.
    pub polls_per_second: u32,
    /// The age at which the gate stops following a job. A job whose end was not seen by then stays charged.
    pub expire_after: Duration,
    /// The time within which a channel must list the job of an unanswered create. After it, an unlisted job
    /// counts as not created. Also the maximum time from a reservation until its create's last bytes leave.
    pub unknown_grace: Duration,
    /// The time for which an idempotency key stays bound to its request.
    pub idempotency_for: Duration,
    /// The minimum time for which resolved reservations are kept; their totals are kept for ever.
    pub keep: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The minimum of `keep_days`, in days. It covers the longest window of a limit, which is a month.
const KEEP_AT_LEAST: u64 = 32;

impl Default for Jobs {
    fn default() -> Self {
        Self {
            charge_failed_jobs: false,
            poll_after: Duration::from_secs(30),
            polls_per_second: 5,
            expire_after: DAY,
            unknown_grace: Duration::from_secs(180),
            idempotency_for: DAY,
            keep: 400 * DAY,
        }
    }
}

impl Jobs {
    /// Builds the settings from the file, with the defaults for those that it leaves out.
    pub(super) fn build(
        file: Option<file::Jobs>,
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let file = file.unwrap_or_default();
        let or = Self::default();
        let p = problems;
        let poll_after = parsed_or(&file.poll_after, duration, or.poll_after, p);
        let polls_per_second = parsed_or(&file.polls_per_second, count, or.polls_per_second, p);
        let expire_after = parsed_or(&file.expire_after, duration, or.expire_after, p);
        let unknown_grace = parsed_or(&file.unknown_grace, duration, or.unknown_grace, p);
        let idempotency_for = parsed_or(&file.idempotency_for, duration, or.idempotency_for, p);
        let keep = match &file.keep_days {
            None => Ok(or.keep),
            Some(text) => match parsed(text, count::<u64>, p) {
                Ok(days) if days < KEEP_AT_LEAST => Err(p.report_hint(
                    text.referenced,
                    "limits for a month need the reservations of a month",
                    format!("write at least {KEEP_AT_LEAST} days"),
                )),
                days => days.map(|days| Duration::from_secs(days.saturating_mul(24 * 3600))),
            },
        };
        Ok(Self {
            charge_failed_jobs: file.charge_failed_jobs.unwrap_or(or.charge_failed_jobs),
            poll_after: poll_after?,
            polls_per_second: polls_per_second?,
            expire_after: expire_after?,
            unknown_grace: unknown_grace?,
            idempotency_for: idempotency_for?,
            keep: keep?,
        })
    }
}
