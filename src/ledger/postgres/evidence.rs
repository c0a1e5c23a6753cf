//! Keeps and reads what disputes ask for.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connection::{ANSWER, Database, LONG_ANSWER};
use super::row::{self, CHARGE, Id, bigint, column, number, state, text_if_any};
use crate::ledger::Unavailable;
use crate::ledger::charge::ReservationId;
use crate::ledger::evidence::{
    ChannelAnswer, DisputeRecord, JobError, MAX_RECORDS, Note, RecordQuery,
};
use crate::policy::Timestamp;

/// The columns of a [`DisputeRecord`], besides those of its charge.
const RECORD: &str = "id, request_id, address, state, created_ms, refused_by, answer_status, \
     answer_request_id, answer_error, unknown_since_ms, confirmed_ms, job, upstream_id, remix_of, \
     idempotency_key, resolved_ms, outcome, job_error_code, job_error_message, deleted";

/// Keeps a fact about a reservation.
pub(super) async fn note(
    database: &Database,
    id: ReservationId,
    note: &Note,
) -> Result<(), Unavailable> {
    let id = Id(id.0);
    match note {
        Note::Answer(ChannelAnswer {
            status,
            request_id,
            error,
        }) => {
            let statement = "UPDATE tollgate.reservation SET answer_status = $2, \
                 answer_request_id = $3, answer_error = $4 WHERE id = $1";
            let parameters = [
                (&id as _, Type::UUID),
                (&status.map(i32::from) as _, Type::INT4),
                (&request_id.as_deref() as _, Type::TEXT),
                (&error.as_deref() as _, Type::TEXT),
            ];
            database.query(statement, &parameters, ANSWER).await?;
        }
        Note::JobError(JobError { code, message }) => {
            let statement = "UPDATE tollgate.reservation SET job_error_code = $2, \
                 job_error_message = $3 WHERE id = $1";
            let parameters = [
                (&id as _, Type::UUID),
                (&code.as_deref() as _, Type::TEXT),
                (&message.as_deref() as _, Type::TEXT),
            ];
            database.query(statement, &parameters, ANSWER).await?;
        }
    }
    Ok(())
}

/// Reads all that is known of the charges that a query selects.
pub(super) async fn records(
    database: &Database,
    query: &RecordQuery,
) -> Result<Vec<DisputeRecord>, Unavailable> {
    let most = i64::from(MAX_RECORDS);
    let rows = match query {
        RecordQuery::OfKey { key, from, to } => {
            let statement = select(
                "WHERE key = $1 AND created_ms BETWEEN $2 AND $3 \
                 ORDER BY created_ms, id LIMIT $4",
            );
            let parameters = [
                (&&**key as _, Type::TEXT),
                (&bigint(from.0) as _, Type::INT8),
                (&bigint(to.0) as _, Type::INT8),
                (&most as _, Type::INT8),
            ];
            database.query(&statement, &parameters, LONG_ANSWER).await?
        }
        RecordQuery::Named(name) => {
            let statement = select(
                "WHERE id IN (
                     SELECT id FROM tollgate.reservation WHERE job = $1
                     UNION SELECT id FROM tollgate.reservation WHERE request_id = $1
                     UNION SELECT id FROM tollgate.reservation WHERE upstream_id = $2
                     UNION SELECT $3)
                 ORDER BY created_ms, id LIMIT $4",
            );
            let reservation = u128::from_str_radix(name, 16).ok().map(Id);
            let parameters = [
                (&&**name as _, Type::TEXT),
                (&row::escaped(name) as _, Type::TEXT),
                (&reservation as _, Type::UUID),
                (&most as _, Type::INT8),
            ];
            database.query(&statement, &parameters, LONG_ANSWER).await?
        }
    };
    rows.iter().map(record).collect()
}

fn select(rest: &str) -> String {
    format!("SELECT {RECORD}, {CHARGE} FROM tollgate.reservation {rest}")
}

fn record(row: &Row) -> Result<DisputeRecord, Unavailable> {
    let job = text_if_any(row, "job")?;
    let upstream_id = column::<Option<&str>>(row, "upstream_id")?.map(row::unescaped);
    let status = column::<Option<i32>>(row, "answer_status")?;
    Ok(DisputeRecord {
        id: row::id(row)?,
        request_id: text_if_any(row, "request_id")?,
        charge: row::charge(row)?,
        address: text_if_any(row, "address")?,
        state: state(row)?,
        reserved: Timestamp(number(row, "created_ms")?),
        refused_by: text_if_any(row, "refused_by")?,
        answer: ChannelAnswer {
            status: status.and_then(|status| u16::try_from(status).ok()),
            request_id: text_if_any(row, "answer_request_id")?,
            error: text_if_any(row, "answer_error")?,
        },
        unknown: time_if_any(row, "unknown_since_ms")?,
        confirmed: time_if_any(row, "confirmed_ms")?,
        upstream_id: upstream_id.or_else(|| job.clone()),
        job,
        remix_of: text_if_any(row, "remix_of")?,
        idempotency_key: text_if_any(row, "idempotency_key")?,
        resolved: time_if_any(row, "resolved_ms")?,
        outcome: text_if_any(row, "outcome")?,
        job_error: JobError {
            code: text_if_any(row, "job_error_code")?,
            message: text_if_any(row, "job_error_message")?,
        },
        deleted: column(row, "deleted")?,
    })
}

fn time_if_any(row: &Row, name: &str) -> Result<Option<Timestamp>, Unavailable> {
    match column::<Option<i64>>(row, name)? {
        Some(_) => Ok(Some(Timestamp(number(row, name)?))),
        None => Ok(None),
    }
}
