//! Follows each job that has not ended and that no client has polled lately, so that
//! nothing depends on a client's polling.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Channel;
use crate::config::Jobs;
use crate::gate::books::{End, millis};
use crate::gate::inquiry::Mute;
use crate::gate::known::Known;
use crate::gate::{Gate, State};
use crate::ledger::{Job, ReservationId, Unavailable};
use crate::policy::Timestamp;

/// How many jobs are read from the ledger at a time, at least. A round must end while its lease
/// lasts.
const AT_ONCE: u32 = 50;
const ROUND: Duration = Duration::from_secs(10);
/// How many looks may be under way at once, at least and at most. A job whose answer drips takes
/// up one until its time is over, and holds up none of the others.
const LOOKS: (usize, usize) = (16, 256);
/// How far the looks may lie behind their rate and catch up.
const LAG: Duration = Duration::from_millis(100);
/// Between two looks at one job lies this part of its age, so that a job that takes long is
/// asked after less and less often.
const PART_OF_AGE: u64 = 8;
/// The longest time between two looks at a job.
const AT_MOST: Duration = Duration::from_secs(600);

/// The looks at a channel's jobs that are under way, and when the next may begin.
#[derive(Default)]
pub(super) struct Watcher {
    looks: JoinSet<Option<Mute>>,
    /// The job of each look.
    in_hand: HashMap<Id, ReservationId>,
    next: Option<Instant>,
    /// The channel is not asked before then.
    rests_until: Option<Instant>,
}

impl Watcher {
    fn is_in_hand(&self, job: &Job) -> bool {
        self.in_hand.values().any(|id| *id == job.reservation)
    }

    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes the looks that have ended; waits until fewer than `most` are under way, or until it
    /// is too late. Whether there is room.
    async fn has_room(&mut self, most: usize, until: Instant, pause: Duration) -> bool {
        loop {
            let ended = match self.in_hand.len() < most {
                true => self.looks.try_join_next_with_id(),
                false => {
                    let ended = timeout_at(until, self.looks.join_next_with_id());
                    match ended.await {
                        Ok(ended) => ended,
                        Err(_) => return false,
                    }
                }
            };
            match ended {
                None => return true,
                Some(Ok((id, mute))) => {
                    self.in_hand.remove(&id);
                    if mute == Some(Mute::Down) {
                        self.rests_until = Some(Instant::now() + pause);
                    }
                }
                Some(Err(error)) => {
                    self.in_hand.remove(&error.id());
                    log::error!("a look at a job has failed: {error}");
                }
            }
        }
    }

    /// Waits until the next look may begin.
    async fn turn(&mut self, pace: Duration) {
        let now = Instant::now();
        let earliest = now.checked_sub(LAG).unwrap_or(now);
        let turn = self.next.map_or(now, |next| next.max(earliest));
        self.next = Some(turn + pace);
        sleep_until(turn).await;
    }

    /// Waits for all looks that are under way.
    pub(super) async fn drain(&mut self) {
        while self.looks.join_next().await.is_some() {}
        self.in_hand.clear();
    }
}

impl Gate {
    /// One round: looks at the jobs whose time has come, at the channel's rate as long as there
    /// are enough of them. Whether more are waiting.
    pub(super) async fn watch(
        self: &Arc<Self>,
        state: &Arc<State>,
        channel: &Channel,
        watcher: &mut Watcher,
    ) -> Result<bool, Unavailable> {
        let name = &channel.spec().name;
        let jobs = &state.config.jobs;
        let rate = jobs.polls_per_second;
        let (pace, until) = (Duration::from_secs(1) / rate, Instant::now() + ROUND);
        let most = usize::try_from(rate)
            .unwrap_or(usize::MAX)
            .saturating_mul(2);
        let most = most.clamp(LOOKS.0, LOOKS.1);
        let pause = jobs.poll_after.min(ROUND);
        watcher.has_room(usize::MAX, until, pause).await;
        if watcher.rests() {
            return Ok(false);
        }
        // Those in hand are due until they have been looked at.
        let in_hand = u32::try_from(watcher.in_hand.len()).unwrap_or(u32::MAX);
        let page = AT_ONCE.max(rate.min(1000)).saturating_add(in_hand);
        let due = self.ledger().due(name, self.now(), page).await?;
        let is_full = due.len() >= usize::try_from(page).unwrap_or(usize::MAX);
        for job in due {
            if watcher.is_in_hand(&job) {
                continue;
            }
            let known = self.books.know(&job);
            let at = self.now();
            // A poll that lies ahead was seen by a clock that was wrong.
            let last_poll = Some(known.last_poll()).filter(|last| *last <= at);
            let polled = last_poll.map_or(0, |last| last.0 + millis(jobs.poll_after));
            let polled = Timestamp(polled);
            if known.is_resolved() && !self.books.reopen(&known).await? {
                // By this gate, while the page was under way.
                continue;
            }
            if polled > at && !is_old(&known, at, jobs) {
                self.look_again(&known, polled).await?;
            } else if Instant::now() > until || !watcher.has_room(most, until, pause).await {
                return Ok(true);
            } else if watcher.rests() {
                return Ok(false);
            } else {
                watcher.turn(pace).await;
                let (gate, state, channel) = (self.clone(), state.clone(), channel.clone());
                let look = async move { gate.follow_up(&state, &channel, &known).await };
                let look = watcher.looks.spawn(look);
                watcher.in_hand.insert(look.id(), job.reservation);
            }
        }
        Ok(is_full)
    }

    /// Looks at one job, and says when it is to be looked at again. Why the channel told nothing,
    /// if it did not.
    async fn follow_up(
        &self,
        state: &Arc<State>,
        channel: &Channel,
        known: &Known,
    ) -> Option<Mute> {
        let (name, jobs) = (&channel.spec().name, &state.config.jobs);
        let told = self.look(state, channel, known).await;
        let wanted = told.as_ref().ok().and_then(|told| told.poll_after_ms);
        let noted = if known.is_resolved() {
            Ok(())
        } else if is_old(known, self.now(), jobs) {
            log::warn!(
                "job {} on channel {name}: no end was seen in time, it stays charged",
                known.job.id
            );
            self.books.end(known, End::EXPIRED).await
        } else {
            let at = next_look(known, self.now(), jobs, wanted);
            self.look_again(known, at).await
        };
        if let Err(error) = noted {
            log::debug!("job {} on channel {name}: {error}", known.job.id);
        }
        told.err()
    }

    async fn look_again(&self, known: &Known, at: Timestamp) -> Result<(), Unavailable> {
        self.ledger().look_at(known.job.reservation, at).await
    }
}

/// Whether a job has been followed for long enough, be it that a client still polls it.
fn is_old(known: &Known, now: Timestamp, jobs: &Jobs) -> bool {
    now.since(known.job.created) > millis(jobs.expire_after)
}

/// When a job that has not ended is looked at again.
fn next_look(known: &Known, now: Timestamp, jobs: &Jobs, wanted: Option<u64>) -> Timestamp {
    let least = millis(jobs.poll_after);
    let most = millis(AT_MOST).max(least);
    let age = now.since(known.job.created);
    let wait = (age / PART_OF_AGE).max(wanted.unwrap_or(0));
    Timestamp(now.0 + wait.clamp(least, most))
}
