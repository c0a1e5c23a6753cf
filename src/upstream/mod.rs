//! Connects to channels, sends requests, reads answers, and counts failures.
//!
//! [`UpstreamClient`] holds what all channels share. An `Exchange` is one request under way; only its method
//! `complete` sends the last bytes of a create. Nothing here authenticates clients, reserves or charges.

mod answer;
mod attempts;
mod balance;
mod channel;
mod channel_clock;
mod choice;
mod client;
mod cork;
mod error;
mod exchange;
mod failures;
mod fetch;
mod framing;
pub(crate) mod headers;
mod health;
pub(crate) mod job_status;
pub(crate) mod list_page;
mod load;
mod min_rate;
mod operation;
mod peer;
mod pool;
mod probe;
mod proxy;
pub(crate) mod redirect;
mod report;
mod routing;
pub(crate) mod timeout;
mod trial;

#[cfg(test)]
mod tests;

pub(crate) use answer::Answer;
pub(crate) use attempts::{Attempts, Declined, NoneLeft};
pub use balance::Channels;
pub use channel::{LiveChannel, Unresolved};
pub(crate) use choice::{ChannelChoice, NoChannel};
pub use client::UpstreamClient;
pub(crate) use error::{QueryError, UpstreamError};
pub(crate) use exchange::{Exchange, Sending};
pub(crate) use fetch::{FetchRequest, Stale};
pub(crate) use framing::Framing;
pub use health::EjectionReason;
pub use load::InFlight;
pub(crate) use min_rate::MinRate;
pub use operation::{CHANNEL_STATES, ChannelStatus};
pub use probe::probe;
pub(crate) use probe::probe_health;
pub use report::ChannelControl;
pub(crate) use report::{CreateOutcome, declined, full};
pub(crate) use trial::Trial;
