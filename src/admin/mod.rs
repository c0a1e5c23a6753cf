//! The operators' listener: metrics and health, on an address of its own.

mod gauges;
mod readiness;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

pub use gauges::refresh_metrics;
pub use readiness::{Readiness, why_not_ready};

use crate::gate::Gate;
use crate::server::{self, Server};

/// What the operators' listener answers with.
struct Admin {
    gate: Arc<Gate>,
}

/// Serves `/metrics`, `/livez` and `/readyz` on a socket that is listening already.
///
/// # Errors
/// Where the socket cannot be used.
pub fn serve(gate: Arc<Gate>, listener: TcpListener) -> io::Result<Server> {
    let mut service = Service::new("tollgate admin".into(), Admin { gate });
    service.add_tcp(&listener.local_addr()?.to_string());
    server::start(service, listener)
}

const TEXT: &str = "text/plain; charset=utf-8";
/// The Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "Tollgate\n\n/metrics  for Prometheus\n/livez    the process runs\n\
    /readyz   it can serve requests (?verbose: what works)\n";

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        if !matches!(request.method, http::Method::GET | http::Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n");
        }
        match request.uri.path() {
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
