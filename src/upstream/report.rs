//! Records what the answers of a channel show about its health, and applies the changes that operators make.
//! Each change is logged in one line; ejections are also counted in the metrics.

use std::time::Duration;

use http::StatusCode;

use super::answer::Answer;
use super::attempts::Declined;
use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::health::{Change, Ejection, EjectionReason, Event};
use crate::channel::ChannelState;
use crate::dialect::Blame;
use crate::ledger::LimitReached;
use crate::policy::{Measure, Timestamp, Window};

/// The outcome of a create at its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateOutcome {
    /// The channel created a job.
    Created,
    /// The channel answered with an error. The values are the cause of the error, and the wait before the
    /// next request that the answer asks for, if any.
    Refused(Blame, Option<Duration>),
    /// The channel gave no whole answer in time.
    TimedOut,
    /// The channel broke off the exchange, or its answer cannot be read as the answer to a create.
    Broken,
}

/// The change that an operator makes to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelControl {
    /// Sets the state of the channel: active, drained or off.
    Set(ChannelState),
    /// Ends the channel's ejection at once, if it is ejected, and forgets its failures so far in any case.
    Restore,
}

/// Returns the reason why a channel did not take a create, if the cause of its error answer is the channel;
/// `None` if the cause is the request.
pub(crate) fn declined(channel: &LiveChannel, answer: &Answer) -> Option<Declined> {
    let status = answer.status.as_u16();
    match channel.spec().dialect.blame(status, &answer.body) {
        Blame::Request => None,
        Blame::Account => Some(Declined::Account { status }),
        Blame::RateLimited => Some(Declined::RateLimited {
            status,
            wait: answer.retry_after,
        }),
        Blame::Failing => Some(Declined::Failing { status }),
    }
}

/// Notes that a limit of a channel is reached, unless the create alone exceeds it and it is for each minute,
/// hour, day or month. Returns the reason why the channel does not take the create, with the wait, if known.
pub(crate) fn full(channel: &LiveChannel, reached: &LimitReached, now: Timestamp) -> Declined {
    let LimitReached { limit, resets, .. } = reached;
    // A request that alone exceeds the whole limit does not show that smaller requests would, too.
    if resets.is_some() || limit.window == Window::Total {
        channel.note_full(now);
    }
    let wait = match limit.measure {
        // Jobs end at any time.
        Measure::InFlight => None,
        // The maximum means that no wait helps.
        _ => Some(resets.map_or(u64::MAX, |end| end.saturating_sub(now.seconds()))),
    };
    Declined::Full { wait }
}

impl UpstreamClient {
    /// Notes for the channel's health that a create that began at `began` was answered with an error.
    pub(crate) fn note_refusal(&self, channel: &LiveChannel, began: Timestamp, answer: &Answer) {
        let dialect = &channel.spec().dialect;
        let blame = dialect.blame(answer.status.as_u16(), &answer.body);
        let wait = answer.retry_after.map(Duration::from_secs);
        self.note_create(channel, began, CreateOutcome::Refused(blame, wait));
    }

    /// Notes the outcome of a create that began at `began` for its channel's health. A failure to connect is
    /// no outcome here: it has been noted when the connection was tried.
    pub(crate) fn note_create(
        &self,
        channel: &LiveChannel,
        began: Timestamp,
        outcome: CreateOutcome,
    ) {
        let event = match outcome {
            CreateOutcome::Created => Event::Created,
            CreateOutcome::Refused(Blame::Request, _) => Event::Answered,
            CreateOutcome::Refused(Blame::Account, _) => Event::Account,
            CreateOutcome::Refused(Blame::RateLimited, wait) => Event::RateLimited(wait),
            CreateOutcome::Refused(Blame::Failing, _) | CreateOutcome::Broken => Event::Failed,
            CreateOutcome::TimedOut => Event::TimedOut,
        };
        self.note(channel, event, began);
    }

    /// Notes the status of an answer to a request that creates nothing. Only 401 changes the channel's
    /// health, since only a refused credential shows that creates would fail as well.
    pub(super) fn note_status(&self, channel: &LiveChannel, status: StatusCode, began: Timestamp) {
        if status == StatusCode::UNAUTHORIZED {
            self.note(channel, Event::Account, began);
        }
    }

    pub(super) fn note(&self, channel: &LiveChannel, event: Event, began: Timestamp) {
        // The clock is read only if the event can change the channel's health.
        if !channel.is_settled(event) {
            let change = channel.note(event, began, self.clock.now());
            self.changed(channel, change);
        }
    }

    /// Applies an operator's change to a channel.
    pub(crate) fn control(&self, channel: &LiveChannel, control: ChannelControl) {
        let state = match control {
            ChannelControl::Set(state) => state,
            ChannelControl::Restore => {
                let change = channel.restore(self.clock.now());
                return self.changed(channel, change);
            }
        };
        let before = channel.set_state(state);
        if before != state {
            let (name, before, state) = (&channel.spec().name, before.name(), state.name());
            log::info!("channel {name}: its state is {state} now, by an operator; it was {before}");
        }
    }

    /// Counts and logs a change of a channel's health; does nothing for `None` and for a content server.
    pub(super) fn changed(&self, channel: &LiveChannel, change: Option<Change>) {
        let Some(change) = change.filter(|_| !channel.is_content_server()) else {
            return;
        };
        let name = &channel.spec().name;
        if let Change::Ejected(ejection) | Change::Prolonged(ejection) = change {
            self.metrics.channel_ejection(name, ejection.reason.name());
        }
        match change {
            // `UpstreamClient::failed` has logged this already; `answered` logs that the channel works again.
            Change::Ejected(Ejection { reason, .. })
            | Change::Prolonged(Ejection { reason, .. })
            | Change::Returned(reason)
                if reason == EjectionReason::Unreachable => {}
            Change::Ejected(ejection) => {
                let (reason, until) = (ejection.reason.name(), self.rest(&ejection));
                log::warn!("channel {name} is ejected ({reason}): it gets no creates {until}");
            }
            Change::Prolonged(ejection) => {
                let (reason, until) = (ejection.reason.name(), self.rest(&ejection));
                log::warn!("channel {name} is ejected again ({reason}): no creates {until}");
            }
            Change::Returned(reason) => {
                let reason = reason.name();
                log::info!("channel {name} gets creates again, and is not ejected ({reason})");
            }
        }
    }

    /// Describes for how long a channel gets no creates.
    fn rest(&self, ejection: &Ejection) -> String {
        match ejection.until {
            Some(until) => {
                let seconds = until.since(self.clock.now()).div_ceil(1000);
                format!("for {seconds} s, and then one to try it, unless no other can take them")
            }
            None => "until the configuration is loaded again, a probe succeeds or it is restored \
                     at the admin address, unless no other can take them"
                .to_owned(),
        }
    }
}
