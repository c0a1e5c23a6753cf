//! Rows of the database, and what is read without the writing thread.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::charge::{Charge, Payer, PromptDigest, ReservationId};
use super::super::job::{Job, Jobless, JobsAfter, NOT_CREATED, NOT_FOUND_OUT, Open, State};
use super::super::{ClaimState, FARTHEST_LOOK};
use crate::catalog::PriceList;
use crate::money::{Amount, Multiplier};
use crate::policy::Timestamp;

/// The columns of a charge, the first eleven of whatever reads one.
macro_rules! charge_columns {
    () => {
        "key, \"group\", currency, multiplier, channel, model, size, seconds, list_nanos, \
         billed_nanos, price_list"
    };
}
pub(super) use charge_columns;

/// The columns of a job.
macro_rules! job_columns {
    () => {
        concat!(
            charge_columns!(),
            ", job, id, created_ms, remix_of, state, outcome, deleted, upstream_id"
        )
    };
}

/// What a [`Jobless`] has besides its charge.
const JOBLESS_COLUMNS: &str = ", id, prompt_sha256, remix_of, created_ms, \
     ifnull(unknown_since_ms, created_ms), state, \
     (SELECT fingerprint FROM idempotency WHERE idempotency.key = reservation.key \
          AND idempotency.idempotency_key = reservation.idempotency_key \
          AND idempotency.reservation = reservation.id)";

pub(super) fn job(db: &Connection, name: &str) -> rusqlite::Result<Option<Job>> {
    let mut read = db.prepare_cached(concat!(
        "SELECT ",
        job_columns!(),
        " FROM reservation WHERE job = ?1"
    ))?;
    read.query_row([name], as_job).optional()
}

/// The job of that upstream id on that channel.
pub(super) fn job_of_channel(
    db: &Connection,
    channel: &str,
    upstream_id: &str,
) -> rusqlite::Result<Option<Job>> {
    let Some(number) = owner(db, channel, upstream_id)? else {
        return Ok(None);
    };
    let mut read = db.prepare_cached(concat!(
        "SELECT ",
        job_columns!(),
        " FROM reservation WHERE number = ?1"
    ))?;
    read.query_row([number], as_job).optional()
}

/// Which reservation has the job of that upstream id on that channel, by its number.
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
    read.query_row([channel, upstream_id], |row| row.get(0))
        .optional()
}

