//! Connections to channels, kept for the next request.

use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::upstreams::peer::{HttpPeer, Peer as _};

/// Pingora keeps connections by thread; this many for each of them.
const KEPT: usize = 128;

/// Pingora's connectors.
///
/// Channels that speak HTTP/1.1 alone have one of their own: measured with Pingora 0.9.1,
/// the future of [`Connector::get_http_session`] takes 9 KB, for handshakes of every kind,
/// and would be moved about for every poll; one that looks into the pool takes 200 bytes.
pub(super) struct Pool {
    http1: TransportConnector,
    any: Connector,
}

impl Pool {
    pub(super) fn new() -> Self {
        let options = || Some(ConnectorOptions::new(KEPT));
        Self {
            http1: TransportConnector::new(options()),
            any: Connector::new(options()),
        }
    }

    /// A session for one request, and whether its connection has served before.
    pub(super) async fn session(&self, peer: &HttpPeer) -> pingora::Result<(HttpSession, bool)> {
        if !is_http1(peer) {
            return Box::pin(self.any.get_http_session(peer)).await;
        }
        let (stream, was_pooled) = match self.http1.reused_stream(peer).await {
            Some(stream) => (stream, true),
            None => (Box::pin(self.http1.new_stream(peer)).await?, false),
        };
        let session = Http1Session::new_with_options(stream, peer);
        Ok((HttpSession::H1(session), was_pooled))
    }

    /// Takes a session back whose answer was read to its end, and keeps its connection for
    /// that long where it can serve again.
    pub(super) async fn release(&self, session: HttpSession, peer: &HttpPeer, idle: Duration) {
        match session {
            HttpSession::H1(mut session) if is_http1(peer) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    let key = peer.reuse_hash();
                    self.http1.release_stream(stream, key, Some(idle));
                }
            }
            other => Box::pin(self.any.release_http_session(other, peer, Some(idle))).await,
        }
    }
}

fn is_http1(peer: &HttpPeer) -> bool {
    matches!(peer.options.alpn, ALPN::H1)
}
