//! Holds the channels of a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::channel::LiveChannel;
use crate::channel::Channel;

/// All channels of a configuration.
#[derive(Debug)]
pub struct Channels {
    all: Vec<Arc<LiveChannel>>,
    turn: AtomicUsize,
}

impl Channels {
    /// Makes the channels live.
    pub fn new(specs: &[Arc<Channel>]) -> Self {
        Self {
            all: specs.iter().cloned().map(LiveChannel::new).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Makes the channels live in place of those that were in force. Ejections end with those. The
    /// state that an operator has set stays, unless the configuration now has another than then.
    pub fn replacing(specs: &[Arc<Channel>], before: &Self) -> Self {
        let channels = Self::new(specs);
        for channel in &channels.all {
            let before = before.get(&channel.spec().name);
            if let Some(before) = before.filter(|b| b.spec().state == channel.spec().state) {
                channel.set_state(before.state());
            }
        }
        channels
    }

    /// All of them, as configured.
    pub fn all(&self) -> &[Arc<LiveChannel>] {
        &self.all
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<LiveChannel>> {
        self.all
            .iter()
            .find(|channel| &*channel.spec().name == name)
    }

    /// Counts the creates, for those that channels take in turn.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
