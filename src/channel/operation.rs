//! The operational settings of a channel: its state, prices, ejection rules and probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::PriceList;
use crate::money::Multiplier;

/// The state of a channel, as the configuration or an operator has set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelState {
    /// The channel takes creates.
    #[default]
    Active,
    /// The channel takes no new creates. Its jobs are polled, downloaded and settled.
    Drain,
    /// Nothing is sent to the channel.
    Off,
}

impl ChannelState {
    /// Returns the state's name in the configuration and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drain => "drain",
            Self::Off => "off",
        }
    }
}

/// The prices that a channel charges for its videos, and their currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The currency's name, such as `USD`, as labels show it.
    pub currency: Arc<str>,
    /// The price: a factor of the list price, or prices by model and size.
    pub price: PurchasePrice,
}

/// The form of a channel's prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurchasePrice {
    /// The price, in the channel's currency, of one USD of list price.
    Factor(Multiplier),
    /// The prices of one second of video, by model and size. Every size of every model that the channel
    /// serves has a price.
    Prices(BTreeMap<Arc<str>, PriceList>),
}

/// The rules for ejecting a channel that fails or does not answer in time. During the pause that follows, the
/// channel gets only the creates that no other channel can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionRules {
    /// The number of consecutive failures and timeouts of creates, or of probes, that eject a channel; at
    /// least one.
    pub failures: u32,
    /// The first pause of an ejected channel. If the channel still fails after a pause, the next pause is
    /// twice as long, up to `max_pause`.
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
    /// The interval between two probes.
    pub every: Duration,
}
