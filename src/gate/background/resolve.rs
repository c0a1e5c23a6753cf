//! Finds out what became of requests that got no answer, by their channel's list of jobs.
//!
//! What is on the list and in no ledger entry may belong to a reservation whose outcome is
//! unknown; [`super::matching`] decides. A list that is longer than one round allows is read
//! on in the next: nothing is voided on the word of a list that does not reach back to the
//! oldest of them. What cannot be found out for as long as a job is followed is voided at last,
//! and the log says so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Channel;
use super::matching::{Ambiguity, Candidate, Decision, Found, ListedJob, Matcher, Rules};
use super::walk::{Listing, Next, Page, Walk};
use crate::catalog::Catalog;
use crate::dialect;
use crate::gate::answer::{JobAnswer, Status};
use crate::gate::books::{binding, millis};
use crate::gate::charge::corrected;
use crate::gate::ids::{self, public_id};
use crate::gate::inquiry::Told;
use crate::gate::{Gate, State};
use crate::ledger::{
    Confirmation, Confirmed, FirstAnswer, Jobless, NOT_CREATED, NOT_FOUND_OUT, PromptDigest,
    ReservationId, State as Stand, Unavailable, minted,
};
use crate::policy::Timestamp;

/// How many reservations are looked at in one round.
const AT_ONCE: u32 = 2000;
/// How many are looked at that were voided and could have the same jobs.
const RIVALS: u32 = 20_000;
/// How long one round reads a list. A round must end while its lease lasts.
const ROUND: Duration = Duration::from_secs(10);
/// How far the clocks of a channel and of the gates may lie apart, beyond what the channel's
/// answers say of its own.
const SKEW: Duration = Duration::from_secs(120);
/// How many jobs are remembered to have an owner.
const OWNED: usize = 50_000;
/// How many lines of the log are remembered, so that they are not written again.
const SAID: usize = 10_000;

/// What a resolver remembers between its rounds.
#[derive(Default)]
pub(super) struct Resolver {
    /// The list that is being read.
    walk: Option<Walk>,
    /// Jobs that belong to a reservation.
    owned: HashSet<Arc<str>>,
    /// What the log says already, of a reservation or none and a job.
    said: HashSet<(Option<ReservationId>, Arc<str>)>,
    /// Whether the log says that the channel's clock is wrong.
    said_clock: bool,
}

/// The reservations of a channel that a job may belong to.
struct Unresolved {
    jobless: Vec<Jobless>,
    candidates: Vec<Candidate>,
    /// Those made since then are not all here.
    unseen_from: Option<Timestamp>,
}

impl Unresolved {
    fn oldest(&self) -> Option<Timestamp> {
        let unknown = self.jobless.iter().filter(|u| u.state == Stand::Unknown);
        unknown.map(|u| u.created).min()
    }

    fn get(&self, id: ReservationId) -> Option<&Jobless> {
        self.jobless.iter().find(|jobless| jobless.id == id)
    }
}

impl Gate {
    /// One round: asks the channel for its jobs if any outcome is unknown.
    pub(super) async fn resolve(
        &self,
        state: &Arc<State>,
        channel: &Channel,
        resolver: &mut Resolver,
    ) -> Result<(), Unavailable> {
        let name = &channel.spec().name;
        self.expire_unknown(state, name).await?;
        let unresolved = self.unresolved(state, name).await?;
        let Some(oldest) = unresolved.oldest() else {
            resolver.walk = None;
            return Ok(());
        };
        let walk = resolver.walk.take();
        let mut walk = walk.unwrap_or_else(|| Walk::new(self.now()));
        walk.bound(unresolved.unseen_from);
        let from = super::before(oldest, SKEW);
        let read = self.read_on(state, channel, &mut walk, (from, &unresolved), resolver);
        let Some(complete) = read.await? else {
            resolver.walk = walk.goes_on().then_some(walk);
            return Ok(());
        };
        resolver.note_clock(name, walk.clock_ahead.unwrap_or(0));
        // Once more: the list may show jobs of requests that came while it was read.
        let unresolved = self.unresolved(state, name).await?;
        walk.bound(unresolved.unseen_from);
        self.drop_owned(name, &mut walk, resolver).await?;
        let rules = rules(state, channel, &walk, complete);
        let jobs: Vec<_> = walk.jobs.iter().map(|found| found.job.clone()).collect();
        let found = walk.found.iter().map(|(job, owner)| Found {
            job: job.clone(),
            owner: candidate(owner, job.source.clone()),
        });
        let found: Vec<_> = found.collect();
        for decision in Matcher::new(&unresolved.candidates, rules).decide(&jobs, &found) {
            match decision {
                Decision::Assign { reservation, job } => {
                    let found = walk.jobs.iter().find(|found| found.job.id == job);
                    if let (Some(found), Some(unknown)) = (found, unresolved.get(reservation)) {
                        self.assign(state, channel, unknown, found).await?;
                    }
                }
                Decision::Void { reservation } => {
                    log::info!("reservation {reservation} on channel {name}: no job came of it");
                    self.books.try_abandon(reservation, NOT_CREATED).await?;
                }
                Decision::Ambiguous { .. } | Decision::Unclaimed { .. } => {
                    resolver.say(name, decision);
                }
            }
        }
        Ok(())
    }

