//! Deletes old reservations and expired idempotency keys, without changing the bill.

use std::collections::HashMap;
use std::num::TryFromIntError;
use std::sync::Arc;

use rusqlite::Error::ToSqlConversionFailure;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::super::charge::Charge;
use super::super::job::State;
use super::columns::{ChargeColumns, Columns as _, columns, int, state};
use super::error::is_of_statement;
use super::readers::Readers;
use super::state::WriterState;
use super::writer::Writer;
use super::writer_db::WriterDb;
use crate::ledger::Unavailable;
use crate::policy::Timestamp;

/// Deletes expired idempotency keys, and reservations that were resolved before `before`, at most `limit`
/// in all.
pub(super) async fn run(
    readers: &Arc<Readers>,
    writer: &Writer,
    (before, now): (Timestamp, Timestamp),
    limit: u32,
) -> Result<u64, Unavailable> {
    let old = readers.read(move |db| old(db, before, limit)).await?;
    let call = move |_: &mut WriterState, db: &WriterDb<'_>| forget(db, &old, now, limit);
    writer.call(call).await
}

/// Lists the row numbers of at most `limit` reservations that were resolved before `before`. They are read
/// on another connection beforehand, so that the search does not delay the writing thread.
fn old(db: &Connection, before: Timestamp, limit: u32) -> rusqlite::Result<Vec<i64>> {
    let mut read = db.prepare_cached(
        "SELECT number FROM (SELECT DISTINCT key FROM payer) AS payer
         CROSS JOIN reservation AS r INDEXED BY reservation_key
             ON r.key = payer.key AND r.created_ms < ?1
         WHERE r.resolved_ms < ?1 LIMIT ?2",
    )?;
    let parameters = params![int(before.0), i64::from(limit)];
    let found = read.query_map(parameters, |row| row.get("number"))?;
    found.collect()
}

columns! {
    /// The columns of a pruned reservation that are read, besides those of its charge.
    PrunedColumns {
        state,
        day = "date(created_ms / 1000, 'unixepoch')",
        posted = "date(resolved_ms / 1000, 'unixepoch')",
    }
}

const NANOS: u128 = 1_000_000_000;

/// The sums of the pruned charges that are added to one row of a table of totals.
#[derive(Default)]
struct Line {
    jobs: i64,
    seconds: i64,
    list: u128,
    billed: u128,
    purchase: u128,
}

impl Line {
    fn add(&mut self, charge: &Charge) {
        self.jobs += 1;
        self.seconds += i64::from(charge.seconds);
        self.list += u128::from(charge.list.nanos());
        self.billed += u128::from(charge.billed.nanos());
        let purchase = charge.purchase.as_ref();
        self.purchase += purchase.map_or(0, |cost| u128::from(cost.amount.nanos()));
    }
}

/// The columns that identify a line of `posted_total`, which has the sums of pruned charges.
#[derive(PartialEq, Eq, Hash)]
struct PostedLine {
    /// The day of the posting, then the names of the key, group, currency, model and size.
    names: [String; 6],
    multiplier: i64,
    list_price: i64,
}

impl PostedLine {
    fn of(charge: &Charge, posted: String) -> Self {
        let payer = &charge.payer;
        let names = [
            &payer.key,
            &payer.group,
            &payer.currency,
            &charge.model,
            &charge.size,
        ];
        let [key, group, currency, model, size] = names.map(|name| name.to_string());
        let price = charge.list.nanos().checked_rem(charge.seconds.into());
        let price = price.filter(|rest| *rest == 0);
        let price = price.map(|_| charge.list.nanos() / u64::from(charge.seconds));
        Self {
            names: [posted, key, group, currency, model, size],
            multiplier: int(payer.multiplier.thousandths()),
            list_price: price.map_or(-1, int),
        }
    }
}

/// Splits a sum of costs into whole units and the remaining nanos, as the totals store it.
fn parts(nanos: u128) -> rusqlite::Result<(i64, i64)> {
    let part = |part| {
        let part = i64::try_from(part);
        part.map_err(|error: TryFromIntError| ToSqlConversionFailure(error.into()))
    };
    Ok((part(nanos / NANOS)?, part(nanos % NANOS)?))
}

