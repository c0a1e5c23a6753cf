//! A proxy around the gate that refuses a request by an error keeps its own answer.

#[path = "support/host.rs"]
mod host;
mod support;

use async_trait::async_trait;
use host::host;
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use support::client::Request;
use support::{KEY, Stand};
use tollgate::gate::Gated;

struct Teapot;

#[async_trait]
impl ProxyHttp for Teapot {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn request_filter(&self, _session: &mut Session, (): &mut ()) -> Result<bool> {
        Err(Error::explain(ErrorType::HTTPStatus(418), "no coffee"))
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        unreachable!("every request is refused")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_inner_proxy_is_its_own_to_tell() {
    let stand = Stand::start().await;
    let proxy = Gated::new(stand.handle.clone(), Teapot);
    let list = Request::get("/v1/videos").key(KEY);
    assert_eq!(list.send(host(proxy)).await.unwrap().status, 418);
    assert_eq!(stand.mock.stats().requests_total, 0);
}
