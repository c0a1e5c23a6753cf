//! The records of configurations that gates have loaded.

use std::sync::Arc;

use crate::policy::Timestamp;

/// The reason why a gate loaded a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadEvent {
    /// The gate started.
    Start,
    /// The gate read its configuration files again.
    Reload,
}

impl LoadEvent {
    /// Returns the name of the event: `start` or `reload`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
        }
    }

    /// Returns the event with this [`name`](Self::name); `None` where no event has it.
    pub(in crate::ledger) fn from_name(name: &str) -> Option<Self> {
        let mut all = [Self::Start, Self::Reload].into_iter();
        all.find(|event| event.name() == name)
    }
}

/// The record of a configuration that a gate has loaded. It contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigLoad {
    /// The random id of the load, by which a repeated write is recognised.
    pub id: u128,
    /// The time of the load, by the gate's clock.
    pub at: Timestamp,
    /// The reason why the gate loaded the configuration.
    pub event: LoadEvent,
    /// The gate's host; empty where it is not known.
    pub host: Arc<str>,
    /// The id of the gate's process on that host.
    pub process: u32,
    /// The gate's version.
    pub version: Arc<str>,
    /// The hash of the configuration.
    pub hash: Arc<str>,
    /// The hash of the configuration before this one; `None` when the gate starts.
    pub hash_before: Option<Arc<str>>,
    /// The description of what changed since the configuration before this one, as the log shows it.
    pub changes: Arc<str>,
}
