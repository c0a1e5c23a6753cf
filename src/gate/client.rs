//! The client side of a request: the trait [`Client`], and functions that wait for what a client does.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, WriteTimedout};

use crate::upstream::timeout::within;

/// The session of a client whose request the gate answers. It is Pingora's `ServerSession`, or the session
/// of a proxy, whose downstream modules process what is written.
pub trait Client: Send {
    /// Returns the session that the request is read from.
    fn session(&mut self) -> &mut ServerSession;

    /// Writes the head of the response.
    ///
    /// # Errors
    /// If the response cannot be written. The source of the error is downstream if the client is gone.
    fn write_head(
        &mut self,
        head: Box<ResponseHeader>,
    ) -> impl Future<Output = pingora::Result<()>> + Send;

    /// Writes a piece of the response's body; `end` marks the last piece.
    ///
    /// # Errors
    /// As for [`write_head`](Self::write_head).
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

    // No `into_down` here: an error of a module is not the client's doing.

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

/// A proxy's session, with a function of the proxy that edits each response head before it is written.
pub(super) struct EditedHeads<'a, F> {
    session: &'a mut Session,
    edit: F,
    /// Whether an edit has failed: the head of the error response is then written without an edit.
    has_failed: bool,
}

impl<'a, F> EditedHeads<'a, F> {
    /// Wraps the session of a proxy; `edit` is applied to each response head.
    pub(super) fn new(session: &'a mut Session, edit: F) -> Self {
        Self {
            session,
            edit,
            has_failed: false,
        }
    }
}

impl<F> Client for EditedHeads<'_, F>
where
    F: FnMut(&mut ResponseHeader) -> pingora::Result<()> + Send,
{
    fn session(&mut self) -> &mut ServerSession {
        Client::session(self.session)
    }

    async fn write_head(&mut self, mut head: Box<ResponseHeader>) -> pingora::Result<()> {
        if !self.has_failed {
            let edited = (self.edit)(&mut head);
            self.has_failed = edited.is_err();
            edited?;
        }
        Client::write_head(self.session, head).await
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> pingora::Result<()> {
        Client::write_body(self.session, piece, end).await
    }
}

/// Waits at most `limit` for `write`, a write to a client. If the write takes longer, the client counts as
/// gone.
pub(super) async fn in_time(
    limit: Duration,
    write: impl Future<Output = pingora::Result<()>> + Send,
) -> pingora::Result<()> {
    let written = within(|| limit, write).await;
    written.unwrap_or_else(|_| Err(Error::new_down(WriteTimedout)))
}

/// Waits until the client is gone, and returns the error that shows it. Call this only after the request
/// has been read.
///
/// Over HTTP/1.1 the end of the bytes that the client sends is not the end of the client (RFC 9112, section
/// 9.6): it may have closed its sending side and wait for the answer. Only a reset or a failing write shows
/// that the client is gone; a client that vanishes without a trace is waited for as long as the answer may
/// take. Bytes that follow the request (a pipelined request) do not mean that the client is gone either;
/// the connection then closes after the answer.
///
/// Over HTTP/2 END_STREAM closes the sending side of a request, and RST_STREAM shows that the
/// client is gone. The end of the connection ends every stream: without the client's
/// WINDOW_UPDATE no answer would arrive whole.
///
/// Measured with Pingora 0.9.1: without `abort_on_close` a read that finds the end marks the session as
/// half closed, switches keep-alive off and stays pending, and so does each later read, without a look at
/// the socket; writes go on. One byte of a pipelined request is read and lost, for which Pingora reports
/// `ConnectError`.
pub(super) async fn gone(session: &mut ServerSession) -> Box<pingora::Error> {
    session.set_abort_on_close(false);
    match session.read_body_or_idle(true).await {
        Err(error) if is_there(&error) => {
            session.set_keepalive(None);
            std::future::pending().await
        }
        Err(error) => error,
        Ok(_) => pingora::Error::new(pingora::ConnectionClosed),
    }
}

/// Returns whether the client may still be there to read the answer in spite of `error`, the error of an idle
/// read: if it has sent more than its request, or closed its half of the connection without `close_notify`.
fn is_there(error: &pingora::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    let ended = cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof);
    *error.etype() == pingora::ConnectError || ended
}
