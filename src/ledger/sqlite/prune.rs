//! Forgetting what is old, without changing the bill.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::charge::Charge;
use super::super::job::State;
use super::rows;
use crate::policy::Timestamp;

/// At most so many reservations that were resolved before `before`, by their numbers. Read
/// beforehand, so that searching does not hold up the writing thread.
pub(super) fn old(db: &Connection, before: Timestamp, most: u32) -> rusqlite::Result<Vec<i64>> {
    let mut read = db.prepare_cached(
        "SELECT number FROM (SELECT DISTINCT key FROM payer) AS payer
         CROSS JOIN reservation AS r INDEXED BY reservation_key
             ON r.key = payer.key AND r.created_ms < ?1
         WHERE r.resolved_ms < ?1 LIMIT ?2",
    )?;
    let found = read.query_map(params![rows::int(before.0), i64::from(most)], |row| {
        row.get(0)
    })?;
    found.collect()
}

/// What is summed up, by day.
#[derive(Default)]
struct Line {
    jobs: i64,
    seconds: i64,
    list: i64,
    billed: i64,
}

/// Forgets expired idempotency keys, then those reservations, at most `most` in all.
pub(super) fn forget(
    db: &Connection,
    old: &[i64],
    now: Timestamp,
    most: u32,
) -> rusqlite::Result<u64> {
    let expired = db
        .prepare_cached(
            "DELETE FROM idempotency WHERE rowid IN
             (SELECT rowid FROM idempotency WHERE expires_ms <= ?1 AND status IS NOT NULL
              ORDER BY expires_ms LIMIT ?2)",
        )?
        .execute(params![rows::int(now.0), i64::from(most)])?;
    let mut delete = db.prepare_cached(concat!(
        "DELETE FROM reservation WHERE number = ?1 AND resolved_ms IS NOT NULL RETURNING ",
        rows::charge_columns!(),
        ", state, date(created_ms / 1000, 'unixepoch')",
    ))?;
    let mut forgotten = expired as u64;
    let mut lines = HashMap::<_, Line>::new();
    for number in old {
        if forgotten >= u64::from(most) {
            break;
        }
        let gone = delete.query_row([number], |row| {
            let charge = rows::charge(row, &mut |text| text.into())?;
            Ok((charge, rows::state(row, 11)?, row.get(12)?))
        });
        let Some((charge, state, day)) = gone.optional()? else {
            continue;
        };
        forgotten += 1;
        if state == State::Posted {
            let line = lines.entry(names(&charge, day)).or_default();
            line.jobs += 1;
            line.seconds += i64::from(charge.seconds);
            line.list = line.list.saturating_add(rows::int(charge.list.nanos()));
            line.billed = line.billed.saturating_add(rows::int(charge.billed.nanos()));
        }
    }
    let mut add = db.prepare_cached(
        "INSERT INTO total (day, key, \"group\", currency, channel, model, size,
                            jobs, video_seconds, list_nanos, billed_nanos)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT DO UPDATE SET
             jobs = jobs + ?8, video_seconds = video_seconds + ?9,
             list_nanos = list_nanos + ?10, billed_nanos = billed_nanos + ?11",
    )?;
    for ([day, key, group, currency, channel, model, size], line) in lines {
        add.execute(params![
            day,
            key,
            group,
            currency,
            channel,
            model,
            size,
            line.jobs,
            line.seconds,
            line.list,
            line.billed,
        ])?;
    }
    Ok(forgotten)
}

/// What a line of the bill is for.
fn names(charge: &Charge, day: String) -> [String; 7] {
    let payer = &charge.payer;
    let name = |name: &str| name.to_owned();
    [
        day,
        name(&payer.key),
        name(&payer.group),
        name(&payer.currency),
        name(&charge.channel),
        name(&charge.model),
        name(&charge.size),
    ]
}
