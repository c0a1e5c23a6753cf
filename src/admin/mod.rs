//! The operators' listener: metrics, health, channels and configuration, on an address of its own.

mod access;
mod channels;
mod gauges;
mod readiness;
mod reload;
mod status;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

pub use gauges::refresh_metrics;
pub use readiness::{ChannelReadiness, ModelReadiness, Readiness, why_not_ready};
pub use reload::{ReloadOutcome, ReloadRequests, ReloadTrigger, Reloaded, reload_trigger};

use crate::config;
use crate::gate::Gate;
use crate::server::{self, Server};

/// The HTTP service of the operators' listener.
struct Admin {
    gate: Arc<Gate>,
    /// Whether the listener's address is a loopback address, which no other machine reaches.
    is_loopback: bool,
    reload: Option<ReloadTrigger>,
    started: Instant,
}

/// Starts a server for operators on `listener`, a socket that is already listening. It answers requests
/// about metrics, health, channels and the configuration. Must be called on a Tokio runtime.
///
/// # Errors
/// If the socket cannot be used.
pub fn serve(gate: Arc<Gate>, listener: TcpListener) -> io::Result<Server> {
    serve_with(gate, listener, None)
}

/// Starts the same server as [`serve`], which also triggers `reload` when operators ask for it.
///
/// # Errors
/// If the socket cannot be used.
pub fn serve_with(
    gate: Arc<Gate>,
    listener: TcpListener,
    reload: Option<ReloadTrigger>,
) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let admin = Admin {
        gate,
        is_loopback: address.ip().is_loopback(),
        reload,
        started: Instant::now(),
    };
    let mut service = Service::new("tollgate admin".into(), admin);
    service.add_tcp(&address.to_string());
    server::start(service, listener)
}

const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of the Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "Tollgate\n\n/status   how it stands, for a browser\n/metrics  for Prometheus\n\
    /livez    the process runs\n/readyz   it can serve requests (?verbose: what works)\n\
    /channels how each channel stands; POST /channels/NAME/drain, off, activate or restore\n\
    /config   what is configured, without secrets\n\
    /reload   POST reads the configuration anew, as SIGHUP does\n";

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
        let snapshot = self.gate.snapshot();
        // An embedding host may serve this without the `admin` section: then no token is required.
        let configured = snapshot.admin.clone().unwrap_or_default();
        if !access::is_allowed(&configured, path, query, &request.headers) {
            return unauthorized();
        }
        if path == "/reload" || path.starts_with("/channels/") {
            return match self.why_not_changed(&configured, request) {
                Some(refused) => refused,
                None => self.change(path).await,
            };
        }
        if !matches!(request.method, http::Method::GET | http::Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n");
        }
        match path {
            "/channels" => channels::list(&self.gate),
            "/config" => channels::answer_json(&snapshot.config.describe()),
            "/status" => status::page(&self.gate, self.started).await,
            "/" => answer(StatusCode::OK, TEXT, INDEX),
            "/livez" => answer(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => self.ready(query).await,
            "/metrics" => self.metrics().await,
            _ => answer(StatusCode::NOT_FOUND, TEXT, "not found\n"),
        }
    }
}

impl Admin {
    /// Answers `/readyz`: whether a load balancer may send requests here, and with `verbose` which parts
    /// of the gate work.
    async fn ready(&self, query: &str) -> Response<Vec<u8>> {
        let status = |ready| match ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        if access::is_verbose(query) {
            let readiness = Readiness::of(&self.gate).await;
            let status = status(readiness.why_not().is_none());
            return answer(status, TEXT, &readiness.to_string());
        }
        match why_not_ready(&self.gate).await {
            None => answer(status(true), TEXT, "ok\n"),
            Some(reason) => answer(status(false), TEXT, &format!("{reason}\n")),
        }
    }

    /// Makes the change that an operator asks for: to a channel, or to the configuration.
    async fn change(&self, path: &str) -> Response<Vec<u8>> {
        match path.strip_prefix("/channels/") {
            Some(action) => channels::control(&self.gate, action),
            None => reload::reload(self.reload.as_ref()).await,
        }
    }

    /// Returns the refusal of a request for a change if the request is not a POST, comes from a web page,
    /// or comes to an unprotected address; `None` if the change may be made.
    fn why_not_changed(
        &self,
        configured: &config::Admin,
        request: &RequestHeader,
    ) -> Option<Response<Vec<u8>>> {
        if request.method != http::Method::POST {
            return Some(answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "POST only\n"));
        }
        if !(self.is_loopback || configured.control || configured.token.is_some()) {
            let why = "nothing is changed at this address: configure `admin: { token: ... }`, or \
                       `admin: { control: true }` if only operators reach it\n";
            return Some(answer(StatusCode::FORBIDDEN, TEXT, why));
        }
        // A web page that an operator opens could otherwise send such a request: the browser adds the
        // password that the operator has entered.
        let is_of_page = request.headers.contains_key(header::ORIGIN);
        is_of_page.then(|| answer(StatusCode::FORBIDDEN, TEXT, "not from a browser\n"))
    }

    async fn metrics(&self) -> Response<Vec<u8>> {
        refresh_metrics(&self.gate).await;
        match self.gate.metrics().exposition() {
            Ok(text) => answer(StatusCode::OK, EXPOSITION, &text),
            Err(error) => {
                let text = format!("metrics cannot be written: {error}\n");
                answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, &text)
            }
        }
    }
}

/// Makes the 401 response, which names both ways in which the token can be sent.
fn unauthorized() -> Response<Vec<u8>> {
    let why = "show the token of `admin.token`, as `Authorization: Bearer TOKEN`; in a browser it is the \
               password, with any name\n";
    let mut response = answer(StatusCode::UNAUTHORIZED, TEXT, why);
    for scheme in ["Bearer realm=\"tollgate\"", "Basic realm=\"tollgate\""] {
        let scheme = header::HeaderValue::from_static(scheme);
        response
            .headers_mut()
            .append(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

fn answer(status: StatusCode, kind: &'static str, body: &str) -> Response<Vec<u8>> {
    let mut response = Response::new(body.as_bytes().to_vec());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    response
}
