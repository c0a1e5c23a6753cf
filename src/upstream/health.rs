//! Decides when a channel is ejected, for how long, and what ends the ejection. Pure: the caller passes
//! the time.
//!
//! An ejected channel rests: it gets creates only where no other channel can take them. An operator can end
//! every ejection; what else ends it depends on its reason. If the channel could not be connected to, any
//! connection ends it. If the channel refuses the gate's account, a successful probe or a created job does.
//! If its probes fail, a successful probe does. Except where the account is refused, a create that was sent
//! after the ejection ends it, too, if the channel creates the job or refuses the create for a fault of the
//! request. Normally this create is the trial after the pause.

use std::time::Duration;

use crate::channel::EjectionRules;
use crate::clock::millis;
use crate::policy::Timestamp;

/// The first and the maximum pause of a channel that could not be reached: the pause doubles for each
/// failure in a row.
const UNREACHABLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The minimum and the maximum pause after a rate-limit answer that names a wait. The minimum is also the
/// first pause after an answer that names none.
const RATE_LIMITED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// The reason why a channel is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionReason {
    /// The channel could not be connected to.
    Unreachable,
    /// The channel refuses the gate's account, or the account is spent.
    Account,
    /// The channel answered that its rate limit is reached.
    RateLimited,
    /// The channel answered creates with an error of its own, such as a 5xx, or with a success that names no
    /// job, or closed the connection instead.
    Failed,
    /// The channel did not answer creates in time.
    TimedOut,
    /// The probes of the channel fail.
    Probe,
}

impl EjectionReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Account,
        Self::RateLimited,
        Self::Failed,
        Self::TimedOut,
        Self::Probe,
    ];

    /// Returns the name of the reason in metric labels and messages, such as `rate_limited`.
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

/// An event that shows the health of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection to the channel was made.
    Connected,
    /// No connection to the channel could be made.
    Unreachable,
    /// The channel created a job.
    Created,
    /// The channel refused a create for a fault of the request, which shows that the channel works.
    Answered,
    /// The channel refused the gate's account.
    Account,
    /// The channel answered that its rate limit is reached. The value is the wait that it names, if any.
    RateLimited(Option<Duration>),
    /// The channel answered a create with an error that is the channel's fault or with a success that names
    /// no job, or broke off the exchange.
    Failed,
    /// The channel did not answer a create in time.
    TimedOut,
    /// A probe was answered with success.
    Probed,
    /// A probe was answered with a failure, or not at all.
    ProbeFailed,
}

/// The decision whether a channel gets creates now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The channel gets creates.
    Active,
    /// The channel may get one create, to see whether it works again.
    Trial,
    /// The channel gets a create only where no other channel can take it.
    Resting {
        /// The end of the pause, which lies in the past while a trial is under way; `None` where the pause
        /// has no time limit.
        until: Option<Timestamp>,
    },
}

/// A change of a channel's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The channel is ejected, or is now ejected for another reason than before.
    Ejected(Ejection),
    /// The channel is ejected again for the same reason, since it still fails after its pause.
    Prolonged(Ejection),
    /// The ejection has ended. The value is the reason that it had.
    Returned(EjectionReason),
}

/// The ejection of a channel, with its reason and its pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ejection {
    pub(crate) reason: EjectionReason,
    /// The beginning of the ejection; if the ejection was prolonged, the time of the last prolongation.
    at: Timestamp,
    /// The end of the pause; `None` where the pause has no time limit.
    pub(crate) until: Option<Timestamp>,
    /// The number of pauses before this one, without a success in between.
    pauses: u32,
    /// The latest end of the trial that is under way; `None` where no trial is under way.
    trial: Option<Timestamp>,
}

