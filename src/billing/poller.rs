//! Polls each job that has not ended and that no client has polled lately, so that charges do not depend
//! on the polls of clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::channel_task::ChannelTask;
use super::job_cache::JobEntry;
use super::job_end::JobEnd;
use super::job_status::fetch_and_settle;
use crate::clock::millis;
use crate::config::Jobs;
use crate::ledger::{Job, ReservationId, Unavailable};
use crate::policy::Timestamp;
use crate::upstream::QueryError;

/// The smallest value that the limit of due jobs read from the ledger at a time can have.
const MIN_PAGE: u32 = 50;
/// The maximum time of one round. A round must end while its lease lasts.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest value that the limit of concurrent polls can have. A poll whose answer comes very slowly
/// occupies its place until its timeout, and delays none of the others.
const MIN_POLLS: usize = 16;
/// The largest value that the limit of concurrent polls can have.
const MAX_POLLS: usize = 256;
/// The maximum delay behind the poll rate that is made up for by sending the next polls sooner.
const MAX_LAG: Duration = Duration::from_millis(100);
/// The divisor that turns a job's age into the time between two polls, so that a long job is polled less
/// and less often.
const AGE_DIVISOR: u64 = 8;
/// The maximum time between two polls of a job, unless `jobs.poll_after` is longer.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// The result of a round of polling or of reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// All due work is done, or under way.
    Complete,
    /// More work is due.
    More,
    /// Due work waits: the channel could not be asked, or its list has not been read to the end yet.
    HeldUp,
}

/// The polls of one channel's jobs that are under way, and the earliest time of the next poll.
#[derive(Default)]
pub(super) struct Poller {
    polls: JoinSet<Result<(), QueryError>>,
    /// For each poll under way, by its task, the reservation of the job that is polled.
    in_progress: HashMap<Id, ReservationId>,
    next: Option<Instant>,
    /// The time until which the channel is not asked.
    backoff_until: Option<Instant>,
}

impl Poller {
    /// Makes one round: polls the jobs that are due, at the configured poll rate.
    pub(super) async fn round(&mut self, task: &ChannelTask) -> Result<Round, Unavailable> {
        let billing = &task.billing;
        let jobs = &task.snapshot.config.jobs;
        let rate = jobs.polls_per_second;
        let (pace, until) = (
            Duration::from_secs(1) / rate,
            Instant::now() + ROUND_TIMEOUT,
        );
        let max_polls = usize::try_from(rate)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        let max_polls = max_polls.clamp(MIN_POLLS, MAX_POLLS);
        let pause = jobs.poll_after.min(ROUND_TIMEOUT);
        self.has_room(usize::MAX, until, pause).await;
        if self.is_backing_off() {
            return Ok(Round::HeldUp);
        }
        // Jobs whose polls are under way stay due until they have been polled.
        let in_progress = u32::try_from(self.in_progress.len()).unwrap_or(u32::MAX);
        let page = MIN_PAGE.max(rate.min(1000)).saturating_add(in_progress);
        let due = billing.ledger().due(task.name(), billing.now(), page);
        let due = due.await?;
        let is_full = due.len() >= usize::try_from(page).unwrap_or(usize::MAX);
        for job in due {
            if self.is_in_progress(&job) {
                continue;
            }
            let entry = billing.entry(&job);
            let at = billing.now();
            // A last poll in the future was recorded by a wrong clock.
            let last_poll = Some(entry.last_poll()).filter(|last| *last <= at);
            let polled = last_poll.map_or(0, |last| last.0 + millis(jobs.poll_after));
            let polled = Timestamp(polled);
            if entry.is_resolved() && !billing.reopen(&entry).await? {
                // This gate resolved the job after the page was read.
                continue;
            }
            if polled > at && !is_old(&entry, at, jobs) {
                set_next_poll(task, &entry, polled).await?;
            } else if Instant::now() > until || !self.has_room(max_polls, until, pause).await {
                return Ok(Round::More);
            } else if self.is_backing_off() {
                return Ok(Round::HeldUp);
            } else {
                self.wait_for_slot(pace).await;
                let task = task.clone();
                let poll = self.polls.spawn(async move { poll(&task, &entry).await });
                self.in_progress.insert(poll.id(), job.reservation);
            }
        }
        Ok(match is_full {
            true => Round::More,
            false => Round::Complete,
        })
    }

