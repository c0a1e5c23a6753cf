//! Pools connections to channels.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use pingora::connectors::TransportConnector;
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::protocols::{ALPN, Stream};
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use tokio::io::AsyncReadExt as _;
use tokio::task::unconstrained;

use crate::clock::coarse;
use crate::map::Map;

/// The maximum number of idle HTTP/1.1 connections that are kept for one address.
const KEPT: usize = 256;
/// The interval at which idle connections are checked, and closed if they cannot be used any more.
const SWEEP: Duration = Duration::from_secs(5);

/// A pool of connections to channels. Only connections to peers that use HTTP/1.1 alone are kept here.
/// Pingora's own pool keeps the others: HTTP/2, and those whose version is negotiated with TLS.
///
/// Measured with Pingora 0.9.1: the future of [`Connector::get_http_session`] takes 9 KB, for handshakes
/// of every kind. For each request, Pingora's pool of HTTP/1.1 spawns a task that watches the idle
/// connection, wakes this task to get the connection back, and asks the kernel for the connection's peer.
/// All of this costs a twentieth of a small request.
pub(crate) struct Pool {
    http1: TransportConnector,
    idle: Arc<Idle>,
    any: Connector,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            http1: TransportConnector::new(None),
            idle: Arc::default(),
            any: Connector::new(None),
        }
    }

    /// Opens a session for one request, on a pooled connection where one is idle. Returns the session, and
    /// whether its connection was pooled.
    pub(crate) async fn session(&self, peer: &HttpPeer) -> pingora::Result<(HttpSession, bool)> {
        if !is_http1(peer) {
            return Box::pin(self.any.get_http_session(peer)).await;
        }
        let (stream, was_pooled) = match self.idle.take(peer.reuse_hash()) {
            Some(stream) => (stream, true),
            None => (Box::pin(self.http1.new_stream(peer)).await?, false),
        };
        let session = Http1Session::new_with_options(stream, peer);
        Ok((HttpSession::H1(session), was_pooled))
    }

    /// Puts a session back into the pool, after its answer was read to its end. The connection is kept for
    /// `idle` at most, if another request can use it.
    pub(crate) async fn release(&self, session: Box<HttpSession>, peer: &HttpPeer, idle: Duration) {
        match *session {
            HttpSession::H1(mut session) if is_http1(peer) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    self.idle.put(peer.reuse_hash(), stream, idle);
                }
            }
            other => Box::pin(self.any.release_http_session(other, peer, Some(idle))).await,
        }
    }

    /// Drops all pooled HTTP/1.1 connections of `peer`. Called when one of them was stale, since the others
    /// may be stale as well.
    pub(crate) fn evict(&self, peer: &HttpPeer) {
        self.idle.drop_all(peer.reuse_hash());
    }
}

fn is_http1(peer: &HttpPeer) -> bool {
    matches!(peer.options.alpn, ALPN::H1)
}

/// The idle connections of the pool.
#[derive(Default)]
struct Idle {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The idle connections, by the hash of their peer's address and options. In each list, the connection
    /// that was used most recently comes last.
    by_peer: Map<u64, Vec<Waiting>>,
    /// Whether a [`Sweeper`] task is running.
    is_swept: bool,
}

struct Waiting {
    stream: Stream,
    /// The end of the idle time, by [`coarse`].
    until: Duration,
}

impl Waiting {
    /// Returns whether another request can use the connection: its idle time is not over, and the channel
    /// has neither closed it nor sent bytes that no request asked for.
    fn is_usable(&mut self, now: Duration) -> bool {
        // Without Tokio's budget: to a task that has used it up, the read would look pending.
        let read = unconstrained(self.stream.read(&mut [0; 1])).now_or_never();
        now < self.until && read.is_none()
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, peer: u64) -> Option<Stream> {
        let now = coarse();
        loop {
            let mut waiting = self.lock().by_peer.get_mut(&peer)?.pop()?;
            if waiting.is_usable(now) {
                return Some(waiting.stream);
            }
        }
    }

    fn drop_all(&self, peer: u64) {
        let dropped = self.lock().by_peer.remove(&peer);
        drop(dropped);
    }

    fn put(self: &Arc<Self>, peer: u64, stream: Stream, idle: Duration) {
        let until = coarse().saturating_add(idle);
        let mut kept = self.lock();
        let waiting = kept.by_peer.entry(peer).or_default();
        waiting.push(Waiting { stream, until });
        let surplus = (waiting.len() > KEPT).then(|| waiting.remove(0));
        let sweep = !std::mem::replace(&mut kept.is_swept, true);
        // The lock is released first: nobody waits for it while a connection is closed.
        drop(kept);
        drop(surplus);
        if sweep {
            tokio::spawn(Sweeper(Arc::downgrade(self)).sweep_while_kept());
        }
    }

    /// Closes the idle connections that cannot be used any more. Returns whether any connections are left.
    fn sweep(&self) -> bool {
        let now = coarse();
        let mut closed = Vec::new();
        let mut kept = self.lock();
        kept.by_peer.retain(|_, waiting| {
            closed.extend(waiting.extract_if(.., |waiting| !waiting.is_usable(now)));
            !waiting.is_empty()
        });
        kept.is_swept = !kept.by_peer.is_empty();
        let is_swept = kept.is_swept;
        drop(kept);
        drop(closed);
        is_swept
    }
}

