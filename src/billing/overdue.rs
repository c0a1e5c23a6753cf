//! Measures for how long reconciliation has had overdue outcomes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time since when each task of reconciliation has had overdue outcomes, by the name of its lease. It
/// outlives a reload of the configuration.
#[derive(Debug, Default)]
pub(super) struct OverdueSince {
    since: Mutex<HashMap<String, Instant>>,
}

impl OverdueSince {
    /// Forgets the time of a task: this gate does not do the task any more, or the ledger is unavailable.
    pub(super) fn forget(&self, lease: &str) {
        self.lock().remove(lease);
    }

    /// Records whether a task has overdue outcomes now. Returns for how long it has had such outcomes.
    pub(super) fn note(&self, lease: &str, is_overdue: bool) -> Duration {
        let mut since = self.lock();
        if !is_overdue {
            since.remove(lease);
            return Duration::ZERO;
        }
        let now = Instant::now();
        now.duration_since(*since.entry(lease.to_owned()).or_insert(now))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn overdue_outcomes_wait_together() {
        let (since, second) = (OverdueSince::default(), Duration::from_secs(1));
        assert_eq!(since.note("a", true), Duration::ZERO);
        tokio::time::advance(second).await;
        assert_eq!(since.note("a", true), second);
        assert_eq!(since.note("b", true), Duration::ZERO);
        assert_eq!(since.note("a", false), Duration::ZERO);
        tokio::time::advance(second).await;
        assert_eq!(since.note("a", true), Duration::ZERO);
        assert_eq!(since.note("b", true), second);
        since.forget("b");
        assert_eq!(since.note("b", true), Duration::ZERO);
    }
}
