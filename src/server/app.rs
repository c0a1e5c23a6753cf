//! The HTTP application of a gate that runs without a proxy around it.
//!
//! Pingora's `HttpProxy` is not used, since no request needs its loop: measured with Pingora 0.9.1, its
//! future takes tens of KB, which are allocated and moved twice for each request. That was a tenth of the
//! cost of a small request.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::InvalidHTTPHeader;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use super::connection::{head_came, request_ended};
use crate::gate::{Client, Gate};
use crate::in_progress::InProgress;

/// The application that answers HTTP/1.1 and HTTP/2 requests with the gate.
pub(super) struct App {
    pub(super) gate: Arc<Gate>,
    pub(super) options: HttpServerOptions,
    /// The requests in progress, each counted from the time when its head has been read. They are counted
    /// apart from connections, since an HTTP/2 connection may close before its requests have ended, or stay
    /// open after all of them have.
    pub(super) requests: Arc<InProgress>,
}

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                // The error's text would repeat what the client has sent.
                log::debug!("no request: {}", error.etype().as_str());
                if *error.etype() == InvalidHTTPHeader {
                    let _ = self.gate.refuse_unread(&mut session).await;
                }
                session.shutdown().await;
                return None;
            }
        }
        head_came();
        let _in_progress = self.requests.enter();
        let mut client = Served {
            session: &mut session,
            shutdown,
        };
        let answered = self.gate.handle(&mut client).await;
        request_ended();
        answered.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// The client of one request, on a server that may be stopping. While the server stops, the response asks
/// the client to send no further request on this connection.
struct Served<'a> {
    session: &'a mut ServerSession,
    shutdown: &'a ShutdownWatch,
}

impl Client for Served<'_> {
    fn session(&mut self) -> &mut ServerSession {
        self.session
    }

    async fn write_head(&mut self, head: Box<ResponseHeader>) -> pingora::Result<()> {
        if *self.shutdown.borrow() {
            self.session.set_keepalive(None);
        }
        self.session.write_head(head).await
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> pingora::Result<()> {
        self.session.write_body(piece, end).await
    }
}
