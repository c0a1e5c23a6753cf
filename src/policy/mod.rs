//! What a key may ask for: a create request and a key become a [`Permit`] or a
//! [`Refusal`].
//!
//! **Invariant**: a [`Permit`] comes out of [`permit()`] and [`permit_remix`] alone. What needs
//! permission takes one, so that forgetting to ask does not compile.

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

/// A client key's policy. The key itself is known by its digest only.
#[derive(Debug)]
pub struct Key {
    /// What the key is labelled by, in metrics, the ledger and logs.
    pub name: Arc<str>,
    /// Whose price it pays.
    pub group: Arc<Group>,
    /// What it may ask for.
    pub allow: Allow,
    /// How much of it.
    pub limits: Vec<Limit>,
    /// The channels that its requests may go to; `None` for all that its group may use.
    pub channels: Option<BTreeSet<Arc<str>>>,
}

impl Key {
    /// Returns whether the key's requests may go to that channel.
    pub fn may_use_channel(&self, name: &str) -> bool {
        admits(&self.channels, name) && admits(&self.group.channels, name)
    }
}

/// A multiplier and a currency for the keys in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The label.
    pub name: Arc<str>,
    /// What one USD of list price costs here.
    pub multiplier: Multiplier,
    /// The currency's name, a label: `CNY`.
    pub currency: Arc<str>,
    /// How much all its keys may ask for together.
    pub limits: Vec<Limit>,
    /// The channels that its keys' requests may go to; `None` for all.
    pub channels: Option<BTreeSet<Arc<str>>>,
}

/// What a key may ask for. `None` stands for all that the catalog offers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Models.
    pub models: Option<BTreeSet<Arc<str>>>,
    /// Sizes.
    pub sizes: Option<BTreeSet<Arc<str>>>,
    /// Durations, as written.
    pub seconds: Option<BTreeSet<Arc<str>>>,
}

fn admits(allowed: &Option<BTreeSet<Arc<str>>>, value: &str) -> bool {
    allowed.as_ref().is_none_or(|set| set.contains(value))
}

impl Allow {
    /// Returns whether the key may use that model.
    pub fn model(&self, name: &str) -> bool {
        admits(&self.models, name)
    }

    /// Returns whether the key may use that size.
    pub fn size(&self, name: &str) -> bool {
        admits(&self.sizes, name)
    }

    /// Returns whether the key may use that duration.
    pub fn seconds(&self, text: &str) -> bool {
        admits(&self.seconds, text)
    }
}

/// What a create request asks for, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The field `model`.
    pub model: Option<&'a str>,
    /// The field `size`.
    pub size: Option<&'a str>,
    /// The field `seconds`.
    pub seconds: Option<&'a str>,
}

/// Which of the policy's fields a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// `model`
    Model,
    /// `size`
    Size,
    /// `seconds`
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
