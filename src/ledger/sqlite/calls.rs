//! The calls that change a reservation, as the writing thread runs them.
//!
//! After an error in the middle of a call, the state in memory may be ahead of the database. So the
//! transaction is rolled back, and the state is loaded anew.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::super::Reserved;
use super::super::charge::{Charge, Confirmation, Confirmed, Draft};
use super::super::charge::{ReservationId, Resolution, Uncorrected};
use super::super::counters::{BindingLimits, ChannelLimits, decide_correction};
use super::super::job::State;
use super::columns::{ChargeColumns, Columns as _, Values as _};
use super::columns::{blob, columns, id, int, text_or_null, time_or_null};
use super::correction::{correct, keep_uncorrected};
use super::state::{Entry, WriterState, locked};
use super::writer_db::WriterDb;
use super::{claims, rows};
use crate::policy::{Key, Timestamp};

impl WriterState {
    pub(super) fn reserve(
        &mut self,
        db: &WriterDb<'_>,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> rusqlite::Result<Reserved> {
        if self.open.contains_key(&draft.id) {
            return Ok(Reserved::Done);
        }
        let charge = &draft.charge;
        // The reservation may exist and be resolved, if this call is repeated late. It is looked up only
        // before a refusal.
        let known = |otherwise| {
            let mut read = db.prepare_cached("SELECT 1 FROM reservation WHERE id = ?1")?;
            let known = read.exists([blob(draft.id)])?;
            Ok(if known { Reserved::Done } else { otherwise })
        };
        if let Some(claim) = &draft.claim
            && let Some(claimed) = claims::claimed(db, &charge.payer.key, claim, now)?
        {
            return known(Reserved::Claimed(claimed));
        }
        let channel = Some(ChannelLimits::of(charge, &draft.placement.limits));
        let missing = locked(&self.counters).missing(key, channel, now);
        self.track(db, missing, now)?;
        let reached = locked(&self.counters).reached(key, channel, |m| charge.takes(m), now);
        if let Some(reached) = reached {
            return known(Reserved::Refused(reached));
        }
        if !self.insert(db, draft, now)? {
            return Ok(Reserved::Done);
        }
        locked(&self.counters).take(charge, now);
        self.touch(charge);
        if let Some(claim) = &draft.claim {
            claims::insert(db, draft, claim)?;
        }
        let entry = Entry {
            number: self.last_number,
            charge: draft.charge.clone(),
            created: now,
            state: State::Pending,
            own: true,
            idempotency_key: (draft.claim.as_ref()).map(|claim| claim.idempotency_key.clone()),
            job: None,
            upstream_id: None,
            remix_of: draft.remix_of.clone(),
            address: draft.placement.address.clone(),
            deleted: false,
        };
        self.open.insert(draft.id, Box::new(entry));
        Ok(Reserved::Done)
    }

    /// Writes the reservation of `draft`, unless one with its id exists. Returns whether it was written.
    fn insert(
        &mut self,
        db: &WriterDb<'_>,
        draft: &Draft,
        now: Timestamp,
    ) -> rusqlite::Result<bool> {
        let charge = &draft.charge;
        let payer = &charge.payer;
        let claim = draft.claim.as_ref();
        let id = blob(draft.id);
        let own = NewReservation {
            number: (self.last_number + 1).into(),
            id: ToSqlOutput::from(&id[..]),
            created_ms: int(now.0).into(),
            state: ToSqlOutput::from(State::Pending.name()),
            gate: self.run.into(),
            prompt_sha256: ToSqlOutput::from(&draft.prompt.0[..]),
            remix_of: text_or_null(draft.remix_of.as_deref()),
            idempotency_key: text_or_null(claim.map(|claim| &*claim.idempotency_key)),
            look_at_ms: int(draft.next_poll.0).into(),
            address: text_or_null(draft.placement.address.as_deref()),
            channel_clock_ms: time_or_null(draft.placement.channel_clock),
            request_id: text_or_null(draft.request_id.as_deref()),
        };
        let values = own.values().chain(ChargeColumns::from(&**charge).values());
        let inserted = db.with(&INSERT, |insert| insert.execute(params_from_iter(values)))?;
        if inserted == 0 {
            return Ok(false);
        }
        self.last_number += 1;
        let keys = self.payers.get(&payer.group);
        if !keys.is_some_and(|keys| keys.contains(&payer.key)) {
            self.note_payer(db, charge)?;
        }
        Ok(true)
    }

    fn note_payer(&mut self, db: &Connection, charge: &Charge) -> rusqlite::Result<()> {
        let payer = &charge.payer;
        db.prepare_cached("INSERT OR IGNORE INTO payer (\"group\", key) VALUES (?1, ?2)")?
            .execute([&*payer.group, &*payer.key])?;
        let keys = self.payers.entry(payer.group.clone()).or_default();
        keys.insert(payer.key.clone());
        Ok(())
    }

