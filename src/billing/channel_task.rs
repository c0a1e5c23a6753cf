//! Holds what a background task of one channel works with.

use std::sync::Arc;

use super::reserve::Billing;
use crate::ledger::Unmatched;
use crate::runtime::Snapshot;
use crate::upstream::{LiveChannel, UpstreamClient};

/// What a background task of one channel works with. Clones share all of it.
#[derive(Clone)]
pub(super) struct ChannelTask {
    pub(super) billing: Billing,
    pub(super) client: Arc<UpstreamClient>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) channel: Arc<LiveChannel>,
}

impl ChannelTask {
    /// Whether a reservation was made at this address of the channel.
    pub(super) fn is_here(&self, unmatched: &Unmatched) -> bool {
        let (channels, address) = (&self.snapshot.channels, unmatched.address.as_deref());
        match channels.at(self.name(), address) {
            Some(at) => Arc::ptr_eq(at, &self.channel),
            // The address is gone: it is expired with those of the first one.
            None => channels.is_first(&self.channel),
        }
    }

    /// The channel's name.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.channel.spec().name
    }
}
