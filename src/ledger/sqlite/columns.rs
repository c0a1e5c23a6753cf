//! Reads and writes columns by their names, so that no code depends on their order.
//!
//! Each `columns!` declares one list of columns. Their positions in a result are looked up by their names
//! once for each execution of a statement, and not once more for each row.

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::types::{Null, ToSqlOutput, Type, ValueRef};
use rusqlite::{Row, RowIndex, Statement};

use super::super::charge::{Charge, Payer, PurchaseCost, ReservationId, Uncorrected};
use super::super::job::State;
use crate::catalog::{PriceList, PurchaseTerms};
use crate::money::{Amount, Multiplier};
use crate::policy::Timestamp;

/// A list of named columns, whose positions are looked up in the results of a statement.
pub(super) trait Columns: Sized {
    /// The number of columns.
    const COUNT: usize;

    /// Lists the columns for a `SELECT`, or for an `INSERT` where none is an expression.
    fn list() -> String;

    /// Looks up the positions of the columns in the rows of a statement.
    fn find(statement: &Statement<'_>) -> rusqlite::Result<Self>;

    /// Returns the placeholders `?` for the values of the columns in a statement.
    fn placeholders() -> String {
        vec!["?"; Self::COUNT].join(", ")
    }
}

impl<A: Columns, B: Columns> Columns for (A, B) {
    const COUNT: usize = A::COUNT + B::COUNT;

    fn list() -> String {
        format!("{}, {}", A::list(), B::list())
    }

    fn find(statement: &Statement<'_>) -> rusqlite::Result<Self> {
        Ok((A::find(statement)?, B::find(statement)?))
    }
}

/// The values of named columns, in the order of [`Columns::list`].
pub(super) trait Values<'a> {
    fn values(self) -> impl Iterator<Item = ToSqlOutput<'a>>;
}

/// Declares a struct with one field for each column, which holds the position of the column in a result,
/// or the value that is written to the column. A column belongs to the table, or is an SQL expression.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($column:ident $(= $sql:literal)?),* $(,)? }) => {
        $(#[$doc])*
        pub(super) struct $name<T = usize> {
            $(pub(super) $column: T),*
        }

        impl $crate::ledger::sqlite::columns::Columns for $name {
            const COUNT: usize = [$(stringify!($column)),*].len();

            fn list() -> String {
                let list = [$(
                    concat!($($sql, " AS ",)? "\"", stringify!($column), "\"")
                ),*];
                list.join(", ")
            }

            fn find(statement: &rusqlite::Statement<'_>) -> rusqlite::Result<Self> {
                Ok(Self {
                    $($column: statement.column_index(stringify!($column))?),*
                })
            }
        }

        impl<'a> $crate::ledger::sqlite::columns::Values<'a>
            for $name<rusqlite::types::ToSqlOutput<'a>>
        {
            fn values(self) -> impl Iterator<Item = rusqlite::types::ToSqlOutput<'a>> {
                [$(self.$column),*].into_iter()
            }
        }
    };
}
pub(super) use columns;

columns! {
    /// The columns of a [`Charge`] in the table `reservation`.
    ChargeColumns {
        key,
        group,
        currency,
        multiplier,
        channel,
        model,
        size,
        seconds,
        list_nanos,
        billed_nanos,
        price_list,
        purchase_nanos,
        purchase_currency,
        purchase_price,
    }
}

impl ChargeColumns {
    /// Reads the charge of a row; `name` converts a text to a shared name.
    pub(super) fn read(
        &self,
        row: &Row<'_>,
        name: &mut dyn FnMut(&str) -> Arc<str>,
    ) -> rusqlite::Result<Arc<Charge>> {
        let multiplier = Multiplier::from_thousandths(uint(row, self.multiplier)?);
        Ok(Arc::new(Charge {
            payer: Payer {
                key: name(text(row, self.key)?),
                group: name(text(row, self.group)?),
                currency: name(text(row, self.currency)?),
                multiplier: multiplier
                    .ok_or_else(|| unreadable(row, self.multiplier, "no multiplier"))?,
            },
            channel: name(text(row, self.channel)?),
            model: name(text(row, self.model)?),
            size: name(text(row, self.size)?),
            seconds: row.get(self.seconds)?,
            list: amount(row, self.list_nanos)?,
            billed: amount(row, self.billed_nanos)?,
            prices: PriceList::from_text(name(text(row, self.price_list)?)),
            purchase: self.read_purchase(row, name)?,
        }))
    }

