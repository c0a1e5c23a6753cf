//! Finds out what became of requests that got no answer, by their channel's list of jobs.
//!
//! A job that is on the list and in no ledger entry belongs to the reservation that it
//! matches by model, prompt, source, size, seconds and time. What matches nothing when the
//! channel has had its time was not created, and is voided.
//!
//! **Whose a job is, is never guessed**: where a job could belong to reservations of several
//! keys (the same prompt, at the same time), or such a reservation is still waiting for its
//! answer, none of them is resolved by it. And nothing is voided on the word of a list that
//! was not read to its end. What cannot be found out for as long as a job is followed is
//! voided at last, and the log says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::sleep;

use super::Channel;
use crate::catalog::Catalog;
use crate::gate::answer::JobAnswer;
use crate::gate::books::{binding, millis};
use crate::gate::charge::corrected;
use crate::gate::route::JobId;
use crate::gate::{Gate, State};
use crate::ledger::{
    Confirmation, Confirmed, FirstAnswer, Jobless, NOT_CREATED, NOT_FOUND_OUT, ReservationId,
    State as Stand, Unavailable, minted,
};
use crate::policy::Timestamp;
use crate::sha256::Sha256;

/// How many reservations are looked at in one round, and how many pages are read for them.
const AT_ONCE: u32 = 2000;
const PAGES: usize = 100;
/// How far the clocks of a channel and of the gates may lie apart.
const SKEW: Duration = Duration::from_secs(120);

/// What a resolver remembers between its rounds.
#[derive(Default)]
pub(super) struct Resolver {
    /// Those of which the log says already that they cannot be told apart.
    ambiguous: HashSet<ReservationId>,
}

/// A job of a channel's list.
struct Listed {
    json: Value,
    answer: JobAnswer,
    id: Arc<str>,
    prompt: Option<[u8; 32]>,
}

