//! The ledger in memory, for demonstrations, tests and embedders that keep no accounts. It loses everything
//! when the process ends.

mod accounts;
mod decisions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::accounts::{Accounts, Entry};
use super::charge::{Charge, Claim, Confirmation, Confirmed, Draft};
use super::charge::{Reroute, Rerouted, ReservationId, Resolution};
use super::counters::{BindingLimits, ChannelLimits, LimitReached, Usage};
use super::job::{Job, JobsAfter, State, Unmatched, UnresolvedCount};
use super::{ClaimState, Claimed, FARTHEST_POLL, Ledger, Reserved, Unavailable};
use crate::policy::{Key, Limit, Timestamp};

/// A [`Ledger`] in memory behind one mutex. No call waits for anything while it holds the mutex.
#[derive(Default)]
pub struct MemoryLedger {
    accounts: Mutex<Accounts>,
}

/// A reservation as tests read it: its id, the time at which it was made, its state, its charge, its job,
/// and the time on its channel's clock, while that is kept.
#[doc(hidden)]
pub type ReservationRow = (
    ReservationId,
    Timestamp,
    State,
    Arc<Charge>,
    Option<Job>,
    Option<Timestamp>,
);

impl MemoryLedger {
    /// Locks the accounts, even if the mutex is poisoned. No panic can leave the accounts half-written, since
    /// every call makes its changes after its last step that can fail.
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists all reservations with their jobs, in the order of their ids. It is for tests, which read the
    /// tables of the other ledgers instead.
    #[doc(hidden)]
    pub fn reservations(&self) -> Vec<ReservationRow> {
        let accounts = self.accounts();
        let entries = accounts.entries.values();
        entries
            .map(|entry| {
                let channel_clock = entry.waits.as_ref().and_then(|waits| waits.channel_clock);
                let (id, created, charge) = (entry.id, entry.created, entry.charge.clone());
                (id, created, entry.state, charge, entry.job(), channel_clock)
            })
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
        // A request whose charge is not known yet counts as 1 in each measure.
        let takes = |measure| charge.map_or(1, |charge| charge.takes(measure));
        let mut accounts = self.accounts();
        accounts.track_all(key, None, now);
        Ok(accounts.counters.reached(key, None, takes, now))
    }

    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        let channel = ChannelLimits::of(charge, limits);
        let mut accounts = self.accounts();
        let missing = accounts.counters.missing_of(channel.scoped(), now);
        accounts.track(missing, now);
        Ok(accounts.counters.channel_reached(channel, charge, now))
    }

    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable> {
        Ok(self.accounts().reroute(id, to))
    }

    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable> {
        let accounts = self.accounts();
        let claimant = accounts.claimant(key, idempotency_key, now);
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
        Ok(self.accounts().claimed(key, claim, now))
    }

    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable> {
        let mut accounts = self.accounts();
        let reserved = accounts.reserve(draft, key, now);
        let used = accounts.counters.used_after(&reserved, key, now);
        Ok((reserved, used))
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        Ok(self.accounts().confirm(id, confirmation, limits, now))
    }

    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        if let Some(entry) = self.accounts().entries.get_mut(&id)
            && entry.state == State::Pending
        {
            entry.mark_unknown(now);
        }
        Ok(())
    }

    async fn void(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        Ok(self.accounts().void(id, why, now))
    }

    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        Ok(self.accounts().settle(id, resolution, end, now))
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        let accounts = self.accounts();
        let id = accounts.jobs.get(job);
        Ok(id.and_then(|id| accounts.entries.get(id)?.job()))
    }

    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable> {
        let accounts = self.accounts();
        let owner = accounts.owner(&channel.into(), &upstream_id.into());
        Ok(owner.and_then(Entry::job))
    }

    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable> {
        let accounts = self.accounts();
        let owner = accounts.owner(&channel.into(), &upstream_id.into());
        Ok(owner.and_then(Entry::unmatched))
    }

    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable> {
        let accounts = self.accounts();
        let Some(list) = accounts.lists.get(key) else {
            return Ok(page.after.is_none().then(Vec::new));
        };
        let place = match page.after {
            Some(after) => {
                let entry = accounts
                    .jobs
                    .get(after)
                    .and_then(|id| accounts.entries.get(id));
                let own = entry.filter(|entry| &*entry.charge.payer.key == key);
                let Some(entry) = own else { return Ok(None) };
                Some(entry.place)
            }
            None => None,
        };
        let jobs = |ids: &mut dyn Iterator<Item = (&u64, &ReservationId)>| {
            ids.filter_map(|(_, id)| accounts.entries.get(id))
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
        if let Some(entry) = self.accounts().entries.get_mut(&id) {
            entry.deleted = true;
        }
        Ok(())
    }

    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        let mut accounts = self.accounts();
        accounts.track_all(key, None, now);
        Ok(accounts.counters.usage(key, now))
    }

    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable> {
        let accounts = self.accounts();
        let mut counts: HashMap<_, (u64, Timestamp)> = HashMap::new();
        for entry in accounts.unmatched().chain(accounts.running()) {
            let charge = &entry.charge;
            let group = (&charge.payer.key, &charge.channel, entry.state);
            let (count, oldest) = counts.entry(group).or_insert((0, entry.created));
            *count += 1;
            *oldest = (*oldest).min(entry.created);
        }
        let open = counts
            .into_iter()
            .map(|((key, channel, state), (count, oldest))| UnresolvedCount {
                key: key.clone(),
                channel: channel.clone(),
                state,
                count,
                oldest,
            });
        Ok(open.collect())
    }

    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable> {
        let mut accounts = self.accounts();
        let accounts = &mut *accounts;
        let mut marked = 0;
        for id in &accounts.unmatched {
            if let Some(entry) = accounts.entries.get_mut(id)
                && entry.state == State::Pending
                && u128::from(now.since(entry.created)) > lost_after.as_millis()
            {
                entry.mark_unknown(now);
                marked += 1;
            }
        }
        Ok(marked)
    }

    async fn lease(&self, _name: &str, _span: Duration) -> Result<bool, Unavailable> {
        Ok(true)
    }

    async fn unmatched(&self, channel: &str, limit: u32) -> Result<Vec<Unmatched>, Unavailable> {
        let accounts = self.accounts();
        let unmatched = accounts
            .unmatched()
            .filter(|entry| &*entry.charge.channel == channel);
        let mut unmatched: Vec<_> = unmatched.collect();
        unmatched.sort_by_key(|entry| (entry.created, entry.id));
        let unmatched = unmatched.into_iter().take(limit as usize);
        let unmatched = unmatched.filter_map(Entry::unmatched);
        Ok(unmatched.collect())
    }

    async fn recently_voided(
        &self,
        channel: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unmatched>, Unavailable> {
        let accounts = self.accounts();
        let voided = accounts.recently_voided.range((since, ReservationId(0))..);
        let voided = voided.filter_map(|(_, id)| accounts.entries.get(id)?.unmatched());
        let mut voided: Vec<_> = voided.filter(|r| &*r.charge.channel == channel).collect();
        voided.sort_by_key(|unmatched| (unmatched.created, unmatched.id));
        voided.truncate(limit as usize);
        Ok(voided)
    }

    async fn due(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, Unavailable> {
        let accounts = self.accounts();
        let due = accounts
            .running()
            .take_while(|entry| entry.next_poll <= now);
        let far = Timestamp(now.0.saturating_add(FARTHEST_POLL));
        let due = due.chain(accounts.running_after(far));
        let due = due.filter(|entry| &*entry.charge.channel == channel);
        Ok(due.filter_map(Entry::job).take(limit as usize).collect())
    }

    async fn set_next_poll(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable> {
        let mut accounts = self.accounts();
        let accounts = &mut *accounts;
        if let Some(entry) = accounts.entries.get_mut(&id) {
            let place = (entry.next_poll, id);
            entry.next_poll = at;
            if accounts.running.remove(&place) {
                accounts.running.insert((at, id));
            }
        }
        Ok(())
    }

    /// Deletes expired idempotency keys. Reservations are not deleted by their age, since no bill is made of
    /// them: the ledger keeps a fixed number of the resolved ones.
    async fn prune(
        &self,
        _before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, Unavailable> {
        let mut accounts = self.accounts();
        let expired = accounts
            .claims
            .iter()
            .filter(|(_, c)| c.answer.is_some() && c.claim.expires <= now);
        let expired: Vec<_> = expired
            .map(|(name, _)| name.clone())
            .take(limit as usize)
            .collect();
        for name in &expired {
            accounts.claims.remove(name);
        }
        Ok(expired.len() as u64)
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
