//! Adjustments of the bill. Operators' commands write them while a gate may be running. The gate then gives
//! voided charges back to the limits of their keys and groups.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::adjustment::{
    Adjustment, AdjustmentKind, AdjustmentSum, Author, CreditDecision, NamedCharge, VoidDecision,
    VoidedCharge, decide_credit, decide_void, find_charge,
};
use super::super::charge::{Charge, Payer};
use super::super::evidence::RecordQuery;
use super::super::reservation_id::ReservationId;
use super::columns::{blob, id, int, text, time, uint, unreadable};
use super::error::OpenError;
use super::evidence;
use super::open::{read_only, write_beside};
use super::state::{WriterState, locked};
use crate::catalog::PriceList;
use crate::money::{Amount, Multiplier, SignedAmount};

const COLUMNS: &str = "id, kind, at_ms, made_by, reason, key, \"group\", currency, billed_nanos, \
     list_nanos, video_seconds, reservation, reserved_ms, job, channel, model, size, multiplier";

/// Voids the posted charge that `name` names in the ledger at `path`, which a gate may be using. Waits
/// for the database's lock for up to `within`.
///
/// # Errors
/// Where there is no ledger of this program's version, or it cannot be written.
pub fn void(
    path: &Path,
    name: &str,
    author: &Author,
    within: Duration,
) -> Result<VoidDecision, OpenError> {
    // A name that no index finds is searched for in every row, so this is done before taking the lock.
    let id = match read_only(path, |db| named(db, name))? {
        NamedCharge::Found(id) => id,
        NamedCharge::Pruned(void) => return Ok(VoidDecision::Already(void)),
        NamedCharge::Refuse(refusal) => return Ok(VoidDecision::Refuse(refusal)),
    };
    write_beside(path, within, |db| {
        // The charge may have been resolved, voided or pruned since.
        let records = evidence::records(db, &RecordQuery::Exactly(id.to_string().into()))?;
        let record = records.iter().find(|record| record.id == id);
        let decision = decide_void(record, of_reservation(db, id)?, author.clone());
        if let VoidDecision::Record(void) = &decision {
            insert(db, void)?;
        }
        Ok(decision)
    })
}

/// Records the credit or debit `wanted` in the ledger at `path`, which a gate may be using. Waits for the
/// database's lock for up to `within`.
///
/// # Errors
/// The errors are those of [`void`].
pub fn credit(
    path: &Path,
    wanted: &Adjustment,
    within: Duration,
) -> Result<CreditDecision, OpenError> {
    write_beside(path, within, |db| {
        let found = find(db, "id = ?1", &wanted.id)?;
        let decision = decide_credit(found, wanted);
        if decision == CreditDecision::Record {
            insert(db, wanted)?;
        }
        Ok(decision)
    })
}

/// Reads the adjustment that voided the reservation `id` after it was posted; `None` where there is none.
pub(super) fn of_reservation(
    db: &Connection,
    id: ReservationId,
) -> rusqlite::Result<Option<Adjustment>> {
    let sql = format!("SELECT {COLUMNS} FROM adjustment WHERE reservation = ?1");
    let mut read = db.prepare_cached(&sql)?;
    read.query_row([blob(id)], adjustment).optional()
}

/// Finds the charge that an operator wants to void. `name` is the id that the operator has given.
fn named(db: &Connection, name: &str) -> rusqlite::Result<NamedCharge> {
    let mut records = evidence::records(db, &RecordQuery::Exactly(name.into()))?;
    let void = void_named(db, name)?;
    if records.is_empty() && void.is_none() {
        records = evidence::records(db, &RecordQuery::Named(name.into()))?;
    }
    Ok(find_charge(name, &records, void))
}

/// Finds the adjustment that voided the charge of reservation `name`, or else of a job with that public id.
fn void_named(db: &Connection, name: &str) -> rusqlite::Result<Option<Adjustment>> {
    if let Some(id) = ReservationId::read(name)
        && let Some(void) = of_reservation(db, id)?
    {
        return Ok(Some(void));
    }
    find(db, "kind = 'void' AND job = ?1", name)
}

fn find(db: &Connection, condition: &str, name: &str) -> rusqlite::Result<Option<Adjustment>> {
    let sql = format!("SELECT {COLUMNS} FROM adjustment WHERE {condition} ORDER BY number LIMIT 1");
    db.query_row(&sql, [name], adjustment).optional()
}

fn insert(db: &Connection, adjustment: &Adjustment) -> rusqlite::Result<()> {
    let text = |text: &str| Value::from(text.to_owned());
    let author = &adjustment.author;
    let of_void = |value: fn(&VoidedCharge) -> Value| match &adjustment.kind {
        AdjustmentKind::Void(voided) => value(voided),
        AdjustmentKind::Credit { .. } => Value::Null,
    };
    let (key, group, currency) = match &adjustment.kind {
        AdjustmentKind::Void(voided) => {
            let payer = &voided.charge.payer;
            (&payer.key, &payer.group, &payer.currency)
        }
        AdjustmentKind::Credit {
            key,
            group,
            currency,
            ..
        } => (key, group, currency),
    };
    let zero_or = |value: fn(&Charge) -> i64| match &adjustment.kind {
        AdjustmentKind::Void(voided) => value(&voided.charge),
        AdjustmentKind::Credit { .. } => 0,
    };
    let billed = i64::try_from(adjustment.billed().nanos());
    let billed = billed.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    db.execute(
        "INSERT INTO adjustment (id, kind, at_ms, made_by, reason, key, \"group\", currency,
             billed_nanos, list_nanos, jobs, video_seconds, reservation, reserved_ms, job, channel,
             model, size, multiplier)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19)",
        params![
            &*adjustment.id,
            adjustment.kind_name(),
            int(author.at.0),
            text(&author.made_by),
            text(&author.reason),
            &**key,
            &**group,
            &**currency,
            billed,
            zero_or(|charge| -int(charge.list.nanos())),
            zero_or(|_| -1),
            zero_or(|charge| -i64::from(charge.seconds)),
            of_void(|voided| Value::from(blob(voided.reservation).to_vec())),
            of_void(|voided| Value::from(int(voided.reserved.0))),
            of_void(|voided| voided.job.as_ref().map(|job| job.to_string()).into()),
            of_void(|voided| Value::from(voided.charge.channel.to_string())),
            of_void(|voided| Value::from(voided.charge.model.to_string())),
            of_void(|voided| Value::from(voided.charge.size.to_string())),
            of_void(|voided| Value::from(int(voided.charge.payer.multiplier.thousandths()))),
        ],
    )?;
    Ok(())
}