pub(super) fn jobs(
    db: &Connection,
    key: &str,
    page: &JobsAfter<'_>,
) -> rusqlite::Result<Option<Vec<Job>>> {
    let place = match page.after {
        Some(after) => {
            let mut read =
                db.prepare_cached("SELECT place FROM reservation WHERE job = ?1 AND key = ?2")?;
            let place = read.query_row([after, key], |row| row.get::<_, i64>(0));
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
    let mut read = db.prepare_cached(&format!(
        "SELECT {} FROM reservation INDEXED BY reservation_place
         WHERE key = ?1 AND place IS NOT NULL AND place {compare} ?2 AND deleted = 0
         ORDER BY place {order} LIMIT ?3",
        job_columns!()
    ))?;
    let found = read.query_map(
        params![key, place.unwrap_or(start), i64::from(page.limit)],
        as_job,
    )?;
    found.collect::<Result<_, _>>().map(Some)
}

pub(super) fn due(
    db: &Connection,
    channel: &str,
    now: Timestamp,
    most: u32,
) -> rusqlite::Result<Vec<Job>> {
    let mut read = db.prepare_cached(concat!(
        "SELECT ",
        job_columns!(),
        " FROM reservation INDEXED BY reservation_open
         WHERE channel = ?1 AND look_at_ms BETWEEN ?2 AND ?3
            AND resolved_ms IS NULL AND state = 'confirmed'
         ORDER BY look_at_ms LIMIT ?4"
    ))?;
    let mut due = Vec::new();
    let far = int(now.0.saturating_add(FARTHEST_LOOK));
    for (from, to) in [(0, int(now.0)), (far, i64::MAX)] {
        let most = i64::from(most).saturating_sub(i64::try_from(due.len()).unwrap_or(i64::MAX));
        let found = read.query_map(params![channel, from, to, most], as_job)?;
        for job in found {
            due.push(job?);
        }
    }
    Ok(due)
}

pub(super) fn jobless(db: &Connection, channel: &str, most: u32) -> rusqlite::Result<Vec<Jobless>> {
    let mut read = db.prepare_cached(&format!(
        "SELECT {}{JOBLESS_COLUMNS}
         FROM reservation INDEXED BY reservation_open
         WHERE channel = ?1 AND job IS NULL AND resolved_ms IS NULL
         ORDER BY created_ms, id LIMIT ?2",
        charge_columns!()
    ))?;
    let found = read.query_map(params![channel, i64::from(most)], as_jobless)?;
    found.collect()
}

/// The one that has a job although no answer named it.
pub(super) fn found(
    db: &Connection,
    channel: &str,
    upstream_id: &str,
) -> rusqlite::Result<Option<Jobless>> {
    let Some(number) = owner(db, channel, upstream_id)? else {
        return Ok(None);
    };
    let mut read = db.prepare_cached(&format!(
        "SELECT {}{JOBLESS_COLUMNS}
         FROM reservation WHERE number = ?1 AND unknown_since_ms IS NOT NULL",
        charge_columns!()
    ))?;
    read.query_row([number], as_jobless).optional()
}

/// Those that were voided without a proof.
pub(super) fn rivals(
    db: &Connection,
    channel: &str,
    since: Timestamp,
    most: u32,
) -> rusqlite::Result<Vec<Jobless>> {
    let mut read = db.prepare_cached(&format!(
        "SELECT {}{JOBLESS_COLUMNS}
         FROM reservation INDEXED BY reservation_rival
         WHERE channel = ?1 AND resolved_ms >= ?2
             AND state = 'voided' AND outcome IN ('{NOT_CREATED}', '{NOT_FOUND_OUT}')
         ORDER BY created_ms, id LIMIT ?3",
        charge_columns!()
    ))?;
    let parameters = params![channel, int(since.0), i64::from(most)];
    read.query_map(parameters, as_jobless)?.collect()
}

pub(super) fn open(db: &Connection) -> rusqlite::Result<Vec<Open>> {
    let mut read = db.prepare_cached(
        "SELECT key, channel, state, count(*) FROM reservation INDEXED BY reservation_open
         WHERE resolved_ms IS NULL GROUP BY key, channel, state",
    )?;
    let found = read.query_map([], |row| {
        Ok(Open {
            key: row.get(0)?,
            channel: row.get(1)?,
            state: state(row, 2)?,
            count: uint(row, 3)?,
        })
    })?;
    found.collect()
}

pub(super) fn claim_state(
    db: &Connection,
    key: &str,
    idempotency_key: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<ClaimState>> {
    let mut read = db.prepare_cached(
        "SELECT status IS NOT NULL FROM idempotency
         WHERE key = ?1 AND idempotency_key = ?2 AND (expires_ms > ?3 OR status IS NULL)",
    )?;
    let answered = read.query_row(params![key, idempotency_key, int(now.0)], |row| row.get(0));
    let answered = answered.optional()?;
    Ok(answered.map(|answered: bool| match answered {
        true => ClaimState::Answered,
        false => ClaimState::InFlight,
    }))
}

fn as_job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let public: Arc<str> = row.get(11)?;
    Ok(Job {
        charge: charge(row, &mut |text| text.into())?,
        upstream_id: row
            .get::<_, Option<_>>(18)?
            .unwrap_or_else(|| public.clone()),
        id: public,
        reservation: id(row, 12)?,
        created: time(row, 13)?,
        remix_of: row.get(14)?,
        resolution: state(row, 15)?.resolution(),
        end: row.get(16)?,
        deleted: row.get(17)?,
    })
}

fn as_jobless(row: &Row<'_>) -> rusqlite::Result<Jobless> {
    Ok(Jobless {
        charge: charge(row, &mut |text| text.into())?,
        id: id(row, 11)?,
        prompt: PromptDigest(row.get(12)?),
        remix_of: row.get(13)?,
        created: time(row, 14)?,
        since: time(row, 15)?,
        state: state(row, 16)?,
        fingerprint: row.get(17)?,
    })
}

/// A charge from its columns; `name` makes names of texts.
pub(super) fn charge(
    row: &Row<'_>,
    name: &mut dyn FnMut(&str) -> Arc<str>,
) -> rusqlite::Result<Arc<Charge>> {
    let amount = |column| {
        let amount = Amount::from_nanos(uint(row, column)?);
        amount.ok_or_else(|| unreadable(column, "no amount"))
    };
    let multiplier = Multiplier::from_thousandths(uint(row, 3)?);
    Ok(Arc::new(Charge {
        payer: Payer {
            key: name(text(row, 0)?),
            group: name(text(row, 1)?),
            currency: name(text(row, 2)?),
            multiplier: multiplier.ok_or_else(|| unreadable(3, "no multiplier"))?,
        },
        channel: name(text(row, 4)?),
        model: name(text(row, 5)?),
        size: name(text(row, 6)?),
        seconds: row.get(7)?,
        list: amount(8)?,
        billed: amount(9)?,
        prices: PriceList::from_text(name(text(row, 10)?)),
    }))
}

pub(super) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<ReservationId> {
    row.get(column)
        .map(|id| ReservationId(u128::from_be_bytes(id)))
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    State::from_name(text(row, column)?).ok_or_else(|| unreadable(column, "no state"))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    uint(row, column).map(Timestamp)
}

pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r str> {
    Ok(row.get_ref(column)?.as_str()?)
}

pub(super) fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| unreadable(column, "a negative number"))
}

/// As SQLite keeps integers. What is larger is beyond every limit, amount and time.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Something else than this program writes stands in a column.
pub(super) fn unreadable(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}
