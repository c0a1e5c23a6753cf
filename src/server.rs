//! Runs a gate as a server: listens on a socket, limits connections, and stops gracefully.
//!
//! The server is a Pingora service on the caller's runtime. Pingora's `Server` is not used: it binds its
//! sockets late and panics if it cannot, does not report which port it got, and on SIGTERM sleeps for its
//! whole grace period even when no request is under way.

mod app;
mod certificate;
mod connection;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::{ALPN, Stream};
use pingora::server::{Fds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Bounds, Listen};
use crate::gate::Gate;
use crate::in_progress::{Guard, InProgress};
use app::App;
pub use certificate::{CertificateError, ServerCertificate, read_identity};

/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The maximum time that connections stay open for unsent responses, once a stopping server has no
/// request under way. An HTTP/2 client that does not read never answers the PING that Pingora sends with
/// its GOAWAY, and keeps its connection open until the server closes it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum time that a stopping server waits for the first bytes from a connection that it has
/// accepted. The client may be about to send its only request, and is to get an answer.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// A running server, with its connections and requests. [`Server::stop`] ends it.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// The sender that makes the remaining HTTP/2 connections close, at the end of [`Server::stop`].
    close: watch::Sender<bool>,
    service: JoinHandle<()>,
    requests: Arc<InProgress>,
    connections: Arc<InProgress>,
    certificate: Option<Arc<ServerCertificate>>,
}

/// The error of a server that stopped before all requests had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "stopped with {requests} {} still under way",
    if *requests == 1 { "request" } else { "requests" }
)]
pub struct StillInProgress {
    /// The number of requests that had not ended.
    pub requests: usize,
}

/// Starts a server for `gate` on `listener`, a socket that is already listening. Must be called on a Tokio
/// runtime. `listen` says whether to use TLS or, without TLS, unencrypted HTTP/2 (h2c). `bounds` has the
/// maximum number of connections. A request for a path that is no route of the gate is refused.
///
/// # Errors
/// If the socket or the certificate cannot be used.
pub fn serve(
    gate: Arc<Gate>,
    listener: TcpListener,
    listen: &Listen,
    bounds: &Bounds,
) -> io::Result<Server> {
    let (connections, requests) = (Arc::<InProgress>::default(), Arc::<InProgress>::default());
    let limit = i64::try_from(bounds.connections).unwrap_or(i64::MAX);
    let (metrics, gate_now) = (gate.metrics().clone(), gate.now().seconds());
    metrics.connections_limit.set(limit);
    let close = watch::Sender::new(false);
    let app = Bounded {
        gate,
        h2c: listen.h2c && listen.tls.is_none(),
        requests: requests.clone(),
        connections: connections.clone(),
        max_connections: bounds.connections,
        close: close.subscribe(),
    };
    let mut service = Service::new("tollgate".into(), app);
    let address = listener.local_addr()?;
    let certificate = match &listen.tls {
        None => {
            service.add_tcp(&address.to_string());
            None
        }
        Some(tls) => {
            let settings = TlsSettings::intermediate("", "");
            let mut settings = settings.map_err(|e| io::Error::other(e.to_string()))?;
            let identity = read_identity(tls).map_err(io::Error::other)?;
            let validity = identity.validity();
            if let Err(not_valid) = validity.check(gate_now) {
                // The server starts nevertheless: clients that do not check the validity can use it.
                log::error!("{}: {not_valid}", tls.cert.display());
            }
            metrics.certificates.set_listener(validity.not_after);
            let certificate = ServerCertificate::new(identity);
            settings.set_cert_resolver(certificate.clone());
            settings.enable_h2();
            service.add_tls_with_settings(&address.to_string(), None, settings);
            Some(certificate)
        }
    };
    Ok(Server {
        close,
        requests,
        connections,
        certificate,
        ..start(service, listener)?
    })
}

/// Starts a task that runs `service` on `listener`, a socket that is already listening.
///
/// # Errors
/// If the socket cannot be used.
pub(crate) fn start<A>(mut service: Service<A>, listener: TcpListener) -> io::Result<Server>
where
    A: ServerApp + Send + Sync + 'static,
{
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut fds = Fds::new();
    fds.add(address.to_string(), listener.into_raw_fd());
    let (stop, stopped) = watch::channel(false);
    let service = tokio::spawn(async move {
        let fds = Arc::new(fds.into());
        service.start_service(Some(fds), stopped, 1).await;
    });
    Ok(Server {
        address,
        stop,
        close: watch::Sender::new(false),
        service,
        requests: Arc::default(),
        connections: Arc::default(),
        certificate: None,
    })
}

