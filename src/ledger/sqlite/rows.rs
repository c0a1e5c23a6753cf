//! Reads reservations from the database, without the writing thread.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::super::charge::PromptDigest;
use super::super::job::{Job, JobsAfter, NOT_CREATED, NOT_FOUND_OUT, Unmatched, UnresolvedCount};
use super::super::{ClaimState, FARTHEST_POLL};
use super::columns::{ChargeColumns, Columns, UncorrectedColumns, columns};
use super::columns::{id, int, state, time, time_if_any, uint};
use crate::policy::Timestamp;

/// A value that is read from a row of the table `reservation`.
trait Record: Sized {
    /// The columns that the value is read from.
    type Columns: Columns;

    /// Reads the value from a row.
    fn read(columns: &Self::Columns, row: &Row<'_>) -> rusqlite::Result<Self>;
}

columns! {
    /// The columns of a [`Job`], besides those of its charge.
    JobColumns {
        job,
        upstream_id,
        id,
        created_ms,
        remix_of,
        state,
        outcome,
        deleted,
        address,
    }
}

columns! {
    /// The columns of an [`Unmatched`], besides those of its charge.
    UnmatchedColumns {
        id,
        prompt_sha256,
        remix_of,
        created_ms,
        since_ms = "ifnull(unknown_since_ms, created_ms)",
        state,
        fingerprint = "(SELECT fingerprint FROM idempotency AS i
             WHERE i.key = reservation.key AND i.idempotency_key = reservation.idempotency_key
                 AND i.reservation = reservation.id)",
        channel_clock_ms,
        address,
    }
}

impl Record for Job {
    type Columns = (ChargeColumns, JobColumns);

    fn read((charge, own): &Self::Columns, row: &Row<'_>) -> rusqlite::Result<Self> {
        let public: Arc<str> = row.get(own.job)?;
        let upstream_id = row.get::<_, Option<_>>(own.upstream_id)?;
        Ok(Self {
            charge: charge.read(row, &mut |text| text.into())?,
            upstream_id: upstream_id.unwrap_or_else(|| public.clone()),
            id: public,
            reservation: id(row, own.id)?,
            created: time(row, own.created_ms)?,
            remix_of: row.get(own.remix_of)?,
            resolution: state(row, own.state)?.resolution(),
            end: row.get(own.outcome)?,
            deleted: row.get(own.deleted)?,
            address: row.get(own.address)?,
        })
    }
}

impl Record for Unmatched {
    type Columns = ((ChargeColumns, UncorrectedColumns), UnmatchedColumns);

    fn read(((charge, uncorrected), own): &Self::Columns, row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            charge: charge.read(row, &mut |text| text.into())?,
            uncorrected: uncorrected.read(row)?,
            id: id(row, own.id)?,
            prompt: PromptDigest(row.get(own.prompt_sha256)?),
            remix_of: row.get(own.remix_of)?,
            created: time(row, own.created_ms)?,
            since: time(row, own.since_ms)?,
            state: state(row, own.state)?,
            fingerprint: row.get(own.fingerprint)?,
            channel_clock: time_if_any(row, own.channel_clock_ms)?,
            address: row.get(own.address)?,
        })
    }
}