    pub(super) fn confirm(
        &mut self,
        db: &WriterDb<'_>,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> rusqlite::Result<Confirmed> {
        let waiting = self.open.get(&id).filter(|entry| entry.waits());
        let Some(entry) = waiting else {
            let before = self.confirmed_before(db, id, confirmation)?;
            return Ok(before.unwrap_or(Confirmed::Closed));
        };
        let (before, created) = (entry.charge.clone(), entry.created);
        let (mut after, mut limit_reached) = (before.clone(), None);
        if confirmation.charge != before {
            let missing = locked(&self.counters).missing_of(limits.of(&before.payer), now);
            self.track(db, missing, now)?;
            let (counters, wanted) = (locked(&self.counters), &confirmation.charge);
            (after, limit_reached) =
                decide_correction(&counters, &before, wanted, created, limits, now);
        }
        let Some(entry) = self.open.get_mut(&id) else {
            return Ok(Confirmed::Closed);
        };
        let job = &confirmation.job;
        let upstream_id = Some(&confirmation.upstream_id).filter(|id| *id != job);
        let place = self.last_place + 1;
        let parameters = params![
            entry.number,
            &**job,
            place,
            int(now.0),
            upstream_id.map(|id| &**id),
            confirmation.channel_answer.status,
            confirmation.channel_answer.request_id.as_deref(),
            &*before.channel,
        ];
        let updated = db.with(CONFIRM, |update| update.execute(parameters))?;
        if updated == 0 {
            let before = self.confirmed_before(db, id, confirmation)?;
            return Ok(before.unwrap_or(Confirmed::IdTaken));
        }
        self.last_place = place;
        entry.state = State::Confirmed;
        (entry.job, entry.upstream_id) = (Some(job.clone()), upstream_id.cloned());
        self.confirmed.push(id);
        if let (Some(name), Some(answer)) = (&entry.idempotency_key, &confirmation.answer) {
            claims::keep_answer(db, id, &before.payer.key, name, answer)?;
        }
        if after != before {
            correct(db, entry.number, &after)?;
            if let Some(uncorrected) = Uncorrected::of(&before, &after) {
                keep_uncorrected(db, entry.number, &uncorrected)?;
            }
            entry.charge = after.clone();
            locked(&self.counters).correct(&before, &after, created);
            self.touch(&before);
            self.note_payer(db, &after)?;
        }
        Ok(Confirmed::Done {
            before,
            after,
            limit_reached,
        })
    }

    /// Returns the outcome of a confirmation whose job has an owner already: this reservation or another one;
    /// `None` if the job has no owner.
    fn confirmed_before(
        &self,
        db: &Connection,
        reservation: ReservationId,
        confirmation: &Confirmation,
    ) -> rusqlite::Result<Option<Confirmed>> {
        let entry = self.open.get(&reservation);
        let channel = entry.map_or(&confirmation.charge.channel, |entry| &entry.charge.channel);
        // A job stays with its reservation, even if the channel names it for a second request.
        let Some(number) = rows::owner(db, channel, &confirmation.upstream_id)? else {
            return Ok(None);
        };
        let mut read = db.prepare_cached("SELECT id, job FROM reservation WHERE number = ?1")?;
        let owner = |row: &Row<'_>| Ok((id(row, "id")?, row.get("job")?));
        Ok(Some(match read.query_row([number], owner)? {
            (owner, job) if owner == reservation => Confirmed::Already { job },
            _ => Confirmed::Taken,
        }))
    }

    pub(super) fn mark_unknown(
        &mut self,
        db: &Connection,
        id: ReservationId,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        match self.open.get_mut(&id) {
            Some(entry) if entry.state == State::Pending => entry.mark_unknown(db, now),
            _ => Ok(()),
        }
    }

    /// Marks lost reservations as unknown: those that an earlier process left pending, and those of this
    /// process that have been pending for longer than `lost_after`. Returns how many were marked.
    pub(super) fn mark_lost(
        &mut self,
        db: &Connection,
        now: Timestamp,
        lost_after: Duration,
    ) -> rusqlite::Result<u64> {
        let mut marked = 0;
        for entry in self.open.values_mut() {
            let age = u128::from(now.since(entry.created));
            let lost = !entry.own || age > lost_after.as_millis();
            if entry.state == State::Pending && lost {
                entry.mark_unknown(db, now)?;
                marked += 1;
            }
        }
        Ok(marked)
    }

