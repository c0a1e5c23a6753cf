//! Which configurations gates have loaded, and when.

use std::sync::Arc;

use crate::policy::Timestamp;

/// Why a configuration was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadEvent {
    /// The gate started.
    Start,
    /// It read its files anew.
    Reload,
}

impl LoadEvent {
    /// Returns the word that stands for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
        }
    }

    /// Finds the event that a word stands for.
    pub(in crate::ledger) fn from_name(name: &str) -> Option<Self> {
        let mut all = [Self::Start, Self::Reload].into_iter();
        all.find(|event| event.name() == name)
    }
}

/// The load of a configuration by a gate. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigLoad {
    /// Its id, at random: a repeated write is known by it.
    pub id: u128,
    /// When it was loaded.
    pub at: Timestamp,
    /// Why.
    pub event: LoadEvent,
    /// The gate's host; empty where it is not known.
    pub host: Arc<str>,
    /// The gate's process there.
    pub process: u32,
    /// The gate's version.
    pub version: Arc<str>,
    /// The hash of the configuration.
    pub hash: Arc<str>,
    /// The hash of the one before it; `None` at the start.
    pub hash_before: Option<Arc<str>>,
    /// What it changed, as the log has it.
    pub changes: Arc<str>,
}
