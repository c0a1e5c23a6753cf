//! Says why a channel does not take a create, by its answer or its limits.

use http::StatusCode;

use crate::dialect::Blame;
use crate::ledger::LimitReached;
use crate::policy::{Measure, Timestamp, Window};
use crate::upstream::{Answer, Declined, LiveChannel};

/// Whether an answer to half a request may be for how slowly the client sends: servers and proxies
/// give up waiting for a body with these. Nobody is to eject a channel with that.
pub(super) fn is_of_upload(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 502 | 504)
}

/// Says why a channel did not take a create, where its answer is about the channel rather than about
/// the request.
pub(super) fn declined(channel: &LiveChannel, answer: &Answer) -> Option<Declined> {
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

/// Notes that a limit of a channel is reached, and says for how long it has no room.
pub(super) fn full(channel: &LiveChannel, reached: &LimitReached, now: Timestamp) -> Declined {
    let LimitReached { limit, resets, .. } = reached;
    // That a request is more than the whole limit says nothing of the room for others.
    if resets.is_some() || limit.window == Window::Total {
        channel.note_full(now);
    }
    let wait = match limit.measure {
        // Jobs end at any time.
        Measure::InFlight => None,
        // No wait helps: the longest one that is told.
        _ => Some(resets.map_or(u64::MAX, |end| end.saturating_sub(now.seconds()))),
    };
    Declined::Full { wait }
}
