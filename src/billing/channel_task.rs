//! The context of a background task of one channel.

use std::sync::Arc;

use super::reserve::Billing;
use crate::ledger::Unmatched;
use crate::runtime::Snapshot;
use crate::upstream::{LiveChannel, UpstreamClient};

/// The services and the channel address that a background task of one channel works with. Clones share
/// them.
#[derive(Clone)]
pub(super) struct ChannelTask {
    pub(super) billing: Billing,
    pub(super) client: Arc<UpstreamClient>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) channel: Arc<LiveChannel>,
}

impl ChannelTask {
    /// Returns whether the outcome of a reservation is decided by the task of this address of the channel.
    /// The task of the address that got the request decides. If this process does not know that address, the
    /// task of the channel's first address decides.
    pub(super) fn is_here(&self, unmatched: &Unmatched) -> bool {
        match self.made_at(unmatched) {
            Some(at) => Arc::ptr_eq(at, &self.channel),
            None => self.snapshot.channels.is_first(&self.channel),
        }
    }

    /// Returns whether this process does not know the address that got a reservation's request. No list can
    /// then prove that no job was created, so the reservation stays unknown until it expires.
    pub(super) fn is_gone(&self, unmatched: &Unmatched) -> bool {
        self.made_at(unmatched).is_none()
    }

    fn made_at(&self, unmatched: &Unmatched) -> Option<&Arc<LiveChannel>> {
        let address = unmatched.address.as_deref();
        self.snapshot.channels.at(self.name(), address)
    }

    /// Returns the channel's name.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.channel.spec().name
    }
}
