//! Moves pending reservations to other channels.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::super::charge::{Charge, Reroute, Rerouted, ReservationId};
use super::super::counters::{ChannelLimits, LimitReached, Scope};
use super::super::job::State;
use super::columns::{text_or_null, time_or_null};
use super::correction::correct;
use super::state::{WriterState, locked};
use crate::policy::{Limit, Timestamp};

/// Finds the first of `limits` that `charge` would exceed if it was reserved at `at`. `limits` are those of
/// the charge's channel.
pub(super) fn channel_reached(
    state: &mut WriterState,
    db: &Connection,
    charge: &Charge,
    limits: &[Limit],
    at: Timestamp,
) -> rusqlite::Result<Option<LimitReached>> {
    let channel = ChannelLimits::of(charge, limits);
    let missing = locked(&state.counters).missing_of(channel.scoped(), at);
    state.track(db, missing, at)?;
    Ok(locked(&state.counters).channel_reached(channel, charge, at))
}

/// Moves a pending reservation to another channel, if that channel's limits allow its charge.
pub(super) fn reroute(
    state: &mut WriterState,
    db: &Connection,
    id: ReservationId,
    to: &Reroute,
) -> rusqlite::Result<Rerouted> {
    let pending = state.open.get(&id).filter(|e| e.state == State::Pending);
    let Some((number, before, created)) =
        pending.map(|entry| (entry.number, entry.charge.clone(), entry.created))
    else {
        return Ok(Rerouted::Closed);
    };
    let (after, placement) = (&to.charge, &to.placement);
    if before.channel != after.channel {
        let reached = channel_reached(state, db, after, &placement.limits, created)?;
        if let Some(reached) = reached {
            return Ok(Rerouted::Refused(reached));
        }
        move_counters(state, &before, after, created);
    }
    correct(db, number, after)?;
    let mut update = db.prepare_cached(
        "UPDATE reservation SET address = ?2, channel_clock_ms = ?3, refused_by = ?4,
             answer_status = NULL, answer_request_id = NULL, answer_error = NULL
         WHERE number = ?1",
    )?;
    update.execute(params![
        number,
        text_or_null(placement.address.as_deref()),
        time_or_null(placement.channel_clock),
        &*to.refused_by,
    ])?;
    if let Some(entry) = state.open.get_mut(&id) {
        entry.charge = after.clone();
        entry.address = placement.address.clone();
    }
    Ok(Rerouted::Done)
}

fn move_counters(
    state: &mut WriterState,
    before: &Arc<Charge>,
    after: &Arc<Charge>,
    taken: Timestamp,
) {
    locked(&state.counters).reroute(before, after, taken);
    for charge in [before, after] {
        let scope = Scope::Channel(charge.channel.clone());
        if !locked(&state.counters).of(&scope).is_empty() {
            state.dirty.insert(scope);
        }
    }
}
