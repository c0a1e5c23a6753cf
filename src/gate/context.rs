//! What the gate remembers of one request between its hooks.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::State;
use super::known::Known;
use super::route::Route;
use crate::channel::{InFlight, LiveChannel};

/// Per-request state, to be kept in the context of the proxy that embeds the gate.
pub struct Context {
    /// The configuration that was in force when the request came.
    pub(super) state: Arc<State>,
    /// Whether the request is the gate's.
    pub(super) claimed: bool,
    /// Labels for the metrics.
    pub(super) route: &'static str,
    pub(super) key: Arc<str>,
    /// Whether the request's body has been read to its end.
    pub(super) body_complete: bool,
    /// Where a request goes that Pingora forwards.
    pub(super) forward: Option<Forward>,
    /// What is to be learned from once it has been passed on.
    pub(super) seen: Option<Seen>,
}

/// A request about a job that Pingora's proxy loop forwards: download or deletion.
pub(super) struct Forward {
    pub(super) route: Route,
    /// The channel that made the job.
    pub(super) channel: Arc<LiveChannel>,
    pub(super) known: Arc<Known>,
    pub(super) sent: Option<Instant>,
    pub(super) in_flight: Option<InFlight>,
}

/// The successful answer to a poll.
pub(super) struct Seen {
    pub(super) channel: Arc<LiveChannel>,
    pub(super) known: Arc<Known>,
    pub(super) body: Bytes,
}

impl Context {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            claimed: false,
            route: "other",
            key: "".into(),
            body_complete: false,
            forward: None,
            seen: None,
        }
    }
}