/// Deletes expired idempotency keys, then the reservations in the rows `old`, at most `limit` in all.
/// Returns how many it deleted.
fn forget(db: &Connection, old: &[i64], now: Timestamp, limit: u32) -> rusqlite::Result<u64> {
    let expired = db
        .prepare_cached(
            "DELETE FROM idempotency WHERE rowid IN
             (SELECT rowid FROM idempotency WHERE expires_ms <= ?1 AND status IS NOT NULL
              ORDER BY expires_ms LIMIT ?2)",
        )?
        .execute(params![int(now.0), i64::from(limit)])?;
    let list = <(ChargeColumns, PrunedColumns)>::list();
    let mut read = db.prepare_cached(&format!(
        "SELECT {list} FROM reservation WHERE number = ?1 AND resolved_ms IS NOT NULL",
    ))?;
    let (charge, own) = <(ChargeColumns, PrunedColumns)>::find(&read)?;
    let mut delete = db.prepare_cached("DELETE FROM reservation WHERE number = ?1")?;
    let mut forgotten = expired as u64;
    let (mut lines, mut posted_lines) = (HashMap::<_, Line>::new(), HashMap::<_, Line>::new());
    for number in old {
        if forgotten >= u64::from(limit) {
            break;
        }
        let found = read.query_row([number], |row| {
            let charge = charge.read(row, &mut |text| text.into())?;
            let days = (row.get(own.day)?, row.get(own.posted)?);
            Ok((charge, state(row, own.state)?, days))
        });
        let found = match found.optional() {
            // Somebody has written a row that no gate writes. It stays, and the rest is pruned all the
            // same.
            Err(error) if is_of_statement(&error) => {
                log::error!("the reservation of number {number} cannot be pruned: {error}");
                continue;
            }
            found => found?,
        };
        let Some((charge, state, (day, posted))) = found else {
            continue;
        };
        delete.execute([number])?;
        forgotten += 1;
        if state == State::Posted {
            lines.entry(names(&charge, day)).or_default().add(&charge);
            let line = PostedLine::of(&charge, posted);
            posted_lines.entry(line).or_default().add(&charge);
        }
    }
    add_to_totals(db, lines)?;
    add_to_posted(db, posted_lines)?;
    Ok(forgotten)
}

/// Adds the sums of posted charges to the table `total`, whose rows are by the day of the reservation.
fn add_to_totals(db: &Connection, lines: HashMap<[String; 8], Line>) -> rusqlite::Result<()> {
    let mut add = db.prepare_cached(
        "INSERT INTO total (day, key, \"group\", currency, channel, model, size,
                            purchase_currency, jobs, video_seconds, list_units, list_fraction,
                            billed_units, billed_fraction, purchase_units, purchase_fraction)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         ON CONFLICT DO UPDATE SET
             jobs = jobs + ?9, video_seconds = video_seconds + ?10,
             list_units = list_units + ?11 + (list_fraction + ?12) / 1000000000,
             list_fraction = (list_fraction + ?12) % 1000000000,
             billed_units = billed_units + ?13 + (billed_fraction + ?14) / 1000000000,
             billed_fraction = (billed_fraction + ?14) % 1000000000,
             purchase_units = purchase_units + ?15 + (purchase_fraction + ?16) / 1000000000,
             purchase_fraction = (purchase_fraction + ?16) % 1000000000",
    )?;
    for (names, line) in lines {
        let mut sums = vec![line.jobs, line.seconds];
        for nanos in [line.list, line.billed, line.purchase] {
            let (units, fraction) = parts(nanos)?;
            sums.extend([units, fraction]);
        }
        let names = names.iter().map(|name| ToSqlOutput::from(&**name));
        let sums = sums.into_iter().map(ToSqlOutput::from);
        add.execute(params_from_iter(names.chain(sums)))?;
    }
    Ok(())
}

/// Adds the sums of posted charges to the table `posted_total`, whose rows are by the day of the posting.
fn add_to_posted(db: &Connection, lines: HashMap<PostedLine, Line>) -> rusqlite::Result<()> {
    let mut add = db.prepare_cached(
        "INSERT INTO posted_total (day, key, \"group\", currency, model, size,
                                   multiplier_thousandths, list_price_nanos, jobs, video_seconds,
                                   list_units, list_fraction, billed_units, billed_fraction)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT DO UPDATE SET
             jobs = jobs + ?9, video_seconds = video_seconds + ?10,
             list_units = list_units + ?11 + (list_fraction + ?12) / 1000000000,
             list_fraction = (list_fraction + ?12) % 1000000000,
             billed_units = billed_units + ?13 + (billed_fraction + ?14) / 1000000000,
             billed_fraction = (billed_fraction + ?14) % 1000000000",
    )?;
    for (of, line) in lines {
        let ((list, list_rest), (billed, rest)) = (parts(line.list)?, parts(line.billed)?);
        let numbers = [
            of.multiplier,
            of.list_price,
            line.jobs,
            line.seconds,
            list,
            list_rest,
            billed,
            rest,
        ];
        let names = of.names.iter().map(|name| ToSqlOutput::from(&**name));
        add.execute(params_from_iter(
            names.chain(numbers.map(ToSqlOutput::from)),
        ))?;
    }
    Ok(())
}

/// Returns the columns that identify the line of a charge in the totals: `day`, then names from the charge.
fn names(charge: &Charge, day: String) -> [String; 8] {
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
        name(charge.purchase_currency()),
    ]
}
