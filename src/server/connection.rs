//! Limits the time that a connection may wait for the head of a request.
//!
//! Pingora limits the time of each read of a head, but not of the head as a whole: a client that sends a byte
//! now and then would keep its connection open for days. The application reports when a head is complete and
//! when a request has ended, so that the connection's task knows how long it has waited for a head, and which
//! connections a stopping server can close.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora::server::ShutdownWatch;
use tokio::time::sleep;

tokio::task_local! {
    /// The time when the wait for the next head began; `None` while a request is under way.
    static WAITING: Cell<Option<Instant>>;
}

/// Runs `serve`, which handles an HTTP/1.1 connection, and returns its result. Drops `serve` and returns
/// `None` if a head is not complete within `limit` from the start of the connection or the end of the
/// previous request. Does the same if the server stops while no request is under way and none has arrived.
pub(super) async fn watch<T>(
    limit: Duration,
    shutdown: &ShutdownWatch,
    serve: impl Future<Output = T>,
) -> Option<T> {
    let waiting = Cell::new(Some(Instant::now()));
    let idle = idle(limit, shutdown.clone());
    WAITING
        .scope(waiting, async {
            tokio::select! {
                biased;
                served = serve => Some(served),
                () = idle => None,
            }
        })
        .await
}

async fn idle(limit: Duration, mut shutdown: ShutdownWatch) {
    let stopped = async {
        if shutdown.wait_for(|stops| *stops).await.is_err() {
            // Nobody is left who could stop the server.
            std::future::pending::<()>().await;
        }
    };
    let mut stopped = pin!(stopped);
    loop {
        let waited = WAITING.with(Cell::get).map(|since| since.elapsed());
        let left = limit.saturating_sub(waited.unwrap_or_default());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = sleep(left) => {}
            () = &mut stopped => break,
        }
    }
    // Polled whenever this task has made progress, and so when the request under way has ended.
    poll_fn(|_| match WAITING.with(Cell::get) {
        Some(_) => Poll::Ready(()),
        None => Poll::Pending,
    })
    .await;
}

/// Records that the head of a request is complete. Does nothing on HTTP/2 connections, where no task waits
/// for a head.
pub(super) fn head_came() {
    let _ = WAITING.try_with(|waiting| waiting.set(None));
}

/// Records that a request has ended, so that the wait for the next head begins.
pub(super) fn request_ended() {
    let _ = WAITING.try_with(|waiting| waiting.set(Some(Instant::now())));
}
