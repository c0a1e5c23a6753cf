//! Decides when a channel is ejected, for how long, and what lets it back. Pure: the caller tells
//! the time.
//!
//! A channel that is ejected rests: it gets creates only where no other channel can take them. What
//! it is ejected for says how that ends: a connection where it could not be reached, the end of the
//! pause and then one trial where it failed, an operator or a probe where its account is refused.

use std::time::Duration;

use crate::channel::EjectionRules;
use crate::clock::millis;
use crate::policy::Timestamp;

/// How long a channel that could not be reached rests: this, doubled for each failure in a row up
/// to the second value.
const UNREACHABLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The first pause for a rate limit that does not say when it ends, and the shortest and the
/// longest one of those that do.
const RATE_LIMITED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Why a channel is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionReason {
    /// It could not be connected to.
    Unreachable,
    /// It refuses the gate's account, or the account is spent.
    Account,
    /// It answered that too much was asked of it.
    RateLimited,
    /// It answered creates with a 5xx, or closed the connection instead.
    Failed,
    /// It did not answer creates in time.
    TimedOut,
    /// Its probes fail.
    Probe,
}

impl EjectionReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Account,
        Self::RateLimited,
        Self::Failed,
        Self::TimedOut,
        Self::Probe,
    ];

    /// Returns the name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Account => "account",
            Self::RateLimited => "rate_limited",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Probe => "probe",
        }
    }
}

/// What was seen of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection to it was made.
    Connected,
    /// No connection could be made.
    Unreachable,
    /// It created a job.
    Created,
    /// It answered about the request, and not about itself.
    Answered,
    /// It refused the gate's account.
    Account,
    /// It asked to be left alone, and may have said for how long.
    RateLimited(Option<Duration>),
    /// It answered a create with a failure of its own, or broke off.
    Failed,
    /// It did not answer a create in time.
    TimedOut,
    /// A probe was answered as it should be.
    Probed,
    /// A probe was not.
    ProbeFailed,
}

/// Whether a channel is to get creates now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is.
    Active,
    /// It may get one, to see whether it works again.
    Trial,
    /// Only where no other channel can take it.
    Resting {
        /// When its pause ends, or ended where a trial is under way; `None` where time does not
        /// end it.
        until: Option<Timestamp>,
    },
}

/// A change of a channel's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is ejected, or for another reason than before.
    Ejected(Ejection),
    /// It is ejected again for the same reason, since it still fails after its pause.
    Prolonged(Ejection),
    /// It is ejected no more.
    Returned(EjectionReason),
}

/// Why and for how long a channel is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ejection {
    pub(crate) reason: EjectionReason,
    /// Since when.
    at: Timestamp,
    /// When its pause ends; `None` where time does not end it.
    pub(crate) until: Option<Timestamp>,
    /// How many pauses there were before this one, without a success in between.
    pauses: u32,
    /// Until when the trial that is under way is waited for.
    trial: Option<Timestamp>,
}

impl Ejection {
    /// Returns whether its pause is over. Where the clock was set back behind its beginning, it is:
    /// nobody knows how much of it is left.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.until
            .is_some_and(|until| until <= now || now < self.at)
    }

    fn is_on_trial(&self, now: Timestamp) -> bool {
        self.trial.is_some_and(|ends| now < ends && now >= self.at)
    }
}

/// The health of a channel, as its answers show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Failures and timeouts of creates in a row.
    failures: u32,
    /// Failures of probes in a row.
    probe_failures: u32,
    ejection: Option<Ejection>,
    /// When it was let back. What began before says nothing of the time since.
    returned: Timestamp,
}

impl Health {
    /// Returns whether nothing speaks against the channel.
    pub(super) fn is_good(&self) -> bool {
        self.ejection.is_none() && self.failures == 0 && self.probe_failures == 0
    }

    /// Returns the ejection in force, whether or not its pause is over.
    pub(super) fn ejection(&self) -> Option<Ejection> {
        self.ejection
    }

