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
    ///
    /// # Errors
    /// From downstream, where the client is gone.
    fn write_head(
        &mut self,
        head: Box<ResponseHeader>,
    ) -> impl Future<Output = pingora::Result<()>> + Send;

    /// Writes a piece of its body, the last one with `end`.
    ///
    /// # Errors
    /// As above.
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
        let written = self.write_response_header(head).await;
        written.map_err(pingora::Error::into_down)
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> pingora::Result<()> {
        let written = self.write_response_body(piece, end).await;
        written.map_err(pingora::Error::into_down)
    }
}

impl Client for Session {
    fn session(&mut self) -> &mut ServerSession {
        self.as_downstream_mut()
    }

    // What the modules fail over is not the client's doing.

    async fn write_head(&mut self, mut head: Box<ResponseHeader>) -> pingora::Result<()> {
        let modules = &mut self.downstream_modules_ctx;
        modules.response_header_filter(&mut head, false).await?;
        self.downstream_session.write_head(head).await
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> pingora::Result<()> {
        let mut piece = Some(piece);
        let modules = &mut self.downstream_modules_ctx;
        modules.response_body_filter(&mut piece, end)?;
        let piece = piece.unwrap_or_default();
        self.downstream_session.write_body(piece, end).await
    }
}

/// Waits until the client is gone, and for nothing else: its request has been read.
pub(super) async fn gone(session: &mut ServerSession) -> Box<pingora::Error> {
    match session.read_body_or_idle(true).await {
        Err(error) => error,
        Ok(_) => pingora::Error::new(pingora::ConnectionClosed),
    }
}
