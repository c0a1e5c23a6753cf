//! The decisions of the ledger in memory: how it reserves, reroutes, confirms, voids and settles charges.

use std::sync::Arc;

use super::super::Reserved;
use super::super::charge::{Charge, Confirmation, Confirmed, Draft};
use super::super::charge::{Reroute, Rerouted, ReservationId, Resolution, Uncorrected};
use super::super::counters::{BindingLimits, ChannelLimits, decide_correction};
use super::super::job::State;
use super::accounts::{Accounts, Claimant, Entry};
use crate::policy::{Key, Timestamp};

impl Accounts {
    /// Makes the charge of `draft` pending, if the draft's idempotency key is free and no limit would be
    /// exceeded.
    pub(super) fn reserve(&mut self, draft: &Draft, key: &Key, now: Timestamp) -> Reserved {
        if self.entries.contains_key(&draft.id) {
            return Reserved::Done;
        }
        let charge = &draft.charge;
        if let Some(claim) = &draft.claim
            && let Some(claimed) = self.claimed(&charge.payer.key, claim, now)
        {
            return Reserved::Claimed(claimed);
        }
        let channel = Some(ChannelLimits::of(charge, &draft.placement.limits));
        self.track_all(key, channel, now);
        let takes = |measure| charge.takes(measure);
        if let Some(reached) = self.counters.reached(key, channel, takes, now) {
            return Reserved::Refused(reached);
        }
        self.counters.take(charge, now);
        if let Some(claim) = &draft.claim {
            let name = (charge.payer.key.clone(), claim.idempotency_key.clone());
            let claimant = Claimant {
                claim: claim.clone(),
                reservation: draft.id,
                answer: None,
            };
            self.claims.insert(name, claimant);
        }
        self.unmatched.insert(draft.id);
        let entry = Box::new(Entry::new(draft, now));
        self.entries.insert(draft.id, entry);
        Reserved::Done
    }

    /// Moves a pending reservation to another channel, if that channel's limits allow its charge.
    pub(super) fn reroute(&mut self, id: ReservationId, to: &Reroute) -> Rerouted {
        let entry = self.entries.get(&id);
        let Some(entry) = entry.filter(|entry| entry.state == State::Pending) else {
            return Rerouted::Closed;
        };
        let (before, created) = (entry.charge.clone(), entry.created);
        if before.channel != to.charge.channel {
            let channel = ChannelLimits::of(&to.charge, &to.placement.limits);
            self.track(self.counters.missing_of(channel.scoped(), created), created);
            let reached = self.counters.channel_reached(channel, &to.charge, created);
            if let Some(reached) = reached {
                return Rerouted::Refused(reached);
            }
            self.counters.reroute(&before, &to.charge, created);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.charge = to.charge.clone();
            entry.address = to.placement.address.clone();
            if let Some(waits) = &mut entry.waits {
                waits.channel_clock = to.placement.channel_clock;
            }
        }
        Rerouted::Done
    }

    /// Ties a reservation to its job, and corrects its charge if the limits allow the correction.
    pub(super) fn confirm(
        &mut self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Confirmed {
        let Some(entry) = self.entries.get(&id) else {
            return Confirmed::Closed;
        };
        let (before, created) = (entry.charge.clone(), entry.created);
        let waits = matches!(entry.state, State::Pending | State::Unknown);
        let (job, upstream_id) = (&confirmation.job, &confirmation.upstream_id);
        if let Some(owner) = self.owner(&before.channel, upstream_id) {
            // A job stays with its reservation, even if the channel names it for a second request.
            return match owner.job.clone() {
                Some(job) if owner.id == id => Confirmed::Already { job },
                _ => Confirmed::Taken,
            };
        }
        if !waits {
            return Confirmed::Closed;
        }
        if self.jobs.contains_key(job) {
            return Confirmed::IdTaken;
        }
        let (mut after, mut limit_reached) = (before.clone(), None);
        if confirmation.charge != before {
            let wanted = &confirmation.charge;
            self.track(self.counters.missing_of(limits.of(&before.payer), now), now);
            (after, limit_reached) =
                decide_correction(&self.counters, &before, wanted, created, limits, now);
            if limit_reached.is_none() {
                self.counters.correct(&before, &after, created);
            }
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return Confirmed::Closed;
        };
        self.last_place += 1;
        let waits = match (entry.state, &mut entry.waits) {
            (State::Unknown, Some(waits)) => {
                waits.uncorrected = Uncorrected::of(&before, &after);
                Some(waits.clone())
            }
            (_, waits) => waits.take(),
        };
        entry.state = State::Confirmed;
        entry.job = Some(job.clone());
        entry.upstream_id = (upstream_id != job).then(|| upstream_id.clone());
        entry.place = self.last_place;
        entry.charge = after.clone();
        if let Some(claim) = waits.and_then(|waits| waits.claim) {
            let name = (after.payer.key.clone(), claim.idempotency_key);
            if let Some(claimant) = self.claims.get_mut(&name)
                && claimant.reservation == id
            {
                claimant.answer = confirmation.answer.clone();
            }
        }
        self.unmatched.remove(&id);
        self.running.insert((entry.next_poll, id));
        self.jobs.insert(job.clone(), id);
        if let Some(upstream_id) = &entry.upstream_id {
            let name = (after.channel.clone(), upstream_id.clone());
            self.upstream.insert(name, id);
        }
        let list = self.lists.entry(after.payer.key.clone()).or_default();
        list.insert(entry.place, id);
        Confirmed::Done {
            before,
            after,
            limit_reached,
        }
    }

    /// Voids a reservation that has no job.
    pub(super) fn void(
        &mut self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Option<Arc<Charge>> {
        let entry = self.entries.get(&id)?;
        if !matches!(entry.state, State::Pending | State::Unknown) {
            return None;
        }
        let charge = entry.charge.clone();
        self.counters
            .resolve(&charge, entry.created, Resolution::Voided);
        if let Some(claim) = entry.claim() {
            let name = (charge.payer.key.clone(), claim.idempotency_key.clone());
            if self.claims.get(&name).is_some_and(|c| c.reservation == id) {
                self.claims.remove(&name);
            }
        }
        self.close(id, State::Voided, why, now);
        Some(charge)
    }

    /// Posts or voids a reservation whose job has ended.
    pub(super) fn settle(
        &mut self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Option<Arc<Charge>> {
        let entry = self.entries.get(&id)?;
        if entry.state != State::Confirmed {
            return None;
        }
        let charge = entry.charge.clone();
        self.counters.resolve(&charge, entry.created, resolution);
        self.close(id, resolution.into(), end, now);
        Some(charge)
    }
}
