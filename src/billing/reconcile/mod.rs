//! Reconciles requests that got no answer with their channel's list of jobs.
//!
//! A listed job without a ledger entry may belong to a reservation whose outcome is unknown;
//! [`super::matching`] decides. The reading of a list that is too long for one round continues in the next
//! round: nothing is voided because of a list that does not reach the time of the oldest such reservation. A
//! reservation whose outcome stays unknown for longer than `jobs.expire_after` is voided, and logged.

mod assign;
mod evidence;
mod expiry;
mod list_reader;
mod notices;
mod owned;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::channel_task::ChannelTask;
use super::matching::{Candidate, Decision, ListedJob, Matcher, ReconciledJob, Rules};
use super::poller::Round;
use crate::clock::{before, millis};
use crate::ledger::{NOT_CREATED, NOT_FOUND_OUT, ReservationId, State, Unavailable, Unmatched};
use crate::policy::Timestamp;
use crate::upstream::list_page;
use assign::assign_to_end;
use evidence::{candidate, read_page, unseen_from};
use expiry::{CompleteList, Expiry};
use list_reader::{ListReader, Next};
use notices::Notices;
use owned::OwnedJobs;

/// The maximum number of reservations without a job that one round reads from the ledger.
const MAX_UNMATCHED: u32 = 2000;
/// The maximum number of recently voided reservations that one round reads. A listed job may belong to one
/// of them instead of to an unknown reservation.
const MAX_VOIDED: u32 = 20_000;
/// The maximum time that one round reads a list. A round must end while its lease lasts.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum difference between the clocks of a channel and of the gates, beyond the offset that the
/// channel's answers show.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Reconciles a channel's unknown outcomes with its list, over several rounds.
#[derive(Default)]
pub(super) struct Reconciler {
    /// The reader of the list, while the list is being read.
    reader: Option<ListReader>,
    owned: OwnedJobs,
    notices: Notices,
}

/// The reservations of a channel that a listed job may belong to. Those of all addresses of the channel are
/// included, since the addresses may share an account, and so a list.
struct Unresolved {
    unmatched: Vec<Unmatched>,
    candidates: Vec<Candidate>,
    /// The reservations for remixes of jobs that the ledger does not have any more.
    sources_gone: HashSet<ReservationId>,
    /// The creation time from which on `candidates` may lack reservations; `None` if none is missing.
    unseen_from: Option<Timestamp>,
    /// The list with which the candidates were matched; `None` before that, if the list is not complete, or
    /// if the next round may decide more because this one has assigned a job.
    matched_with: Option<CompleteList>,
}

impl Unresolved {
    /// Reads the reservations from the ledger.
    async fn load(task: &ChannelTask) -> Result<Self, Unavailable> {
        let ledger = task.billing.ledger();
        let unmatched = ledger.unmatched(task.name(), MAX_UNMATCHED).await?;
        let mut unresolved = Self {
            candidates: Vec::with_capacity(unmatched.len()),
            sources_gone: HashSet::new(),
            unseen_from: unseen_from(&unmatched, MAX_UNMATCHED),
            matched_with: None,
            unmatched,
        };
        let Some(oldest) = unresolved.oldest(task) else {
            return Ok(unresolved);
        };
        // Twice the skew and the grace would be enough: a reservation that was voided even earlier cannot
        // have had a job that the oldest reservation may have. But the clock of the gate that voided it may
        // have been wrong, so the span is at least `jobs.expire_after`.
        let jobs = &task.snapshot.config.jobs;
        let span = (MAX_CLOCK_SKEW * 2 + jobs.unknown_grace).max(jobs.expire_after);
        let voided = ledger.recently_voided(task.name(), before(oldest, span), MAX_VOIDED);
        let voided = voided.await?;
        let unseen = [unresolved.unseen_from, unseen_from(&voided, MAX_VOIDED)];
        unresolved.unseen_from = unseen.into_iter().flatten().min();
        for unmatched in unresolved.unmatched.iter().chain(&voided) {
            let (source, has_record) = source(task, unmatched).await?;
            if !has_record {
                unresolved.sources_gone.insert(unmatched.id);
            }
            let candidate = candidate(unmatched, source);
            unresolved.candidates.push(match task.is_here(unmatched) {
                true => candidate,
                false => candidate.decided_elsewhere(),
            });
        }
        Ok(unresolved)
    }

    /// Returns the time of the oldest reservation with an unknown outcome that is decided at this address. The
    /// time of a reservation may come from a gate whose clock was ahead, so an earlier time by the channel's
    /// clock or by this gate's clock counts instead. With a time that is too late, older jobs and older voided
    /// reservations would be missed.
    fn oldest(&self, task: &ChannelTask) -> Option<Timestamp> {
        let unknown = self.unmatched.iter().filter(|u| u.state == State::Unknown);
        let here = unknown.filter(|unknown| task.is_here(unknown));
        let made = |u: &Unmatched| {
            u.channel_clock
                .map_or(u.created, |clock| clock.min(u.created))
        };
        here.map(made).min().map(|at| at.min(task.billing.now()))
    }

