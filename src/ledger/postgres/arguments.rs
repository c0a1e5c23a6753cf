//! Converts charges, placements and limits to the arguments of statements.

use std::borrow::Cow;
use std::sync::Arc;

use tokio_postgres::types::Type;

use super::super::LimitReached;
use super::super::charge::{Charge, Placement};
use super::super::counters::ScopedLimit;
use super::function::Argument;
use super::row::bigint;
use crate::policy::{Measure, Timestamp};

/// The values of a charge as arguments of statements.
pub(super) struct ChargeValues<'a> {
    key: &'a str,
    group: &'a str,
    currency: &'a str,
    multiplier: i64,
    channel: &'a str,
    model: &'a str,
    size: &'a str,
    seconds: i64,
    list: i64,
    billed: i64,
    prices: &'a str,
    purchase: Option<i64>,
    purchase_currency: Option<&'a str>,
    purchase_price: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Charge> for ChargeValues<'a> {
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
            key: &payer.key,
            group: &payer.group,
            currency: &payer.currency,
            multiplier: bigint(payer.multiplier.thousandths()),
            channel,
            model,
            size,
            seconds: i64::from(*seconds),
            list: bigint(list.nanos()),
            billed: bigint(billed.nanos()),
            prices: prices.as_str(),
            purchase: purchase.map(|cost| bigint(cost.amount.nanos())),
            purchase_currency: purchase.map(|cost| &*cost.currency),
            purchase_price: purchase.map(|cost| cost.terms.to_text()),
        }
    }
}

impl ChargeValues<'_> {
    /// Lists the arguments of a charge that a correction does not change.
    pub(super) fn kept(&self) -> [Argument<'_>; 5] {
        [
            ("p_key", &self.key, Type::TEXT),
            ("p_group", &self.group, Type::TEXT),
            ("p_currency", &self.currency, Type::TEXT),
            ("p_multiplier", &self.multiplier, Type::INT8),
            ("p_price_list", &self.prices, Type::TEXT),
        ]
    }

    /// Lists the arguments of the purchase cost, without its amount.
    pub(super) fn purchase(&self) -> [Argument<'_>; 2] {
        [
            ("p_purchase_currency", &self.purchase_currency, Type::TEXT),
            ("p_purchase_price", &self.purchase_price, Type::TEXT),
        ]
    }

    /// Lists the arguments that a move to another channel changes, without the purchase currency and price.
    pub(super) fn rerouted(&self) -> [Argument<'_>; 2] {
        [
            ("p_channel", &self.channel, Type::TEXT),
            ("p_purchase", &self.purchase, Type::INT8),
        ]
    }

    /// Lists the arguments of a charge that a correction may change, with its channel and model.
    pub(super) fn corrected(&self) -> [Argument<'_>; 7] {
        [
            ("p_channel", &self.channel, Type::TEXT),
            ("p_model", &self.model, Type::TEXT),
            ("p_size", &self.size, Type::TEXT),
            ("p_seconds", &self.seconds, Type::INT8),
            ("p_list", &self.list, Type::INT8),
            ("p_billed", &self.billed, Type::INT8),
            ("p_purchase", &self.purchase, Type::INT8),
        ]
    }
}

/// The address and the clock of a channel as arguments.
pub(super) struct PlacementValues<'a> {
    address: Option<&'a str>,
    channel_clock: Option<i64>,
}

impl<'a> From<&'a Placement> for PlacementValues<'a> {
    fn from(placement: &'a Placement) -> Self {
        Self {
            address: placement.address.as_deref(),
            channel_clock: placement.channel_clock.map(|clock| bigint(clock.0)),
        }
    }
}

impl PlacementValues<'_> {
    pub(super) fn arguments(&self) -> [Argument<'_>; 2] {
        [
            ("p_address", &self.address, Type::TEXT),
            ("p_channel_clock", &self.channel_clock, Type::INT8),
        ]
    }
}

/// Limits as arrays, one for each field of a limit. Their order is kept: a refusal names the first limit
/// that would be exceeded.
#[derive(Default)]
pub(super) struct LimitValues {
    pub(super) scopes: Vec<&'static str>,
    names: Vec<Arc<str>>,
    currencies: Vec<Option<Arc<str>>>,
    pub(super) measures: Vec<&'static str>,
    pub(super) windows: Vec<&'static str>,
    pub(super) maximums: Vec<i64>,
}

impl LimitValues {
    pub(super) fn of(limits: impl Iterator<Item = ScopedLimit>) -> Self {
        let mut values = Self::default();
        for scoped in limits {
            let (limit, (kind, name)) = (scoped.limit, scoped.scope.parts());
            values.scopes.push(kind);
            values.names.push(name.clone());
            values.measures.push(limit.measure.name());
            values.windows.push(limit.window.name());
            values.maximums.push(bigint(limit.max));
            values.currencies.push(scoped.currency);
        }
        values
    }

    /// Lists the arguments that describe the limits, without the names of their scopes and the currencies.
    pub(super) fn arguments(&self) -> [Argument<'_>; 4] {
        [
            ("p_scopes", &self.scopes, Type::TEXT_ARRAY),
            ("p_measures", &self.measures, Type::TEXT_ARRAY),
            ("p_windows", &self.windows, Type::TEXT_ARRAY),
            ("p_mosts", &self.maximums, Type::INT8_ARRAY),
        ]
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.names.iter().map(|name| &**name).collect()
    }

    /// Lists the currency of each limit: an empty text where the limit's measure has no currency.
    pub(super) fn currencies(&self) -> Vec<&str> {
        let currencies = self.currencies.iter();
        currencies
            .map(|c| c.as_deref().unwrap_or_default())
            .collect()
    }
}

/// Makes the refusal for the limit that a decision has named by its `number` among `limits`, counted from 1.
/// Returns `None` where no limit has that number.
pub(super) fn limit_reached(
    mut limits: impl Iterator<Item = ScopedLimit>,
    number: i64,
    used: u64,
    takes: impl Fn(Measure) -> u64,
    now: Timestamp,
) -> Option<LimitReached> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let scoped = limits.nth(index)?;
    let takes = takes(scoped.limit.measure);
    Some(scoped.reached(takes, used, now))
}
