//! Chooses the channels that a create may go to, by its key, its model and the JSON type of its `seconds`.

use std::sync::Arc;

use super::balance::Channels;
use super::channel::LiveChannel;
use super::health::Standing;
use super::routing::{self, order_addresses};
use super::trial::Trial;
use crate::channel::{Channel, ChannelState};
use crate::inspect::{SecondsType, Written};
use crate::policy::{Key, Timestamp};

/// The choice of channels for one create: the values that it depends on.
pub(crate) struct ChannelChoice<'a> {
    pub(crate) channels: &'a Channels,
    pub(crate) key: &'a Key,
    /// The only channel that may take the create; for a remix, the channel that made the source job.
    pub(crate) pinned: Option<Arc<LiveChannel>>,
}

/// A channel to try for a create, with the guard of the channel's trial if the create is to be the trial.
/// Only the first candidate can have a guard. The caller keeps it while the create is at the channel.
pub(crate) type Candidate = (Arc<LiveChannel>, Option<Trial>);

/// The reason why no channel takes a create, or why the channel that was chosen does not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoChannel {
    /// No channel serves the model or, where it is not known yet, any model that the key may request.
    Unserved,
    /// Channels serve the model, but none that the key may use.
    NotForKey,
    /// The channels that serve the model and that the key may use are drained, or switched off. For a pinned
    /// channel: it is drained or switched off, or the key may not use it.
    Closed,
    /// The channels that serve the model take `seconds` only in this JSON type.
    OtherSecondsType(SecondsType),
    /// The model became known after a channel was chosen that does not serve it.
    ModelTooLate,
    /// The seconds became known after a channel was chosen that takes them in another JSON type.
    SecondsTooLate,
}

impl ChannelChoice<'_> {
    /// Returns the channels to try, best first: those that serve `model` and take `seconds` as `written`.
    /// With `None` for a model that is not known yet, channels that serve more of the key's models come
    /// first. `whole` is whether the gate holds the whole body, so that the create can go to another channel
    /// if one fails.
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

    /// Returns how many models the channel serves, among those that the create may be for: only `model`, or
    /// with `None` all that the key may request.
    fn serves(&self, channel: &Channel, model: Option<&str>) -> usize {
        match model {
            Some(model) => usize::from(channel.models.contains(model)),
            None => {
                let models = channel.models.iter();
                models.filter(|model| self.key.allow.model(model)).count()
            }
        }
    }

    /// Returns whether the channel takes creates, and the create's key may use it.
    fn is_open(&self, channel: &LiveChannel) -> bool {
        channel.state() == ChannelState::Active && self.key.may_use_channel(&channel.spec().name)
    }

    /// Returns the open channels for which `serves` returns more than zero, best first. If the first channel
    /// is due for a trial, begins the trial.
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
            // If another create has begun the trial first, the channel rests when the channels are ordered
            // again, so the loop ends.
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

    /// Checks that `channel`, which was chosen before the model or the seconds were known, takes them.
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
        // Another channel may take these seconds, if they come before the channel is chosen.
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

    /// Returns whether a channel other than `name` could take the create: one that serves `model`, or with
    /// `None` any. Always `false` for a pinned channel.
    pub(crate) fn has_other(&self, name: &str, model: Option<&str>) -> bool {
        let takes = |channel: &Arc<LiveChannel>| {
            let spec = channel.spec();
            let serves = model.is_none_or(|model| spec.models.contains(model));
            serves && *spec.name != *name && self.is_open(channel)
        };
        self.pinned.is_none() && self.channels.all().iter().any(takes)
    }
}
