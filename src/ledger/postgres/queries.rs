//! Reads reservations and jobs from the database, without a decision.

use tokio_postgres::types::Type;

use super::connection::{ANSWER, Database};
use super::decision;
use super::function::{Argument, Function};
use super::row::{self, CHARGE, Id, JOB, UNCORRECTED, UNMATCHED};
use super::row::{bigint, column, number, text};
use crate::ledger::charge::Claim;
use crate::ledger::job::{Job, JobsAfter, NOT_CREATED, NOT_FOUND_OUT, Unmatched, UnresolvedCount};
use crate::ledger::{ClaimState, Claimed, FARTHEST_POLL, Unavailable};
use crate::policy::Timestamp;

static STANDING_CLAIM: Function = Function::new("standing_claim", || "*".into());

/// Reads whether the request that has used an idempotency key was answered. Returns `None` where no request
/// has used it, or its claim has expired.
pub(super) async fn claim_state(
    database: &Database,
    key: &str,
    idempotency_key: &str,
    now: Timestamp,
) -> Result<Option<ClaimState>, Unavailable> {
    let statement = "SELECT status IS NOT NULL AS answered FROM tollgate.idempotency \
         WHERE key = $1 AND idempotency_key = $2 AND (expires_ms > $3 OR status IS NULL)";
    let rows = database
        .query(
            statement,
            &[
                (&key, Type::TEXT),
                (&idempotency_key, Type::TEXT),
                (&bigint(now.0), Type::INT8),
            ],
            ANSWER,
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(if column(row, "answered")? {
        ClaimState::Answered
    } else {
        ClaimState::InFlight
    }))
}

/// Compares the new request that makes `claim` with the earlier request that has used the same idempotency
/// key. Returns `None` where no request has used it, or the earlier claim has expired.
pub(super) async fn claimed(
    database: &Database,
    key: &str,
    claim: &Claim,
    now: Timestamp,
) -> Result<Option<Claimed>, Unavailable> {
    let none: Option<Id> = None;
    let arguments: [Argument<'_>; 5] = [
        ("p_key", &key, Type::TEXT),
        ("p_idempotency_key", &&*claim.idempotency_key, Type::TEXT),
        ("p_now", &bigint(now.0), Type::INT8),
        ("p_id", &none, Type::UUID),
        ("p_fingerprint", &&claim.fingerprint[..], Type::BYTEA),
    ];
    let (statement, parameters) = STANDING_CLAIM.call(arguments);
    let rows = database.query(&statement, &parameters, ANSWER).await?;
    rows.first().map(decision::claimed).transpose()
}

/// Reads the job whose public id is `job`.
pub(super) async fn job(database: &Database, job: &str) -> Result<Option<Job>, Unavailable> {
    let statement = format!("SELECT {JOB}, {CHARGE} FROM tollgate.reservation WHERE job = $1");
    let parameters = [(&job as _, Type::TEXT)];
    let rows = database.query(&statement, &parameters, ANSWER).await?;
    rows.first().map(row::job).transpose()
}

/// Reads the job whose id at the channel named `channel` is `upstream_id`.
pub(super) async fn job_of_channel(
    database: &Database,
    channel: &str,
    upstream_id: &str,
) -> Result<Option<Job>, Unavailable> {
    let statement = format!(
        "SELECT {JOB}, {CHARGE} FROM tollgate.reservation \
         WHERE job = $2 AND channel = $1 AND upstream_id IS NULL \
         UNION ALL SELECT {JOB}, {CHARGE} FROM tollgate.reservation \
         WHERE channel = $1 AND upstream_id = $2"
    );
    let parameters = [
        (&channel as _, Type::TEXT),
        (&row::escaped(upstream_id) as _, Type::TEXT),
    ];
    let rows = database.query(&statement, &parameters, ANSWER).await?;
    rows.first().map(row::job).transpose()
}

/// Reads the reservation of the job `upstream_id` on `channel`, if it was unknown before it had the job.
pub(super) async fn reconciled(
    database: &Database,
    channel: &str,
    upstream_id: &str,
) -> Result<Option<Unmatched>, Unavailable> {
    let statement = format!(
        "SELECT {UNMATCHED}, {UNCORRECTED}, {CHARGE} FROM tollgate.reservation \
         WHERE id = tollgate.owner($1, $2) AND unknown_since_ms IS NOT NULL"
    );
    let parameters = [
        (&channel as _, Type::TEXT),
        (&row::escaped(upstream_id) as _, Type::TEXT),
    ];
    let rows = database.query(&statement, &parameters, ANSWER).await?;
    rows.first().map(row::unmatched).transpose()
}

