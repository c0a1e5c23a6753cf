//! Measures for how long there have been overdue outcomes: unknown for longer than `jobs.expire_after`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The maximum time between two rounds of a task in one measurement. After a longer time the measurement
/// begins anew: another gate has done the task, or the ledger could not be used.
const MAX_GAP: Duration = Duration::from_secs(600);

/// The record of the time when each task of reconciliation first found overdue outcomes. A task is named by
/// its lease. The record is kept when the configuration is reloaded.
#[derive(Debug, Default)]
pub(super) struct OverdueSince {
    tasks: Mutex<HashMap<String, Noted>>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    /// The time when the task was first found to have overdue outcomes.
    first: Instant,
    /// The latest time at which a round began or ended.
    last: Instant,
}

impl OverdueSince {
    /// Records whether a task has overdue outcomes now. Returns for how long it has had such outcomes.
    pub(super) fn note(&self, lease: &str, is_overdue: bool) -> Duration {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_overdue {
            tasks.remove(lease);
            return Duration::ZERO;
        }
        let now = Instant::now();
        let known = tasks.get(lease).copied();
        let known = known.filter(|noted| now.duration_since(noted.last) <= MAX_GAP);
        let first = known.map_or(now, |noted| noted.first);
        tasks.insert(lease.to_owned(), Noted { first, last: now });
        now.duration_since(first)
    }

    /// Records the end of a round, which may have taken long: the channel's list may come slowly.
    pub(super) fn keep(&self, lease: &str) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = tasks.get_mut(lease) {
            noted.last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_waits_while_it_has_overdue_outcomes() {
        let (since, second) = (OverdueSince::default(), Duration::from_secs(1));
        assert_eq!(since.note("a", true), Duration::ZERO);
        tokio::time::advance(second).await;
        assert_eq!(since.note("a", true), second);
        assert_eq!(since.note("b", true), Duration::ZERO);
        assert_eq!(since.note("a", false), Duration::ZERO);
        tokio::time::advance(second).await;
        assert_eq!(since.note("a", true), Duration::ZERO);
        assert_eq!(since.note("b", true), second);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_anew_after_a_gap_between_rounds() {
        let since = OverdueSince::default();
        since.note("a", true);
        tokio::time::advance(MAX_GAP).await;
        assert_eq!(since.note("a", true), MAX_GAP);
        tokio::time::advance(MAX_GAP + Duration::from_millis(1)).await;
        since.keep("a");
        tokio::time::advance(MAX_GAP).await;
        assert_eq!(
            since.note("a", true),
            MAX_GAP * 3 + Duration::from_millis(1)
        );
        tokio::time::advance(MAX_GAP + Duration::from_millis(1)).await;
        assert_eq!(since.note("a", true), Duration::ZERO);
    }
}
