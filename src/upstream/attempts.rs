//! Records the channels that did not take a create, with the reasons. No IO.

use std::fmt;
use std::fmt::Write as _;

/// The reason why a channel did not take a create, of which it has made nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declined {
    /// The channel could not be reached.
    Unreachable,
    /// The limits of the channel have no room, for at least `wait` seconds.
    Full {
        /// The wait in seconds, where it is known.
        wait: Option<u64>,
    },
    /// The channel takes no more requests, for `wait` seconds where its answer says so.
    RateLimited {
        /// The status of its answer.
        status: u16,
        /// The wait in seconds, as the answer says.
        wait: Option<u64>,
    },
    /// The channel does not accept the gate's credential, or its account is spent.
    Account {
        /// The status of its answer.
        status: u16,
    },
    /// The channel takes nothing at the moment.
    Failing {
        /// The status of its answer.
        status: u16,
    },
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("connect"),
            Self::Full { .. } => f.write_str("full"),
            Self::RateLimited { status, .. }
            | Self::Account { status }
            | Self::Failing { status } => status.fmt(f),
        }
    }
}

/// The channels that did not take a create, in the order in which they were tried.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    text: String,
    declined: Vec<Declined>,
}

/// The answer for a client whose request no channel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoneLeft {
    /// A channel fails: another attempt may find one that works.
    Failing,
    /// A channel is at its limit: another attempt may find room, after `wait` seconds.
    Limited {
        /// The wait in seconds, at least one.
        wait: u64,
    },
    /// No channel accepts the gate's account.
    Account,
}

/// The wait that a client is told where it is not known when there is room, in seconds: jobs end at any
/// time.
const WAIT: u64 = 5;
/// The longest wait that a client is told, in seconds.
const MAX_WAIT: u64 = 600;

impl Attempts {
    /// Records why `channel` did not take the create.
    pub(crate) fn add(&mut self, channel: &str, why: Declined) {
        let comma = if self.text.is_empty() { "" } else { ", " };
        // Writing to a `String` never fails.
        let _ = write!(self.text, "{comma}{channel}:{why}");
        self.declined.push(why);
    }

    /// Returns the channels that did not take the create, with the reasons, as the ledger keeps them:
    /// `a:429, b:connect`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the outcome of a reservation that was made for the create: `unreachable` or `refused`.
    pub(crate) fn outcome(&self) -> &'static str {
        let unreachable = |why: &Declined| *why == Declined::Unreachable;
        match self.declined.iter().all(unreachable) {
            true => "unreachable",
            false => "refused",
        }
    }

    /// Returns the answer for the client, now that no channel is left.
    pub(crate) fn none_left(&self) -> NoneLeft {
        let declined = || self.declined.iter();
        if declined().any(|why| matches!(why, Declined::Unreachable | Declined::Failing { .. })) {
            return NoneLeft::Failing;
        }
        let waits = declined().filter_map(|why| match why {
            Declined::Full { wait } | Declined::RateLimited { wait, .. } => {
                Some(wait.unwrap_or(WAIT))
            }
            _ => None,
        });
        match (waits.min(), self.declined.is_empty()) {
            (Some(wait), _) => NoneLeft::Limited {
                wait: wait.clamp(1, MAX_WAIT),
            },
            (None, true) => NoneLeft::Failing,
            (None, false) => NoneLeft::Account,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_invited_where_one_can_help() {
        use Declined::{Account, Failing, Full, RateLimited, Unreachable};
        let account = Account { status: 401 };
        let failing = Failing { status: 503 };
        let rate_limited = |wait| RateLimited { status: 429, wait };
        let limited = |wait| NoneLeft::Limited { wait };
        for (declined, told, text) in [
            (&[][..], NoneLeft::Failing, ""),
            (&[account], NoneLeft::Account, "c:401"),
            (&[account, account], NoneLeft::Account, "c:401, c:401"),
            (
                &[account, Unreachable],
                NoneLeft::Failing,
                "c:401, c:connect",
            ),
            (&[failing], NoneLeft::Failing, "c:503"),
            (&[rate_limited(Some(20))], limited(20), "c:429"),
            (&[rate_limited(None), account], limited(5), "c:429, c:401"),
            (&[rate_limited(Some(0))], limited(1), "c:429"),
            (&[rate_limited(Some(86_400))], limited(600), "c:429"),
            (
                &[rate_limited(Some(20)), Full { wait: Some(7) }],
                limited(7),
                "c:429, c:full",
            ),
            (
                &[rate_limited(Some(20)), failing],
                NoneLeft::Failing,
                "c:429, c:503",
            ),
        ] {
            let mut attempts = Attempts::default();
            for why in declined {
                attempts.add("c", *why);
            }
            assert_eq!(attempts.none_left(), told, "{declined:?}");
            assert_eq!(attempts.text(), text);
        }
    }
}