impl Server {
    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the server's certificate, which can be replaced; `None` without TLS.
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        self.certificate.as_ref()
    }

    /// Stops listening, notifies HTTP/2 clients by GOAWAY, and waits at most `within` for the requests
    /// under way. Connections without a request stay open only until their pending responses are written.
    ///
    /// # Errors
    /// If requests were still under way after `within`. The error holds their number.
    pub async fn stop(self, within: Duration) -> Result<(), StillInProgress> {
        let deadline = Instant::now() + within;
        let ended = async {
            let _ = self.stop.send(true);
            let _ = self.service.await;
            self.requests.none().await;
            let _ = timeout(LINGER_TIMEOUT, self.connections.none()).await;
            // A request may have come over HTTP/2 before its client had read the GOAWAY.
            self.requests.none().await;
        };
        let _ = timeout_at(deadline, ended).await;
        let _ = self.close.send(true);
        match self.requests.count() {
            0 => Ok(()),
            requests => Err(StillInProgress { requests }),
        }
    }
}

/// The application that limits the number of connections, and the time that each connection may stay
/// silent. The time limits are those of the configuration in force when the connection is opened.
struct Bounded {
    gate: Arc<Gate>,
    h2c: bool,
    requests: Arc<InProgress>,
    connections: Arc<InProgress>,
    /// The maximum number of connections.
    max_connections: usize,
    /// The receiver of a value that becomes true when the remaining HTTP/2 connections must close, even
    /// those with unsent responses.
    close: watch::Receiver<bool>,
}

impl Bounded {
    /// Makes the application that handles the requests of one connection within `bounds`.
    fn app(&self, bounds: &Bounds) -> Arc<App> {
        let mut options = HttpServerOptions::default();
        options.h2c = self.h2c;
        options.keepalive_request_limit = Some(bounds.keepalive_requests);
        options.h2_idle_timeout = Some(bounds.keepalive_timeout);
        Arc::new(App {
            gate: self.gate.clone(),
            options,
            requests: self.requests.clone(),
        })
    }
}

/// An open connection, included in the count and in the metrics until it is dropped.
struct OpenConnection<'a> {
    gate: &'a Gate,
    _counted: Guard,
}

impl<'a> OpenConnection<'a> {
    fn new(gate: &'a Gate, counted: Guard) -> Self {
        gate.metrics().connections_open.inc();
        Self {
            gate,
            _counted: counted,
        }
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.gate.metrics().connections_open.dec();
    }
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 139\r\nretry-after: 1\r\n\
    connection: close\r\n\r\n\
    {\"error\":{\"message\":\"Too many connections are open. Try again in a moment.\",\
    \"type\":\"server_error\",\"param\":null,\"code\":\"unavailable\"}}      ";

#[async_trait]
impl ServerApp for Bounded {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(open) = self.connections.try_enter(self.max_connections) else {
            // HTTP/2 allows no response before its handshake: closing the connection is the refusal
            // there.
            if !matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
                let _ = timeout(Duration::from_secs(1), stream.write_all(FULL)).await;
            }
            return None;
        };
        let _open = OpenConnection::new(&self.gate, open);
        let state = self.gate.snapshot();
        let bounds = &state.config.bounds;
        let (first_byte, patience) = (bounds.read_timeout, bounds.keepalive_timeout);
        let app = self.app(bounds);
        // Connections must not keep a configuration that is replaced.
        drop(state);
        let mut http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        // Pingora itself waits for the preface without a time limit.
        let mut start = [0; PREFACE.len()];
        let mut stops = shutdown.clone();
        let peeked = tokio::select! {
            biased;
            peeked = timeout(first_byte, stream.try_peek(&mut start)) => Some(peeked),
            Ok(_) = stops.wait_for(|stops| *stops) => None,
        };
        let peeked = match peeked {
            Some(peeked) => peeked,
            // The client has been accepted, and may be about to send its only request.
            None => timeout(LAST_CHANCE, stream.try_peek(&mut start)).await,
        };
        match peeked {
            Ok(Ok(_)) => http2 = http2 || start == *PREFACE,
            Ok(Err(_)) | Err(_) => return None,
        }
        let served = app.process_new(stream, shutdown);
        if http2 {
            let mut closes = self.close.clone();
            return tokio::select! {
                biased;
                served = served => served,
                Ok(_) = closes.wait_for(|closes| *closes) => None,
            };
        }
        connection::watch(patience + first_byte, shutdown, served)
            .await
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_of_a_connection_is_whole() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "unavailable");
    }
}
