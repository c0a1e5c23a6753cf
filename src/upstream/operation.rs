//! Keeps whether a channel is used: by the decision of operators, and by what its answers have shown.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::health::{Change, Ejection, EjectionReason, Event, Health, Standing};
use crate::channel::{ChannelState, EjectionRules};
use crate::policy::Timestamp;

/// The time for which a limit of a channel counts as reached after the ledger has said so, in
/// milliseconds.
const FULL_FOR_MS: u64 = 1000;

/// The operation of a channel while its configuration is in force: its state, health and limits.
#[derive(Debug)]
pub(super) struct Operation {
    /// The state that operators have set, encoded by [`code`].
    state: AtomicU8,
    /// Whether the channel's `health` is good: read for each request, without a lock.
    good: AtomicBool,
    health: Mutex<Health>,
    full_until: AtomicU64,
}

/// The labels of a channel's state: `active`, `drain` and `off` as operators set it; for an active channel
/// that is ejected, `resting` during the pause and `trial` after it, but `active` after it where the
/// channel could not be connected to.
pub const CHANNEL_STATES: [&str; 5] = ["active", "drain", "off", "resting", "trial"];

/// The status of a channel, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelStatus {
    /// The label of the channel's state, one of [`CHANNEL_STATES`].
    pub label: &'static str,
    /// The reason of the ejection, where the channel is ejected.
    pub reason: Option<EjectionReason>,
    /// The end of the pause, past or to come, where the channel is ejected and time ends the pause.
    pub until: Option<Timestamp>,
    /// The number of requests in flight at the channel.
    pub in_flight: usize,
}

impl Operation {
    pub(super) fn new(state: ChannelState) -> Self {
        Self {
            state: AtomicU8::new(code(state)),
            good: AtomicBool::new(true),
            health: Mutex::default(),
            full_until: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> ChannelState {
        decoded(self.state.load(Ordering::Relaxed))
    }

    /// Sets the state. Returns the state before.
    pub(super) fn set_state(&self, state: ChannelState) -> ChannelState {
        decoded(self.state.swap(code(state), Ordering::Relaxed))
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        match self.good.load(Ordering::Relaxed) {
            true => Standing::Active,
            false => self.lock().standing(now),
        }
    }

    pub(super) fn ejection(&self) -> Option<Ejection> {
        match self.good.load(Ordering::Relaxed) {
            true => None,
            false => self.lock().ejection(),
        }
    }

    /// Returns whether `event` is a success of a channel in good health, which changes nothing. Takes no
    /// lock.
    pub(super) fn is_settled(&self, event: Event) -> bool {
        let is_success = matches!(
            event,
            Event::Connected | Event::Created | Event::Answered | Event::Probed
        );
        is_success && self.good.load(Ordering::Relaxed)
    }

    /// Notes an event of a request that began at `began`. Returns the change, if the event begins, prolongs
    /// or ends an ejection.
    pub(super) fn note(
        &self,
        event: Event,
        began: Timestamp,
        rules: &EjectionRules,
        now: Timestamp,
    ) -> Option<Change> {
        if self.is_settled(event) {
            return None;
        }
        self.change(|health| health.note(event, began, rules, now))
    }

    pub(super) fn begin_trial(&self, now: Timestamp, lasts: Duration) -> Option<Timestamp> {
        self.change(|health| health.begin_trial(now, lasts))
    }

    pub(super) fn end_trial(&self, ends: Timestamp) {
        self.change(|health| health.end_trial(ends));
    }

    pub(super) fn restore(&self, now: Timestamp) -> Option<Change> {
        self.change(|health| health.restore(now))
    }

    pub(super) fn note_full(&self, now: Timestamp) {
        let until = now.0.saturating_add(FULL_FOR_MS);
        self.full_until.store(until, Ordering::Relaxed);
    }

    /// Returns whether the ledger has found a limit of the channel reached within the last second. A limit
    /// that was noted by a clock that was ahead counts for nothing.
    pub(super) fn is_full(&self, now: Timestamp) -> bool {
        let until = self.full_until.load(Ordering::Relaxed);
        until > now.0 && until - now.0 <= FULL_FOR_MS
    }

    pub(super) fn status(&self, in_flight: usize, now: Timestamp) -> ChannelStatus {
        let ejection = self.ejection();
        ChannelStatus {
            label: self.label(now),
            reason: ejection.map(|ejection| ejection.reason),
            until: ejection.and_then(|ejection| ejection.until),
            in_flight,
        }
    }

    fn label(&self, now: Timestamp) -> &'static str {
        match (self.state(), self.ejection()) {
            (ChannelState::Active, Some(ejection)) if !ejection.is_over(now) => "resting",
            (ChannelState::Active, Some(ejection)) => match ejection.reason {
                EjectionReason::Unreachable => "active",
                _ => "trial",
            },
            (state, _) => state.name(),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.lock();
        let changed = change(&mut health);
        self.good.store(health.is_good(), Ordering::Relaxed);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn code(state: ChannelState) -> u8 {
    match state {
        ChannelState::Active => 0,
        ChannelState::Drain => 1,
        ChannelState::Off => 2,
    }
}

const fn decoded(code: u8) -> ChannelState {
    match code {
        0 => ChannelState::Active,
        1 => ChannelState::Drain,
        _ => ChannelState::Off,
    }
}