impl Listed {
    fn read(json: Value) -> Option<Self> {
        let answer = JobAnswer::of(&json)?;
        let id = answer.id.as_deref().filter(|id| JobId::fits(id))?;
        let id = id.into();
        let prompt = json["prompt"].as_str();
        let prompt = prompt.map(Sha256::of);
        Some(Self {
            json,
            answer,
            id,
            prompt,
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.json[name].as_str()
    }

    fn created(&self) -> Option<Timestamp> {
        let seconds = self.json["created_at"].as_u64()?;
        Some(Timestamp(seconds.saturating_mul(1000)))
    }

    /// Whether it may be what became of a reservation. What the list leaves out speaks
    /// against nothing; with the prompt there, size and seconds need not be those that were
    /// asked for, since a channel may render others.
    fn matches(&self, unknown: &Jobless, catalog: &Catalog, grace: Duration) -> bool {
        let charge = &unknown.charge;
        let prompt = self.prompt.map(|digest| digest == unknown.prompt.0);
        let model = self.text("model").is_none_or(|model| {
            model == &*charge.model || model_of(catalog, model) == Some(&*charge.model)
        });
        let source = self.text("remixed_from_video_id");
        let source = source.is_none() || source == unknown.remix_of.as_deref();
        let size = self.answer.size.as_deref();
        let shape = size.is_none_or(|size| size == &*charge.size)
            && self.answer.seconds.is_none_or(|s| s == charge.seconds);
        let time = self.created().is_none_or(|created| {
            let (from, to) = (unknown.created.0, unknown.since.0.max(unknown.created.0));
            let late = millis(SKEW.saturating_add(grace));
            (from.saturating_sub(millis(SKEW))..=to.saturating_add(late)).contains(&created.0)
        });
        model && source && time && prompt.unwrap_or(shape)
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

impl Gate {
    /// One round: asks the channel for its jobs if any outcome is unknown.
    pub(super) async fn resolve(
        &self,
        state: &Arc<State>,
        channel: &Channel,
        resolver: &mut Resolver,
    ) -> Result<(), Unavailable> {
        let name = &channel.spec().name;
        let (started, jobs) = (self.now(), &state.config.jobs);
        let mut jobless = self.ledger().jobless(name, AT_ONCE).await?;
        let expired = |u: &Jobless| started.since(u.since) > millis(jobs.expire_after);
        for unknown in jobless.extract_if(.., |u| u.state == Stand::Unknown && expired(u)) {
            log::error!(
                "reservation {} on channel {name}: what became of it was not found out, it is \
                 not charged",
                unknown.id
            );
            self.books.try_abandon(unknown.id, NOT_FOUND_OUT).await?;
        }
        let unknown = jobless.iter().filter(|u| u.state == Stand::Unknown);
        let Some(oldest) = unknown.map(|u| u.created).min() else {
            return Ok(());
        };
        let from = super::before(oldest, SKEW);
        let Some((listed, complete)) = self.list_since(state, channel, from).await else {
            return Ok(());
        };
        // Once more: the list may show jobs of requests that came while it was read.
        let jobless = self.ledger().jobless(name, AT_ONCE).await?;
        let unknown = || jobless.iter().filter(|u| u.state == Stand::Unknown);
        // Where these are not all, later jobs may have come of those that are missing.
        let seen_until = jobless.get(AT_ONCE as usize - 1).map(|last| last.created);
        // One that is about to expire is given no job: another key's, of which the job may have
        // come as well, may have expired just before and is not seen any more.
        let apart = SKEW * 2 + jobs.unknown_grace + self.lost_after();
        let in_time = jobs.expire_after - apart.min(jobs.expire_after / 2);
        let is_late = |u: &Jobless| started.since(u.since) > millis(in_time);
        // By job: which reservations it may have come of.
        let mut candidates: HashMap<ReservationId, usize> = HashMap::new();
        for job in &listed {
            let fitting: Vec<_> = jobless
                .iter()
                .filter(|u| job.matches(u, &state.config.catalog, jobs.unknown_grace))
                .collect();
            if fitting.is_empty() || self.ledger().job_of_channel(name, &job.id).await?.is_some() {
                continue;
            }
            let at = job.created().unwrap_or(started);
            let keys: HashSet<_> = fitting.iter().map(|u| &u.charge.payer.key).collect();
            let closest = fitting.iter().filter(|u| u.state == Stand::Unknown);
            let closest = closest.filter(|u| !candidates.contains_key(&u.id) && !is_late(u));
            let exact = |u: &Jobless| job.answer.size.as_deref() == Some(&*u.charge.size);
            let closest = closest.min_by_key(|u| (!exact(u), at.0.abs_diff(u.created.0), u.id));
            let unseen = |until| super::before(until, SKEW) <= at;
            let pending =
                fitting.iter().any(|u| u.state == Stand::Pending) || seen_until.is_some_and(unseen);
            let sure = keys.len() == 1 && !pending;
            match closest {
                Some(unknown) if sure => {
                    *candidates.entry(unknown.id).or_default() += 1;
                    self.found(state, unknown, job).await?;
                }
                _ => {
                    for unknown in fitting {
                        *candidates.entry(unknown.id).or_default() += 1;
                        let several = keys.len() > 1 && !pending;
                        if several && resolver.ambiguous.insert(unknown.id) {
                            log::error!(
                                "reservation {} on channel {name}: job {} may have come of it \
                                 or of another key's: neither is charged for it",
                                unknown.id,
                                job.id
                            );
                        }
                    }
                }
            }
        }
        let grace = millis(jobs.unknown_grace);
        for unknown in unknown().filter(|u| !candidates.contains_key(&u.id)) {
            if complete && started.since(unknown.since) >= grace {
                log::info!(
                    "reservation {} on channel {name}: no job came of it",
                    unknown.id
                );
                self.books.try_abandon(unknown.id, NOT_CREATED).await?;
            }
        }
        Ok(())
    }

    /// A job was found that came of a reservation.
    async fn found(
        &self,
        state: &State,
        unknown: &Jobless,
        job: &Listed,
    ) -> Result<(), Unavailable> {
        let config = &state.config;
        let mut confirmation = Confirmation {
            job: job.id.clone(),
            upstream_id: job.id.clone(),
            charge: corrected(&unknown.charge, &job.answer, &config.catalog),
            answer: Some(FirstAnswer {
                status: 200,
                body: Bytes::from(job.json.to_string()),
            }),
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
            confirmed = confirm(&confirmation).await?;
        }
        if let Confirmed::Now { .. } = confirmed {
            log::info!("reservation {}: job {} came of it", unknown.id, job.id);
            if let Some(known) = self.books.job(&confirmation.job).await? {
                let charge_failed = config.jobs.charge_failed_jobs;
                self.books.settle(&known, &job.answer, charge_failed).await;
            }
        }
        Ok(())
    }

    /// A channel's jobs since that time, newest first, and whether these are all; `None`
    /// where it gives no list.
    async fn list_since(
        &self,
        state: &State,
        channel: &Channel,
        from: Timestamp,
    ) -> Option<(Vec<Listed>, bool)> {
        let mut jobs = Vec::new();
        let mut after = None;
        for _ in 0..PAGES {
            let page = self.page(state, channel, after.as_ref()).await.ok()?;
            let last = page
                .data
                .last()
                .and_then(|job| JobId::new(job["id"].as_str()?));
            let has_more = page.has_more.unwrap_or(!page.data.is_empty());
            jobs.extend(page.data.into_iter().filter_map(Listed::read));
            let mut times = jobs.iter().filter_map(Listed::created);
            // A channel may give its list in an order of its own.
            let is_sorted = times.clone().is_sorted_by(|a, b| a >= b);
            let is_beyond = is_sorted && times.next_back().is_some_and(|t| t < from);
            if is_beyond || !has_more {
                return Some((jobs, true));
            }
            // Nor need it heed where a page is to begin.
            if last == after {
                break;
            }
            after = Some(last?);
            sleep(Duration::from_secs(1) / state.config.jobs.polls_per_second).await;
        }
        Some((jobs, false))
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
