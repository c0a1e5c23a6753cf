//! The reservations, jobs and counters that the ledger in memory holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::super::Claimed;
use super::super::charge::{Charge, Claim, Draft, FirstAnswer};
use super::super::charge::{PromptDigest, ReservationId, Uncorrected};
use super::super::counters::{ChannelLimits, Counters, ScopedLimit};
use super::super::job::{Job, NOT_CREATED, NOT_FOUND_OUT, State, Unmatched};
use crate::map::{Map, Set};
use crate::policy::{Key, Measure, Timestamp};

/// The maximum number of resolved reservations that are kept, so that their jobs can still be reached. Those
/// that were resolved first are forgotten first.
const RESOLVED_KEPT: usize = 100_000;

#[derive(Default)]
pub(super) struct Accounts {
    /// The reservations in the order of their ids. Ids begin with the time, so reservations that are looked
    /// up one after the other are near each other in memory. They are boxed, since a map that grows moves
    /// its entries.
    pub(super) entries: BTreeMap<ReservationId, Box<Entry>>,
    /// The reservations with a job, by the job's public id.
    pub(super) jobs: Map<Arc<str>, ReservationId>,
    /// The reservations with a job, by the channel and the upstream id. Jobs whose upstream id is their
    /// public id are only in `jobs`.
    pub(super) upstream: Map<(Arc<str>, Arc<str>), ReservationId>,
    /// The jobs of each key, by their places in the order of confirmation.
    pub(super) lists: Map<Arc<str>, BTreeMap<u64, ReservationId>>,
    pub(super) last_place: u64,
    pub(super) claims: HashMap<(Arc<str>, Arc<str>), Claimant>,
    pub(super) counters: Counters,
    /// The unresolved reservations without a job.
    pub(super) unmatched: Set<ReservationId>,
    /// The unresolved reservations with a job, by the time of the job's next poll.
    pub(super) running: BTreeSet<(Timestamp, ReservationId)>,
    /// The resolved reservations, in the order in which they were resolved.
    pub(super) resolved: VecDeque<ReservationId>,
    /// The reservations that were voided without a proof that no job was created, by the time of the void.
    pub(super) recently_voided: BTreeSet<(Timestamp, ReservationId)>,
}

/// A reservation. Its fields are few and small, since many reservations are kept in memory.
pub(super) struct Entry {
    pub(super) id: ReservationId,
    pub(super) charge: Arc<Charge>,
    pub(super) remix_of: Option<Arc<str>>,
    /// The channel's address to which the request was sent, where the channel has several.
    pub(super) address: Option<Arc<str>>,
    pub(super) next_poll: Timestamp,
    pub(super) job: Option<Arc<str>>,
    /// The job's upstream id, where it is not the public id.
    pub(super) upstream_id: Option<Arc<str>>,
    pub(super) place: u64,
    pub(super) state: State,
    pub(super) created: Timestamp,
    /// The facts by which the job is found. They are kept until the reservation has a job or is resolved.
    /// They are kept longer if the reservation was voided without a proof that no job was created, or if it
    /// was unknown before it had a job.
    pub(super) waits: Option<Box<Waits>>,
    pub(super) end: Option<&'static str>,
    pub(super) deleted: bool,
}

/// The facts by which the job of a reservation is found. [`Entry::waits`] says how long they are kept.
#[derive(Clone)]
pub(super) struct Waits {
    pub(super) prompt: PromptDigest,
    pub(super) claim: Option<Claim>,
    pub(super) unknown_since: Timestamp,
    pub(super) channel_clock: Option<Timestamp>,
    /// The time at which the reservation was voided without a proof that no job was created; `None` where
    /// it was not.
    pub(super) voided: Option<Timestamp>,
    /// The size, seconds and costs of the charge before the confirmation corrected them to those of the job;
    /// `None` where it did not.
    pub(super) uncorrected: Option<Uncorrected>,
}

