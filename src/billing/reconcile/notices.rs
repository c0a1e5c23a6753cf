//! Logs the outcomes that reconciliation cannot decide, each of them once.

use std::collections::HashSet;
use std::sync::Arc;

use super::MAX_CLOCK_SKEW;
use crate::billing::matching::{Ambiguity, Decision};
use crate::clock::millis;
use crate::ledger::ReservationId;

/// The maximum number of decisions that are logged. Each is remembered, so that it is not logged again.
const LOGGED: usize = 10_000;

/// The record of the warnings that have been logged about a channel, so that none is repeated.
#[derive(Default)]
pub(super) struct Notices {
    /// The reservation (if the line named one) and the job of each logged line.
    logged: HashSet<(Option<ReservationId>, Arc<str>)>,
    /// Whether the wrong clock of the channel has been logged.
    clock_is_logged: bool,
}

impl Notices {
    /// Logs a decision that operators should see, once for each reservation and job.
    pub(super) fn log_decision(&mut self, channel: &str, decision: Decision) {
        let (about, job) = match &decision {
            Decision::Ambiguous {
                reservation, job, ..
            } => (Some(*reservation), job),
            Decision::Unclaimed { job, .. } => (None, job),
            Decision::Assign { .. } | Decision::Void { .. } => return,
        };
        if !self.is_new(about, job.clone()) {
            return;
        }
        match decision {
            Decision::Ambiguous {
                reservation: id,
                job,
                why,
            } => match why {
                Ambiguity::Keys => log::error!(
                    "reservation {id} on channel {channel}: job {job:?} may have come of it or of \
                     another key's: neither is charged for it"
                ),
                Ambiguity::Evidence => log::warn!(
                    "reservation {id} on channel {channel}: job {job:?} may have come of it, but \
                     the list tells neither its prompt nor enough else to be sure: it is held \
                     until jobs.expire_after"
                ),
                Ambiguity::Requests => log::warn!(
                    "reservation {id} on channel {channel}: it was given job {job:?}, which may be \
                     that of another request of the same key: they differ only in what the list \
                     does not show"
                ),
                Ambiguity::TooFewJobs => log::warn!(
                    "reservation {id} on channel {channel}: job {job:?} may be its own or that of \
                     another request of the same key: it is held, with its idempotency key, \
                     until jobs.expire_after"
                ),
            },
            Decision::Unclaimed { key, job } => log::error!(
                "channel {channel} lists job {job:?}, which came of a request of key {key} that was \
                 given up, or was made twice: it is not charged"
            ),
            Decision::Assign { .. } | Decision::Void { .. } => {}
        }
    }

    /// Logs once that reservation `id` is not voided, because the record of the job that its request was to
    /// remix is pruned.
    pub(super) fn log_source_gone(&mut self, channel: &str, id: ReservationId) {
        if self.is_new(Some(id), "".into()) {
            log::warn!(
                "reservation {id} on channel {channel}: the list shows no job of it, but the job \
                 that it was to remix has no record any more, so that its own may not be \
                 recognised: it is held until jobs.expire_after"
            );
        }
    }

    /// Returns whether `about` and `job` are a new pair, and remembers it; `false` after [`LOGGED`] pairs.
    fn is_new(&mut self, about: Option<ReservationId>, job: Arc<str>) -> bool {
        self.logged.len() < LOGGED && self.logged.insert((about, job))
    }

    /// Logs that a channel's clock is wrong by more than the allowed skew, once until the clock is right
    /// again. `ahead` is in milliseconds.
    pub(super) fn note_clock(&mut self, channel: &str, ahead: i64) {
        let is_wrong = ahead.unsigned_abs() > millis(MAX_CLOCK_SKEW);
        if is_wrong && !self.clock_is_logged {
            let seconds = ahead / 1000;
            log::warn!(
                "channel {channel}: its clock is {seconds} s ahead of this machine's, as its \
                 answers say; the times of its jobs are corrected by that"
            );
        }
        self.clock_is_logged = is_wrong;
    }
}