/// Reads a page of the jobs of the key named `key`; `None` where `page.after` is no job of that key.
pub(super) async fn jobs(
    database: &Database,
    key: &str,
    page: &JobsAfter<'_>,
) -> Result<Option<Vec<Job>>, Unavailable> {
    let (after, order) = if page.ascending {
        ("place > a.place", "ASC")
    } else {
        ("place < a.place", "DESC")
    };
    // The query returns at least one row. Its `after_place` is the place that the page comes after, or null
    // where `page.after` is no job of the key.
    let statement = format!(
        "SELECT a.place AS after_place, page.* FROM (SELECT CASE \
             WHEN $2::text IS NOT NULL THEN (SELECT place FROM tollgate.reservation \
                 WHERE job = $2 AND key = $1) \
             ELSE $3 END AS place) AS a \
         LEFT JOIN LATERAL (SELECT {JOB}, {CHARGE}, place FROM tollgate.reservation \
             WHERE key = $1 AND {after} AND NOT deleted ORDER BY place {order} LIMIT $4 \
         ) AS page ON true ORDER BY page.place {order}"
    );
    let edge = if page.ascending { 0 } else { i64::MAX };
    let rows = database
        .query(
            &statement,
            &[
                (&key, Type::TEXT),
                (&page.after, Type::TEXT),
                (&edge, Type::INT8),
                (&i64::from(page.limit), Type::INT8),
            ],
            ANSWER,
        )
        .await?;
    let Some(first) = rows.first() else {
        return Ok(Some(Vec::new()));
    };
    if column::<Option<i64>>(first, "after_place")?.is_none() {
        return Ok(None);
    }
    if column::<Option<Id>>(first, "id")?.is_none() {
        return Ok(Some(Vec::new()));
    }
    rows.iter()
        .map(row::job)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Counts the reservations that are not resolved, by key, channel and state.
pub(super) async fn count_unresolved(
    database: &Database,
) -> Result<Vec<UnresolvedCount>, Unavailable> {
    let statement = "SELECT key, channel, state, count(*) AS count, min(created_ms) AS oldest_ms \
         FROM tollgate.reservation WHERE state IN ('pending', 'unknown', 'confirmed') \
         GROUP BY key, channel, state";
    let rows = database.query(statement, &[], ANSWER).await?;
    let open = rows.iter().map(|row| {
        Ok(UnresolvedCount {
            key: text(row, "key")?,
            channel: text(row, "channel")?,
            state: row::state(row)?,
            count: number(row, "count")?,
            oldest: Timestamp(number(row, "oldest_ms")?),
        })
    });
    open.collect()
}

/// Reads the reservations of a channel that have no job and are not resolved.
pub(super) async fn unmatched(
    database: &Database,
    channel: &str,
    limit: u32,
) -> Result<Vec<Unmatched>, Unavailable> {
    let statement = format!(
        "SELECT {UNMATCHED}, {UNCORRECTED}, {CHARGE} FROM tollgate.reservation \
         WHERE state IN ('pending', 'unknown') AND channel = $1 ORDER BY created_ms, id LIMIT $2"
    );
    let parameters = [
        (&channel as _, Type::TEXT),
        (&i64::from(limit) as _, Type::INT8),
    ];
    let rows = database.query(&statement, &parameters, ANSWER).await?;
    rows.iter().map(row::unmatched).collect()
}

/// Reads the reservations of a channel that were voided at `since` or later without a proof that no job was
/// created.
pub(super) async fn recently_voided(
    database: &Database,
    channel: &str,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Unmatched>, Unavailable> {
    let statement = format!(
        "SELECT {UNMATCHED}, {UNCORRECTED}, {CHARGE} FROM tollgate.reservation \
         WHERE state = 'voided' AND outcome IN ('{NOT_CREATED}', '{NOT_FOUND_OUT}') \
             AND channel = $1 AND resolved_ms >= $2 ORDER BY created_ms, id LIMIT $3"
    );
    let rows = database
        .query(
            &statement,
            &[
                (&channel, Type::TEXT),
                (&bigint(since.0), Type::INT8),
                (&i64::from(limit), Type::INT8),
            ],
            ANSWER,
        )
        .await?;
    rows.iter().map(row::unmatched).collect()
}

/// Reads the jobs of a channel whose next poll is due, and then those whose next poll is so far ahead that a
/// wrong clock has set it.
pub(super) async fn due(
    database: &Database,
    channel: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Job>, Unavailable> {
    let of = |bound: &str| {
        format!(
            "(SELECT {JOB}, {CHARGE} FROM tollgate.reservation \
             WHERE state = 'confirmed' AND channel = $1 AND look_at_ms {bound} \
             ORDER BY look_at_ms, id LIMIT $3)"
        )
    };
    // Each part is read by the index, and in this order.
    let (come, far) = (of("<= $2"), of("> $4"));
    let statement = format!("{come} UNION ALL {far} LIMIT $3");
    let rows = database
        .query(
            &statement,
            &[
                (&channel, Type::TEXT),
                (&bigint(now.0), Type::INT8),
                (&i64::from(limit), Type::INT8),
                (&bigint(now.0.saturating_add(FARTHEST_POLL)), Type::INT8),
            ],
            ANSWER,
        )
        .await?;
    rows.iter().map(row::job).collect()
}

/// Checks that the database takes writes.
pub(super) async fn ready(database: &Database) -> Result<(), Unavailable> {
    let statement = "SELECT pg_is_in_recovery() \
         OR current_setting('transaction_read_only')::boolean AS read_only";
    let rows = database.query(statement, &[], ANSWER).await?;
    match rows.first().map(|row| column(row, "read_only")) {
        Some(Ok(false)) => Ok(()),
        Some(Err(error)) => Err(error),
        // The database is read-only, for example in the middle of a failover.
        _ => Err(Unavailable::transient(
            "the database is read-only: name the primary, or all hosts of the cluster \
             with target_session_attrs=read-write",
        )),
    }
}
