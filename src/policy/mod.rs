//! The policy: a create request and a key become a [`Permit`] or a [`Refusal`].
//!
//! **Invariant**: only [`permit()`] and [`permit_remix`] make a [`Permit`]. Code that needs permission takes
//! one as a parameter, so that code that forgot to ask does not compile.

mod cors;
mod exceeded;
mod limit;
mod offer;
mod permit;
mod rate_limit;
mod refusal;
mod validity;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use cors::Cors;
pub use exceeded::{Exceeded, Terms};
pub use limit::{Limit, Measure, ParseLimitError, Timestamp, Window};
pub use offer::{Offer, offers};
pub use permit::{Permit, judge, permit, permit_remix};
pub use rate_limit::{RateLimit, rate_limits};
pub use refusal::Refusal;
pub use validity::{KeyEntry, KeyFault, Validity};

use crate::money::Multiplier;

/// The policy of a client key. The key itself is known by its digest only.
#[derive(Debug)]
pub struct Key {
    /// The name that labels the key in metrics, the ledger and logs.
    pub name: Arc<str>,
    /// The key's group, which sets the price that the key pays.
    pub group: Arc<Group>,
    /// The models, sizes and durations that the key may ask for.
    pub allow: Allow,
    /// The limits on how much the key may ask for.
    pub limits: Vec<Limit>,
    /// The channels that the key's requests may go to; `None` for all that its group may use.
    pub channels: Option<BTreeSet<Arc<str>>>,
}

impl Key {
    /// Returns whether the key's requests may go to the channel `name`.
    pub fn may_use_channel(&self, name: &str) -> bool {
        admits(&self.channels, name) && admits(&self.group.channels, name)
    }
}

/// A group: a multiplier, a currency and limits for the keys in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The name that labels the group in metrics and the ledger.
    pub name: Arc<str>,
    /// The multiplier: the billed cost of one USD of list price, in the group's currency.
    pub multiplier: Multiplier,
    /// The name of the currency, a label: `CNY`.
    pub currency: Arc<str>,
    /// The limits on how much all keys of the group may ask for together.
    pub limits: Vec<Limit>,
    /// The channels that the requests of the group's keys may go to; `None` for all.
    pub channels: Option<BTreeSet<Arc<str>>>,
}

/// The models, sizes and durations that a key may ask for. `None` allows all that the catalog offers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// The names of the models.
    pub models: Option<BTreeSet<Arc<str>>>,
    /// The names of the sizes.
    pub sizes: Option<BTreeSet<Arc<str>>>,
    /// The durations, as they are written in requests.
    pub seconds: Option<BTreeSet<Arc<str>>>,
}

fn admits(allowed: &Option<BTreeSet<Arc<str>>>, value: &str) -> bool {
    allowed.as_ref().is_none_or(|set| set.contains(value))
}

impl Allow {
    /// Returns whether the key may use the model `name`.
    pub fn model(&self, name: &str) -> bool {
        admits(&self.models, name)
    }

    /// Returns whether the key may use the size `name`.
    pub fn size(&self, name: &str) -> bool {
        admits(&self.sizes, name)
    }

    /// Returns whether the key may use the duration `text`.
    pub fn seconds(&self, text: &str) -> bool {
        admits(&self.seconds, text)
    }
}

/// The model, size and seconds that a create request asks for; `None` for those that are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The value of the field `model`.
    pub model: Option<&'a str>,
    /// The value of the field `size`.
    pub size: Option<&'a str>,
    /// The value of the field `seconds`.
    pub seconds: Option<&'a str>,
}

/// One of the fields of a request that the policy judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// The field `model`.
    Model,
    /// The field `size`.
    Size,
    /// The field `seconds`.
    Seconds,
}

impl Param {
    /// Returns the field's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Size => "size",
            Self::Seconds => "seconds",
        }
    }
}

#[cfg(test)]
mod tests;