    pub(super) fn void(
        &mut self,
        db: &Connection,
        id: ReservationId,
        why: &str,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Arc<Charge>>> {
        let Some(entry) = self.close(db, id, Entry::waits, State::Voided, why, now)? else {
            return Ok(None);
        };
        self.count_resolved(&entry, Resolution::Voided);
        if let Some(name) = entry.idempotency_key {
            claims::release(db, id, &entry.charge.payer.key, &name)?;
        }
        Ok(Some(entry.charge))
    }

    pub(super) fn settle(
        &mut self,
        db: &Connection,
        id: ReservationId,
        resolution: Resolution,
        end: &str,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Arc<Charge>>> {
        let runs = |entry: &Entry| entry.state == State::Confirmed;
        let Some(entry) = self.close(db, id, runs, resolution.into(), end, now)? else {
            return Ok(None);
        };
        self.count_resolved(&entry, resolution);
        Ok(Some(entry.charge))
    }

    /// Updates the counters for a reservation that is resolved.
    fn count_resolved(&mut self, entry: &Entry, resolution: Resolution) {
        locked(&self.counters).resolve(&entry.charge, entry.created, resolution);
        self.touch(&entry.charge);
    }

    /// Sets the unresolved reservation `id` to `state`, which is posted or voided, if `may` allows it.
    /// Returns the reservation's entry; `None` where this call has not resolved it.
    fn close(
        &mut self,
        db: &Connection,
        id: ReservationId,
        may: impl Fn(&Entry) -> bool,
        state: State,
        outcome: &str,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Box<Entry>>> {
        let Some(entry) = self.open.get(&id).filter(|entry| may(entry)) else {
            return Ok(None);
        };
        self.running.remove(entry.job.as_ref());
        let mut update = db.prepare_cached(
            "UPDATE reservation SET state = ?2, outcome = ?3, resolved_ms = ?4 WHERE number = ?1",
        )?;
        update.execute(params![entry.number, state.name(), outcome, int(now.0)])?;
        Ok(self.open.remove(&id))
    }

    pub(super) fn set_next_poll(
        &mut self,
        db: &Connection,
        id: ReservationId,
        at: Timestamp,
    ) -> rusqlite::Result<()> {
        if let Some(entry) = self.open.get(&id) {
            db.prepare_cached("UPDATE reservation SET look_at_ms = ?2 WHERE number = ?1")?
                .execute([entry.number, int(at.0)])?;
        }
        Ok(())
    }

    pub(super) fn mark_deleted(
        &mut self,
        db: &Connection,
        id: ReservationId,
    ) -> rusqlite::Result<()> {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.deleted = true;
            self.running.remove(entry.job.as_ref());
        }
        db.prepare_cached("UPDATE reservation SET deleted = 1 WHERE id = ?1 AND deleted = 0")?
            .execute([blob(id)])?;
        Ok(())
    }
}

impl Entry {
    /// Returns whether the reservation has no job yet.
    fn waits(&self) -> bool {
        matches!(self.state, State::Pending | State::Unknown)
    }

    fn mark_unknown(&mut self, db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let mut update = db.prepare_cached(
            "UPDATE reservation SET state = 'unknown', unknown_since_ms = ?2 WHERE number = ?1",
        )?;
        update.execute([self.number, int(now.0)])?;
        self.state = State::Unknown;
        Ok(())
    }
}

columns! {
    /// The columns that are written for a new reservation, besides those of its charge.
    NewReservation {
        number,
        id,
        created_ms,
        state,
        gate,
        prompt_sha256,
        remix_of,
        idempotency_key,
        look_at_ms,
        address,
        channel_clock_ms,
        request_id,
    }
}

/// The statement that confirms a reservation, unless its job belongs to another reservation or the public id
/// is taken. Both are rare, so the statement tests for them itself: a separate query would cost each create
/// time, and nearly always find nothing.
const CONFIRM: &str = "UPDATE OR IGNORE reservation
     SET state = 'confirmed', job = ?2, place = ?3, confirmed_ms = ?4, upstream_id = ?5,
         answer_request_id = iif(?6 IS NULL, answer_request_id, ?7),
         answer_error = iif(?6 IS NULL, answer_error, NULL),
         answer_status = ifnull(?6, answer_status)
     WHERE number = ?1 AND job IS NULL
         AND (?5 IS NULL OR NOT EXISTS (
             SELECT 1 FROM reservation
             WHERE job = ?5 AND channel = ?8 AND upstream_id IS NULL))
         AND NOT EXISTS (
             SELECT 1 FROM reservation INDEXED BY reservation_upstream
             WHERE channel = ?8 AND upstream_id = ifnull(?5, ?2))";

/// The statement that inserts a reservation, unless one with its id exists.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    type Written = (NewReservation, ChargeColumns);
    let (columns, values) = (Written::list(), Written::placeholders());
    format!("INSERT INTO reservation ({columns}) VALUES ({values}) ON CONFLICT (id) DO NOTHING")
});
