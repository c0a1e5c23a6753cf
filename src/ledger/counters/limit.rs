//! Limits, and the charges that they count.

use std::sync::Arc;

use super::super::charge::{Charge, Payer};
use crate::policy::{Key, Limit, Timestamp};

/// The key, group or channel that a limit belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The key of this name.
    Key(Arc<str>),
    /// The group of this name. Its keys share the limit.
    Group(Arc<str>),
    /// The channel of this name. All keys that use the channel share the limit.
    Channel(Arc<str>),
}

impl Scope {
    /// Returns the key, the group and the channel whose limits count a charge.
    pub(in crate::ledger) fn of(charge: &Charge) -> [Self; 3] {
        let payer = &charge.payer;
        [
            Self::Key(payer.key.clone()),
            Self::Group(payer.group.clone()),
            Self::Channel(charge.channel.clone()),
        ]
    }

    /// Returns the kind of the scope (`key`, `group` or `channel`) and its name.
    pub(in crate::ledger) fn parts(&self) -> (&'static str, &Arc<str>) {
        match self {
            Self::Key(name) => ("key", name),
            Self::Group(name) => ("group", name),
            Self::Channel(name) => ("channel", name),
        }
    }
}

/// The limits of a channel, with the currency of the purchase costs that they count.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct ChannelLimits<'a> {
    pub(in crate::ledger) name: &'a Arc<str>,
    /// The currency of the purchase costs on the channel; an empty text where there is no purchase cost.
    pub(in crate::ledger) currency: &'a str,
    pub(in crate::ledger) limits: &'a [Limit],
}

impl<'a> ChannelLimits<'a> {
    /// Combines `limits` with the channel and the purchase currency of `charge`.
    pub(in crate::ledger) fn of(charge: &'a Charge, limits: &'a [Limit]) -> Self {
        Self {
            name: &charge.channel,
            currency: charge.purchase_currency(),
            limits,
        }
    }

    /// Lists the limits, each with the channel as its scope, and with the currency if its measure has one.
    pub(in crate::ledger) fn scoped(self) -> impl Iterator<Item = ScopedLimit> + use<'a> {
        let limits = self.limits.iter();
        limits.map(move |limit| {
            ScopedLimit::new(*limit, Scope::Channel(self.name.clone()), self.currency)
        })
    }
}

/// The refusal of a request, or of the correction of a charge, that would exceed a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// The limit that would be exceeded.
    pub limit: Limit,
    /// The key, group or channel that the limit belongs to.
    pub scope: Scope,
    /// The currency of the limit; `None` where the limit's measure has no currency.
    pub currency: Option<Arc<str>>,
    /// The amount that is reserved or posted already in the window, in the unit of the limit's measure.
    pub used: u64,
    /// The amount that the request or the correction would add to `used`, in the same unit. The sum exceeds
    /// the limit.
    pub takes: u64,
    /// The end of the window, in seconds since the epoch. `None` where waiting for it does not help, since
    /// the window never ends, or `takes` alone exceeds the limit.
    pub resets: Option<u64>,
}

/// A limit, with the amount of it that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// The key, group or channel that the limit belongs to.
    pub scope: Scope,
    /// The amount that is reserved or posted in the window, in the unit of the limit's measure.
    pub used: u64,
}

/// A limit, with the scope and the currency of the charges that it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct ScopedLimit {
    pub(in crate::ledger) limit: Limit,
    /// The key, group or channel whose charges are counted.
    pub(in crate::ledger) scope: Scope,
    /// The currency of the charges that are counted; `None` where charges of all currencies are counted,
    /// since the measure has no currency.
    pub(in crate::ledger) currency: Option<Arc<str>>,
}

impl ScopedLimit {
    pub(super) fn new(limit: Limit, scope: Scope, currency: &str) -> Self {
        let currency = limit.measure.has_currency().then(|| currency.into());
        Self {
            limit,
            scope,
            currency,
        }
    }

    /// Tests whether the limit counts `charge`.
    pub(in crate::ledger) fn counts(&self, charge: &Charge) -> bool {
        let payer = &charge.payer;
        let (is_of, currency) = match &self.scope {
            Scope::Key(name) => (*name == payer.key, &*payer.currency),
            Scope::Group(name) => (*name == payer.group, &*payer.currency),
            Scope::Channel(name) => (*name == charge.channel, charge.purchase_currency()),
        };
        is_of && self.currency.as_ref().is_none_or(|own| **own == *currency)
    }

    /// Makes the refusal of a request that would add `takes` to the amount `used`, and so exceed the limit.
    pub(in crate::ledger) fn reached(self, takes: u64, used: u64, now: Timestamp) -> LimitReached {
        let Self {
            limit,
            scope,
            currency,
        } = self;
        LimitReached {
            resets: limit.window.end(now).filter(|_| takes <= limit.max),
            limit,
            scope,
            currency,
            used,
            takes,
        }
    }
}

/// Lists the limits that apply to a reservation: its key's, its group's, then its channel's.
pub(in crate::ledger) fn all_limits<'a>(
    key: &'a Key,
    channel: ChannelLimits<'a>,
) -> impl Iterator<Item = ScopedLimit> + use<'a> {
    limits(key).chain(channel.scoped())
}

/// Lists the limits that apply to a key: its own, then its group's.
pub(in crate::ledger) fn limits(key: &Key) -> impl Iterator<Item = ScopedLimit> + use<'_> {
    let (group, currency) = (&key.group, &key.group.currency);
    let own = key.limits.iter();
    let own = own.map(|l| ScopedLimit::new(*l, Scope::Key(key.name.clone()), currency));
    let shared = group.limits.iter();
    own.chain(shared.map(|l| ScopedLimit::new(*l, Scope::Group(group.name.clone()), currency)))
}

/// The limits that apply to the correction of a charge: those of the key and the group that the charge
/// names, even if that key is in another group by now. The maximum of a limit of the billed cost is an amount
/// in the charge's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindingLimits {
    /// The limits of the key that the charge names as its payer.
    pub key: Vec<Limit>,
    /// The limits of the group that the charge names.
    pub group: Vec<Limit>,
}

impl BindingLimits {
    /// Lists the limits, each with the key or group of `payer` as its scope, and with the payer's currency
    /// if it counts a cost in that currency.
    pub(in crate::ledger) fn of(&self, payer: &Payer) -> impl Iterator<Item = ScopedLimit> {
        let (own, shared, currency) = (self.key.iter(), self.group.iter(), &payer.currency);
        own.map(|l| ScopedLimit::new(*l, Scope::Key(payer.key.clone()), currency))
            .chain(
                shared.map(|l| ScopedLimit::new(*l, Scope::Group(payer.group.clone()), currency)),
            )
    }
}

impl From<&Key> for BindingLimits {
    fn from(key: &Key) -> Self {
        Self {
            key: key.limits.clone(),
            group: key.group.limits.clone(),
        }
    }
}
