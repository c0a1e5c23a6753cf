//! Stores and reads the evidence for disputes.

use std::sync::Arc;

use rusqlite::{Connection, Params, Row, params};

use super::super::charge::ReservationId;
use super::super::evidence::{
    ChannelAnswer, DisputeRecord, JobError, MAX_RECORDS, Note, RecordQuery,
};
use super::super::job::State;
use super::adjustments;
use super::columns::{ChargeColumns, Columns, UncorrectedColumns, blob, columns};
use super::columns::{id, int, state, time, time_if_any};
use crate::policy::Timestamp;

columns! {
    /// The columns of a [`DisputeRecord`], besides those of its charge.
    RecordColumns {
        id,
        request_id,
        address,
        state,
        created_ms,
        refused_by,
        answer_status,
        answer_request_id,
        answer_error,
        unknown_since_ms,
        confirmed_ms,
        job,
        upstream_id,
        remix_of,
        idempotency_key,
        resolved_ms,
        outcome,
        job_error_code,
        job_error_message,
        deleted,
    }
}

type AllColumns = ((ChargeColumns, UncorrectedColumns), RecordColumns);

/// Stores a fact about a reservation.
pub(super) fn note(db: &Connection, id: ReservationId, note: &Note) -> rusqlite::Result<()> {
    match note {
        Note::Answer { channel, answer } => db
            .prepare_cached(
                "UPDATE reservation
                 SET answer_status = ?2, answer_request_id = ?3, answer_error = ?4
                 WHERE id = ?1 AND channel = ?5 AND job IS NULL",
            )?
            .execute(params![
                blob(id),
                answer.status,
                answer.request_id.as_deref(),
                answer.error.as_deref(),
                &**channel,
            ])?,
        Note::JobError(JobError { code, message }) => db
            .prepare_cached(
                "UPDATE reservation SET job_error_code = ?2, job_error_message = ?3 WHERE id = ?1",
            )?
            .execute(params![blob(id), code.as_deref(), message.as_deref()])?,
    };
    Ok(())
}

/// Reads the records of the charges that a query selects.
pub(super) fn records(
    db: &Connection,
    query: &RecordQuery,
) -> rusqlite::Result<Vec<DisputeRecord>> {
    match query {
        RecordQuery::OfKey { key, from, to } => {
            let rest = "INDEXED BY reservation_key
                 WHERE key = ?1 AND created_ms BETWEEN ?2 AND ?3
                 ORDER BY created_ms, number LIMIT ?4";
            let span = [*from, *to].map(|Timestamp(at)| int(at));
            select(db, rest, params![&**key, span[0], span[1], MAX_RECORDS])
        }
        RecordQuery::Exactly(name) => {
            let rest = "WHERE number IN (
                     SELECT number FROM reservation WHERE job = ?1
                     UNION SELECT number FROM reservation WHERE id = ?2)
                 ORDER BY number";
            let reservation = ReservationId::read(name).map(blob);
            select(db, rest, params![&**name, reservation])
        }
        RecordQuery::Named(name) => {
            let rest = "WHERE number IN (
                     SELECT number FROM reservation WHERE job = ?1
                     UNION SELECT number FROM reservation WHERE request_id = ?1
                     UNION SELECT number FROM reservation WHERE id = ?2)
                 ORDER BY number LIMIT ?3";
            let reservation = ReservationId::read(name).map(blob);
            let found = select(db, rest, params![&**name, reservation, MAX_RECORDS])?;
            if !found.is_empty() {
                return Ok(found);
            }
            // No index finds an upstream id without its channel: every row is read.
            let rest = "WHERE upstream_id = ?1 ORDER BY number LIMIT ?2";
            select(db, rest, params![&**name, MAX_RECORDS])
        }
    }
}

fn select(
    db: &Connection,
    rest: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<DisputeRecord>> {
    let list = AllColumns::list();
    let mut read = db.prepare_cached(&format!("SELECT {list} FROM reservation {rest}"))?;
    let columns = AllColumns::find(&read)?;
    let found = read.query_map(parameters, |row| record(row, &columns))?;
    let mut found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    for record in found
        .iter_mut()
        .filter(|record| record.state == State::Posted)
    {
        record.voided_by = adjustments::of_reservation(db, record.id)?;
    }
    Ok(found)
}

fn record(
    row: &Row<'_>,
    ((charge, uncorrected), own): &AllColumns,
) -> rusqlite::Result<DisputeRecord> {
    let id = id(row, own.id)?;
    let request_id = row.get::<_, Option<Arc<str>>>(own.request_id)?;
    let job = row.get::<_, Option<Arc<str>>>(own.job)?;
    let upstream_id = row.get::<_, Option<Arc<str>>>(own.upstream_id)?;
    Ok(DisputeRecord {
        id,
        request_id: request_id.unwrap_or_else(|| id.request_id().into()),
        charge: charge.read(row, &mut |text| text.into())?,
        uncorrected: uncorrected.read(row)?,
        address: row.get(own.address)?,
        state: state(row, own.state)?,
        reserved: time(row, own.created_ms)?,
        refused_by: row.get(own.refused_by)?,
        answer: ChannelAnswer {
            status: row.get(own.answer_status)?,
            request_id: row.get(own.answer_request_id)?,
            error: row.get(own.answer_error)?,
        },
        unknown: time_if_any(row, own.unknown_since_ms)?,
        confirmed: time_if_any(row, own.confirmed_ms)?,
        upstream_id: upstream_id.or_else(|| job.clone()),
        job,
        remix_of: row.get(own.remix_of)?,
        idempotency_key: row.get(own.idempotency_key)?,
        resolved: time_if_any(row, own.resolved_ms)?,
        outcome: row.get(own.outcome)?,
        job_error: JobError {
            code: row.get(own.job_error_code)?,
            message: row.get(own.job_error_message)?,
        },
        deleted: row.get(own.deleted)?,
        voided_by: None,
    })
}