    fn get(&self, id: ReservationId) -> Option<&Unmatched> {
        self.unmatched.iter().find(|unmatched| unmatched.id == id)
    }
}

impl Reconciler {
    /// Makes one round: reads the channel's list if any outcome is unknown, and gives up outcomes that are
    /// overdue: unknown for longer than `jobs.expire_after`. The round is complete once the list has been
    /// read and all decisions that it allows are made. `note_overdue` records whether there are overdue
    /// outcomes, and returns for how long there have been any.
    ///
    /// An overdue outcome is given up only after the list was read once more, or after up to an hour in which
    /// that was not possible: when gates start after a long time, the list can still tell what happened.
    pub(super) async fn round(
        &mut self,
        task: &ChannelTask,
        note_overdue: impl FnOnce(bool) -> Duration,
    ) -> Result<Round, Unavailable> {
        let mut unresolved = Unresolved::load(task).await?;
        let jobs = &task.snapshot.config.jobs;
        let expiry = Expiry {
            now: task.billing.now(),
            expire_after: jobs.expire_after,
            grace: jobs.unknown_grace,
            create_timeout: task.channel.spec().create_timeout(),
        };
        let all = &unresolved.candidates;
        let waited = note_overdue(all.iter().any(|one| expiry.is_overdue(one)));
        let given_up = all.iter().filter(|one| expiry.is_waited_for(one, waited));
        let given_up: Vec<_> = given_up.cloned().collect();
        if !given_up.is_empty() {
            for candidate in &given_up {
                give_up(task, candidate).await?;
            }
            unresolved = Unresolved::load(task).await?;
        }
        let round = self.reconcile(task, &mut unresolved).await?;
        if let Some(list) = &unresolved.matched_with {
            let all = &unresolved.candidates;
            for candidate in all.iter().filter(|one| expiry.is_over(one, list, all)) {
                give_up(task, candidate).await?;
            }
        }
        Ok(round)
    }

    /// Reads the list, if any outcome of `unresolved` is unknown, and makes the decisions that it allows.
    /// Replaces `unresolved` by the reservations with which the list was matched.
    async fn reconcile(
        &mut self,
        task: &ChannelTask,
        unresolved: &mut Unresolved,
    ) -> Result<Round, Unavailable> {
        let (billing, name) = (&task.billing, task.name());
        let Some(oldest) = unresolved.oldest(task) else {
            self.reader = None;
            return Ok(Round::Complete);
        };
        self.owned.forget_old();
        let reader = self.reader.take();
        let mut reader = reader.unwrap_or_else(|| ListReader::new(billing.now()));
        reader.note_unseen(unresolved.unseen_from);
        let from = before(oldest, MAX_CLOCK_SKEW);
        let Some(complete) = self.read_on(task, &mut reader, from, unresolved).await? else {
            self.reader = reader.has_next_page().then_some(reader);
            return Ok(Round::HeldUp);
        };
        self.notices
            .note_clock(name, reader.clock_ahead.unwrap_or(0));
        // Loaded again: the list may show jobs of requests that came while it was read.
        *unresolved = Unresolved::load(task).await?;
        reader.note_unseen(unresolved.unseen_from);
        self.drop_owned_jobs(task, &mut reader).await?;
        let matcher = Matcher::new(&unresolved.candidates, rules(task, &reader, complete));
        let jobs: Vec<_> = reader
            .jobs
            .iter()
            .map(|listing| listing.job.clone())
            .collect();
        // A job that went to its owner may be what kept another job from its own.
        let mut is_settled = true;
        for decision in matcher.decide(&jobs, &reader.reconciled) {
            match decision {
                Decision::Assign { reservation, job } => {
                    is_settled = false;
                    let listing = reader.jobs.iter().find(|listing| listing.job.id == job);
                    if let (Some(listing), Some(unknown)) = (listing, unresolved.get(reservation)) {
                        assign_to_end(task, unknown, listing).await?;
                    }
                }
                // The list of the address that is gone may have the job of this reservation.
                Decision::Void { reservation }
                    if unresolved.get(reservation).is_some_and(|u| task.is_gone(u)) => {}
                // The channel lists a remix with the upstream id of its source, which is not known any more: the
                // job may be in the list, and was not recognised.
                Decision::Void { reservation }
                    if unresolved.sources_gone.contains(&reservation) =>
                {
                    self.notices.log_source_gone(name, reservation);
                }
                Decision::Void { reservation } if billing.is_being_confirmed(reservation) => {}
                Decision::Void { reservation } => {
                    log::info!("reservation {reservation} on channel {name}: no job came of it");
                    billing.void_by_id(reservation, NOT_CREATED).await?;
                }
                Decision::Ambiguous { .. } | Decision::Unclaimed { .. } => {
                    self.notices.log_decision(name, decision);
                }
            }
        }
        unresolved.matched_with = (complete && is_settled).then_some(CompleteList {
            began: reader.began,
            unseen_from: reader.unseen_from,
        });
        Ok(Round::Complete)
    }