    fn is_in_progress(&self, job: &Job) -> bool {
        self.in_progress.values().any(|id| *id == job.reservation)
    }

    fn is_backing_off(&self) -> bool {
        self.backoff_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// Collects the polls that have ended, and waits until fewer than `max_polls` are in progress, at most
    /// until `until`. Returns whether fewer are in progress. If a poll found the channel down, the channel
    /// is not asked again for the time `pause`.
    async fn has_room(&mut self, max_polls: usize, until: Instant, pause: Duration) -> bool {
        loop {
            let ended = match self.in_progress.len() < max_polls {
                true => self.polls.try_join_next_with_id(),
                false => {
                    let ended = timeout_at(until, self.polls.join_next_with_id());
                    match ended.await {
                        Ok(ended) => ended,
                        Err(_) => return false,
                    }
                }
            };
            match ended {
                None => return true,
                Some(Ok((id, polled))) => {
                    self.in_progress.remove(&id);
                    if polled.is_err_and(|error| error.is_channel_down()) {
                        self.backoff_until = Some(Instant::now() + pause);
                    }
                }
                Some(Err(error)) => {
                    self.in_progress.remove(&error.id());
                    log::error!("the poll of a job has failed: {error}");
                }
            }
        }
    }

    /// Waits until the next poll may begin. `pace` is the time between the starts of two polls.
    async fn wait_for_slot(&mut self, pace: Duration) {
        let now = Instant::now();
        let earliest = now.checked_sub(MAX_LAG).unwrap_or(now);
        let slot = self.next.map_or(now, |next| next.max(earliest));
        self.next = Some(slot + pace);
        sleep_until(slot).await;
    }

    /// Waits for all polls that are under way.
    pub(super) async fn drain(&mut self) {
        while self.polls.join_next().await.is_some() {}
        self.in_progress.clear();
    }
}

/// Polls one job, and settles its charge if it has ended. If it has not, posts the charge of a job that is
/// older than `jobs.expire_after`, and otherwise records when to poll the job again.
///
/// # Errors
/// If the channel returned no status of the job.
async fn poll(task: &ChannelTask, entry: &Arc<JobEntry>) -> Result<(), QueryError> {
    let ChannelTask {
        billing,
        client,
        snapshot,
        ..
    } = task;
    let (name, jobs) = (task.name(), &snapshot.config.jobs);
    let report = match snapshot.channels.at(name, entry.job.address.as_deref()) {
        Some(channel) => fetch_and_settle(billing, client, snapshot, channel, entry).await,
        // The job's address is not configured any more: no channel can be asked.
        None => Err(QueryError::Refused),
    };
    let wanted = report.as_ref().ok().and_then(|report| report.poll_after_ms);
    let noted = if entry.is_resolved() {
        Ok(())
    } else if is_old(entry, billing.now(), jobs) {
        log::warn!(
            "job {} on channel {name}: no end was seen in time, it stays charged",
            entry.job.id
        );
        billing.resolve_job(entry, JobEnd::EXPIRED).await
    } else {
        let at = next_poll(entry, billing.now(), jobs, wanted);
        set_next_poll(task, entry, at).await
    };
    if let Err(error) = noted {
        log::debug!("job {} on channel {name}: {error}", entry.job.id);
    }
    report.map(drop)
}

async fn set_next_poll(
    task: &ChannelTask,
    entry: &JobEntry,
    at: Timestamp,
) -> Result<(), Unavailable> {
    let ledger = task.billing.ledger();
    ledger.set_next_poll(entry.job.reservation, at).await
}

/// Returns whether a job is older than `jobs.expire_after`: it then expires, even if a client still polls
/// it.
fn is_old(entry: &JobEntry, now: Timestamp, jobs: &Jobs) -> bool {
    now.since(entry.job.created) > millis(jobs.expire_after)
}

/// Computes when to poll again a job that has not ended. `wanted` is the wait that the channel asked for,
/// in milliseconds.
fn next_poll(entry: &JobEntry, now: Timestamp, jobs: &Jobs, wanted: Option<u64>) -> Timestamp {
    let shortest = millis(jobs.poll_after);
    let longest = millis(MAX_WAIT).max(shortest);
    let age = now.since(entry.job.created);
    let wait = (age / AGE_DIVISOR).max(wanted.unwrap_or(0));
    Timestamp(now.0 + wait.clamp(shortest, longest))
}
