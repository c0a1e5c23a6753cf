//! Reads the bill, while a gate may be using the ledger.

use std::path::Path;

use rusqlite::{Connection, Row, params_from_iter};

use super::super::bill::{AdjustmentLine, BillLine, BillQuery, LineKind};
use super::columns::{int, text, time, uint, unreadable};
use super::error::OpenError;
use super::open::read_only;
use crate::money::{Amount, Multiplier, SignedAmount};

/// Reads the lines of a bill from the ledger at `path`, which a gate may be using. Charges with the same
/// key, group, currency, multiplier, model, size and list price are added up in one line.
///
/// # Errors
/// Where there is no ledger of this program's version.
pub fn read_bill(path: &Path, query: &BillQuery) -> Result<Vec<BillLine>, OpenError> {
    read_only(path, |db| lines(db, query))
}

fn lines(db: &Connection, query: &BillQuery) -> rusqlite::Result<Vec<BillLine>> {
    let of_key = match query.key {
        Some(_) => "AND key = ?3",
        None => "",
    };
    let sql = format!(
        "SELECT kind, key, \"group\" AS group_name, currency, multiplier_thousandths, model, size,
             list_price_nanos, sum(jobs) AS jobs, sum(video_seconds) AS video_seconds,
             sum(list_units) AS list_units, sum(list_fraction) AS list_fraction,
             sum(billed_units) AS billed_units, sum(billed_fraction) AS billed_fraction,
             adjustment, max(at_ms) AS at_ms, max(job) AS job, max(reason) AS reason,
             max(made_by) AS made_by
         FROM bill_line WHERE at_ms >= ?1 AND at_ms < ?2 {of_key}
         GROUP BY kind, key, group_name, currency, multiplier_thousandths, model, size,
             list_price_nanos, adjustment
         ORDER BY key, currency, kind <> 'charge', group_name, model, size, list_price_nanos,
             multiplier_thousandths, at_ms, adjustment"
    );
    let mut parameters = vec![int(query.from.0).into(), int(query.until.0).into()];
    let key = query.key.iter();
    parameters.extend(key.map(|key| rusqlite::types::Value::from(key.to_string())));
    let mut read = db.prepare(&sql)?;
    let found = read.query_map(params_from_iter(parameters), line)?;
    found.collect()
}

const NANOS: i128 = 1_000_000_000;

fn line(row: &Row<'_>) -> rusqlite::Result<BillLine> {
    let kind = LineKind::from_name(text(row, "kind")?);
    let sum = |units: &str, fraction: &str| {
        let units = i128::from(row.get::<_, i64>(units)?) * NANOS;
        let fraction = i128::from(row.get::<_, i64>(fraction)?);
        Ok::<_, rusqlite::Error>(SignedAmount::from_nanos(units + fraction))
    };
    let number = |column: &str| match row.get::<_, Option<i64>>(column)? {
        Some(_) => uint(row, column).map(Some),
        None => Ok::<_, rusqlite::Error>(None),
    };
    let adjustment = match row.get("adjustment")? {
        Some(id) => Some(AdjustmentLine {
            id,
            at: time(row, "at_ms")?,
            job: row.get("job")?,
            reason: row.get("reason")?,
            made_by: row.get("made_by")?,
        }),
        None => None,
    };
    Ok(BillLine {
        kind: kind.ok_or_else(|| unreadable(row, "kind", "no kind of line"))?,
        key: row.get("key")?,
        group: row.get("group_name")?,
        currency: row.get("currency")?,
        model: row.get("model")?,
        size: row.get("size")?,
        list_price: number("list_price_nanos")?.and_then(Amount::from_nanos),
        multiplier: number("multiplier_thousandths")?.and_then(Multiplier::from_thousandths),
        jobs: row.get("jobs")?,
        video_seconds: row.get("video_seconds")?,
        list: sum("list_units", "list_fraction")?,
        billed: sum("billed_units", "billed_fraction")?,
        adjustment,
    })
}
