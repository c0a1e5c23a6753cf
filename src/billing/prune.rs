//! Prunes old reservations from the ledger, but none that reconciliation still needs.

use std::time::Duration;

use tokio::time::sleep;

use super::reserve::Billing;
use crate::clock::before;
use crate::ledger::{State, Unavailable};
use crate::policy::Timestamp;

/// The maximum number of entries that one call to the ledger prunes.
pub(super) const MAX_PRUNED: u32 = 1000;

/// The pause after a step, in which other users of the ledger have their turn.
const PAUSE: Duration = Duration::from_millis(50);

/// The age difference up to which other reservations are kept for a reservation without a job: one day. A job
/// in the channel's list may belong to any of them.
const RIVALS_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Prunes the reservations from before `time`, except for those that reconciliation still needs.
pub(super) async fn prune_before(billing: &Billing, time: Timestamp) -> Result<(), Unavailable> {
    let (ledger, now) = (billing.ledger(), billing.now());
    let unresolved = ledger.count_unresolved().await?;
    let without_job = unresolved
        .iter()
        .filter(|open| matches!(open.state, State::Pending | State::Unknown));
    let time = prunable_before(time, without_job.map(|open| open.oldest).min());
    while ledger.prune(time, now, MAX_PRUNED).await? >= u64::from(MAX_PRUNED) {
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Returns the time before which reservations may be pruned: `time`, or one day before `oldest` if that is
/// earlier. `oldest` is the time of the oldest reservation whose job is not known yet, if there is one. Without
/// the records of other reservations of its day, their jobs could be taken for its own.
fn prunable_before(time: Timestamp, oldest: Option<Timestamp>) -> Timestamp {
    oldest.map_or(time, |oldest| time.min(before(oldest, RIVALS_WITHIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reconciliation_needs_is_not_pruned() {
        const DAY: u64 = 86_400_000;
        let time = Timestamp(100 * DAY);
        for (oldest, expected) in [
            (None, 100),
            (Some(132), 100),
            (Some(101), 100),
            (Some(100), 99),
            (Some(60), 59),
            (Some(0), 0),
        ] {
            let oldest = oldest.map(|day| Timestamp(day * DAY));
            assert_eq!(prunable_before(time, oldest), Timestamp(expected * DAY));
        }
    }
}
