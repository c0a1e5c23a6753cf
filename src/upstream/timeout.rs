//! Limits how long the gate waits.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

/// The error of a wait that has reached its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// Waits for a future for at most the time that `limit` returns. Most waits are over at once: for those
/// no clock is read, no timer is set, and `limit` is not called.
///
/// Cancel safe if the future is.
pub(crate) async fn within<T>(
    limit: impl FnOnce() -> Duration + Send,
    future: impl Future<Output = T> + Send,
) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let at_once = std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    });
    match at_once.await {
        Some(value) => Ok(value),
        None => timeout(limit(), future).await.map_err(|_| Elapsed),
    }
}

/// Waits for `write` for `limit` at most, and fails with `WriteTimedout` after that. A peer that reads
/// nothing for that long counts as gone.
pub(crate) async fn in_time(
    limit: Duration,
    write: impl Future<Output = pingora::Result<()>> + Send,
) -> pingora::Result<()> {
    let written = within(|| limit, write).await;
    written.unwrap_or_else(|_| Err(pingora::Error::new_up(pingora::WriteTimedout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_not_waited_for() {
        let asked = || panic!("nothing is to be waited for");
        assert_eq!(within(asked, ready(7)).await, Ok(7));
        let later = async {
            sleep(SECOND / 2).await;
            7
        };
        assert_eq!(within(|| SECOND, later).await, Ok(7));
        assert_eq!(within(|| SECOND, pending::<()>()).await, Err(Elapsed));
    }
}
