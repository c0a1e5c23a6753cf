//! What the gate remembers of one request between its hooks.

use std::sync::Arc;

use super::State;
use super::poll::Seen;

/// Per-request state, to be kept by whoever calls the gate's hooks: in the context of the proxy
/// that embeds it, for one.
pub struct Context {
    /// The configuration that was in force when the request came.
    pub(super) state: Arc<State>,
    /// Whether the request is the gate's.
    pub(super) claimed: bool,
    /// Labels for the metrics.
    pub(super) route: &'static str,
    pub(super) key: Option<Arc<str>>,
    /// Whether the request's body has been read to its end.
    pub(super) body_complete: bool,
    /// What is to be learned from once it has been passed on.
    pub(super) seen: Option<Seen>,
}

impl Context {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            claimed: false,
            route: "other",
            key: None,
            body_complete: false,
            seen: None,
        }
    }

    /// The key's name; empty while it is not known.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }
}
