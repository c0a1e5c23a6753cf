//! Holds what a background task of one channel works with.

use std::sync::Arc;

use super::reserve::Billing;
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
    /// The channel's name.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.channel.spec().name
    }
}
