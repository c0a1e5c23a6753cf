//! Orders the channels that a create is offered to. No IO and no clock.

use std::cmp::Reverse;

use super::health::Standing;
use crate::policy::Timestamp;

/// The facts about a channel that decide whether and when it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Whether the channel takes creates, and the create's key may use the channel.
    pub(crate) open: bool,
    /// The number of models that the channel serves, among the models that the create may be for; zero if the
    /// channel does not take the JSON type of the create's `seconds`.
    pub(crate) serves: usize,
    pub(crate) tier: u32,
    pub(crate) weight: u32,
    /// The load of the channel: the number of its requests in flight, plus a growing amount while complete
    /// creates wait without an answer.
    pub(crate) load: usize,
    pub(crate) standing: Standing,
    /// Whether a limit of the channel was found to be reached within the last second.
    pub(crate) full: bool,
}

/// The fitness of a channel for a create. The variants are ordered from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// The channel can take the create.
    Usable,
    /// The channel is due for a trial, and the create's body is not held as a whole: such a create should
    /// not be the trial, since it can go nowhere else once it has begun.
    TrialOfStream,
    /// A limit of the channel was reached a moment ago: only the ledger knows whether it still is.
    Full,
    /// The channel is ejected. It is tried where no other can take the create, since it may work by now.
    Resting,
}

impl Candidate {
    /// Returns whether the channel may get the create at all.
    fn is_candidate(&self) -> bool {
        self.open && self.serves > 0
    }

    fn fit(&self, whole: bool) -> Fit {
        match self.standing {
            Standing::Resting { .. } => Fit::Resting,
            _ if self.full => Fit::Full,
            Standing::Trial if !whole => Fit::TrialOfStream,
            Standing::Active | Standing::Trial => Fit::Usable,
        }
    }

    /// Returns the end of the channel's pause, by which resting channels are ordered: the maximum where the
    /// pause has no time limit, and zero where the channel does not rest.
    fn rests_until(&self) -> Timestamp {
        match self.standing {
            Standing::Resting { until } => until.unwrap_or(Timestamp(u64::MAX)),
            Standing::Active | Standing::Trial => Timestamp(0),
        }
    }
}

/// Orders the addresses of channels that may be tried for a create. Each entry of `channels` has the
/// addresses of one channel. The channels are ordered by the best address of each (see [`order`], also for
/// `turn` and `whole`), and the other addresses of a channel follow its best one. But an address never comes
/// before another one with a better `Fit`.
///
/// **Invariant**: as for [`order`], for each address. An address may be closed while another one of its channel
/// is open: one that is not configured any more takes no creates, and its jobs are still followed.
pub(crate) fn order_addresses<T>(
    mut channels: Vec<Vec<(Candidate, T)>>,
    turn: usize,
    whole: bool,
) -> Vec<(Candidate, T)> {
    for addresses in &mut channels {
        addresses.retain(|(at, _)| at.is_candidate());
    }
    // A single address needs no order. Most gates have only one, and each list here is an allocation.
    if let [addresses] = &mut channels[..]
        && addresses.len() <= 1
    {
        return std::mem::take(addresses);
    }
    let mut best = Vec::with_capacity(channels.len());
    let mut ordered: Vec<Option<Vec<(Candidate, T)>>> = Vec::with_capacity(channels.len());
    for mut addresses in channels {
        let from = turn % addresses.len().max(1);
        addresses.rotate_left(from);
        addresses.sort_by_key(|(at, _)| {
            let is_active = at.standing != Standing::Trial;
            (at.fit(whole), at.rests_until(), is_active, at.load)
        });
        if let Some((first, _)) = addresses.first() {
            best.push(*first);
            ordered.push(Some(addresses));
        }
    }
    let places = order(&best, turn, whole);
    let mut all = places
        .into_iter()
        .filter_map(|place| ordered.get_mut(place)?.take());
    let mut all: Vec<_> = all.by_ref().flatten().collect();
    // A stable sort: addresses that fit equally well stay in their order.
    all.sort_by_key(|(at, _)| at.fit(whole));
    all
}

