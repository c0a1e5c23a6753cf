//! The live channels of a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::channel::LiveChannel;
use crate::channel::Channel;

/// All live channels of a configuration, and those that are kept from earlier configurations. A channel with
/// several addresses has one entry for each of them, in a row.
#[derive(Debug)]
pub struct Channels {
    all: Vec<Arc<LiveChannel>>,
    turn: AtomicUsize,
}

impl Channels {
    /// Makes a live channel for each address of the configured channels.
    pub fn new(specs: &[Arc<Channel>]) -> Self {
        Self {
            all: specs.iter().flat_map(LiveChannel::of).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Makes the live channels of a new configuration, which replace those in `before`. Ejections end. The
    /// state that an operator has set stays, unless the new configuration changes the configured state.
    ///
    /// Channels and addresses that are not configured any more are kept as drained (or off, if they were
    /// off): their jobs are polled and downloaded for as long as this process runs.
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

    /// Returns all live channels, one object for each address, including those that are not configured any
    /// more.
    pub fn all(&self) -> &[Arc<LiveChannel>] {
        &self.all
    }

    /// Returns the channel `name` at its first address; `None` where there is no such channel.
    pub fn get(&self, name: &str) -> Option<&Arc<LiveChannel>> {
        self.all
            .iter()
            .find(|channel| &*channel.spec().name == name)
    }

    /// Returns the channel `name` at `address` (a URL as the ledger keeps it) or, if `address` is `None`, at
    /// the channel's first address. Returns `None` if the channel or the address is not known: neither
    /// configured nor kept from an earlier configuration of this process.
    pub fn at(&self, name: &str, address: Option<&str>) -> Option<&Arc<LiveChannel>> {
        let Some(address) = address else {
            return self.get(name);
        };
        let is_it = |channel: &LiveChannel| match channel.address() {
            Some(own) => **own == *address,
            // The channel has only one address now.
            None => channel.spec().url.text() == address,
        };
        let mut of_name = self.addresses(name);
        of_name.find(|channel| is_it(channel))
    }

    /// Returns the channel `name` at all of its addresses.
    pub fn addresses(&self, name: &str) -> impl Iterator<Item = &Arc<LiveChannel>> {
        self.all
            .iter()
            .filter(move |channel| &*channel.spec().name == name)
    }

    /// Returns whether `channel` is at the first of its addresses.
    pub fn is_first(&self, channel: &Arc<LiveChannel>) -> bool {
        let first = self.get(&channel.spec().name);
        first.is_some_and(|first| Arc::ptr_eq(first, channel))
    }

    /// Returns the channels, each with all of its addresses. Addresses that are not configured any more may
    /// come separately.
    pub(super) fn by_name(&self) -> impl Iterator<Item = &[Arc<LiveChannel>]> {
        self.all.chunk_by(|a, b| a.spec().name == b.spec().name)
    }

    /// Returns the number of the next create, by which channels take turns.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
