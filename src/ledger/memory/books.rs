//! What the ledger in memory holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::super::charge::{Charge, Claim, Draft, FirstAnswer, PromptDigest, ReservationId};
use super::super::counters::{Counter, Counters};
use super::super::job::{Job, State};
use crate::map::{Map, Set};
use crate::policy::{Key, Limit, Measure, Timestamp};

/// How many resolved reservations are remembered, so that their jobs can still be reached.
/// The oldest go first.
const RESOLVED_KEPT: usize = 100_000;

#[derive(Default)]
pub(super) struct Books {
    /// In order, since names begin with the time: what is asked for next stands where the last
    /// ones do, rather than anywhere. Boxed: what grows moves what is in it.
    pub(super) entries: BTreeMap<ReservationId, Box<Entry>>,
    pub(super) jobs: Map<Arc<str>, ReservationId>,
    /// Every key's jobs by their places in its list.
    pub(super) lists: Map<Arc<str>, BTreeMap<u64, ReservationId>>,
    pub(super) last_place: u64,
    pub(super) claims: HashMap<(Arc<str>, Arc<str>), Claimant>,
    pub(super) counters: Counters,
    /// Those that are not resolved: without a job, and with one by when it is looked at.
    pub(super) jobless: Set<ReservationId>,
    pub(super) running: BTreeSet<(Timestamp, ReservationId)>,
    pub(super) resolved: VecDeque<ReservationId>,
}

/// What stays of a reservation for as long as it is remembered: kept small.
pub(super) struct Entry {
    pub(super) id: ReservationId,
    pub(super) charge: Arc<Charge>,
    pub(super) remix_of: Option<Arc<str>>,
    pub(super) look_at: Timestamp,
    pub(super) job: Option<Arc<str>>,
    pub(super) place: u64,
    pub(super) state: State,
    pub(super) created: Timestamp,
    /// What matters until it has a job or is resolved.
    pub(super) waits: Option<Box<Waits>>,
    pub(super) end: Option<&'static str>,
    pub(super) deleted: bool,
}

/// What is known of a reservation that waits for its job.
pub(super) struct Waits {
    pub(super) prompt: PromptDigest,
    pub(super) claim: Option<Claim>,
    pub(super) unknown_since: Timestamp,
}

/// What an idempotency key stands for.
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
            look_at: draft.look_at,
            job: None,
            place: 0,
            state: State::Pending,
            created: now,
            waits: Some(Box::new(Waits {
                prompt: draft.prompt,
                claim: draft.claim.clone(),
                unknown_since: now,
            })),
            end: None,
            deleted: false,
        }
    }

    /// The idempotency key that stands for it, while it waits for its job.
    pub(super) fn claim(&self) -> Option<&Claim> {
        self.waits.as_ref()?.claim.as_ref()
    }

    /// Nobody can tell any more what became of it.
    pub(super) fn lose(&mut self, now: Timestamp) {
        self.state = State::Unknown;
        if let Some(waits) = &mut self.waits {
            waits.unknown_since = now;
        }
    }

    pub(super) fn job(&self) -> Option<Job> {
        Some(Job {
            id: self.job.clone()?,
            reservation: self.id,
            charge: self.charge.clone(),
            created: self.created,
            remix_of: self.remix_of.clone(),
            resolution: self.state.resolution(),
            end: self.end.map(Arc::from),
            deleted: self.deleted,
        })
    }

    /// What it takes from a counter that would have begun to count at `start`.
    pub(super) fn takes(&self, limit: Limit, start: u64) -> u64 {
        let counts = match self.state {
            State::Voided => false,
            State::Posted => limit.measure != Measure::InFlight,
            _ => true,
        };
        if counts && limit.window.start(self.created) >= start {
            self.charge.takes(limit.measure)
        } else {
            0
        }
    }
}

impl Books {
    /// Sums up what limits ask for that have asked for nothing yet.
    pub(super) fn track(&mut self, key: &Key, now: Timestamp) {
        for (limit, scope) in self.counters.missing(key) {
            // Two limits may share one.
            if self.counters.find(limit, &scope).is_some() {
                continue;
            }
            let start = limit.window.start(now);
            let entries = self.entries.values();
            let own = entries.filter(|entry| scope.holds(&entry.charge));
            let used = own.map(|entry| entry.takes(limit, start));
            let counter = Counter {
                measure: limit.measure,
                window: limit.window,
                start,
                used: used.fold(0, u64::saturating_add),
            };
            self.counters.insert(scope, counter);
        }
    }

    /// The claim of an idempotency key that has not expired: while its request has no
    /// outcome, it does not.
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

    /// Takes an entry out of the open ones.
    pub(super) fn close(&mut self, id: ReservationId, state: State, end: &'static str) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.state, entry.end, entry.waits) = (state, Some(end), None);
            self.running.remove(&(entry.look_at, id));
        }
        self.jobless.remove(&id);
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
        if let Some(job) = entry.job {
            self.jobs.remove(&job);
            let list = self.lists.get_mut(&entry.charge.payer.key);
            list.map(|list| list.remove(&entry.place));
        }
    }

    pub(super) fn jobless(&self) -> impl Iterator<Item = &Entry> {
        let ids = self.jobless.iter();
        ids.filter_map(|id| self.entries.get(id).map(|entry| &**entry))
    }

    /// Those with a job that has not ended, by when they are looked at.
    pub(super) fn running(&self) -> impl Iterator<Item = &Entry> {
        let ids = self.running.iter().map(|(_, id)| id);
        ids.filter_map(|id| self.entries.get(id).map(|entry| &**entry))
    }
}
