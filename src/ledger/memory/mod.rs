//! The ledger in memory: for demonstrations, tests and embedders that keep no accounts.
//! It forgets everything when the process ends.

mod books;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::books::{Books, Claimant, Entry};
use super::charge::{Charge, Claim, Confirmation, Confirmed, Draft};
use super::charge::{ReservationId, Resolution};
use super::counters::{BindingLimits, LimitReached, Usage, correction_exceeds};
use super::job::{Job, Jobless, JobsAfter, Open, State};
use super::{ClaimState, Claimed, FARTHEST_LOOK, Ledger, Reserved, Unavailable};
use crate::policy::{Key, Timestamp};

/// A [`Ledger`] behind one mutex: no call waits for anything, so none holds it for long.
#[derive(Default)]
pub struct MemoryLedger {
    books: Mutex<Books>,
}

/// A reservation as tests read it: its id, when it was made, its state, its charge and its job.
#[doc(hidden)]
pub type ReservationRow = (ReservationId, Timestamp, State, Arc<Charge>, Option<Job>);

impl MemoryLedger {
    /// No panic can leave the books half-written: every change is made after its last
    /// fallible step. So a poisoned lock is taken as it is.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All reservations in the order of their ids, with their jobs: for tests, which read the
    /// tables of other ledgers.
    #[doc(hidden)]
    pub fn reservations(&self) -> Vec<ReservationRow> {
        let books = self.books();
        let entries = books.entries.values();
        entries
            .map(|e| (e.id, e.created, e.state, e.charge.clone(), e.job()))
            .collect()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        // Nothing can be asked for that takes nothing.
        let takes = |measure| charge.map_or(1, |charge| charge.takes(measure));
        let mut books = self.books();
        books.track_all(key, now);
        Ok(books.counters.reached(key, takes, now))
    }

    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable> {
        let books = self.books();
        let claimant = books.claimant(key, idempotency_key, now);
        Ok(claimant.map(|claimant| match claimant.answer {
            Some(_) => ClaimState::Answered,
            None => ClaimState::InFlight,
        }))
    }

    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable> {
        Ok(self.books().claimed(key, claim, now))
    }