/// Reads values from the rows of the table `reservation` that `rest`, the end of a `SELECT`, selects.
fn select<T: Record>(
    db: &Connection,
    rest: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<T>> {
    let list = T::Columns::list();
    let mut read = db.prepare_cached(&format!("SELECT {list} FROM reservation {rest}"))?;
    let columns = T::Columns::find(&read)?;
    let found = read.query_map(parameters, |row| T::read(&columns, row))?;
    found.collect()
}

/// Reads the job whose public id is `name`.
pub(super) fn job(db: &Connection, name: &str) -> rusqlite::Result<Option<Job>> {
    Ok(select(db, "WHERE job = ?1", [name])?.pop())
}

/// Reads the job whose id at the channel named `channel` is `upstream_id`.
pub(super) fn job_of_channel(
    db: &Connection,
    channel: &str,
    upstream_id: &str,
) -> rusqlite::Result<Option<Job>> {
    let Some(number) = owner(db, channel, upstream_id)? else {
        return Ok(None);
    };
    Ok(select(db, "WHERE number = ?1", [number])?.pop())
}

/// Finds the row number of the reservation that has the job `upstream_id` on `channel`.
pub(super) fn owner(
    db: &Connection,
    channel: &str,
    upstream_id: &str,
) -> rusqlite::Result<Option<i64>> {
    // Where the column is null, the public id is the upstream one.
    let mut read = db.prepare_cached(
        "SELECT number FROM reservation
         WHERE job = ?2 AND channel = ?1 AND upstream_id IS NULL
         UNION ALL
         SELECT number FROM reservation INDEXED BY reservation_upstream
         WHERE channel = ?1 AND upstream_id = ?2",
    )?;
    read.query_row([channel, upstream_id], |row| row.get("number"))
        .optional()
}

/// Reads a page of the jobs of the key named `key`; `None` where `page.after` is no job of that key.
pub(super) fn jobs(
    db: &Connection,
    key: &str,
    page: &JobsAfter<'_>,
) -> rusqlite::Result<Option<Vec<Job>>> {
    let place = match page.after {
        Some(after) => {
            let mut read =
                db.prepare_cached("SELECT place FROM reservation WHERE job = ?1 AND key = ?2")?;
            let place = read.query_row([after, key], |row| row.get::<_, i64>("place"));
            let Some(place) = place.optional()? else {
                return Ok(None);
            };
            Some(place)
        }
        None => None,
    };
    let (compare, order, start) = if page.ascending {
        (">", "ASC", 0)
    } else {
        ("<", "DESC", i64::MAX)
    };
    let rest = format!(
        "INDEXED BY reservation_place
         WHERE key = ?1 AND place IS NOT NULL AND place {compare} ?2 AND deleted = 0
         ORDER BY place {order} LIMIT ?3",
    );
    let parameters = params![key, place.unwrap_or(start), i64::from(page.limit)];
    select(db, &rest, parameters).map(Some)
}

/// Reads the jobs of a channel whose next poll is due, and then those whose next poll is so far ahead that a
/// wrong clock has set it.
pub(super) fn due(
    db: &Connection,
    channel: &str,
    now: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<Job>> {
    let rest = "INDEXED BY reservation_open
         WHERE channel = ?1 AND look_at_ms BETWEEN ?2 AND ?3
             AND resolved_ms IS NULL AND state = 'confirmed'
         ORDER BY look_at_ms LIMIT ?4";
    let mut due = Vec::new();
    let far = int(now.0.saturating_add(FARTHEST_POLL));
    for (from, to) in [(0, int(now.0)), (far, i64::MAX)] {
        let limit = i64::from(limit).saturating_sub(i64::try_from(due.len()).unwrap_or(i64::MAX));
        due.extend(select::<Job>(db, rest, params![channel, from, to, limit])?);
    }
    Ok(due)
}

/// Reads the reservations of a channel that have no job and are not resolved.
pub(super) fn unmatched(
    db: &Connection,
    channel: &str,
    limit: u32,
) -> rusqlite::Result<Vec<Unmatched>> {
    let rest = "INDEXED BY reservation_open
         WHERE channel = ?1 AND job IS NULL AND resolved_ms IS NULL
         ORDER BY created_ms, id LIMIT ?2";
    select(db, rest, params![channel, i64::from(limit)])
}

/// Reads the reservation of the job `upstream_id` on `channel`, if it was unknown before it had the job.
pub(super) fn reconciled(
    db: &Connection,
    channel: &str,
    upstream_id: &str,
) -> rusqlite::Result<Option<Unmatched>> {
    let Some(number) = owner(db, channel, upstream_id)? else {
        return Ok(None);
    };
    let rest = "WHERE number = ?1 AND unknown_since_ms IS NOT NULL";
    Ok(select(db, rest, [number])?.pop())
}

/// Reads the reservations of a channel that were voided at `since` or later without a proof that no job was
/// created.
pub(super) fn recently_voided(
    db: &Connection,
    channel: &str,
    since: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<Unmatched>> {
    let rest = format!(
        "INDEXED BY reservation_rival
         WHERE channel = ?1 AND resolved_ms >= ?2
             AND state = 'voided' AND outcome IN ('{NOT_CREATED}', '{NOT_FOUND_OUT}')
         ORDER BY created_ms, id LIMIT ?3"
    );
    let parameters = params![channel, int(since.0), i64::from(limit)];
    select(db, &rest, parameters)
}

/// Counts the reservations that are not resolved, by key, channel and state.
pub(super) fn count_unresolved(db: &Connection) -> rusqlite::Result<Vec<UnresolvedCount>> {
    let mut read = db.prepare_cached(
        "SELECT key, channel, state, count(*) AS count, min(created_ms) AS oldest_ms
         FROM reservation INDEXED BY reservation_open
         WHERE resolved_ms IS NULL GROUP BY key, channel, state",
    )?;
    let found = read.query_map([], |row| {
        Ok(UnresolvedCount {
            key: row.get("key")?,
            channel: row.get("channel")?,
            state: state(row, "state")?,
            count: uint(row, "count")?,
            oldest: Timestamp(uint(row, "oldest_ms")?),
        })
    })?;
    found.collect()
}

/// Reads whether the request that has used an idempotency key was answered. Returns `None` where no request
/// has used it, or its claim has expired.
pub(super) fn claim_state(
    db: &Connection,
    key: &str,
    idempotency_key: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<ClaimState>> {
    let mut read = db.prepare_cached(
        "SELECT status IS NOT NULL AS answered FROM idempotency
         WHERE key = ?1 AND idempotency_key = ?2 AND (expires_ms > ?3 OR status IS NULL)",
    )?;
    let parameters = params![key, idempotency_key, int(now.0)];
    let answered = read.query_row(parameters, |row| row.get("answered"));
    let answered = answered.optional()?;
    Ok(answered.map(|answered: bool| match answered {
        true => ClaimState::Answered,
        false => ClaimState::InFlight,
    }))
}
