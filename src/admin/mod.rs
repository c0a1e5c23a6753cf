//! The operators' listener: metrics, health and channels, on an address of its own.

mod channels;
mod gauges;
mod readiness;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

pub use gauges::refresh_metrics;
pub use readiness::{ChannelReadiness, Readiness, why_not_ready};

use crate::gate::Gate;
use crate::server::{self, Server};

/// What the operators' listener answers with.
struct Admin {
    gate: Arc<Gate>,
    /// Whether channels may be controlled here.
    may_control: bool,
}

/// Serves `/metrics`, `/livez`, `/readyz` and `/channels` on a socket that is listening already.
///
/// # Errors
/// Where the socket cannot be used.
pub fn serve(gate: Arc<Gate>, listener: TcpListener) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let configured = gate.snapshot().config.admin.clone();
    let admin = Admin {
        may_control: address.ip().is_loopback() || configured.is_some_and(|admin| admin.control),
        gate,
    };
    let mut service = Service::new("tollgate admin".into(), admin);
    service.add_tcp(&address.to_string());
    server::start(service, listener)
}

const TEXT: &str = "text/plain; charset=utf-8";
/// The Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "Tollgate\n\n/metrics  for Prometheus\n/livez    the process runs\n\
    /readyz   it can serve requests (?verbose: what works)\n\
    /channels how each channel stands; POST /channels/NAME/drain, off, activate or restore\n";

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let path = request.uri.path();
        if let Some(action) = path.strip_prefix("/channels/") {
            return self.control(request, action);
        }
        if !matches!(request.method, http::Method::GET | http::Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n");
        }
        match path {
            "/channels" => channels::list(&self.gate),
            "/" => answer(StatusCode::OK, TEXT, INDEX),
            "/livez" => answer(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => self.ready(request.uri.query()).await,
            "/metrics" => self.metrics().await,
            _ => answer(StatusCode::NOT_FOUND, TEXT, "not found\n"),
        }
    }
}

impl Admin {
    /// Whether a load balancer may send requests here; with `verbose`, what works.
    async fn ready(&self, query: Option<&str>) -> Response<Vec<u8>> {
        let status = |ready| match ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut words = query.unwrap_or_default().split('&');
        if words.any(|word| word == "verbose" || word.starts_with("verbose=")) {
            let readiness = Readiness::of(&self.gate).await;
            let status = status(readiness.why_not().is_none());
            return answer(status, TEXT, &readiness.to_string());
        }
        match why_not_ready(&self.gate).await {
            None => answer(status(true), TEXT, "ok\n"),
            Some(reason) => answer(status(false), TEXT, &format!("{reason}\n")),
        }
    }

    /// Does to a channel what an operator asks for.
    fn control(&self, request: &RequestHeader, action: &str) -> Response<Vec<u8>> {
        if request.method != http::Method::POST {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "POST only\n");
        }
        if !self.may_control {
            let why = "channels are not controlled at this address: write `admin: { control: true }` \
                       if only operators reach it\n";
            return answer(StatusCode::FORBIDDEN, TEXT, why);
        }
        // A page that an operator looks at could send it otherwise.
        if request.headers.contains_key(header::ORIGIN) {
            return answer(StatusCode::FORBIDDEN, TEXT, "not from a browser\n");
        }
        channels::control(&self.gate, action)
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

fn answer(status: StatusCode, kind: &'static str, body: &str) -> Response<Vec<u8>> {
    let mut response = Response::new(body.as_bytes().to_vec());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    response
}
