//! The operators' listener: metrics and health, on an address of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;
use tokio::time::timeout;

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

/// How long `/readyz` waits for the ledger: a probe wants an answer, and one that finds no
/// ledger in that time is not ready either.
const LEDGER_WITHIN: Duration = Duration::from_secs(2);

const TEXT: &str = "text/plain; charset=utf-8";
/// The Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "Tollgate\n\n/metrics  for Prometheus\n/livez    the process runs\n\
    /readyz   it can take creates\n";

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
            "/readyz" => self.ready().await,
            "/metrics" => self.metrics().await,
            _ => answer(StatusCode::NOT_FOUND, TEXT, "not found\n"),
        }
    }
}

impl Admin {
    /// Ready means that a create can be taken: the gate does not stop, the ledger works, and
    /// for each model some channel could be reached when it was last tried.
    async fn ready(&self) -> Response<Vec<u8>> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        if self.gate.is_stopping() {
            return answer(unavailable, TEXT, "stopping\n");
        }
        match timeout(LEDGER_WITHIN, self.gate.ledger().ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return answer(unavailable, TEXT, &format!("{error}\n")),
            Err(_) => return answer(unavailable, TEXT, "the ledger does not answer in time\n"),
        }
        let (state, now) = (self.gate.state(), self.gate.now());
        for model in state.config.catalog.models() {
            let serves = |c: &crate::channel::Channel| usize::from(c.models.contains(model.name()));
            let mut channels = state.channels.choose(serves, now).into_iter();
            if !channels.any(|channel| channel.is_up(now)) {
                let text = format!("no channel for {} can be reached\n", model.name());
                return answer(unavailable, TEXT, &text);
            }
        }
        answer(StatusCode::OK, TEXT, "ok\n")
    }

    async fn metrics(&self) -> Response<Vec<u8>> {
        self.gate.refresh_metrics().await;
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
