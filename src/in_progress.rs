//! Counts requests, connections and writes in progress, and waits until there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A count of requests, connections or writes in progress.
#[derive(Debug, Default)]
pub(crate) struct InProgress {
    count: AtomicUsize,
    ended: Notify,
}

/// A request, connection or write in progress, counted until this guard is dropped.
#[derive(Debug)]
pub(crate) struct Guard(Arc<InProgress>);

impl InProgress {
    /// Adds one to the count until the returned guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Guard {
        self.count.fetch_add(1, Ordering::Relaxed);
        Guard(self.clone())
    }

    /// Adds one to the count until the returned guard is dropped; `None` if the count is `max` already.
    pub(crate) fn try_enter(self: &Arc<Self>, max: usize) -> Option<Guard> {
        let guard = self.enter();
        (self.count() <= max).then_some(guard)
    }

    /// Returns the count.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until the count is zero.
    pub(crate) async fn none(&self) {
        loop {
            // Made before the count is read, so that an end in between is noticed.
            let ended = self.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
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
        // All waiting tasks are notified.
        tokio::join!(in_progress.none(), in_progress.none(), ends);
        assert_eq!(in_progress.count(), 0);
    }
}
