//! Follows each job that has not ended and that no client has polled lately, so that
//! nothing depends on a client's polling.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Channel;
use crate::config::Jobs;
use crate::gate::books::End;
use crate::gate::books::millis;
use crate::gate::inquiry::Mute;
use crate::gate::known::Known;
use crate::gate::{Gate, State};
use crate::ledger::Unavailable;
use crate::policy::Timestamp;

/// How many jobs are taken in hand in one round. A round must end while its lease lasts.
const AT_ONCE: u32 = 50;
const ROUND: Duration = Duration::from_secs(10);
/// Between two looks at one job lies this part of its age, so that a job that takes long is
/// asked after less and less often.
const PART_OF_AGE: u64 = 8;
/// The longest time between two looks at a job.
const AT_MOST: Duration = Duration::from_secs(600);

impl Gate {
    /// One round: looks at the jobs whose time has come, no faster than the channel's rate.
    pub(super) async fn watch(
        &self,
        state: &Arc<State>,
        channel: &Channel,
    ) -> Result<(), Unavailable> {
        let name = &channel.spec().name;
        let jobs = &state.config.jobs;
        let pace = Duration::from_secs(1) / jobs.polls_per_second;
        let until = Instant::now() + ROUND;
        for job in self.ledger().due(name, self.now(), AT_ONCE).await? {
            if Instant::now() > until {
                break;
            }
            let known = self.books.know(&job);
            let at = self.now();
            let polled = Timestamp(known.last_poll().0 + millis(jobs.poll_after));
            let is_old = at.since(known.job.created) > millis(jobs.expire_after);
            if known.is_resolved() && !self.books.reopen(&known).await? {
                // By this gate, while the page was under way.
                continue;
            }
            if polled > at && !is_old {
                self.look_again(&known, polled).await?;
            } else {
                let started = Instant::now();
                let told = self.look(state, channel, &known).await;
                let wanted = told.as_ref().ok().and_then(|told| told.poll_after_ms);
                if is_old && !known.is_resolved() {
                    log::warn!(
                        "job {} on channel {name}: no end was seen in time, it stays charged",
                        known.job.id
                    );
                    self.books.end(&known, End::EXPIRED).await?;
                } else if !known.is_resolved() {
                    let at = next_look(&known, self.now(), jobs, wanted);
                    self.look_again(&known, at).await?;
                }
                if told.is_err_and(|mute| mute == Mute::Down) {
                    // It is not asked about the others before it has had a pause.
                    sleep(jobs.poll_after.min(ROUND)).await;
                    break;
                }
                sleep_until(started + pace).await;
            }
        }
        Ok(())
    }

    async fn look_again(&self, known: &Known, at: Timestamp) -> Result<(), Unavailable> {
        self.ledger().look_at(known.job.reservation, at).await
    }
}

/// When a job that has not ended is looked at again.
fn next_look(known: &Known, now: Timestamp, jobs: &Jobs, wanted: Option<u64>) -> Timestamp {
    let least = millis(jobs.poll_after);
    let most = millis(AT_MOST).max(least);
    let age = now.since(known.job.created);
    let wait = (age / PART_OF_AGE).max(wanted.unwrap_or(0));
    Timestamp(now.0 + wait.clamp(least, most))
}
