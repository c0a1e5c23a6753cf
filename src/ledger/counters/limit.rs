//! Limits, and the charges that they count.

use std::sync::Arc;

use super::super::charge::{Charge, Payer};
use crate::policy::{Key, Limit, Timestamp};

/// The key, group or channel that a limit belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The key of this name.
    Key(Arc<str>),
    /// The group of this name: its keys share the limit.
    Group(Arc<str>),
    /// The channel of this name: all who use it share the limit.
    Channel(Arc<str>),
}

impl Scope {
    /// Returns the scopes that a charge counts in.
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

/// The limits of a channel, with the currency that they count.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct ChannelLimits<'a> {
    pub(in crate::ledger) name: &'a Arc<str>,
    /// The currency in which the channel is paid; empty where it is not known.
    pub(in crate::ledger) currency: &'a str,
    pub(in crate::ledger) limits: &'a [Limit],
}

impl<'a> ChannelLimits<'a> {
    /// Returns the limits of the channel of a charge.
    pub(in crate::ledger) fn of(charge: &'a Charge, limits: &'a [Limit]) -> Self {
        Self {
            name: &charge.channel,
            currency: charge.purchase_currency(),
            limits,
        }
    }

    /// Lists each limit with the scope and the currency that it counts.
    pub(in crate::ledger) fn scoped(self) -> impl Iterator<Item = ScopedLimit> + use<'a> {
        let limits = self.limits.iter();
        limits.map(move |limit| {
            ScopedLimit::new(*limit, Scope::Channel(self.name.clone()), self.currency)
        })
    }
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// The limit that the request would exceed.
    pub limit: Limit,
    /// The key, group or channel that the limit belongs to.
    pub scope: Scope,
    /// The currency of the limit, where it is a limit of a cost in one currency.
    pub currency: Option<Arc<str>>,
    /// The amount that is reserved or posted already in the window, in the unit of the limit's measure.
    pub used: u64,
    /// The amount that the request takes, which exceeds the limit.
    pub takes: u64,
    /// The end of the window, in seconds since the epoch; `None` where waiting for it does not help: the
    /// window never ends, or the request alone is more than the limit.
    pub resets: Option<u64>,
}

/// The amount of a limit that is used.
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
    /// The currency of the charges that are counted, where a sum over several would mean nothing.
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

    /// Makes the refusal of a request that would take `takes`, which is more than the limit has left.
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
/// names, wherever its key is by now. Limits of the billed cost are of the charge's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindingLimits {
    /// The limits of the key of the payer's name.
    pub key: Vec<Limit>,
    /// The limits of the group of the payer's name.
    pub group: Vec<Limit>,
}

impl BindingLimits {
    /// Lists each limit with the scope and the currency that it counts.
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
