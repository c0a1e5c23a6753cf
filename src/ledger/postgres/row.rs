//! Converts the rows of results to values, and converts ids of 128 bits from and to the database's form.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use bytes::BytesMut;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::super::Unavailable;
use super::super::charge::{Charge, Payer, PromptDigest};
use super::super::charge::{PurchaseCost, ReservationId, Uncorrected};
use super::super::job::{Job, State, Unmatched};
use crate::catalog::{PriceList, PurchaseTerms};
use crate::money::{Amount, Multiplier};
use crate::policy::Timestamp;

/// An id of 128 bits, which has the type `uuid` in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u128);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

impl FromSql<'_> for Id {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(u128::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }
}

/// Converts a number to `BIGINT`. A number above the maximum of that type becomes the maximum.
pub(super) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Escapes an upstream id for a column of type `text`, which cannot contain a zero byte.
pub(super) fn escaped(id: &str) -> Cow<'_, str> {
    if id.contains(['\0', '\u{1}']) {
        id.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0").into()
    } else {
        id.into()
    }
}

/// Reverses `escaped`: restores NUL and U+0001 in an upstream id.
pub(super) fn unescaped(text: &str) -> Arc<str> {
    if text.contains('\u{1}') {
        text.replace("\u{1}0", "\0")
            .replace("\u{1}1", "\u{1}")
            .into()
    } else {
        text.into()
    }
}

/// The columns of a [`Charge`].
pub(super) const CHARGE: &str = "key, group_name, currency, multiplier_thousandths, channel, \
     model, size, seconds, list_nanos, billed_nanos, price_list, purchase_nanos, \
     purchase_currency, purchase_price";

/// The columns of a [`Charge`] that a correction may change.
pub(super) const CORRECTED: &str = "size, seconds, list_nanos, billed_nanos, purchase_nanos";

/// The columns of a [`Job`], besides those of its charge.
pub(super) const JOB: &str = "id, job, upstream_id, created_ms, remix_of, state, outcome, \
     deleted, address";

/// The columns of an [`Unmatched`], besides those of its charge.
pub(super) const UNMATCHED: &str = "id, prompt_sha256, remix_of, state, created_ms, \
     coalesce(unknown_since_ms, created_ms) AS since_ms, \
     (SELECT fingerprint FROM tollgate.idempotency AS i WHERE i.key = reservation.key \
          AND i.idempotency_key = reservation.idempotency_key AND i.reservation = reservation.id) \
         AS fingerprint, channel_clock_ms, address";

/// The columns of an [`Uncorrected`]: null where there is none.
pub(super) const UNCORRECTED: &str = "uncorrected_size, uncorrected_seconds, \
     uncorrected_list_nanos, uncorrected_billed_nanos";

pub(super) fn charge(row: &Row) -> Result<Arc<Charge>, Unavailable> {
    Ok(Arc::new(Charge {
        payer: Payer {
            key: text(row, "key")?,
            group: text(row, "group_name")?,
            currency: text(row, "currency")?,
            multiplier: Multiplier::from_thousandths(number(row, "multiplier_thousandths")?)
                .ok_or_else(|| strange("multiplier_thousandths"))?,
        },
        channel: text(row, "channel")?,
        model: text(row, "model")?,
        size: text(row, "size")?,
        seconds: u32::try_from(number(row, "seconds")?).map_err(|_| strange("seconds"))?,
        list: amount(row, "list_nanos")?,
        billed: amount(row, "billed_nanos")?,
        prices: PriceList::from_text(column::<&str>(row, "price_list")?),
        purchase: purchase(row)?,
    }))
}

/// Reads a charge as it was before its correction to `corrected`. What a correction does not change is taken
/// from `corrected`.
pub(super) fn charge_before(row: &Row, corrected: &Charge) -> Result<Arc<Charge>, Unavailable> {
    let purchase = match (
        &corrected.purchase,
        column::<Option<i64>>(row, "purchase_nanos")?,
    ) {
        (Some(cost), Some(_)) => Some(PurchaseCost {
            amount: amount(row, "purchase_nanos")?,
            ..cost.clone()
        }),
        _ => None,
    };
    Ok(Arc::new(Charge {
        size: text(row, "size")?,
        seconds: u32::try_from(number(row, "seconds")?).map_err(|_| strange("seconds"))?,
        list: amount(row, "list_nanos")?,
        billed: amount(row, "billed_nanos")?,
        purchase,
        ..corrected.clone()
    }))
}