    /// Voids what could not be found out in time.
    async fn expire_unknown(&self, state: &State, channel: &str) -> Result<(), Unavailable> {
        let (now, expiry) = (self.now(), millis(state.config.jobs.expire_after));
        for unknown in self.ledger().jobless(channel, AT_ONCE).await? {
            if unknown.state == Stand::Unknown && now.since(unknown.since) > expiry {
                let id = unknown.id;
                log::error!(
                    "reservation {id} on channel {channel}: what became of it was not found \
                     out, it is not charged"
                );
                self.books.try_abandon(id, NOT_FOUND_OUT).await?;
            }
        }
        Ok(())
    }

    async fn unresolved(&self, state: &State, channel: &str) -> Result<Unresolved, Unavailable> {
        let jobless = self.ledger().jobless(channel, AT_ONCE).await?;
        let mut unresolved = Unresolved {
            candidates: Vec::with_capacity(jobless.len()),
            unseen_from: beyond(&jobless, AT_ONCE),
            jobless,
        };
        let Some(oldest) = unresolved.oldest() else {
            return Ok(unresolved);
        };
        // Nothing that was voided before could have had a job that the oldest may have.
        let span = SKEW * 2 + state.config.jobs.unknown_grace;
        let since = super::before(oldest, span);
        let rivals = self.ledger().rivals(channel, since, RIVALS).await?;
        let unseen = [unresolved.unseen_from, beyond(&rivals, RIVALS)];
        unresolved.unseen_from = unseen.into_iter().flatten().min();
        for jobless in unresolved.jobless.iter().chain(&rivals) {
            let source = match &jobless.remix_of {
                Some(id) => self.books.job(id).await?,
                None => None,
            };
            let source = source.map(|source| source.job.upstream_id.clone());
            let source = source.or_else(|| jobless.remix_of.clone());
            unresolved.candidates.push(candidate(jobless, source));
        }
        Ok(unresolved)
    }

    /// Reads the list on for as long as a round may take. Answers whether it is complete, once
    /// it has been read; `None` while there is more.
    async fn read_on(
        &self,
        state: &Arc<State>,
        channel: &Channel,
        walk: &mut Walk,
        (from, unresolved): (Timestamp, &Unresolved),
        resolver: &mut Resolver,
    ) -> Result<Option<bool>, Unavailable> {
        let until = Instant::now() + ROUND;
        let pace = Duration::from_secs(1) / state.config.jobs.polls_per_second;
        loop {
            let after = walk.after().map(|id| &**id);
            let Ok(page) = self.page(state, channel, after).await else {
                walk.fail();
                return Ok(None);
            };
            walk.note_date(page.date.as_deref(), self.now());
            let matcher = Matcher::new(&unresolved.candidates, rules(state, channel, walk, false));
            let owned = &resolver.owned;
            let wanted = |job: &ListedJob| !owned.contains(&job.id) && matcher.concerns(job);
            let page = read(page.page, &state.config.catalog);
            if let Next::End { complete } = walk.add(page, from, wanted) {
                return Ok(Some(complete));
            }
            self.drop_owned(&channel.spec().name, walk, resolver)
                .await?;
            if Instant::now() > until {
                return Ok(None);
            }
            sleep(pace).await;
        }
    }

