//! Keeps the runtime state that decides whether a channel is used: the state that operators set, the health
//! that its answers show, and whether a limit is reached.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::health::{Change, Ejection, EjectionReason, Event, Health, Standing};
use crate::channel::{ChannelState, EjectionRules};
use crate::policy::Timestamp;

/// The time, in milliseconds, for which a limit of a channel counts as reached after the ledger has found
/// it reached.
const FULL_FOR_MS: u64 = 1000;

/// The runtime state of a channel while its configuration is in force: the state that operators set, the
/// channel's health, and the time until which a limit of the channel counts as reached.
#[derive(Debug)]
pub(super) struct Operation {
    /// The state that operators have set, encoded by [`code`].
    state: AtomicU8,
    /// Whether `health` is good. This flag is read for each request, without a lock.
    good: AtomicBool,
    health: Mutex<Health>,
    full_until: AtomicU64,
}

/// The labels of a channel's state. `active`, `drain` and `off` are the states that operators set. An active
/// channel that is ejected is `resting` during the pause, and `trial` after it. If it was ejected because it
/// could not be connected to, it is `active` after the pause.
pub const CHANNEL_STATES: [&str; 5] = ["active", "drain", "off", "resting", "trial"];

/// The status of a channel, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelStatus {
    /// The label of the channel's state, one of [`CHANNEL_STATES`].
    pub label: &'static str,
    /// The reason of the ejection; `None` where the channel is not ejected.
    pub reason: Option<EjectionReason>,
    /// The end of the pause, which may lie in the past; `None` where the channel is not ejected, or its
    /// pause has no time limit.
    pub until: Option<Timestamp>,
    /// The number of requests in flight at this address of the channel.
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

    /// Returns whether `event` is a success and the channel's health is good already, so that noting the
    /// event changes nothing. Takes no lock.
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

    /// Returns whether the ledger has found a limit of the channel reached within the last second. If the
    /// clock was set back to a time before the finding, the result is `false`.
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