/// The reservation that has claimed an idempotency key, with the answer that repetitions get.
pub(super) struct Claimant {
    pub(super) claim: Claim,
    pub(super) reservation: ReservationId,
    pub(super) answer: Option<FirstAnswer>,
}

impl Entry {
    pub(super) fn new(draft: &Draft, now: Timestamp) -> Self {
        Self {
            id: draft.id,
            charge: draft.charge.clone(),
            remix_of: draft.remix_of.clone(),
            address: draft.placement.address.clone(),
            next_poll: draft.next_poll,
            job: None,
            upstream_id: None,
            place: 0,
            state: State::Pending,
            created: now,
            waits: Some(Box::new(Waits {
                prompt: draft.prompt,
                claim: draft.claim.clone(),
                unknown_since: now,
                channel_clock: draft.placement.channel_clock,
                voided: None,
                uncorrected: None,
            })),
            end: None,
            deleted: false,
        }
    }

    /// Returns the reservation's claim to an idempotency key; `None` where it made none, or where
    /// [`Entry::waits`] is not kept any more.
    pub(super) fn claim(&self) -> Option<&Claim> {
        self.waits.as_ref()?.claim.as_ref()
    }

    /// Marks the reservation as unknown: nobody can tell whether there is a job.
    pub(super) fn mark_unknown(&mut self, now: Timestamp) {
        self.state = State::Unknown;
        if let Some(waits) = &mut self.waits {
            waits.unknown_since = now;
        }
    }

    pub(super) fn job(&self) -> Option<Job> {
        let id = self.job.clone()?;
        Some(Job {
            upstream_id: self.upstream_id.clone().unwrap_or_else(|| id.clone()),
            id,
            reservation: self.id,
            charge: self.charge.clone(),
            address: self.address.clone(),
            created: self.created,
            remix_of: self.remix_of.clone(),
            resolution: self.state.resolution(),
            end: self.end.map(Arc::from),
            deleted: self.deleted,
        })
    }

    /// Returns the facts by which the reservation's job is recognised; `None` where [`Entry::waits`] is not
    /// kept any more.
    pub(super) fn unmatched(&self) -> Option<Unmatched> {
        let waits = self.waits.as_ref()?;
        Some(Unmatched {
            id: self.id,
            charge: self.charge.clone(),
            uncorrected: waits.uncorrected.clone(),
            prompt: waits.prompt,
            remix_of: self.remix_of.clone(),
            fingerprint: self.claim().map(|claim| claim.fingerprint),
            state: self.state,
            created: self.created,
            since: waits.unknown_since,
            channel_clock: waits.channel_clock,
            address: self.address.clone(),
        })
    }

    /// Returns the amount that the reservation adds to a counter of `measure`.
    fn takes(&self, measure: Measure) -> u64 {
        let counts = match self.state {
            State::Voided => false,
            State::Posted => measure != Measure::InFlight,
            _ => true,
        };
        if counts {
            self.charge.takes(measure)
        } else {
            0
        }
    }
}

impl Accounts {
    /// Sums up the reservations for those limits of a key, its group and a channel that have no counters yet.
    pub(super) fn track_all(
        &mut self,
        key: &Key,
        channel: Option<ChannelLimits<'_>>,
        now: Timestamp,
    ) {
        self.track(self.counters.missing(key, channel, now), now);
    }

    /// Sums up the reservations for the limits `missing`, whose counters are not known yet.
    pub(super) fn track(&mut self, missing: Vec<ScopedLimit>, now: Timestamp) {
        for scoped in missing {
            let unknown = self.counters.unknown(&scoped, now);
            let mut sums = BTreeMap::<u64, u64>::new();
            for entry in self.entries.values() {
                let start = scoped.limit.window.start(entry.created);
                if scoped.counts(&entry.charge) && unknown.contains(&start) {
                    let sum = sums.entry(start).or_default();
                    *sum = sum.saturating_add(entry.takes(scoped.limit.measure));
                }
            }
            self.counters.track(&scoped, unknown.start, sums);
        }
    }

