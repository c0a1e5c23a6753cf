//! The trial of an ejected channel: a create that shows whether the channel works again.

use std::sync::Arc;

use super::channel::LiveChannel;
use crate::policy::Timestamp;

/// A guard for the trial of a channel: the trial ends when the guard is dropped. By then, the outcome of the
/// create has been noted for the channel's health. If there is no outcome, because the create was refused or
/// broken off before, another create may be the trial.
#[derive(Debug)]
pub(crate) struct Trial {
    channel: Arc<LiveChannel>,
    ends: Timestamp,
}

impl Trial {
    /// Begins a trial of `channel`; `None` where the channel is not due for a trial, or another trial is
    /// under way.
    pub(super) fn begin(channel: &Arc<LiveChannel>, now: Timestamp) -> Option<Self> {
        let ends = channel.begin_trial(now)?;
        Some(Self {
            channel: channel.clone(),
            ends,
        })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.channel.end_trial(self.ends);
    }
}
