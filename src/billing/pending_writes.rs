//! Counts background writes to the ledger, so that a gate that stops can wait for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::in_progress::InProgress;

/// The maximum pause between two attempts of a write while the gate stops.
const STOPPING_PAUSE: Duration = Duration::from_millis(100);

/// The background writes to the ledger that are under way. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingWrites(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: Arc<InProgress>,
    is_stopping: watch::Sender<bool>,
}

impl PendingWrites {
    /// Starts a write in a task of its own, and returns the task's handle with the write's result. Dropping
    /// the handle does not stop the write.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        write: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let pending = self.0.count.enter();
        tokio::spawn(async move {
            let _pending = pending;
            write.await
        })
    }

    /// Waits for `wait` before a write is repeated. The wait ends at once when the gate begins to stop, and
    /// lasts at most 100 ms while it stops.
    pub(super) async fn pause(&self, wait: Duration) {
        let mut stopping = self.0.is_stopping.subscribe();
        if *stopping.borrow_and_update() {
            return sleep(wait.min(STOPPING_PAUSE)).await;
        }
        let _ = timeout(wait, stopping.changed()).await;
    }

    /// Waits at most `within` until no write is left. Writes that wait for their next attempt are repeated
    /// at once. Returns the number of writes that are left.
    pub(super) async fn flush(&self, within: Duration) -> usize {
        self.0.is_stopping.send_replace(true);
        let _ = timeout(within, self.0.count.none()).await;
        // A gate that another server embeds may still handle requests for a while.
        self.0.is_stopping.send_replace(false);
        self.0.count.count()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_what_is_written_and_no_longer() {
        let (writes, began) = (PendingWrites::default(), Instant::now());
        assert_eq!(writes.flush(WITHIN).await, 0);
        assert_eq!(began.elapsed(), Duration::ZERO);
        for seconds in [1, 2, 60] {
            writes.spawn(sleep(Duration::from_secs(seconds)));
        }
        assert_eq!(writes.flush(WITHIN).await, 1);
        assert_eq!(began.elapsed(), WITHIN);
        assert_eq!(writes.flush(WITHIN * 20).await, 0);
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_to_be_tried_again_is_tried_at_once_when_the_gate_stops() {
        let (writes, began) = (PendingWrites::default(), Instant::now());
        let again = writes.clone();
        writes.spawn(async move {
            again.pause(Duration::from_secs(3600)).await;
            again.pause(Duration::from_secs(3600)).await;
        });
        tokio::task::yield_now().await;
        assert_eq!(writes.flush(WITHIN).await, 0);
        assert_eq!(began.elapsed(), STOPPING_PAUSE);
        // A gate that goes on waits as before.
        writes.pause(Duration::from_secs(3600)).await;
        assert_eq!(began.elapsed(), STOPPING_PAUSE + Duration::from_secs(3600));
    }

    /// A write is completed even if the caller stops waiting.
    #[tokio::test(start_paused = true)]
    async fn a_write_outlives_who_waits_for_it() {
        let (writes, (written, mut read)) = (PendingWrites::default(), watch::channel(false));
        let waits = tokio::spawn(writes.spawn(async move {
            sleep(Duration::from_secs(1)).await;
            written.send_replace(true);
        }));
        waits.abort();
        assert_eq!(writes.flush(WITHIN).await, 0);
        assert!(*read.borrow_and_update());
    }
}
