//! Replaces the charges of reservations.

use std::sync::LazyLock;

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, params_from_iter};

use super::super::charge::{Charge, Uncorrected};
use super::columns::{ChargeColumns, Columns, UncorrectedColumns, Values};

/// Makes the statement that sets the columns `C` in the row of a reservation.
fn update<C: Columns>() -> String {
    let (columns, values) = (C::list(), C::placeholders());
    format!("UPDATE reservation SET ({columns}) = ({values}) WHERE number = ?")
}

/// The statement that replaces the charge of a reservation.
static CORRECT: LazyLock<String> = LazyLock::new(update::<ChargeColumns>);

/// The statement that stores the size, seconds and costs of a charge before it was corrected.
static KEEP_UNCORRECTED: LazyLock<String> = LazyLock::new(update::<UncorrectedColumns>);

/// Runs `statement`, which sets columns to `values`, on the row `number` of a reservation.
fn set<'a>(
    db: &Connection,
    number: i64,
    statement: &str,
    values: impl Values<'a>,
) -> rusqlite::Result<()> {
    let values = values.values().chain([ToSqlOutput::from(number)]);
    db.prepare_cached(statement)?
        .execute(params_from_iter(values))?;
    Ok(())
}

/// Replaces the charge of the reservation in the row `number` by `after`.
pub(super) fn correct(db: &Connection, number: i64, after: &Charge) -> rusqlite::Result<()> {
    set(db, number, &CORRECT, ChargeColumns::from(after))
}

/// Stores the size, seconds and costs of a charge before it was corrected, in the row `number`.
pub(super) fn keep_uncorrected(
    db: &Connection,
    number: i64,
    before: &Uncorrected,
) -> rusqlite::Result<()> {
    set(
        db,
        number,
        &KEEP_UNCORRECTED,
        UncorrectedColumns::from(before),
    )
}
