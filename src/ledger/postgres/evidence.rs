//! Stores and reads the evidence for disputes.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Transaction};

use super::adjustments;
use super::beside::{connect, failed, read_only};
use super::connection::{ANSWER, Database, LONG_ANSWER, Parameter};
use super::row::{self, CHARGE, Id, UNCORRECTED};
use super::row::{bigint, column, number, state, text_if_any};
use crate::key::Secret;
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

/// Stores a fact about a reservation.
pub(super) async fn note(
    database: &Database,
    id: ReservationId,
    note: &Note,
) -> Result<(), Unavailable> {
    let id = Id(id.0);
    match note {
        Note::Answer { channel, answer } => {
            let statement = "UPDATE tollgate.reservation SET answer_status = $2, \
                 answer_request_id = $3, answer_error = $4 \
                 WHERE id = $1 AND channel = $5 AND job IS NULL";
            let parameters = [
                (&id as _, Type::UUID),
                (&answer.status.map(i32::from) as _, Type::INT4),
                (&answer.request_id.as_deref() as _, Type::TEXT),
                (&answer.error.as_deref() as _, Type::TEXT),
                (&&**channel as _, Type::TEXT),
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

/// A statement that reads records, with its parameters.
pub(super) struct Select {
    statement: String,
    parameters: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Select {
    fn new(rest: &str, parameters: Vec<(Box<dyn ToSql + Sync + Send>, Type)>) -> Self {
        Self {
            statement: format!(
                "SELECT {RECORD}, {CHARGE}, {UNCORRECTED} FROM tollgate.reservation {rest}"
            ),
            parameters,
        }
    }

    /// Makes the statements of a query. They are tried one after the other until one finds a record.
    fn of(query: &RecordQuery) -> Vec<Self> {
        let most = || (Box::new(i64::from(MAX_RECORDS)) as _, Type::INT8);
        let text = |text: &str| (Box::new(text.to_owned()) as _, Type::TEXT);
        match query {
            RecordQuery::OfKey { key, from, to } => {
                let time = |at: &Timestamp| (Box::new(bigint(at.0)) as _, Type::INT8);
                let rest = "WHERE key = $1 AND created_ms BETWEEN $2 AND $3 \
                     ORDER BY created_ms, id LIMIT $4";
                vec![Self::new(
                    rest,
                    vec![text(key), time(from), time(to), most()],
                )]
            }
            RecordQuery::Exactly(name) => {
                let rest = "WHERE id IN (
                         SELECT id FROM tollgate.reservation WHERE job = $1
                         UNION SELECT $2)
                     ORDER BY created_ms, id";
                let reservation = ReservationId::read(name).map(|ReservationId(id)| Id(id));
                let reservation = (Box::new(reservation) as _, Type::UUID);
                vec![Self::new(rest, vec![text(name), reservation])]
            }
            RecordQuery::Named(name) => {
                let rest = "WHERE id IN (
                         SELECT id FROM tollgate.reservation WHERE job = $1
                         UNION SELECT id FROM tollgate.reservation WHERE request_id = $1
                         UNION SELECT $2)
                     ORDER BY created_ms, id LIMIT $3";
                let reservation = ReservationId::read(name).map(|ReservationId(id)| Id(id));
                let reservation = (Box::new(reservation) as _, Type::UUID);
                let named = Self::new(rest, vec![text(name), reservation, most()]);
                // No index finds an upstream id without its channel, so a whole index is read.
                let rest = "WHERE upstream_id = $1 ORDER BY created_ms, id LIMIT $2";
                let upstream = Self::new(rest, vec![text(&row::escaped(name)), most()]);
                vec![named, upstream]
            }
        }
    }

    /// Reads the records that a query selects, in `transaction`, without the adjustments that voided charges.
    pub(super) async fn read(
        transaction: &Transaction<'_>,
        query: &RecordQuery,
    ) -> Result<Vec<DisputeRecord>, Unavailable> {
        for select in Self::of(query) {
            let parameters = select.parameters();
            let rows = transaction.query_typed(&select.statement, &parameters);
            let rows = rows.await.map_err(failed)?;
            if !rows.is_empty() {
                return rows.iter().map(record).collect();
            }
        }
        Ok(Vec::new())
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        let parameters = self.parameters.iter();
        parameters
            .map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone()))
            .collect()
    }
}

/// Reads the records of the charges that a query selects.
pub(super) async fn records(
    database: &Database,
    query: &RecordQuery,
) -> Result<Vec<DisputeRecord>, Unavailable> {
    for select in Select::of(query) {
        let parameters = select.parameters();
        let rows = database.query(&select.statement, &parameters, LONG_ANSWER);
        let rows = rows.await?;
        if !rows.is_empty() {
            let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
            adjustments::add(database, &mut records).await?;
            return Ok(records);
        }
    }
    Ok(Vec::new())
}

/// Reads the records of charges from the ledger in the database at `url`, which gates may be using. A
/// standby is enough, and a role that may only read. Nothing is created or upgraded in the database.
///
/// # Errors
/// Where the database cannot be reached, or has no ledger of this program's version.
pub async fn read_records(
    url: &Secret,
    query: &RecordQuery,
) -> Result<Vec<DisputeRecord>, Unavailable> {
    let mut client = connect(url).await?;
    let transaction = read_only(&mut client).await?;
    adjustments::records(&transaction, query).await
}

fn record(row: &Row) -> Result<DisputeRecord, Unavailable> {
    let id = row::id(row)?;
    let request_id = text_if_any(row, "request_id")?;
    let job = text_if_any(row, "job")?;
    let upstream_id = column::<Option<&str>>(row, "upstream_id")?.map(row::unescaped);
    let status = column::<Option<i32>>(row, "answer_status")?;
    Ok(DisputeRecord {
        id,
        request_id: request_id.unwrap_or_else(|| id.request_id().into()),
        charge: row::charge(row)?,
        uncorrected: row::uncorrected(row)?,
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
        voided_by: None,
    })
}

fn time_if_any(row: &Row, name: &str) -> Result<Option<Timestamp>, Unavailable> {
    match column::<Option<i64>>(row, name)? {
        Some(_) => Ok(Some(Timestamp(number(row, name)?))),
        None => Ok(None),
    }
}
