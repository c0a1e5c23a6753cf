//! Reads and writes the claims to idempotency keys.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::Claimed;
use super::super::charge::{Claim, Draft, FirstAnswer, ReservationId};
use super::columns::{blob, int};
use crate::policy::Timestamp;

/// Compares the new request that makes `claim` with the earlier request that has used the same idempotency
/// key. Returns `None` where no request has used it, or the earlier claim has expired.
pub(super) fn claimed(
    db: &Connection,
    key: &str,
    claim: &Claim,
    now: Timestamp,
) -> rusqlite::Result<Option<Claimed>> {
    let mut read = db.prepare_cached(
        "SELECT fingerprint = ?3 AS same, status, body FROM idempotency
         WHERE key = ?1 AND idempotency_key = ?2 AND (expires_ms > ?4 OR status IS NULL)",
    )?;
    let found = read.query_row(
        params![
            key,
            &*claim.idempotency_key,
            &claim.fingerprint[..],
            int(now.0)
        ],
        |row| {
            let same: bool = row.get("same")?;
            let status: Option<u16> = row.get("status")?;
            Ok(match status {
                _ if !same => Claimed::Other,
                None => Claimed::InFlight,
                Some(status) => Claimed::Answered(FirstAnswer {
                    status,
                    body: row.get::<_, Vec<u8>>("body")?.into(),
                }),
            })
        },
    );
    found.optional()
}

/// Claims an idempotency key for the reservation of `draft`, and replaces a claim that has expired.
pub(super) fn insert(db: &Connection, draft: &Draft, claim: &Claim) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO idempotency
             (key, idempotency_key, fingerprint, reservation, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute(params![
        &*draft.charge.payer.key,
        &*claim.idempotency_key,
        &claim.fingerprint[..],
        blob(draft.id),
        int(claim.expires.0),
    ])?;
    Ok(())
}

/// Stores the answer that repetitions of a request get. `name` is the idempotency key of the request, whose
/// reservation is `id` and whose client key is `key`.
pub(super) fn keep_answer(
    db: &Connection,
    id: ReservationId,
    key: &str,
    name: &str,
    answer: &FirstAnswer,
) -> rusqlite::Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE idempotency SET status = ?4, body = ?5
         WHERE key = ?1 AND idempotency_key = ?2 AND reservation = ?3",
    )?;
    update.execute(params![
        key,
        name,
        blob(id),
        answer.status,
        &answer.body[..]
    ])?;
    Ok(())
}

/// Releases the idempotency key `name` that the reservation `id` of the client key `key` has claimed.
pub(super) fn release(
    db: &Connection,
    id: ReservationId,
    key: &str,
    name: &str,
) -> rusqlite::Result<()> {
    let mut release = db.prepare_cached(
        "DELETE FROM idempotency WHERE key = ?1 AND idempotency_key = ?2 AND reservation = ?3",
    )?;
    release.execute(params![key, name, blob(id)])?;
    Ok(())
}
