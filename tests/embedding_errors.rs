//! A proxy around the gate that fails: what the gate has done is not called undone.

mod support;

use std::any::Any;
use std::io::ErrorKind;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora::proxy::{ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use support::client::{Body, Request};
use support::host::host;
use support::{KEY, Stand, form_type, plain_form};
use tollgate::gate::Gate;

/// A proxy that fails to edit the heads of the gate's responses.
struct FailsToEdit(Arc<Gate>);

#[async_trait]
impl ProxyHttp for FailsToEdit {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        let edit = |_: &mut ResponseHeader| Error::e_explain(ErrorType::InternalError, "the host");
        self.0.filter_with(session, edit).await
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        unreachable!("every request is the gate's")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_fails_over_an_answer_undoes_no_create() {
    let stand = Stand::start().await;
    let proxy = FailsToEdit(stand.handle.clone());
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let answer = create.send(host(proxy)).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(stand.mock.stats().creates_accepted, 1);
}

/// What of an answer a module fails over.
#[derive(Clone, Copy)]
enum Fails {
    OverHeads,
    OverBodies,
}

impl Fails {
    fn result(fails: bool) -> Result<()> {
        match fails {
            true => Error::e_explain(ErrorType::InternalError, "a module"),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl HttpModule for Fails {
    async fn response_header_filter(&mut self, head: &mut ResponseHeader, _: bool) -> Result<()> {
        Self::result(matches!(self, Self::OverHeads) && head.status == 200)
    }

    fn response_body_filter(&mut self, _: &mut Option<Bytes>, _: bool) -> Result<()> {
        Self::result(matches!(self, Self::OverBodies))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl HttpModuleBuilder for Fails {
    fn init(&self) -> Module {
        Box::new(*self)
    }
}

struct WithModule(Arc<Gate>, Fails);

#[async_trait]
impl ProxyHttp for WithModule {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(self.1));
    }

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        self.0.filter(session).await
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        unreachable!("every request is the gate's")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_fails_over_an_answer_undoes_no_create() {
    for fails in [Fails::OverHeads, Fails::OverBodies] {
        let stand = Stand::start().await;
        let proxy = WithModule(stand.handle.clone(), fails);
        let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
        let answer = create.send(host(proxy)).await;
        match fails {
            Fails::OverHeads => {
                let answer = answer.unwrap();
                assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
                assert_eq!(answer.header("x-should-retry"), Some("false"));
            }
            // A head is out: nothing can be said any more.
            Fails::OverBodies => {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            }
        }
        let list = Request::get("/v1/videos").key(KEY);
        let page = list.send(stand.gate).await.unwrap().json();
        assert_eq!(page["data"].as_array().unwrap().len(), 1);
        assert_eq!(stand.mock.stats().creates_accepted, 1);
    }
}