fn adjustment(row: &Row<'_>) -> rusqlite::Result<Adjustment> {
    let kind = match text(row, "kind")? {
        "void" => AdjustmentKind::Void(voided(row)?),
        _ => AdjustmentKind::Credit {
            group: row.get("group")?,
            key: row.get("key")?,
            currency: row.get("currency")?,
            amount: -SignedAmount::from_nanos(row.get::<_, i64>("billed_nanos")?.into()),
        },
    };
    Ok(Adjustment {
        id: row.get("id")?,
        author: Author {
            at: time(row, "at_ms")?,
            made_by: row.get("made_by")?,
            reason: row.get("reason")?,
        },
        kind,
    })
}

/// Reads a voided charge from the adjustment that voided it, where its amounts have the opposite sign.
fn voided(row: &Row<'_>) -> rusqlite::Result<VoidedCharge> {
    let amount = |column: &str| {
        let amount = row.get::<_, i64>(column)?.checked_neg();
        let amount = amount.and_then(|nanos| u64::try_from(nanos).ok());
        let amount = amount.and_then(Amount::from_nanos);
        amount.ok_or_else(|| unreadable(row, column, "no amount"))
    };
    let seconds = row.get::<_, i64>("video_seconds")?.checked_neg();
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
    let multiplier = Multiplier::from_thousandths(uint(row, "multiplier")?);
    Ok(VoidedCharge {
        reservation: id(row, "reservation")?,
        reserved: time(row, "reserved_ms")?,
        job: row.get("job")?,
        charge: Arc::new(Charge {
            payer: Payer {
                key: row.get("key")?,
                group: row.get("group")?,
                currency: row.get("currency")?,
                multiplier: multiplier
                    .ok_or_else(|| unreadable(row, "multiplier", "no multiplier"))?,
            },
            channel: row.get("channel")?,
            model: row.get("model")?,
            size: row.get("size")?,
            seconds: seconds.ok_or_else(|| unreadable(row, "video_seconds", "no seconds"))?,
            list: amount("list_nanos")?,
            billed: amount("billed_nanos")?,
            prices: PriceList::default(),
            purchase: None,
        }),
    })
}

/// Sums up the adjustments, by key, currency and kind. Whole units and the remaining nanos are summed apart,
/// since a sum of nanos may exceed SQLite's integers.
pub(super) fn sums(db: &Connection) -> rusqlite::Result<Vec<AdjustmentSum>> {
    let mut read = db.prepare_cached(
        "SELECT key, currency, kind, count(*) AS count,
             sum(abs(billed_nanos) / 1000000000) AS units,
             sum(abs(billed_nanos) % 1000000000) AS fraction
         FROM adjustment GROUP BY key, currency, kind",
    )?;
    let found = read.query_map([], |row| {
        let (units, fraction): (i64, i64) = (row.get("units")?, row.get("fraction")?);
        let nanos = i128::from(units) * 1_000_000_000 + i128::from(fraction);
        Ok(AdjustmentSum {
            key: row.get("key")?,
            currency: row.get("currency")?,
            kind: row.get("kind")?,
            count: uint(row, "count")?,
            amount: SignedAmount::from_nanos(nanos),
        })
    })?;
    found.collect()
}

/// The maximum number of adjustments that one call of [`count_voids`] processes.
const MAX_COUNTED_AT_ONCE: u32 = 500;

/// Gives the charges that operators have voided since the last call back to the limits of their keys and
/// groups; what exceeds [`MAX_COUNTED_AT_ONCE`] adjustments is left to the next call. Each charge is given
/// back exactly once: the number of the last adjustment that was counted is written in the same transaction
/// as the counters.
pub(super) fn count_voids(state: &mut WriterState, db: &Connection) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT number, {COLUMNS} FROM adjustment
         WHERE number > (SELECT number FROM adjustment_counted) ORDER BY number LIMIT ?1"
    );
    let mut read = db.prepare_cached(&sql)?;
    let found = read.query_map([MAX_COUNTED_AT_ONCE], |row| {
        Ok((row.get::<_, i64>("number")?, adjustment(row)?))
    })?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let Some((last, _)) = found.last() else {
        return Ok(());
    };
    for (_, adjustment) in &found {
        if let AdjustmentKind::Void(voided) = &adjustment.kind {
            locked(&state.counters).give_back(&voided.charge, voided.reserved);
            state.touch(&voided.charge);
        }
    }
    db.prepare_cached("UPDATE adjustment_counted SET number = ?1")?
        .execute([last])?;
    Ok(())
}