    fn read_purchase(
        &self,
        row: &Row<'_>,
        name: &mut dyn FnMut(&str) -> Arc<str>,
    ) -> rusqlite::Result<Option<PurchaseCost>> {
        let column = self.purchase_nanos;
        if row.get_ref(column)? == ValueRef::Null {
            return Ok(None);
        }
        let terms = PurchaseTerms::from_text(text(row, self.purchase_price)?);
        Ok(Some(PurchaseCost {
            amount: amount(row, column)?,
            currency: name(text(row, self.purchase_currency)?),
            terms: terms.ok_or_else(|| unreadable(row, self.purchase_price, "no price"))?,
        }))
    }
}

impl<'a> From<&'a Charge> for ChargeColumns<ToSqlOutput<'a>> {
    fn from(charge: &'a Charge) -> Self {
        // Every field by its name, so that a new one is not left out here.
        let Charge {
            payer,
            channel,
            model,
            size,
            seconds,
            list,
            billed,
            prices,
            purchase,
        } = charge;
        let purchase = purchase.as_ref();
        Self {
            key: ToSqlOutput::from(&*payer.key),
            group: ToSqlOutput::from(&*payer.group),
            currency: ToSqlOutput::from(&*payer.currency),
            multiplier: int(payer.multiplier.thousandths()).into(),
            channel: ToSqlOutput::from(&**channel),
            model: ToSqlOutput::from(&**model),
            size: ToSqlOutput::from(&**size),
            seconds: (*seconds).into(),
            list_nanos: int(list.nanos()).into(),
            billed_nanos: int(billed.nanos()).into(),
            price_list: ToSqlOutput::from(prices.as_str()),
            purchase_nanos: purchase.map_or(Null.into(), |cost| int(cost.amount.nanos()).into()),
            purchase_currency: text_or_null(purchase.map(|cost| &*cost.currency)),
            purchase_price: match purchase.map(|cost| cost.terms.to_text()) {
                Some(Cow::Borrowed(text)) => text.into(),
                Some(Cow::Owned(text)) => text.into(),
                None => Null.into(),
            },
        }
    }
}

columns! {
    /// The columns of an [`Uncorrected`] in the table `reservation`: null where there is none.
    UncorrectedColumns {
        uncorrected_size,
        uncorrected_seconds,
        uncorrected_list_nanos,
        uncorrected_billed_nanos,
    }
}

impl UncorrectedColumns {
    /// Reads the size, seconds and costs of a row's charge before it was corrected; `None` where it was not.
    pub(super) fn read(&self, row: &Row<'_>) -> rusqlite::Result<Option<Uncorrected>> {
        let Some(size) = row.get::<_, Option<Arc<str>>>(self.uncorrected_size)? else {
            return Ok(None);
        };
        Ok(Some(Uncorrected {
            size,
            seconds: row.get(self.uncorrected_seconds)?,
            list: amount(row, self.uncorrected_list_nanos)?,
            billed: amount(row, self.uncorrected_billed_nanos)?,
        }))
    }
}

impl<'a> From<&'a Uncorrected> for UncorrectedColumns<ToSqlOutput<'a>> {
    fn from(before: &'a Uncorrected) -> Self {
        let Uncorrected {
            size,
            seconds,
            list,
            billed,
        } = before;
        Self {
            uncorrected_size: ToSqlOutput::from(&**size),
            uncorrected_seconds: (*seconds).into(),
            uncorrected_list_nanos: int(list.nanos()).into(),
            uncorrected_billed_nanos: int(billed.nanos()).into(),
        }
    }
}

pub(super) fn text_or_null(text: Option<&str>) -> ToSqlOutput<'_> {
    text.map_or(Null.into(), ToSqlOutput::from)
}

pub(super) fn time_or_null(time: Option<Timestamp>) -> ToSqlOutput<'static> {
    time.map_or(Null.into(), |time| int(time.0).into())
}

