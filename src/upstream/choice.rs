//! Chooses the channels that a create may go to, by its key, model and the type of its seconds.

use std::sync::Arc;

use super::balance::Channels;
use super::channel::LiveChannel;
use super::health::Standing;
use super::routing::{self, order_addresses};
use super::trial::Trial;
use crate::channel::{Channel, ChannelState};
use crate::inspect::{SecondsType, Written};
use crate::policy::{Key, Timestamp};

/// The channels that one create may go to.
pub(crate) struct ChannelChoice<'a> {
    pub(crate) channels: &'a Channels,
    pub(crate) key: &'a Key,
    /// The channel that must take the create: the one that made the source of a remix.
    pub(crate) pinned: Option<Arc<LiveChannel>>,
}

/// A channel to try for a create, and the guard of the channel's trial where the create is to be the trial.
/// Only the first candidate has a trial: it is kept while the create is at the channel.
pub(crate) type Candidate = (Arc<LiveChannel>, Option<Trial>);

/// The reason why no channel takes a create, or not the channel that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoChannel {
    /// No channel serves the model.
    Unserved,
    /// Channels serve the model, but none that the key may use.
    NotForKey,
    /// The channels that serve the model and that the key may use are drained, or switched off.
    Closed,
    /// The channels that serve the model want `seconds` in this JSON type.
    OtherSecondsType(SecondsType),
    /// The model became known after a channel was chosen that does not serve it.
    ModelTooLate,
    /// The seconds became known after a channel was chosen that takes them in another JSON type.
    SecondsTooLate,
}

impl ChannelChoice<'_> {
    /// Returns the channels to try, best first, of those that take `seconds` as they are written: by the
    /// model where it is known; else the channels that serve the most models that the key may ask for.
    /// `whole` is whether the body is held as a whole, and can go elsewhere after a channel has failed.
    pub(crate) fn candidates(
        &self,
        model: Option<&str>,
        written: Option<Written>,
        whole: bool,
        now: Timestamp,
    ) -> Result<Vec<Candidate>, NoChannel> {
        if let Some(channel) = &self.pinned {
            return match self.is_open(channel) {
                true => Ok(vec![(channel.clone(), None)]),
                false => Err(NoChannel::Closed),
            };
        }
        let takes = |channel: &Channel| match channel.seconds_type.takes(written) {
            true => self.serves(channel, model),
            false => 0,
        };
        let candidates = self.ordered(takes, whole, now);
        match candidates.is_empty() {
            true => Err(self.why_none(model)),
            false => Ok(candidates),
        }
    }

    /// Returns the number of the models in question that a channel serves: `model`, or all that the key
    /// may ask for.
    fn serves(&self, channel: &Channel, model: Option<&str>) -> usize {
        match model {
            Some(model) => usize::from(channel.models.contains(model)),
            None => {
                let models = channel.models.iter();
                models.filter(|model| self.key.allow.model(model)).count()
            }
        }
    }

    /// Returns whether the channel takes creates, and may be used by this key.
    fn is_open(&self, channel: &LiveChannel) -> bool {
        channel.state() == ChannelState::Active && self.key.may_use_channel(&channel.spec().name)
    }

    /// Returns the channels for which `serves` is above zero, best first. Where the first channel is due
    /// for a trial, the trial begins.
    fn ordered(
        &self,
        serves: impl Fn(&Channel) -> usize,
        whole: bool,
        now: Timestamp,
    ) -> Vec<Candidate> {
        let turn = self.channels.next_turn();
        let candidate = |channel: &Arc<LiveChannel>| routing::Candidate {
            open: self.is_open(channel),
            serves: serves(channel.spec()),
            tier: channel.spec().tier,
            weight: channel.spec().weight,
            load: channel.load(now),
            standing: channel.standing(now),
            full: channel.is_full(now),
        };
        loop {
            let candidates = self.channels.by_name();
            let candidates = candidates.map(|addresses| {
                let addresses = addresses.iter();
                addresses.map(|at| (candidate(at), at)).collect::<Vec<_>>()
            });
            let ordered = order_addresses(candidates.collect(), turn, whole);
            let first = ordered.first();
            let on_trial = first.filter(|(first, _)| first.standing == Standing::Trial);
            let trial = on_trial.map(|(_, channel)| Trial::begin(channel, now));
            // Where another create was faster, the channel rests for this create when all is ordered
            // anew; so the loop ends.
            if !matches!(trial, Some(None)) {
                let mut trial = trial.flatten();
                let ordered = ordered.into_iter();
                return ordered.map(|(_, at)| (at.clone(), trial.take())).collect();
            }
        }
    }

    fn why_none(&self, model: Option<&str>) -> NoChannel {
        let all = self.channels.all().iter();
        let serving: Vec<_> = all
            .filter(|channel| self.serves(channel.spec(), model) > 0)
            .collect();
        if let Some(channel) = serving.iter().find(|channel| self.is_open(channel)) {
            return NoChannel::OtherSecondsType(channel.spec().seconds_type);
        }
        let of_key = |channel: &&Arc<LiveChannel>| self.key.may_use_channel(&channel.spec().name);
        match serving.iter().any(of_key) {
            true => NoChannel::Closed,
            false if serving.is_empty() => NoChannel::Unserved,
            false => NoChannel::NotForKey,
        }
    }

    /// Checks that a channel that was chosen before the model or the seconds were known takes them.
    pub(crate) fn check(
        &self,
        model: Option<&str>,
        written: Option<Written>,
        channel: &LiveChannel,
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
        let takes = |channel: &Arc<LiveChannel>| {
            let spec = channel.spec();
            let serves = spec.seconds_type.takes(written) && self.serves(spec, model) > 0;
            serves && self.is_open(channel)
        };
        match self.channels.all().iter().any(takes) {
            true => Err(NoChannel::SecondsTooLate),
            false => Err(self.why_none(model)),
        }
    }

    /// Returns whether a channel other than `name` takes creates of the model.
    pub(crate) fn has_other(&self, name: &str, model: Option<&str>) -> bool {
        let takes = |channel: &Arc<LiveChannel>| {
            let spec = channel.spec();
            let serves = model.is_none_or(|model| spec.models.contains(model));
            serves && *spec.name != *name && self.is_open(channel)
        };
        self.pinned.is_none() && self.channels.all().iter().any(takes)
    }
}