    /// Finds the reservation that has claimed an idempotency key, unless its claim has expired. A claim does
    /// not expire while its request has no outcome.
    pub(super) fn claimant(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Option<&Claimant> {
        let claimant = self.claims.get(&(key.into(), idempotency_key.into()))?;
        let stands = claimant.answer.is_none() || claimant.claim.expires > now;
        stands.then_some(claimant)
    }

    /// Compares the new request that makes `claim` with the earlier request that has used the same
    /// idempotency key. Returns `None` where no request has used it, or the earlier claim has expired.
    pub(super) fn claimed(&self, key: &str, claim: &Claim, now: Timestamp) -> Option<Claimed> {
        let claimant = self.claimant(key, &claim.idempotency_key, now)?;
        Some(match &claimant.answer {
            _ if claimant.claim.fingerprint != claim.fingerprint => Claimed::Other,
            Some(answer) => Claimed::Answered(answer.clone()),
            None => Claimed::InFlight,
        })
    }

    /// Finds the reservation that has the job `upstream_id` on `channel`.
    pub(super) fn owner(&self, channel: &Arc<str>, upstream_id: &Arc<str>) -> Option<&Entry> {
        let alike = self
            .jobs
            .get(upstream_id)
            .and_then(|id| self.entries.get(id));
        let alike = alike.filter(|e| e.upstream_id.is_none() && e.charge.channel == *channel);
        if let Some(entry) = alike {
            return Some(entry);
        }
        let id = self.upstream.get(&(channel.clone(), upstream_id.clone()))?;
        self.entries.get(id).map(|entry| &**entry)
    }

    /// Sets the reservation `id` to `state`, which is posted or voided, with the outcome `end`.
    pub(super) fn close(
        &mut self,
        id: ReservationId,
        state: State,
        end: &'static str,
        now: Timestamp,
    ) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.state, entry.end) = (state, Some(end));
            let unproven = state == State::Voided && [NOT_CREATED, NOT_FOUND_OUT].contains(&end);
            match &mut entry.waits {
                Some(waits) if unproven => {
                    waits.voided = Some(now);
                    self.recently_voided.insert((now, id));
                }
                waits if entry.job.is_none() => *waits = None,
                _ => {}
            }
            self.running.remove(&(entry.next_poll, id));
        }
        self.unmatched.remove(&id);
        self.resolved.push_back(id);
        if self.resolved.len() > RESOLVED_KEPT
            && let Some(oldest) = self.resolved.pop_front()
        {
            self.forget(oldest);
        }
    }

    pub(super) fn forget(&mut self, id: ReservationId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        if let Some(voided) = entry.waits.and_then(|waits| waits.voided) {
            self.recently_voided.remove(&(voided, id));
        }
        if let Some(upstream_id) = entry.upstream_id {
            let channel = entry.charge.channel.clone();
            self.upstream.remove(&(channel, upstream_id));
        }
        if let Some(job) = entry.job {
            self.jobs.remove(&job);
            let list = self.lists.get_mut(&entry.charge.payer.key);
            list.map(|list| list.remove(&entry.place));
        }
    }

    pub(super) fn unmatched(&self) -> impl Iterator<Item = &Entry> {
        let ids = self.unmatched.iter();
        ids.filter_map(|id| self.entries.get(id).map(|entry| &**entry))
    }

    /// Lists the reservations whose job has not ended and has its next poll later than `at`.
    pub(super) fn running_after(&self, at: Timestamp) -> impl Iterator<Item = &Entry> {
        let after = (at, ReservationId(u128::MAX));
        let ids = self
            .running
            .range((Bound::Excluded(after), Bound::Unbounded));
        ids.filter_map(|(_, id)| self.entries.get(id).map(|entry| &**entry))
    }

    /// Lists the reservations whose job has not ended, by the time of the next poll.
    pub(super) fn running(&self) -> impl Iterator<Item = &Entry> {
        let ids = self.running.iter().map(|(_, id)| id);
        ids.filter_map(|id| self.entries.get(id).map(|entry| &**entry))
    }
}