/// Reads a reservation's id.
pub(super) fn id(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<ReservationId> {
    row.get(column)
        .map(|id| ReservationId(u128::from_be_bytes(id)))
}

/// Converts a reservation's id to the bytes of its column.
pub(super) fn blob(id: ReservationId) -> [u8; 16] {
    id.0.to_be_bytes()
}

/// Reads a reservation's state.
pub(super) fn state(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<State> {
    State::from_name(text(row, column)?).ok_or_else(|| unreadable(row, column, "no state"))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Timestamp> {
    uint(row, column).map(Timestamp)
}

/// Reads a time that may be null.
pub(super) fn time_if_any(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => time(row, column).map(Some),
    }
}

/// Reads a text from the row without copying it.
pub(super) fn text<'r>(row: &'r Row<'_>, column: impl RowIndex) -> rusqlite::Result<&'r str> {
    Ok(row.get_ref(column)?.as_str()?)
}

/// Reads an amount of money.
fn amount(row: &Row<'_>, column: usize) -> rusqlite::Result<Amount> {
    let amount = Amount::from_nanos(uint(row, column)?);
    amount.ok_or_else(|| unreadable(row, column, "no amount"))
}

/// Reads a number that is never negative.
pub(super) fn uint(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| unreadable(row, column, "a negative number"))
}

/// Converts a number to an integer of SQLite. A number above the maximum of SQLite's integers becomes that
/// maximum, which is beyond every limit, amount and time.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Makes the error about a column with a value that this program does not write. `what` describes the value,
/// such as `no state`.
pub(super) fn unreadable(row: &Row<'_>, column: impl RowIndex, what: &str) -> rusqlite::Error {
    let statement: &Statement<'_> = row.as_ref();
    let column = match column.idx(statement) {
        Ok(column) => column,
        Err(error) => return error,
    };
    let name = statement.column_name(column).unwrap_or_default();
    let what = format!("{what} in the column {name}");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params_from_iter};

    use super::*;

    #[test]
    fn a_charge_is_read_by_names_whatever_the_order_of_its_columns() {
        let charge = Charge {
            payer: Payer {
                key: "studio".into(),
                group: "video".into(),
                currency: "CNY".into(),
                multiplier: Multiplier::from_thousandths(1500).unwrap(),
            },
            channel: "official".into(),
            model: "sora-2".into(),
            size: "1280x720".into(),
            seconds: 8,
            list: Amount::from_nanos(800_000_000).unwrap(),
            billed: Amount::from_nanos(1_200_000_000).unwrap(),
            prices: PriceList::from_text("1280x720=0.10"),
            purchase: Some(PurchaseCost {
                amount: Amount::from_nanos(680_000_000).unwrap(),
                currency: "EUR".into(),
                terms: PurchaseTerms::from_text("0.85").unwrap(),
            }),
        };
        let list = ChargeColumns::list();
        let mut columns: Vec<_> = list.split(", ").collect();
        assert_eq!(columns.len(), ChargeColumns::COUNT);
        columns.reverse();
        let reversed = columns.join(", ");

        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(&format!("CREATE TABLE charge (other, {reversed})"))
            .unwrap();
        let places = ["?"; ChargeColumns::COUNT].join(", ");
        let insert = format!("INSERT INTO charge ({list}) VALUES ({places})");
        let values = ChargeColumns::from(&charge).values();
        db.execute(&insert, params_from_iter(values)).unwrap();
        for order in [&*list, &*reversed, "*"] {
            let mut read = db.prepare(&format!("SELECT {order} FROM charge")).unwrap();
            let columns = ChargeColumns::find(&read).unwrap();
            let found = read.query_row([], |row| columns.read(row, &mut |text| text.into()));
            assert_eq!(*found.unwrap(), charge, "{order}");
        }
    }

    #[test]
    fn an_unreadable_column_is_named() {
        let db = Connection::open_in_memory().unwrap();
        let sql = "SELECT 1 AS other, 'gone' AS state, -1 AS seconds";
        let error = db.query_row(sql, [], |row| state(row, "state"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no state in the column state"), "{error}");
        let error = db.query_row(sql, [], |row| uint(row, 2)).unwrap_err();
        assert!(error.to_string().contains("column seconds"), "{error}");
    }
}
