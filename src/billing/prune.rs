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

/// The span of 32 days before a reservation without a job. Reservations that were resolved in this span, or
/// later, keep their records: a job in the channel's list may belong to any of them, and their times may
/// come from gates and channels whose clocks differ.
const RIVALS_WITHIN: Duration = Duration::from_secs(32 * 24 * 3600);

/// Prunes the expired idempotency keys, and the reservations that were resolved before `time`, except for
/// those that reconciliation still needs.
///
/// # Errors
/// If the ledger cannot be used. If it cannot be asked which reservations have no job yet, the idempotency
/// keys are pruned all the same, and no reservations.
pub(super) async fn prune_before(billing: &Billing, time: Timestamp) -> Result<(), Unavailable> {
    let unresolved = billing.ledger().count_unresolved().await;
    let time = match &unresolved {
        Ok(unresolved) => {
            let without_job = unresolved
                .iter()
                .filter(|open| matches!(open.state, State::Pending | State::Unknown));
            prunable_before(time, without_job.map(|open| open.oldest).min())
        }
        Err(_) => Timestamp(0),
    };
    let now = billing.now();
    while billing.ledger().prune(time, now, MAX_PRUNED).await? >= u64::from(MAX_PRUNED) {
        sleep(PAUSE).await;
    }
    unresolved.map(drop)
}

/// Returns the time before which resolved reservations may be pruned: `time`, or [`RIVALS_WITHIN`] before
/// `oldest` if that is earlier. `oldest` is the time of the oldest reservation whose job is not known yet,
/// if there is one. Reservations that were resolved later keep their records: without these, a job of theirs
/// could be taken for the job of the oldest one.
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
            (Some(140), 100),
            (Some(132), 100),
            (Some(131), 99),
            (Some(60), 28),
            (Some(31), 0),
            (Some(0), 0),
        ] {
            let oldest = oldest.map(|day| Timestamp(day * DAY));
            assert_eq!(prunable_before(time, oldest), Timestamp(expected * DAY));
        }
    }
}
