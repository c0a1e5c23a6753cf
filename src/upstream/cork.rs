//! Delays the head of a request until the first bytes of its body are there, so that both
//! leave in one write.
//!
//! Measured with Pingora 0.9.1: its HTTP/1.1 client flushes the head by itself. For a small
//! create that is a second write to the channel, and writes are half of what a small request
//! costs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The maximum number of bytes that the head and the first bytes of the body may have together to be joined
/// in one write. Copying more of the body would cost more than a separate write.
const JOINED: usize = 8 * 1024;

/// Makes a fresh HTTP/1.1 session buffer what is written to it until [`uncork`] is called. Returns an HTTP/2
/// session as it is.
pub(crate) fn cork(session: HttpSession, peer: &HttpPeer) -> HttpSession {
    let HttpSession::H1(session) = session else {
        return session;
    };
    if let Some(stream) = corked(&session) {
        stream.is_corked.store(true, Ordering::Relaxed);
        return HttpSession::H1(session);
    }
    // A wrapped connection stays wrapped, also when it comes back from the pool.
    let stream = Box::new(Corked {
        inner: session.into_inner(),
        is_corked: AtomicBool::new(true),
        kept: BytesMut::new(),
    });
    HttpSession::H1(Http1Session::new_with_options(stream, peer))
}

/// Stops the buffering that [`cork`] began. The buffered bytes are sent with the next flush, or before a
/// write that is too long to be joined with them.
pub(crate) fn uncork(session: &HttpSession) {
    if let HttpSession::H1(session) = session
        && let Some(stream) = corked(session)
    {
        stream.is_corked.store(false, Ordering::Relaxed);
    }
}

fn corked(session: &Http1Session) -> Option<&Corked> {
    (**session.stream()).as_any().downcast_ref()
}

/// A stream that buffers what is written and ignores flushes, while it is corked.
#[derive(Debug)]
struct Corked {
    inner: Stream,
    /// Whether the stream buffers what is written to it. Only the task that owns the session writes the
    /// flag; it is atomic, since the session lends out its stream by a shared reference only.
    is_corked: AtomicBool,
    /// The buffered bytes: at most a head and [`JOINED`] bytes.
    kept: BytesMut,
}

impl Corked {
    fn is_corked(&self) -> bool {
        self.is_corked.load(Ordering::Relaxed)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        // Pooled connections keep no buffer.
        self.kept = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Corked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let joins = !self.kept.is_empty() && self.kept.len() + bytes.len() <= JOINED;
        if joins || self.is_corked() {
            self.kept.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_corked() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.kept.is_empty() && !self.is_corked() {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty());
        self.poll_write(cx, first.map_or(&[], |piece| piece))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Shuts the connection down without sending the buffered bytes. Where there are any, their request is
    /// being broken off.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

#[async_trait]
impl Shutdown for Corked {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Corked {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Corked {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Corked {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Corked {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Corked {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

#[async_trait]
impl Peek for Corked {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}