/// The background task that closes idle connections that cannot be used any more. It ends when no connection
/// is left, or with the Tokio runtime that it was started on; the next connection that is kept then starts
/// another task.
struct Sweeper(Weak<Idle>);

impl Sweeper {
    async fn sweep_while_kept(mut self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            match self.0.upgrade() {
                Some(idle) if idle.sweep() => {}
                _ => break,
            }
        }
        // `sweep` has cleared `is_swept` already, and another task may run by now: `drop` must not clear
        // the flag again.
        self.0 = Weak::new();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(idle) = self.0.upgrade() {
            idle.lock().is_swept = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::stream::Stream as L4Stream;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A time that is longer than any test takes.
    const LONG: Duration = Duration::from_secs(3600);

    /// Makes both ends of a connection: the gate's and the channel's.
    async fn connection(listener: &TcpListener) -> (Stream, TcpStream) {
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Box::new(L4Stream::from(near.unwrap())), far.unwrap().0)
    }

    async fn closed(mut far: TcpStream) {
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    }

    /// Waits until the gate's end has noticed that the channel closed the connection or sent bytes, and
    /// returns the gate's end.
    async fn noticed(stream: Stream) -> Stream {
        let until = coarse() + LONG;
        let mut waiting = Waiting { stream, until };
        while waiting.is_usable(coarse()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waiting.stream
    }

    #[tokio::test]
    async fn the_one_used_last_serves_next_and_only_for_whom_it_was_made() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = Arc::new(Idle::default());
        let (first, _far_first) = connection(&listener).await;
        let (second, _far_second) = connection(&listener).await;
        let id = second.id();
        idle.put(1, first, LONG);
        idle.put(1, second, LONG);
        assert!(idle.take(2).is_none());
        assert_eq!(idle.take(1).unwrap().id(), id);
        assert!(idle.take(1).is_some());
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn what_cannot_serve_is_passed_over_and_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = Arc::new(Idle::default());
        let (usable, _far) = connection(&listener).await;
        let id = usable.id();
        let (over, far_over) = connection(&listener).await;
        let (talks, mut far_talks) = connection(&listener).await;
        let (gone, far_gone) = connection(&listener).await;
        far_talks.write_all(b"HTTP/1.1 408").await.unwrap();
        drop(far_gone);
        let (talks, gone) = (noticed(talks).await, noticed(gone).await);
        idle.put(1, usable, LONG);
        idle.put(1, over, Duration::ZERO);
        idle.put(1, talks, LONG);
        idle.put(1, gone, LONG);
        assert_eq!(idle.take(1).unwrap().id(), id);
        closed(far_over).await;
        let read = far_talks.read(&mut [0; 1]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_was_closed_and_the_sweeper_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = Arc::new(Idle::default());
        let (over, far_over) = connection(&listener).await;
        idle.put(1, over, Duration::ZERO);
        // The paused clock jumps to the sweep.
        closed(far_over).await;
        assert!(!idle.lock().is_swept);
        assert!(idle.lock().by_peer.is_empty());
        let (again, _far) = connection(&listener).await;
        idle.put(1, again, LONG);
        assert!(idle.lock().is_swept);
    }

    #[test]
    fn another_sweeps_where_a_runtime_has_ended() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().start_paused(true).build().unwrap()
        };
        let idle = Arc::new(Idle::default());
        let keep_one = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (stream, far) = connection(&listener).await;
            idle.put(1, stream, LONG);
            far
        };
        let first = runtime();
        let _far = first.block_on(keep_one());
        assert!(idle.lock().is_swept);
        drop(first);
        assert!(!idle.lock().is_swept);
        runtime().block_on(async {
            let _far = keep_one().await;
            assert!(idle.lock().is_swept);
        });
    }

    #[tokio::test]
    async fn many_that_are_dead_are_all_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = Arc::new(Idle::default());
        for _ in 0..KEPT {
            let (stream, far) = connection(&listener).await;
            drop(far);
            idle.put(1, noticed(stream).await, LONG);
        }
        // In one task without a pause: Tokio lets a task read 128 times before it must yield.
        let one_go = async move { idle.take(1).is_some() };
        assert!(!tokio::spawn(one_go).await.unwrap());
    }

    #[tokio::test]
    async fn those_of_an_address_are_distrusted_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = Arc::new(Idle::default());
        let (first, far_first) = connection(&listener).await;
        let (other, _far_other) = connection(&listener).await;
        idle.put(1, first, LONG);
        idle.put(2, other, LONG);
        idle.drop_all(1);
        closed(far_first).await;
        assert!(idle.take(2).is_some());
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = Arc::new(Idle::default());
        let (oldest, far_oldest) = connection(&listener).await;
        idle.put(1, oldest, LONG);
        let mut fars = Vec::new();
        for _ in 0..KEPT {
            let (stream, far) = connection(&listener).await;
            idle.put(1, stream, LONG);
            fars.push(far);
        }
        closed(far_oldest).await;
        assert_eq!(idle.lock().by_peer[&1].len(), KEPT);
    }
}