/// Orders the channels that may be tried for a create. Returns their indices in `candidates`; the others
/// are left out. `turn` counts the creates. `whole` is whether the body is held as a whole, so that it
/// can still go elsewhere after a channel has failed.
///
/// Channels are ordered by their `Fit`, then by the number of models that they serve (the most first, which
/// matters while the model is not known), then by tier (the lowest first). Within a tier, a channel that is
/// due for a trial comes first. The others are drawn by weight. Of channels with the same weight, the one
/// with the lowest load comes first; channels with the same load take turns. Resting channels come last, and
/// among them the one whose pause ends first.
///
/// **Invariant**: a channel that is not open, or serves no model that the create may be for, is never tried.
/// A channel that rests or is full is never tried before one that is neither.
pub(crate) fn order(candidates: &[Candidate], turn: usize, whole: bool) -> Vec<usize> {
    let rank = |candidate: &Candidate| {
        let fit = candidate.fit(whole);
        let is_active = candidate.standing != Standing::Trial;
        let serves = Reverse(candidate.serves);
        (
            fit,
            candidate.rests_until(),
            serves,
            candidate.tier,
            is_active,
        )
    };
    let mut left: Vec<_> = candidates.iter().enumerate().collect();
    left.retain(|(_, candidate)| candidate.is_candidate());
    left.sort_by_key(|(_, candidate)| rank(candidate));
    let mut ordered = Vec::with_capacity(left.len());
    for equals in left.chunk_by(|(_, a), (_, b)| rank(a) == rank(b)) {
        share(equals, turn, &mut ordered);
    }
    ordered
}

/// Appends to `ordered` the indices of `equals`, which are channels of equal rank, by weight and load.
fn share(equals: &[(usize, &Candidate)], turn: usize, ordered: &mut Vec<usize>) {
    let mut classes: Vec<Vec<(usize, &Candidate)>> = Vec::new();
    for entry in equals {
        let mut known = classes.iter_mut();
        match known.find(|class| class.iter().all(|(_, c)| c.weight == entry.1.weight)) {
            Some(class) => class.push(*entry),
            None => classes.push(vec![*entry]),
        }
    }
    let mut draw = weyl(turn);
    while !classes.is_empty() {
        let mut class = classes.swap_remove(drawn(&classes, draw));
        let from = turn % class.len().max(1);
        class.rotate_left(from);
        class.sort_by_key(|(_, candidate)| candidate.load);
        ordered.extend(class.iter().map(|(place, _)| *place));
        draw = mixed(draw);
    }
}

/// Returns the index of the class that is drawn. A class has the channels of one weight. `draw` is any `u64`;
/// the share of all `u64` that draws a class is proportional to the sum of its channels' weights.
fn drawn(classes: &[Vec<(usize, &Candidate)>], draw: u64) -> usize {
    let shares = classes.iter().map(|class| {
        let weights = class
            .iter()
            .map(|(_, candidate)| u128::from(candidate.weight));
        weights.sum::<u128>()
    });
    let total: u128 = shares.clone().sum();
    // Below `total`, since the draw is below 2^64; weights are far from 2^64.
    let mut left = (u128::from(draw) * total) >> 64;
    for (place, share) in shares.enumerate() {
        match left.checked_sub(share) {
            Some(rest) => left = rest,
            None => return place,
        }
    }
    0
}

/// Returns the draw of a turn: a number from the whole range of `u64`, by a Weyl sequence with the golden
/// ratio. Consecutive values fill the range more evenly than random ones, so that channels get creates in
/// proportion to their weights even over few creates.
fn weyl(turn: usize) -> u64 {
    (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Derives another draw from one, for the next choice of the same create (the finalizer of SplitMix64).
fn mixed(draw: u64) -> u64 {
    let draw = (draw ^ (draw >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let draw = (draw ^ (draw >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    draw ^ (draw >> 31)
}

#[cfg(test)]
mod tests;
