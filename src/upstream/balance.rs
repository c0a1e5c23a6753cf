//! Chooses among the channels of a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::channel::LiveChannel;
use crate::channel::Channel;
use crate::policy::Timestamp;

/// All channels of a configuration.
#[derive(Debug)]
pub struct Channels {
    all: Vec<Arc<LiveChannel>>,
    next: AtomicUsize,
}

impl Channels {
    /// Makes the channels live.
    pub fn new(specs: &[Arc<Channel>]) -> Self {
        Self {
            all: specs.iter().cloned().map(LiveChannel::new).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// All of them, as configured.
    pub fn all(&self) -> &[Arc<LiveChannel>] {
        &self.all
    }

    /// The channel of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<LiveChannel>> {
        self.all
            .iter()
            .find(|channel| &*channel.spec().name == name)
    }

    /// The channels that serve what `serves` counts, best first: those that serve the most,
    /// of these those that are up, of these those with the fewest requests in flight, and
    /// in turn among equals. Channels that serve nothing of it are left out.
    pub fn choose(
        &self,
        serves: impl Fn(&Channel) -> usize,
        now: Timestamp,
    ) -> Vec<Arc<LiveChannel>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.all.len();
        let in_turn = (0..count).map(|i| &self.all[(i + start) % count]);
        let mut ranked: Vec<_> = in_turn
            .filter_map(|channel| {
                let served = serves(channel.spec());
                let busy = channel.in_flight();
                let rank = (usize::MAX - served, !channel.is_up(now), busy);
                (served > 0).then(|| (rank, channel.clone()))
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, channel)| channel).collect()
    }
}