    /// Sorts out the jobs that belong to a reservation.
    async fn drop_owned(
        &self,
        channel: &str,
        walk: &mut Walk,
        resolver: &mut Resolver,
    ) -> Result<(), Unavailable> {
        let mut kept = Vec::with_capacity(walk.jobs.len());
        for listing in std::mem::take(&mut walk.jobs) {
            let id = &listing.job.id;
            if self.ledger().job_of_channel(channel, id).await?.is_none() {
                kept.push(listing);
            } else if let Some(owner) = self.ledger().found(channel, id).await? {
                walk.note_found(listing.job, owner);
            } else if resolver.owned.len() < OWNED {
                resolver.owned.insert(listing.job.id);
            }
        }
        walk.jobs = kept;
        Ok(())
    }

    /// A job was found that belongs to a reservation.
    async fn assign(
        &self,
        state: &State,
        channel: &Channel,
        unknown: &Jobless,
        found: &Listing,
    ) -> Result<(), Unavailable> {
        let (config, upstream_id) = (&state.config, &found.job.id);
        let public = public_id(upstream_id, unknown.id);
        let told = match unknown.fingerprint {
            Some(_) => self
                .ask_about(state, channel, &public, upstream_id)
                .await
                .ok(),
            None => None,
        };
        let source = match &told {
            Some(told) => {
                self.public_source(&told.job, unknown.remix_of.as_deref())
                    .await
            }
            None => None,
        };
        let answer = |id: &str| {
            Some(first_answer(
                unknown,
                found,
                told.as_ref(),
                id,
                source.as_deref(),
            ))
        };
        let mut confirmation = Confirmation {
            charge: corrected(&unknown.charge, &found.answer, &config.catalog),
            answer: answer(&public),
            job: public,
            upstream_id: upstream_id.clone(),
        };
        let limits = binding(config, &unknown.charge, &confirmation.charge);
        let confirm = async |confirmation: &Confirmation| {
            let books = &self.books;
            let before = &unknown.charge;
            books
                .try_confirm(unknown.id, before, confirmation, &limits)
                .await
        };
        let mut confirmed = confirm(&confirmation).await?;
        if confirmed == Confirmed::IdTaken {
            confirmation.job = minted(unknown.id);
            confirmation.answer = answer(&confirmation.job);
            confirmed = confirm(&confirmation).await?;
        }
        if let Confirmed::Now { .. } = confirmed {
            let job = &confirmation.job;
            log::info!("reservation {}: job {job} came of it", unknown.id);
            if let Some(known) = self.books.job(job).await? {
                let charge_failed = config.jobs.charge_failed_jobs;
                self.books
                    .settle(&known, &found.answer, charge_failed)
                    .await;
            }
        }
        Ok(())
    }
}

/// What repetitions of a request are answered with: the job as its channel tells it, if it does
/// and names it, or else as its list did.
fn first_answer(
    unknown: &Jobless,
    found: &Listing,
    told: Option<&Told>,
    id: &str,
    source: Option<&str>,
) -> FirstAnswer {
    let charge = &unknown.charge;
    let listed = || {
        let seconds = found.answer.seconds.unwrap_or(charge.seconds);
        let job = json!({
            "id": id,
            "object": "video",
            "model": &*charge.model,
            "status": found.answer.status.unwrap_or(Status::Queued).told(),
            "created_at": found.job.created.unwrap_or(unknown.created).seconds(),
            "size": found.answer.size.as_deref().unwrap_or(&charge.size),
            "seconds": seconds.to_string(),
            "remixed_from_video_id": unknown.remix_of.as_deref(),
        });
        Bytes::from(job.to_string())
    };
    let told = told.filter(|told| told.job.id.is_some());
    let told = told.map(|told| ids::told(&told.job, &told.body, id, source));
    FirstAnswer {
        status: 200,
        body: told.unwrap_or_else(listed),
    }
}

