//! A thin wrapper that puts the gate before any proxy.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::cache::key::HashBinary;
use pingora::cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, RespCacheable};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::reply::Response;
use super::{Context, Gate};

/// A proxy with the gate before its Videos API: requests that the gate claims are the
/// gate's from [`ProxyHttp::request_filter`] on, all others the inner proxy's.
///
/// The inner proxy's `early_request_filter` and `request_filter` see claimed requests first,
/// so that what it demands of every request it demands of these as well. Its
/// `response_filter` sees every answer to them but the gate's own refusals, and its
/// `logging` all of them. Its credentials, peers and caches do not come near them.
pub struct Gated<P> {
    gate: Arc<Gate>,
    inner: P,
}

/// The context of a [`Gated`] proxy: the gate's and the inner proxy's.
pub struct GatedContext<C> {
    gate: Context,
    claimed: bool,
    /// The inner proxy's own context.
    pub inner: C,
}

impl<P> Gated<P> {
    /// Puts `gate` before `inner`.
    pub fn new(gate: Arc<Gate>, inner: P) -> Self {
        Self { gate, inner }
    }
}

#[async_trait]
impl<P> ProxyHttp for Gated<P>
where
    P: ProxyHttp + Send + Sync,
    P::CTX: Send + Sync,
{
    type CTX = GatedContext<P::CTX>;

    fn new_ctx(&self) -> Self::CTX {
        GatedContext {
            gate: self.gate.new_ctx(),
            claimed: false,
            inner: self.inner.new_ctx(),
        }
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        self.inner.init_downstream_modules(modules);
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        ctx.claimed = self.gate.claims(session.req_header());
        self.gate.early_request_filter(session, &mut ctx.gate);
        self.inner
            .early_request_filter(session, &mut ctx.inner)
            .await
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if self.inner.request_filter(session, &mut ctx.inner).await? {
            return Ok(true);
        }
        // The inner proxy may have rewritten the target into one of the gate's.
        ctx.claimed = ctx.claimed || self.gate.claims(session.req_header());
        if !ctx.claimed {
            return Ok(false);
        }
        match self.gate.respond(session, &mut ctx.gate).await? {
            Response::Reply(mut reply) => {
                self.inner
                    .response_filter(session, &mut reply.head, &mut ctx.inner)
                    .await?;
                self.gate.give(session, &ctx.gate, reply).await?;
            }
            Response::Refusal(refusal) => {
                self.gate.refuse(session, &ctx.gate, &refusal).await?;
            }
        }
        Ok(true)
    }

    fn allow_spawning_subrequest(&self, session: &Session, ctx: &Self::CTX) -> bool {
        !ctx.claimed && self.inner.allow_spawning_subrequest(session, &ctx.inner)
    }

    // Claimed requests have been answered by now: what follows does not hear of them, but
    // where a request has failed.

    fn cache_key_callback(&self, session: &Session, ctx: &mut Self::CTX) -> Result<CacheKey> {
        self.inner.cache_key_callback(session, &mut ctx.inner)
    }

    fn cache_miss(&self, session: &mut Session, ctx: &mut Self::CTX) {
        self.inner.cache_miss(session, &mut ctx.inner);
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        hit: &mut HitHandler,
        is_fresh: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<ForcedFreshness>> {
        let inner = &mut ctx.inner;
        self.inner
            .cache_hit_filter(session, meta, hit, is_fresh, inner)
            .await
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<RespCacheable> {
        let inner = &mut ctx.inner;
        self.inner.response_cache_filter(session, response, inner)
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        ctx: &mut Self::CTX,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        self.inner.cache_vary_filter(meta, &mut ctx.inner, request)
    }

    fn cache_not_modified_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<bool> {
        let inner = &mut ctx.inner;
        self.inner
            .cache_not_modified_filter(session, response, inner)
    }

    fn should_serve_stale(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
        error: Option<&Error>,
    ) -> bool {
        self.inner
            .should_serve_stale(session, &mut ctx.inner, error)
    }

    fn is_purge(&self, session: &Session, ctx: &Self::CTX) -> bool {
        self.inner.is_purge(session, &ctx.inner)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        #[cfg(unix)] fd: std::os::unix::io::RawFd,
        #[cfg(windows)] fd: std::os::windows::io::RawSocket,
        digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let inner = &mut ctx.inner;
        self.inner
            .connected_to_upstream(session, reused, peer, fd, digest, inner)
            .await
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let inner = &mut ctx.inner;
        self.inner
            .upstream_response_trailer_filter(session, trailers, inner)
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>> {
        let inner = &mut ctx.inner;
        self.inner
            .response_trailer_filter(session, trailers, inner)
            .await
    }

    fn persist_connection_context(
        &self,
        session: &Session,
        ctx: &Self::CTX,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        self.inner.persist_connection_context(session, &ctx.inner)
    }

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
        previous: Box<dyn Any + Send + Sync>,
    ) {
        self.inner
            .on_connection_reuse(session, &mut ctx.inner, previous);
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        self.inner.upstream_peer(session, &mut ctx.inner).await
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let inner = &mut ctx.inner;
        self.inner
            .request_body_filter(session, body, end_of_stream, inner)
            .await
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        self.inner.request_cache_filter(session, &mut ctx.inner)
    }

    async fn proxy_upstream_filter(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<bool> {
        self.inner
            .proxy_upstream_filter(session, &mut ctx.inner)
            .await
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.inner
            .upstream_request_filter(session, request, &mut ctx.inner)
            .await
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.inner
            .upstream_response_filter(session, response, &mut ctx.inner)
            .await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.inner
            .response_filter(session, response, &mut ctx.inner)
            .await
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        let inner = &mut ctx.inner;
        self.inner
            .upstream_response_body_filter(session, body, end_of_stream, inner)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        self.inner
            .response_body_filter(session, body, end_of_stream, &mut ctx.inner)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        self.inner
            .fail_to_connect(session, peer, &mut ctx.inner, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        let inner = &mut ctx.inner;
        self.inner
            .error_while_proxy(peer, session, error, inner, client_reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        // Where the inner proxy's own filters failed, the error is the inner proxy's to tell.
        if ctx.claimed && ctx.gate.claimed {
            return self.gate.fail_to_proxy(session, error, &ctx.gate).await;
        }
        self.inner
            .fail_to_proxy(session, error, &mut ctx.inner)
            .await
    }

    fn suppress_error_log(&self, session: &Session, ctx: &Self::CTX, error: &Error) -> bool {
        // The gate writes a line of its own.
        ctx.claimed || self.inner.suppress_error_log(session, &ctx.inner, error)
    }

    fn suppress_proxy_warn_log(
        &self,
        session: &Session,
        ctx: &Self::CTX,
        error: &Error,
        log_context: ProxyWarnLogContext,
    ) -> bool {
        self.inner
            .suppress_proxy_warn_log(session, &ctx.inner, error, log_context)
    }

    fn request_summary(&self, session: &Session, ctx: &Self::CTX) -> String {
        self.inner.request_summary(session, &ctx.inner)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        if ctx.claimed {
            self.gate.logging(session, &mut ctx.gate).await;
        }
        self.inner.logging(session, error, &mut ctx.inner).await;
    }
}
