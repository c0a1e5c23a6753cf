//! Chooses the channels that a create may go to, by its key, model and the type of its seconds.

use std::sync::Arc;

use super::balance::Channels;
use super::channel::LiveChannel;
use crate::channel::Channel;
use crate::inspect::{SecondsType, Written};
use crate::policy::{Key, Timestamp};

/// The channels that one create may go to.
pub(crate) struct ChannelChoice<'a> {
    pub(crate) channels: &'a Channels,
    pub(crate) key: &'a Key,
    /// The channel that must take it: where the source of a remix was made.
    pub(crate) pinned: Option<Arc<LiveChannel>>,
}

/// Why no channel takes a create, or not the one that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoChannel {
    /// No channel serves the model.
    Unserved,
    /// Those that serve the model want `seconds` in this JSON type.
    OtherSecondsType(SecondsType),
    /// The model became known after a channel was chosen that does not serve it.
    ModelTooLate,
    /// The seconds became known after a channel was chosen that takes them in another type.
    SecondsTooLate,
}

impl ChannelChoice<'_> {
    /// The channels to try, best first, of those that take `seconds` as they are written: by
    /// the model where it is known; else those that serve the most of what the key may ask
    /// for.
    pub(crate) fn candidates(
        &self,
        model: Option<&str>,
        written: Option<Written>,
        now: Timestamp,
    ) -> Result<Vec<Arc<LiveChannel>>, NoChannel> {
        if let Some(channel) = &self.pinned {
            return Ok(vec![channel.clone()]);
        }
        let serves = |channel: &Channel| match model {
            Some(model) => usize::from(channel.models.contains(model)),
            None => {
                let models = channel.models.iter();
                models.filter(|model| self.key.allow.model(model)).count()
            }
        };
        let takes = |channel: &Channel| match channel.seconds_type.takes(written) {
            true => serves(channel),
            false => 0,
        };
        let candidates = self.channels.choose(takes, now);
        if candidates.is_empty() {
            // Those that serve it all want the other type.
            let other = self.channels.choose(serves, now).into_iter().next();
            return Err(match other {
                Some(channel) => NoChannel::OtherSecondsType(channel.spec().seconds_type),
                None => NoChannel::Unserved,
            });
        }
        Ok(candidates)
    }

    /// Checks that a channel that was chosen before the model or the seconds were known takes
    /// them.
    pub(crate) fn check(
        &self,
        model: Option<&str>,
        written: Option<Written>,
        channel: &LiveChannel,
        now: Timestamp,
    ) -> Result<(), NoChannel> {
        if self.pinned.is_some() {
            return Ok(());
        }
        let spec = channel.spec();
        if model.is_some_and(|model| !spec.models.contains(model)) {
            return Err(NoChannel::ModelTooLate);
        }
        if spec.seconds_type.takes(written) {
            return Ok(());
        }
        // Another channel may take them, if they come in time for the choice.
        let others = self.candidates(model, written, now);
        others.and(Err(NoChannel::SecondsTooLate))
    }

    /// Whether another channel than the one of that name serves the model.
    pub(crate) fn has_other(&self, name: &str, model: Option<&str>) -> bool {
        let serves = |channel: &Channel| {
            let serves = model.is_none_or(|model| channel.models.contains(model));
            serves && &*channel.name != name
        };
        let mut channels = self.channels.all().iter();
        self.pinned.is_none() && channels.any(|channel| serves(channel.spec()))
    }
}