impl Resolver {
    /// Says once what cannot be told.
    fn say(&mut self, channel: &str, decision: Decision) {
        let (about, job) = match &decision {
            Decision::Ambiguous {
                reservation, job, ..
            } => (Some(*reservation), job),
            Decision::Unclaimed { job, .. } => (None, job),
            Decision::Assign { .. } | Decision::Void { .. } => return,
        };
        if self.said.len() >= SAID || !self.said.insert((about, job.clone())) {
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

    /// Says once that a channel's clock is wrong by more than clocks are allowed to be.
    fn note_clock(&mut self, channel: &str, ahead: i64) {
        let is_wrong = ahead.unsigned_abs() > millis(SKEW);
        if is_wrong && !self.said_clock {
            let seconds = ahead / 1000;
            log::warn!(
                "channel {channel}: its clock is {seconds} s ahead of this machine's, as its \
                 answers say; the times of its jobs are corrected by that"
            );
        }
        self.said_clock = is_wrong;
    }
}

fn rules(state: &State, channel: &Channel, walk: &Walk, complete: bool) -> Rules {
    Rules {
        listed_at: walk.began,
        complete,
        clock_ahead: walk.clock_ahead,
        skew: millis(SKEW),
        grace: millis(state.config.jobs.unknown_grace),
        create_timeout: millis(channel.spec().create_timeout()),
        unseen_from: walk.unseen_from,
    }
}

/// What a page of the list says, as far as it matters.
fn read(page: dialect::Page, catalog: &Catalog) -> Page {
    let has_more = page.has_more.unwrap_or(page.entries > 0);
    let time = |seconds: u64| Timestamp(seconds.saturating_mul(1000));
    let listing = |answer: JobAnswer| {
        let id = answer.id.clone()?;
        let offered = answer.model.as_deref();
        let offered = offered.and_then(|name| model_of(catalog, name));
        let job = ListedJob {
            id,
            offered: offered.map(Arc::from),
            model: answer.model.as_deref().map(Arc::from),
            prompt: answer.prompt.map(PromptDigest),
            size: answer.size.as_deref().map(Arc::from),
            seconds: answer.seconds,
            source: answer.source.as_deref().map(Arc::from),
            created: answer.created.map(time),
        };
        Some(Listing { job, answer })
    };
    let nameless = page.nameless.iter().map(|job| job.created.map(time));
    Page {
        nameless: nameless.collect(),
        jobs: page.jobs.into_iter().filter_map(listing).collect(),
        last: page.last,
        has_more,
    }
}

/// The model on offer that a channel's name for one means: itself, or what it is a snapshot
/// of (`sora-2-2025-10-06`, but `sora-2-pro` is a model of its own).
fn model_of<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c str> {
    let is = |model: &str| {
        let rest = name.strip_prefix(model);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let models = catalog.models().map(|model| &**model.name());
    models
        .filter(|model| is(model))
        .max_by_key(|model| model.len())
}

/// Since when there are more than `most` that were asked for.
fn beyond(found: &[Jobless], most: u32) -> Option<Timestamp> {
    (found.len() >= most as usize).then(|| found.last().map(|last| last.created))?
}

fn candidate(jobless: &Jobless, source: Option<Arc<str>>) -> Candidate {
    let charge = &jobless.charge;
    Candidate {
        id: jobless.id,
        key: charge.payer.key.clone(),
        model: charge.model.clone(),
        prompt: jobless.prompt,
        size: charge.size.clone(),
        seconds: charge.seconds,
        source,
        state: jobless.state,
        fingerprint: jobless.fingerprint,
        created: jobless.created,
        since: jobless.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_on_offer_is_no_snapshot_of_another() {
        let conf = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let text = std::fs::read_to_string(conf.join("demo.yaml")).unwrap();
        let env = |_: &str| Some("credential".to_owned());
        let config = crate::config::parse(&text, "demo.yaml", &env, &conf).unwrap();
        for (name, model) in [
            ("sora-2", Some("sora-2")),
            ("sora-2-2025-10-06", Some("sora-2")),
            ("sora-2-pro", Some("sora-2-pro")),
            ("sora-2-pro-2025-10-06", Some("sora-2-pro")),
            ("sora-20", None),
            ("other", None),
        ] {
            assert_eq!(model_of(&config.catalog, name), model, "{name}");
        }
    }
}
