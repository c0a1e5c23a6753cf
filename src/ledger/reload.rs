//! The loads of configurations by gates.

use std::sync::Arc;

use crate::policy::Timestamp;

/// The event that loaded a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadEvent {
    /// The gate started.
    Start,
    /// The gate read its files anew.
    Reload,
}

impl LoadEvent {
    /// Returns the word for the event: `start` or `reload`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
        }
    }

    /// Returns the event that the word `name` stands for.
    pub(in crate::ledger) fn from_name(name: &str) -> Option<Self> {
        let mut all = [Self::Start, Self::Reload].into_iter();
        all.find(|event| event.name() == name)
    }
}

/// The load of a configuration by a gate. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigLoad {
    /// The id of the load, at random: a repeated write is recognised by it.
    pub id: u128,
    /// The time of the load, by the gate's clock.
    pub at: Timestamp,
    /// The event that loaded the configuration.
    pub event: LoadEvent,
    /// The gate's host; empty where it is not known.
    pub host: Arc<str>,
    /// The id of the gate's process on that host.
    pub process: u32,
    /// The gate's version.
    pub version: Arc<str>,
    /// The hash of the configuration.
    pub hash: Arc<str>,
    /// The hash of the configuration before this one; `None` at the start.
    pub hash_before: Option<Arc<str>>,
    /// The description of what changed since the configuration before this one, as the log has it.
    pub changes: Arc<str>,
}