    /// Returns whether the channel is to get creates.
    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        let Some(ejection) = &self.ejection else {
            return Standing::Active;
        };
        let over = ejection.is_over(now);
        match ejection.reason {
            EjectionReason::Unreachable if over => Standing::Active,
            _ if over && !ejection.is_on_trial(now) => Standing::Trial,
            _ => Standing::Resting {
                until: ejection.until,
            },
        }
    }

    /// Begins a trial that lasts for `lasts` at most: one at a time. Returns when it ends at the
    /// latest; `None` where none may be made.
    pub(super) fn begin_trial(&mut self, now: Timestamp, lasts: Duration) -> Option<Timestamp> {
        if self.standing(now) != Standing::Trial {
            return None;
        }
        let ends = Timestamp(now.0.saturating_add(millis(lasts)));
        self.ejection.as_mut()?.trial = Some(ends);
        Some(ends)
    }

    /// Ends the trial that was to end then, if it is under way still.
    pub(super) fn end_trial(&mut self, ends: Timestamp) {
        if let Some(ejection) = &mut self.ejection {
            ejection.trial = ejection.trial.filter(|trial| *trial != ends);
        }
    }

    /// Lets the channel back at once.
    pub(super) fn restore(&mut self, now: Timestamp) -> Option<Change> {
        (self.failures, self.probe_failures) = (0, 0);
        self.returned = now;
        let ejection = self.ejection.take();
        ejection.map(|ejection| Change::Returned(ejection.reason))
    }

    /// Notes what was seen of a request that began at that time.
    pub(super) fn note(
        &mut self,
        event: Event,
        began: Timestamp,
        rules: &EjectionRules,
        now: Timestamp,
    ) -> Option<Change> {
        match event {
            Event::Connected => self.succeed(now, |reason| reason == EjectionReason::Unreachable),
            Event::Created | Event::Answered => {
                self.failures = 0;
                let created = event == Event::Created;
                // A request that is refused for itself proves nothing of the account.
                let mends = |reason| created || reason != EjectionReason::Account;
                self.succeed_after_ejection(began, now, mends)
            }
            Event::Probed => {
                self.probe_failures = 0;
                use EjectionReason::{Account, Probe, Unreachable};
                let mends = |reason| matches!(reason, Account | Probe | Unreachable);
                self.succeed_after_ejection(began, now, mends)
            }
            _ if self.began_before_return(began, now) => None,
            Event::Account => self.refuse_account(now),
            Event::RateLimited(wait) => self.limit(wait, began, rules, now),
            Event::Unreachable => self.fail((EjectionReason::Unreachable, 1, 1), began, rules, now),
            Event::Failed | Event::TimedOut => {
                self.failures = self.failures.saturating_add(1);
                let reason = match event {
                    Event::TimedOut => EjectionReason::TimedOut,
                    _ => EjectionReason::Failed,
                };
                self.fail((reason, self.failures, rules.failures), began, rules, now)
            }
            Event::ProbeFailed => {
                self.probe_failures = self.probe_failures.saturating_add(1);
                let row = (EjectionReason::Probe, self.probe_failures, rules.failures);
                self.fail(row, began, rules, now)
            }
        }
    }

    /// Returns whether a request began after the channel was ejected, where it is. One that began
    /// before shows how the channel was.
    fn began_after_ejection(&self, began: Timestamp, now: Timestamp) -> bool {
        let at = self.ejection.map(|ejection| ejection.at);
        at.is_none_or(|at| began >= at || now < at)
    }

    fn began_before_return(&self, began: Timestamp, now: Timestamp) -> bool {
        self.ejection.is_none() && began < self.returned && self.returned <= now
    }

    fn succeed(
        &mut self,
        now: Timestamp,
        mends: impl Fn(EjectionReason) -> bool,
    ) -> Option<Change> {
        let reason = self.ejection?.reason;
        mends(reason).then(|| self.restore(now))?
    }

    fn succeed_after_ejection(
        &mut self,
        began: Timestamp,
        now: Timestamp,
        mends: impl Fn(EjectionReason) -> bool,
    ) -> Option<Change> {
        match self.began_after_ejection(began, now) {
            true => self.succeed(now, mends),
            false => None,
        }
    }

    fn refuse_account(&mut self, now: Timestamp) -> Option<Change> {
        let reason = EjectionReason::Account;
        if self.ejection.is_some_and(|before| before.reason == reason) {
            return None;
        }
        self.eject(reason, None, now)
    }

    fn limit(
        &mut self,
        wait: Option<Duration>,
        began: Timestamp,
        rules: &EjectionRules,
        now: Timestamp,
    ) -> Option<Change> {
        let reason = EjectionReason::RateLimited;
        let (least, most) = RATE_LIMITED;
        let wait = wait.map(|wait| wait.clamp(least, most));
        let pause = wait.unwrap_or_else(|| self.pause(reason, rules));
        let until = Timestamp(now.0.saturating_add(millis(pause)));
        let Some(before) = self.ejection else {
            return self.eject(reason, Some(until), now);
        };
        let failed_again = before.is_over(now) && self.began_after_ejection(began, now);
        let is_longer = wait.is_some() && before.until.is_some_and(|before| before < until);
        if before.reason == EjectionReason::Account || !(failed_again || is_longer) {
            return None;
        }
        if failed_again {
            return self.eject(reason, Some(until), now);
        }
        // What is under way is one failure, and no pause more.
        let longer = Ejection {
            reason,
            until: Some(until),
            ..before
        };
        self.ejection = Some(longer);
        (before.reason != reason).then_some(Change::Ejected(longer))
    }

    /// Notes a failure, the so-manieth of how many in a row eject.
    fn fail(
        &mut self,
        (reason, in_a_row, enough): (EjectionReason, u32, u32),
        began: Timestamp,
        rules: &EjectionRules,
        now: Timestamp,
    ) -> Option<Change> {
        let again = match self.ejection {
            None => in_a_row >= enough,
            // Requests that fail together are one ejection; and only one that could have shown
            // that the channel works again shows that it does not.
            Some(before) => before.is_over(now) && self.began_after_ejection(began, now),
        };
        if !again {
            return None;
        }
        // What it was ejected for is not shown to be over by a trial that did not reach it.
        let before = self.ejection.map(|before| before.reason);
        let reason = match (reason, before) {
            (EjectionReason::Unreachable, Some(before)) => before,
            _ => reason,
        };
        let until = now.0.saturating_add(millis(self.pause(reason, rules)));
        self.eject(reason, Some(Timestamp(until)), now)
    }

    /// Computes the next pause: the first one, doubled for each that there was.
    fn pause(&self, reason: EjectionReason, rules: &EjectionRules) -> Duration {
        let (first, most) = match reason {
            EjectionReason::Unreachable => UNREACHABLE,
            EjectionReason::RateLimited => (RATE_LIMITED.0, rules.max_pause.max(RATE_LIMITED.0)),
            _ => (rules.pause, rules.max_pause),
        };
        let pauses = self.ejection.map_or(0, |before| before.pauses + 1);
        first.saturating_mul(1 << pauses.min(20)).min(most)
    }

    fn eject(
        &mut self,
        reason: EjectionReason,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Change> {
        let before = self.ejection;
        let ejection = Ejection {
            reason,
            at: now,
            until,
            pauses: before.map_or(0, |before| before.pauses.saturating_add(1).min(20)),
            trial: None,
        };
        self.ejection = Some(ejection);
        let prolonged = before.is_some_and(|before| before.reason == reason);
        Some(match prolonged {
            true => Change::Prolonged(ejection),
            false => Change::Ejected(ejection),
        })
    }
}

#[cfg(test)]
mod tests;
