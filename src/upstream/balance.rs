//! Holds the channels of a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::channel::LiveChannel;
use crate::channel::Channel;

/// All channels of a configuration. One that has several addresses is there once for each, in a
/// row.
#[derive(Debug)]
pub struct Channels {
    all: Vec<Arc<LiveChannel>>,
    turn: AtomicUsize,
}

impl Channels {
    /// Makes the channels live.
    pub fn new(specs: &[Arc<Channel>]) -> Self {
        Self {
            all: specs.iter().flat_map(LiveChannel::of).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Makes the channels live in place of those that were in force. Ejections end with those. The
    /// state that an operator has set stays, unless the configuration now has another than then.
    ///
    /// Channels and addresses that are not configured any more are kept, drained: their jobs are
    /// polled and downloaded for as long as this process runs.
    pub fn replacing(specs: &[Arc<Channel>], before: &Self) -> Self {
        let mut channels = Self::new(specs);
        for channel in &channels.all {
            let before = before.get(&channel.spec().name);
            let before = before.filter(|before| !before.is_removed());
            if let Some(before) = before.filter(|b| b.spec().state == channel.spec().state) {
                channel.set_state(before.state());
            }
        }
        for before in &before.all {
            let address = before.address().map(|address| &**address);
            if channels.at(&before.spec().name, address).is_none() {
                channels.all.push(before.removed());
            }
        }
        channels
    }

    /// All of them, as configured, at all addresses.
    pub fn all(&self) -> &[Arc<LiveChannel>] {
        &self.all
    }

    /// Returns the channel of that name, at its first address.
    pub fn get(&self, name: &str) -> Option<&Arc<LiveChannel>> {
        self.all
            .iter()
            .find(|channel| &*channel.spec().name == name)
    }

    /// Returns the channel of that name at one of its addresses, as the ledger names it; the first,
    /// where it names none. `None` where that is not configured any more.
    pub fn at(&self, name: &str, address: Option<&str>) -> Option<&Arc<LiveChannel>> {
        let Some(address) = address else {
            return self.get(name);
        };
        let is_it = |channel: &LiveChannel| match channel.address() {
            Some(own) => **own == *address,
            // It has one address by now.
            None => channel.spec().url.text() == address,
        };
        let mut of_name = self.addresses(name);
        of_name.find(|channel| is_it(channel))
    }

    /// Returns the channel of that name at all of its addresses.
    pub fn addresses(&self, name: &str) -> impl Iterator<Item = &Arc<LiveChannel>> {
        self.all
            .iter()
            .filter(move |channel| &*channel.spec().name == name)
    }

    /// Returns whether this is a channel's first address.
    pub fn is_first(&self, channel: &Arc<LiveChannel>) -> bool {
        let first = self.get(&channel.spec().name);
        first.is_some_and(|first| Arc::ptr_eq(first, channel))
    }

    /// Returns the channels, each with all of its addresses.
    pub(super) fn by_name(&self) -> impl Iterator<Item = &[Arc<LiveChannel>]> {
        self.all.chunk_by(|a, b| a.spec().name == b.spec().name)
    }

    /// Counts the creates, for those that channels take in turn.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
