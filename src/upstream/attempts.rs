//! Keeps account of the channels that did not take a create, and why. No IO.

use std::fmt;
use std::fmt::Write as _;

/// Why a channel did not take a create, of which it has made nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declined {
    /// It could not be reached.
    Unreachable,
    /// Its limits have no room, for at least `wait` seconds.
    Full {
        /// Where that is known.
        wait: Option<u64>,
    },
    /// It takes no more requests, for `wait` seconds where it says so.
    RateLimited {
        /// The status of its answer.
        status: u16,
        /// As its answer says.
        wait: Option<u64>,
    },
    /// It does not accept the gate's credential, or its account is spent.
    Account {
        /// The status of its answer.
        status: u16,
    },
    /// It takes nothing at the moment.
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

/// What to tell a client whose request no channel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoneLeft {
    /// Another attempt may find one that works.
    Failing,
    /// Another attempt may find room, after `wait` seconds.
    Limited {
        /// At least one.
        wait: u64,
    },
    /// None accepts the gate's account.
    Account,
}

/// How long a client waits where it is not known when there is room: jobs end at any time.
const WAIT: u64 = 5;
/// The longest wait that a client is told, in seconds.
const MAX_WAIT: u64 = 600;

impl Attempts {
    /// Notes why the channel of that name did not take the create.
    pub(crate) fn add(&mut self, channel: &str, why: Declined) {
        let comma = if self.text.is_empty() { "" } else { ", " };
        // A text takes whatever is written to it.
        let _ = write!(self.text, "{comma}{channel}:{why}");
        self.declined.push(why);
    }

    /// Writes who did not take it and why, as the ledger keeps it: `a:429, b:connect`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Names the outcome of a reservation that was made for the create.
    pub(crate) fn outcome(&self) -> &'static str {
        let unreachable = |why: &Declined| *why == Declined::Unreachable;
        match self.declined.iter().all(unreachable) {
            true => "unreachable",
            false => "refused",
        }
    }

    /// Says what to tell the client, now that no channel is left.
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