    async fn reserve(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        let mut books = self.books();
        if books.entries.contains_key(&draft.id) {
            return Ok(Reserved::Done);
        }
        let charge = &draft.charge;
        if let Some(claim) = &draft.claim
            && let Some(claimed) = books.claimed(&charge.payer.key, claim, now)
        {
            return Ok(Reserved::Claimed(claimed));
        }
        books.track_all(key, now);
        if let Some(reached) = books.counters.reached(key, |m| charge.takes(m), now) {
            return Ok(Reserved::Refused(reached));
        }
        books.counters.take(charge, now);
        if let Some(claim) = &draft.claim {
            let name = (charge.payer.key.clone(), claim.idempotency_key.clone());
            let claimant = Claimant {
                claim: claim.clone(),
                reservation: draft.id,
                answer: None,
            };
            books.claims.insert(name, claimant);
        }
        books.jobless.insert(draft.id);
        let entry = Box::new(Entry::new(draft, now));
        books.entries.insert(draft.id, entry);
        Ok(Reserved::Done)
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        let mut books = self.books();
        let books = &mut *books;
        let Some(entry) = books.entries.get(&id) else {
            return Ok(Confirmed::Closed);
        };
        let (before, created) = (entry.charge.clone(), entry.created);
        let waits = matches!(entry.state, State::Pending | State::Unknown);
        let (job, upstream_id) = (&confirmation.job, &confirmation.upstream_id);
        if let Some(owner) = books.owner(&before.channel, upstream_id) {
            // A channel that names a job twice does not hand it to another key.
            return Ok(match owner.job.clone() {
                Some(job) if owner.id == id => Confirmed::Already { job },
                _ => Confirmed::Taken,
            });
        }
        if !waits {
            return Ok(Confirmed::Closed);
        }
        if books.jobs.contains_key(job) {
            return Ok(Confirmed::IdTaken);
        }
        let mut after = confirmation.charge.clone();
        let mut left_out = None;
        if after != before {
            let binding = limits.of(&before.payer);
            books.track(books.counters.missing_of(binding, now), now);
            let counters = &books.counters;
            left_out = correction_exceeds(counters, &before, &after, created, limits, now);
            match left_out {
                Some(_) => after = before.clone(),
                None => books.counters.correct(&before, &after, created),
            }
        }
        let Some(entry) = books.entries.get_mut(&id) else {
            return Ok(Confirmed::Closed);
        };
        books.last_place += 1;
        let waits = match entry.state {
            State::Unknown => entry.waits.clone(),
            _ => entry.waits.take(),
        };
        entry.state = State::Confirmed;
        entry.job = Some(job.clone());
        entry.upstream_id = (upstream_id != job).then(|| upstream_id.clone());
        entry.place = books.last_place;
        entry.charge = after.clone();
        if let Some(claim) = waits.and_then(|waits| waits.claim) {
            let name = (after.payer.key.clone(), claim.idempotency_key);
            if let Some(claimant) = books.claims.get_mut(&name)
                && claimant.reservation == id
            {
                claimant.answer = confirmation.answer.clone();
            }
        }
        books.jobless.remove(&id);
        books.running.insert((entry.look_at, id));
        books.jobs.insert(job.clone(), id);
        if let Some(upstream_id) = &entry.upstream_id {
            let name = (after.channel.clone(), upstream_id.clone());
            books.upstream.insert(name, id);
        }
        let list = books.lists.entry(after.payer.key.clone()).or_default();
        list.insert(entry.place, id);
        Ok(Confirmed::Now {
            before,
            after,
            left_out,
        })
    }

    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        if let Some(entry) = self.books().entries.get_mut(&id)
            && entry.state == State::Pending
        {
            entry.lose(now);
        }
        Ok(())
    }

    async fn abandon(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let mut books = self.books();
        let books = &mut *books;
        let Some(entry) = books.entries.get(&id) else {
            return Ok(None);
        };
        if !matches!(entry.state, State::Pending | State::Unknown) {
            return Ok(None);
        }
        let charge = entry.charge.clone();
        books.counters.give_back(&charge, entry.created);
        if let Some(claim) = entry.claim() {
            let name = (charge.payer.key.clone(), claim.idempotency_key.clone());
            if books.claims.get(&name).is_some_and(|c| c.reservation == id) {
                books.claims.remove(&name);
            }
        }
        books.close(id, State::Voided, why, now);
        Ok(Some(charge))
    }

    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let mut books = self.books();
        let books = &mut *books;
        let Some(entry) = books.entries.get(&id) else {
            return Ok(None);
        };
        if entry.state != State::Confirmed {
            return Ok(None);
        }
        let charge = entry.charge.clone();
        match resolution {
            Resolution::Posted => books.counters.landed(&charge, entry.created),
            Resolution::Voided => books.counters.give_back(&charge, entry.created),
        }
        books.close(id, resolution.into(), end, now);
        Ok(Some(charge))
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        let books = self.books();
        let id = books.jobs.get(job);
        Ok(id.and_then(|id| books.entries.get(id)?.job()))
    }

    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable> {
        let books = self.books();
        let owner = books.owner(&channel.into(), &upstream_id.into());
        Ok(owner.and_then(Entry::job))
    }

    async fn found(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Jobless>, Unavailable> {
        let books = self.books();
        let owner = books.owner(&channel.into(), &upstream_id.into());
        Ok(owner.and_then(Entry::jobless))
    }

    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable> {
        let books = self.books();
        let Some(list) = books.lists.get(key) else {
            return Ok(page.after.is_none().then(Vec::new));
        };
        let place = match page.after {
            Some(after) => {
                let entry = books.jobs.get(after).and_then(|id| books.entries.get(id));
                let own = entry.filter(|entry| &*entry.charge.payer.key == key);
                let Some(entry) = own else { return Ok(None) };
                Some(entry.place)
            }
            None => None,
        };
        let jobs = |ids: &mut dyn Iterator<Item = (&u64, &ReservationId)>| {
            ids.filter_map(|(_, id)| books.entries.get(id))
                .filter(|entry| !entry.deleted)
                .filter_map(|entry| entry.job())
                .take(page.limit as usize)
                .collect()
        };
        Ok(Some(if page.ascending {
            jobs(&mut list.range(place.map_or(0, |place| place + 1)..))
        } else {
            jobs(&mut list.range(..place.unwrap_or(u64::MAX)).rev())
        }))
    }

    async fn mark_deleted(&self, id: ReservationId, _now: Timestamp) -> Result<(), Unavailable> {
        if let Some(entry) = self.books().entries.get_mut(&id) {
            entry.deleted = true;
        }
        Ok(())
    }

    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        let mut books = self.books();
        books.track_all(key, now);
        Ok(books.counters.usage(key, now))
    }

    async fn open(&self) -> Result<Vec<Open>, Unavailable> {
        let books = self.books();
        let mut counts = HashMap::new();
        for entry in books.jobless().chain(books.running()) {
            let charge = &entry.charge;
            let group = (&charge.payer.key, &charge.channel, entry.state);
            *counts.entry(group).or_default() += 1;
        }
        let open = counts
            .into_iter()
            .map(|((key, channel, state), count)| Open {
                key: key.clone(),
                channel: channel.clone(),
                state,
                count,
            });
        Ok(open.collect())
    }

    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable> {
        let mut books = self.books();
        let books = &mut *books;
        let mut marked = 0;
        for id in &books.jobless {
            if let Some(entry) = books.entries.get_mut(id)
                && entry.state == State::Pending
                && u128::from(now.since(entry.created)) > lost_after.as_millis()
            {
                entry.lose(now);
                marked += 1;
            }
        }
        Ok(marked)
    }

    async fn lease(&self, _name: &str, _span: Duration) -> Result<bool, Unavailable> {
        Ok(true)
    }

    async fn jobless(&self, channel: &str, most: u32) -> Result<Vec<Jobless>, Unavailable> {
        let books = self.books();
        let jobless = books
            .jobless()
            .filter(|entry| &*entry.charge.channel == channel);
        let mut jobless: Vec<_> = jobless.collect();
        jobless.sort_by_key(|entry| (entry.created, entry.id));
        let jobless = jobless.into_iter().take(most as usize);
        let jobless = jobless.filter_map(Entry::jobless);
        Ok(jobless.collect())
    }

    async fn rivals(
        &self,
        channel: &str,
        since: Timestamp,
        most: u32,
    ) -> Result<Vec<Jobless>, Unavailable> {
        let books = self.books();
        let rivals = books.rivals.range((since, ReservationId(0))..);
        let rivals = rivals.filter_map(|(_, id)| books.entries.get(id)?.jobless());
        let mut rivals: Vec<_> = rivals.filter(|r| &*r.charge.channel == channel).collect();
        rivals.sort_by_key(|rival| (rival.created, rival.id));
        rivals.truncate(most as usize);
        Ok(rivals)
    }

    async fn due(&self, channel: &str, now: Timestamp, most: u32) -> Result<Vec<Job>, Unavailable> {
        let books = self.books();
        let due = books.running().take_while(|entry| entry.look_at <= now);
        let far = Timestamp(now.0.saturating_add(FARTHEST_LOOK));
        let due = due.chain(books.running_after(far));
        let due = due.filter(|entry| &*entry.charge.channel == channel);
        Ok(due.filter_map(Entry::job).take(most as usize).collect())
    }

    async fn look_at(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable> {
        let mut books = self.books();
        let books = &mut *books;
        if let Some(entry) = books.entries.get_mut(&id) {
            let place = (entry.look_at, id);
            entry.look_at = at;
            if books.running.remove(&place) {
                books.running.insert((at, id));
            }
        }
        Ok(())
    }

    /// Forgets expired idempotency keys. Of reservations as many are kept as fit, whatever
    /// their age: there is no bill to be made of them.
    async fn prune(
        &self,
        _before: Timestamp,
        now: Timestamp,
        most: u32,
    ) -> Result<u64, Unavailable> {
        let mut books = self.books();
        let expired = books
            .claims
            .iter()
            .filter(|(_, c)| c.answer.is_some() && c.claim.expires <= now);
        let expired: Vec<_> = expired
            .map(|(name, _)| name.clone())
            .take(most as usize)
            .collect();
        for name in &expired {
            books.claims.remove(name);
        }
        Ok(expired.len() as u64)
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