    /// Reads further pages of the list, back to jobs of the time `from`, until the round's time is over.
    /// Returns `None` if the next round must continue, because the time is over or a page could not be
    /// read. Otherwise returns whether the list is complete (`true`) or cannot be read further (`false`).
    async fn read_on(
        &mut self,
        task: &ChannelTask,
        reader: &mut ListReader,
        from: Timestamp,
        unresolved: &Unresolved,
    ) -> Result<Option<bool>, Unavailable> {
        let config = &task.snapshot.config;
        let until = Instant::now() + ROUND_TIMEOUT;
        let pace = Duration::from_secs(1) / config.jobs.polls_per_second;
        loop {
            let after = reader.after().map(|id| &**id);
            let (client, max_bytes) = (&task.client, config.bounds.answer_bytes);
            let Ok(page) = list_page::fetch(client, &task.channel, after, max_bytes).await else {
                reader.note_failure();
                return Ok(None);
            };
            reader.note_date(page.date.as_deref(), task.billing.now());
            let matcher = Matcher::new(&unresolved.candidates, rules(task, reader, false));
            let owned = &self.owned;
            let wanted = |job: &ListedJob| !owned.contains(job) && matcher.concerns(job);
            let page = read_page(page.page, &config.catalog);
            if let Next::End { complete } = reader.add(page, from, wanted) {
                return Ok(Some(complete));
            }
            self.drop_owned_jobs(task, reader).await?;
            if Instant::now() > until {
                return Ok(None);
            }
            sleep(pace).await;
        }
    }

    /// Removes from the reader's jobs those that the ledger has already, and notes in the reader which of
    /// them reconciliation has matched before.
    async fn drop_owned_jobs(
        &mut self,
        task: &ChannelTask,
        reader: &mut ListReader,
    ) -> Result<(), Unavailable> {
        let (ledger, channel) = (task.billing.ledger(), task.name());
        let mut kept = Vec::with_capacity(reader.jobs.len());
        for listing in std::mem::take(&mut reader.jobs) {
            let id = &listing.job.id;
            if ledger.job_of_channel(channel, id).await?.is_none() {
                kept.push(listing);
            } else if let Some(owner) = ledger.reconciled(channel, id).await? {
                let (source, _) = source(task, &owner).await?;
                let owner = candidate(&owner, source);
                let job = listing.job;
                reader.note_reconciled(ReconciledJob { job, owner });
            } else {
                self.owned.add(listing.job);
            }
        }
        reader.jobs = kept;
        Ok(())
    }
}

/// Voids a reservation whose outcome is given up. Does nothing if the reservation has a job by now.
async fn give_up(task: &ChannelTask, candidate: &Candidate) -> Result<(), Unavailable> {
    let (billing, id) = (&task.billing, candidate.id);
    if billing.is_being_confirmed(id) {
        return Ok(());
    }
    let voided = billing.void_by_id(id, NOT_FOUND_OUT).await;
    let what = match voided {
        Ok(true) => "it is not charged",
        Ok(false) => return Ok(()),
        Err(_) => "it is voided as soon as the ledger can be used",
    };
    let channel = task.name();
    log::error!(
        "reservation {id} on channel {channel}: what became of it was not found out, {what}"
    );
    voided.map(drop)
}

/// Returns the upstream id of the job that a reservation's request was to remix, `None` if the request was no
/// remix; and whether that id is certain. It is not certain if the ledger does not have the job any more: then
/// the public id is returned, which is the upstream id of most jobs.
async fn source(
    task: &ChannelTask,
    unmatched: &Unmatched,
) -> Result<(Option<Arc<str>>, bool), Unavailable> {
    let Some(public) = &unmatched.remix_of else {
        return Ok((None, true));
    };
    let entry = task.billing.job(public).await?;
    let has_record = entry.is_some();
    let upstream_id = entry.map(|entry| entry.job.upstream_id.clone());
    Ok((
        Some(upstream_id.unwrap_or_else(|| public.clone())),
        has_record,
    ))
}

fn rules(task: &ChannelTask, reader: &ListReader, complete: bool) -> Rules {
    Rules {
        listed_at: reader.began,
        complete,
        clock_ahead: reader.clock_ahead,
        skew: millis(MAX_CLOCK_SKEW),
        grace: millis(task.snapshot.config.jobs.unknown_grace),
        create_timeout: millis(task.channel.spec().create_timeout()),
        unseen_from: reader.unseen_from,
    }
}