fn purchase(row: &Row) -> Result<Option<PurchaseCost>, Unavailable> {
    if column::<Option<i64>>(row, "purchase_nanos")?.is_none() {
        return Ok(None);
    }
    let terms = PurchaseTerms::from_text(column(row, "purchase_price")?);
    Ok(Some(PurchaseCost {
        amount: amount(row, "purchase_nanos")?,
        currency: text(row, "purchase_currency")?,
        terms: terms.ok_or_else(|| strange("purchase_price"))?,
    }))
}

/// Reads the size, seconds and costs of a row's charge before it was corrected; `None` where it was not.
pub(super) fn uncorrected(row: &Row) -> Result<Option<Uncorrected>, Unavailable> {
    let Some(size) = text_if_any(row, "uncorrected_size")? else {
        return Ok(None);
    };
    let seconds = u32::try_from(number(row, "uncorrected_seconds")?);
    Ok(Some(Uncorrected {
        size,
        seconds: seconds.map_err(|_| strange("uncorrected_seconds"))?,
        list: amount(row, "uncorrected_list_nanos")?,
        billed: amount(row, "uncorrected_billed_nanos")?,
    }))
}

pub(super) fn job(row: &Row) -> Result<Job, Unavailable> {
    let public = text(row, "job")?;
    let upstream_id = column::<Option<&str>>(row, "upstream_id")?;
    Ok(Job {
        upstream_id: upstream_id.map_or_else(|| public.clone(), unescaped),
        id: public,
        reservation: id(row)?,
        charge: charge(row)?,
        created: Timestamp(number(row, "created_ms")?),
        remix_of: text_if_any(row, "remix_of")?,
        resolution: state(row)?.resolution(),
        end: text_if_any(row, "outcome")?,
        deleted: column(row, "deleted")?,
        address: text_if_any(row, "address")?,
    })
}

pub(super) fn unmatched(row: &Row) -> Result<Unmatched, Unavailable> {
    let prompt: &[u8] = column(row, "prompt_sha256")?;
    let prompt = prompt.try_into().map_err(|_| strange("prompt_sha256"))?;
    let fingerprint: Option<&[u8]> = column(row, "fingerprint")?;
    let fingerprint = fingerprint.map(<[u8; 32]>::try_from).transpose();
    Ok(Unmatched {
        fingerprint: fingerprint.map_err(|_| strange("fingerprint"))?,
        state: state(row)?,
        id: id(row)?,
        charge: charge(row)?,
        uncorrected: uncorrected(row)?,
        prompt: PromptDigest(prompt),
        remix_of: text_if_any(row, "remix_of")?,
        created: Timestamp(number(row, "created_ms")?),
        since: Timestamp(number(row, "since_ms")?),
        channel_clock: match column::<Option<i64>>(row, "channel_clock_ms")? {
            Some(_) => Some(Timestamp(number(row, "channel_clock_ms")?)),
            None => None,
        },
        address: text_if_any(row, "address")?,
    })
}

pub(super) fn state(row: &Row) -> Result<State, Unavailable> {
    State::from_name(column(row, "state")?).ok_or_else(|| strange("state"))
}

/// Reads the column `name` of a row.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, name: &str) -> Result<T, Unavailable> {
    row.try_get(name).map_err(|_| strange(name))
}

/// Reads a number that is never negative.
pub(super) fn number(row: &Row, name: &str) -> Result<u64, Unavailable> {
    let number: i64 = column(row, name)?;
    u64::try_from(number).map_err(|_| strange(name))
}

pub(super) fn id(row: &Row) -> Result<ReservationId, Unavailable> {
    let Id(id) = column(row, "id")?;
    Ok(ReservationId(id))
}

fn amount(row: &Row, name: &str) -> Result<Amount, Unavailable> {
    Amount::from_nanos(number(row, name)?).ok_or_else(|| strange(name))
}

pub(super) fn text(row: &Row, name: &str) -> Result<Arc<str>, Unavailable> {
    column::<&str>(row, name).map(Arc::from)
}

/// Reads a text that may be null.
pub(super) fn text_if_any(row: &Row, name: &str) -> Result<Option<Arc<str>>, Unavailable> {
    Ok(column::<Option<&str>>(row, name)?.map(Arc::from))
}

pub(super) fn strange(name: &str) -> Unavailable {
    Unavailable::permanent(format!(
        "the database answers with a value in {name} that no gate writes: see whether \
         somebody has changed the schema tollgate"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_upstream_id_has_a_text_of_its_own() {
        let ids = [
            "", "a", "\0", "\u{1}", "\u{1}0", "\u{1}1", "\0\u{1}", "\u{1}\0", "\u{1}10",
        ];
        let texts = ids.map(|id| escaped(id).into_owned());
        for (id, text) in ids.iter().zip(&texts) {
            assert!(!text.contains('\0'), "{id:?}");
            assert_eq!(&*unescaped(text), *id);
        }
    }
}
