//! A proxy of somebody else's, served by Pingora, with the gate in it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::HttpServerOptions;
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::watch;
use tollgate::gate::Gate;

/// Serves it for as long as the test's runtime lives, and says where.
pub fn host<P>(proxy: P) -> SocketAddr
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut service = http_proxy_service(&Arc::new(ServerConf::default()), proxy);
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    if let Some(proxy) = service.app_logic_mut() {
        proxy.server_options = Some(options);
    }
    service.add_tcp(&address.to_string());
    let mut fds = Fds::new();
    fds.add(address.to_string(), listener.into_raw_fd());
    let (running, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let _running = running;
        let fds = Some(Arc::new(fds.into()));
        service.start_service(fds, stopped, 1).await;
    });
    address
}

/// A proxy that has nothing but the gate: its other routes are not found.
pub struct GateAlone(pub Arc<Gate>);

const NOT_FOUND: &str = r#"{"error":{"code":"not_found"}}"#;

#[async_trait]
impl ProxyHttp for GateAlone {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        if self.0.filter(session).await? {
            return Ok(true);
        }
        let mut head = ResponseHeader::build(404, Some(2))?;
        head.insert_header("content-length", NOT_FOUND.len())?;
        session.set_keepalive(None);
        session.write_response_header(Box::new(head), false).await?;
        let body = Bytes::from_static(NOT_FOUND.as_bytes());
        session.write_response_body(Some(body), true).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        (): &mut (),
    ) -> pingora::Result<Box<HttpPeer>> {
        unreachable!("every request is answered")
    }
}
