//! How a channel is operated: its state, what it charges, and what becomes of its failures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::PriceList;
use crate::money::Multiplier;

/// Whether a channel is used, as an operator decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelState {
    /// It takes creates.
    #[default]
    Active,
    /// It takes no new creates. Its jobs are polled, downloaded and settled.
    Drain,
    /// Nothing is sent to it.
    Off,
}

impl ChannelState {
    /// Returns the name in the configuration and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drain => "drain",
            Self::Off => "off",
        }
    }
}

/// What a channel charges for its videos, and in which currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The currency's name, a label: `USD`.
    pub currency: Arc<str>,
    /// The price.
    pub price: PurchasePrice,
}

/// How a channel's prices are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurchasePrice {
    /// What one USD of list price costs there, in its currency.
    Factor(Multiplier),
    /// The price of one second by model and size: every size of every model that it serves.
    Prices(BTreeMap<Arc<str>, PriceList>),
}

/// When a channel whose answers show that it fails gets no more creates, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionRules {
    /// How many failures and timeouts in a row eject it, at least one.
    pub failures: u32,
    /// For how long at first. Each trial that fails doubles it.
    pub pause: Duration,
    /// The longest pause, at least `pause`.
    pub max_pause: Duration,
}

impl Default for EjectionRules {
    fn default() -> Self {
        Self {
            failures: 1,
            pause: Duration::from_secs(30),
            max_pause: Duration::from_secs(600),
        }
    }
}

/// A cheap request that shows whether a channel works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The path and query of a GET, which follow the base path of the channel's URL.
    pub path: Box<str>,
    /// How long after one probe the next is sent.
    pub every: Duration,
}