impl Ejection {
    /// Returns whether the pause is over; a pause without a time limit never is. If `now` lies before the
    /// beginning of the pause, the clock was set back. The pause then counts as over, since nobody knows how
    /// much of it is left.
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
    /// The number of failures and timeouts of creates in a row.
    failures: u32,
    /// The number of failures of probes in a row.
    probe_failures: u32,
    ejection: Option<Ejection>,
    /// The time at which the last ejection ended, or an operator last restored the channel; zero if neither
    /// has happened. While the channel is not ejected, failures of requests that began before this time are
    /// ignored.
    returned: Timestamp,
}

impl Health {
    /// Returns whether the channel is not ejected, and no failure of creates or probes is counted against
    /// it.
    pub(super) fn is_good(&self) -> bool {
        self.ejection.is_none() && self.failures == 0 && self.probe_failures == 0
    }

    /// Returns the ejection in force, whether or not its pause is over.
    pub(super) fn ejection(&self) -> Option<Ejection> {
        self.ejection
    }

    /// Returns whether the channel gets creates now.
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

    /// Begins a trial of the ejected channel that lasts for `lasts` at most. Returns the latest end of the
    /// trial; `None` where the channel is not due for a trial, or another trial is under way.
    pub(super) fn begin_trial(&mut self, now: Timestamp, lasts: Duration) -> Option<Timestamp> {
        if self.standing(now) != Standing::Trial {
            return None;
        }
        let ends = Timestamp(now.0.saturating_add(millis(lasts)));
        self.ejection.as_mut()?.trial = Some(ends);
        Some(ends)
    }

    /// Ends the trial for which [`Self::begin_trial`] returned `ends`, if it is still under way.
    pub(super) fn end_trial(&mut self, ends: Timestamp) {
        if let Some(ejection) = &mut self.ejection {
            ejection.trial = ejection.trial.filter(|trial| *trial != ends);
        }
    }

    /// Ends the channel's ejection at once, and sets its numbers of failures to zero. Returns the change;
    /// `None` where the channel was not ejected.
    pub(super) fn restore(&mut self, now: Timestamp) -> Option<Change> {
        (self.failures, self.probe_failures) = (0, 0);
        self.returned = now;
        let ejection = self.ejection.take();
        ejection.map(|ejection| Change::Returned(ejection.reason))
    }

    /// Notes an event of a request that began at `began`. Returns the change, if the event begins, prolongs
    /// or ends an ejection.
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
                // A request that is refused for its own fault proves nothing about the account.
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

    /// Returns whether a request that began at `began` began after the ejection. Also returns `true` if there
    /// is no ejection, or if the clock was set back to a time before it. A request that began before the
    /// ejection only shows how the channel was then.
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
        // Requests that were under way together count as one failure: the pause ends later, but does not
        // count as another one.
        let longer = Ejection {
            reason,
            until: Some(until),
            ..before
        };
        self.ejection = Some(longer);
        (before.reason != reason).then_some(Change::Ejected(longer))
    }

    /// Notes a failure. The tuple is its reason, the number of failures in a row, and the number that ejects.
    fn fail(
        &mut self,
        (reason, in_a_row, enough): (EjectionReason, u32, u32),
        began: Timestamp,
        rules: &EjectionRules,
        now: Timestamp,
    ) -> Option<Change> {
        let again = match self.ejection {
            None => in_a_row >= enough,
            // Requests that fail together cause one ejection. Only a request that began after the ejection
            // shows that the channel still fails.
            Some(before) => before.is_over(now) && self.began_after_ejection(began, now),
        };
        if !again {
            return None;
        }
        // A trial that did not reach the channel does not show that the first reason for the ejection is
        // over.
        let before = self.ejection.map(|before| before.reason);
        let reason = match (reason, before) {
            (EjectionReason::Unreachable, Some(before)) => before,
            _ => reason,
        };
        let until = now.0.saturating_add(millis(self.pause(reason, rules)));
        self.eject(reason, Some(Timestamp(until)), now)
    }

    /// Computes the next pause: the first pause, doubled for each earlier one, up to the maximum.
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
