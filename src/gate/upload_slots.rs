//! Limits how many bodies are uploaded at the same time, in total and for each key, so that no key can use
//! up all slots. Bodies with a small declared length are counted apart from large ones, whose uploads take
//! long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::refusal::{Busy, Refusal};
use crate::config::Bounds;
use crate::policy::{Exceeded, Key, Limit, Measure, Terms, Timestamp};
use crate::upstream::Framing;

/// The maximum number of bytes of a body that are read before the gate connects to a channel.
pub(super) const READ_AHEAD: usize = 64 * 1024;

/// The size class of a body, by the length that the request's head declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BodySize {
    /// A body with a declared length of at most [`READ_AHEAD`] bytes. Unless it arrives in parts, it is read
    /// whole before the gate connects to a channel.
    Small,
    /// A body with a longer declared length, or without one.
    Large,
}

impl BodySize {
    /// Returns the size class of a body, by its framing.
    pub(super) fn of(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) if length <= READ_AHEAD as u64 => Self::Small,
            _ => Self::Large,
        }
    }
}

/// The maximum numbers of bodies of one size class that may be uploaded at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotLimits {
    /// The maximum for all keys together.
    pub(super) all: usize,
    /// The maximum for one key.
    pub(super) of_key: usize,
}

/// The reason why no slot is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The maximum for all keys together is reached.
    All,
    /// The maximum for this key is reached.
    OfKey,
}

/// The counts of bodies that are being uploaded.
#[derive(Default)]
pub(crate) struct UploadSlots(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    all: HashMap<BodySize, usize>,
    of_key: HashMap<(Arc<str>, BodySize), usize>,
}

/// A slot for one body that is being uploaded; dropping it frees the slot.
pub(super) struct UploadSlot {
    slots: Arc<UploadSlots>,
    key: Arc<str>,
    size: BodySize,
}

impl UploadSlots {
    /// Takes a slot for a body of `key`, if one is free.
    pub(super) fn take(
        self: &Arc<Self>,
        key: &Arc<str>,
        size: BodySize,
        limits: SlotLimits,
    ) -> Result<UploadSlot, NoSlot> {
        let mut counts = self.counts();
        let of_key = counts.of_key.get(&(key.clone(), size));
        if of_key.is_some_and(|count| *count >= limits.of_key) {
            return Err(NoSlot::OfKey);
        }
        let all = counts.all.entry(size).or_default();
        if *all >= limits.all {
            return Err(NoSlot::All);
        }
        *all += 1;
        *counts.of_key.entry((key.clone(), size)).or_default() += 1;
        Ok(UploadSlot {
            slots: self.clone(),
            key: key.clone(),
            size,
        })
    }

    /// Returns the number of bodies of this size class that are being uploaded.
    pub(crate) fn taken(&self, size: BodySize) -> usize {
        self.counts().all.get(&size).copied().unwrap_or_default()
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        let mut counts = self.slots.counts();
        if let Some(all) = counts.all.get_mut(&self.size) {
            *all -= 1;
        }
        let of_key = (self.key.clone(), self.size);
        if let Some(count) = counts.of_key.get_mut(&of_key) {
            *count -= 1;
            // Keys come and go with configurations: keep no entry for a key without uploads.
            if *count == 0 {
                counts.of_key.remove(&of_key);
            }
        }
    }
}

/// Takes a slot for a body of `key` that has not arrived whole yet, within the bounds and the key's
/// in-flight limit.
pub(super) fn slot_for(
    slots: &Arc<UploadSlots>,
    bounds: &Bounds,
    key: &Key,
    size: BodySize,
    now: Timestamp,
) -> Result<UploadSlot, Refusal> {
    let all = bounds.concurrent_uploads;
    let mut of_key = bounds.uploads_per_key.min(all);
    // More large uploads than the jobs that may be in flight cannot all succeed. Small bodies are read in
    // a moment, and the ledger decides about them.
    let in_flight = match size {
        BodySize::Large => in_flight_limit(key),
        BodySize::Small => None,
    };
    let in_flight = in_flight.filter(|(limit, _)| limit.max < of_key as u64);
    if let Some((limit, _)) = &in_flight {
        of_key = usize::try_from(limit.max).unwrap_or(of_key);
    }
    let slot = slots.take(&key.name, size, SlotLimits { all, of_key });
    slot.map_err(|no| match (no, in_flight) {
        (NoSlot::All, _) => Refusal::Busy(Busy::Uploads),
        (NoSlot::OfKey, None) => Refusal::UploadsOfKey { max: of_key },
        (NoSlot::OfKey, Some((limit, is_shared))) => Refusal::Limit(Box::new(Exceeded {
            limit,
            is_shared,
            used: limit.max,
            takes: Some(1),
            resets: None,
            at: now,
            terms: Terms::from(&*key.group),
        })),
    })
}

/// Returns the smallest in-flight limit of a key and its group, and whether it is the group's; `None` if
/// neither has one.
fn in_flight_limit(key: &Key) -> Option<(Limit, bool)> {
    let own = key.limits.iter().map(|limit| (limit, false));
    let shared = key.group.limits.iter().map(|limit| (limit, true));
    let limits = own
        .chain(shared)
        .filter(|(limit, _)| limit.measure == Measure::InFlight);
    let least = limits.min_by_key(|(limit, _)| limit.max);
    least.map(|(limit, is_shared)| (*limit, is_shared))
}

#[cfg(test)]
mod tests {
    use super::BodySize::{Large, Small};
    use super::*;

    #[test]
    fn a_key_has_its_share_and_no_more() {
        let slots = Arc::<UploadSlots>::default();
        let limits = SlotLimits { all: 3, of_key: 2 };
        let take = |key: &str, size| slots.take(&key.into(), size, limits);
        let first = take("a", Large).unwrap();
        let second = take("a", Large).unwrap();
        assert_eq!(take("a", Large).err(), Some(NoSlot::OfKey));
        // Small bodies are counted apart.
        let small = take("a", Small).unwrap();
        let other = take("b", Large).unwrap();
        assert_eq!(take("b", Large).err(), Some(NoSlot::All));
        assert_eq!((slots.taken(Large), slots.taken(Small)), (3, 1));
        drop(second);
        let again = take("b", Large).unwrap();
        assert_eq!(take("b", Large).err(), Some(NoSlot::OfKey));
        drop((first, small, other, again));
        assert_eq!((slots.taken(Large), slots.taken(Small)), (0, 0));
        assert!(slots.counts().of_key.is_empty());
    }
}
