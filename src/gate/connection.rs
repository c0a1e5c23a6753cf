//! How long a connection may take over the head of a request.
//!
//! Pingora bounds each read of a head, and not the head as a whole: a client that sends a
//! byte now and then would hold its connection for days. The hooks that run when a head is
//! complete and when a request has ended tell the connection's task, which is the same one
//! in HTTP/1.1, so that it can tell for how long no head has come.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::sleep;

tokio::task_local! {
    /// Since when a head is awaited; `None` while a request is under way.
    static WAITING: Cell<Option<Instant>>;
}

/// Serves a connection of HTTP/1.1, and gives it up (`None`) when a head is not complete
/// within `limit` from the connection's beginning or the end of the request before it.
pub async fn with_head_deadline<T>(limit: Duration, serve: impl Future<Output = T>) -> Option<T> {
    let waiting = Cell::new(Some(Instant::now()));
    WAITING
        .scope(waiting, async {
            tokio::select! {
                served = serve => Some(served),
                () = overdue(limit) => None,
            }
        })
        .await
}

async fn overdue(limit: Duration) {
    loop {
        let waited = match WAITING.with(Cell::get) {
            Some(since) => since.elapsed(),
            None => Duration::ZERO,
        };
        match limit.checked_sub(waited) {
            Some(left) if !left.is_zero() => sleep(left).await,
            _ => return,
        }
    }
}

/// A head is complete. Without effect where nobody waits for one, as in HTTP/2.
pub(super) fn head_came() {
    let _ = WAITING.try_with(|waiting| waiting.set(None));
}

/// A request has ended: the next head is awaited.
pub(super) fn request_ended() {
    let _ = WAITING.try_with(|waiting| waiting.set(Some(Instant::now())));
}
