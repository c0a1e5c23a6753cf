//! The client's side of a request.

use std::future::Future;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

/// A session that the gate answers: Pingora's own, or one within a proxy, whose modules see
/// what is written.
pub trait Client: Send {
    /// What the request is read from.
    fn session(&mut self) -> &mut ServerSession;

    /// Writes the head of the answer.
    fn write_head(
        &mut self,
        head: Box<ResponseHeader>,
    ) -> impl Future<Output = pingora::Result<()>> + Send;

    /// Writes a piece of its body, the last one with `end`.
    fn write_body(
        &mut self,
        piece: Bytes,
        end: bool,
    ) -> impl Future<Output = pingora::Result<()>> + Send;
}

impl Client for ServerSession {
    fn session(&mut self) -> &mut ServerSession {
        self
    }

    async fn write_head(&mut self, head: Box<ResponseHeader>) -> pingora::Result<()> {
        self.write_response_header(head).await
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> pingora::Result<()> {
        self.write_response_body(piece, end).await
    }
}

impl Client for Session {
    fn session(&mut self) -> &mut ServerSession {
        self.as_downstream_mut()
    }

    async fn write_head(&mut self, head: Box<ResponseHeader>) -> pingora::Result<()> {
        self.write_response_header(head, false).await
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> pingora::Result<()> {
        self.write_response_body(Some(piece), end).await
    }
}

/// Waits until the client is gone, and for nothing else: its request has been read.
pub(super) async fn gone(session: &mut ServerSession) -> Box<pingora::Error> {
    match session.read_body_or_idle(true).await {
        Err(error) => error,
        Ok(_) => pingora::Error::new(pingora::ConnectionClosed),
    }
}
