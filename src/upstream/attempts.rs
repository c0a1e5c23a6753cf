//! Records the channels that did not take a create, with the reasons. No IO.

use std::fmt;
use std::fmt::Write as _;

/// The reason why a channel did not take a create, and so has created no job for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declined {
    /// The channel could not be reached.
    Unreachable,
    /// The create would exceed a limit that the configuration sets for the channel.
    Full {
        /// The wait in seconds until the limit allows another create; `None` where it is not known,
        /// `u64::MAX` where no wait helps.
        wait: Option<u64>,
    },
    /// The channel answered that its own rate limit is reached.
    RateLimited {
        /// The status of the channel's answer.
        status: u16,
        /// The wait in seconds that the answer asks for; `None` where it names none.
        wait: Option<u64>,
    },
    /// The channel does not accept the gate's credential, or its account is spent.
    Account {
        /// The status of the channel's answer.
        status: u16,
    },
    /// The channel answered with an error that is its own fault, such as 503.
    Failing {
        /// The status of the channel's answer.
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

/// The reason why no channel takes a create, for the answer to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoneLeft {
    /// At least one channel fails or could not be reached, or none was tried: another attempt may find a
    /// channel that works.
    Failing,
    /// At least one channel is at a limit, and none fails: another attempt may succeed after `wait`
    /// seconds.
    Limited {
        /// The wait in seconds, at least one.
        wait: u64,
    },
    /// Every channel that was tried refuses the gate's account.
    Account,
}

/// The wait, in seconds, that clients get where it is not known when a limit allows another create. Jobs
/// may end at any time.
const WAIT: u64 = 5;
/// The longest wait that clients get, in seconds.
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

    /// Returns the outcome of the create's reservation: `unreachable` where no channel could be reached,
    /// `refused` where at least one channel declined for another reason.
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
