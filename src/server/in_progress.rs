//! Counts what is in progress, and tells when nothing is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts requests or connections.
#[derive(Default)]
pub(super) struct InProgress {
    count: AtomicUsize,
    ended: Notify,
}

/// Counts as one until it is dropped.
pub(super) struct Guard(Arc<InProgress>);

impl InProgress {
    /// Counts one more.
    pub(super) fn enter(self: &Arc<Self>) -> Guard {
        self.count.fetch_add(1, Ordering::Relaxed);
        Guard(self.clone())
    }

    /// Counts one more, unless there are `max` already.
    pub(super) fn try_enter(self: &Arc<Self>, max: usize) -> Option<Guard> {
        let guard = self.enter();
        (self.count() <= max).then_some(guard)
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until there are none. For one that waits at a time.
    pub(super) async fn none(&self) {
        while self.count() != 0 {
            self.ended.notified().await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn none_waits_for_the_last() {
        let in_progress = Arc::<InProgress>::default();
        in_progress.none().await;
        let (first, second) = (in_progress.enter(), in_progress.try_enter(2));
        assert!(second.is_some());
        assert!(in_progress.try_enter(2).is_none());
        assert_eq!(in_progress.count(), 2);
        drop(first);
        let ends = async {
            tokio::task::yield_now().await;
            drop(second);
        };
        tokio::join!(in_progress.none(), ends);
        assert_eq!(in_progress.count(), 0);
    }
}
