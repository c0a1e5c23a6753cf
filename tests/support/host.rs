//! A proxy of somebody else's, served by Pingora, with the gate in it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;

use pingora::proxy::{ProxyHttp, http_proxy_service};
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use tokio::sync::watch;

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
