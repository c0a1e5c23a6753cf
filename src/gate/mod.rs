//! HTTP handlers of the Videos API, for the binary's own server and for any Pingora proxy.
//!
//! A proxy that embeds the gate calls only [`Gate::filter`], which answers requests of the Videos API and
//! leaves all others alone. The gate's own server calls [`Gate::handle`] for every request. The gate sends
//! requests to channels by its own exchanges, not by Pingora's proxy (`upstream/exchange.rs` says why). The
//! module `billing` and the [ledger](crate::ledger) charge for creates.

mod client;
mod content;
mod create;
mod create_end;
mod delete;
mod error_response;
mod idempotency;
mod list;
mod refusal;
mod request_head;
mod response;
mod retrieve;
mod services;
mod upload;
mod upload_slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource};

pub use client::Client;
pub use services::Background;
pub(crate) use upload_slots::BodySize;

use crate::access_log::{REQUEST_ID, UnderWay};
use crate::billing::{Billing, Worker};
use crate::clock::Clock;
use crate::config::{Config, ConfigChange};
use crate::ledger::{Ledger, Unavailable};
use crate::metrics::Metrics;
use crate::policy::{KeyFault, Timestamp};
use crate::route::{self, NoRoute, Route};
use crate::runtime::{Runtime, Snapshot};
use crate::upstream::{ChannelControl, LiveChannel, UpstreamClient};
use client::EditedHeads;
use error_response::ErrorResponse;
use refusal::{ChannelFault, HeadFault, NotFound as Missing, Refusal, RequestError};
use response::{Body, Response, final_status};
use services::{RequestContext, Services};

/// The gate: the handlers that answer the Videos API in front of the configured channels.
pub struct Gate {
    services: Services,
    worker: Arc<Worker>,
    stopping: AtomicBool,
}

impl Gate {
    /// Makes a gate with this configuration, ledger and metrics.
    pub fn new(config: Config, ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with_clock(config, ledger, metrics, Clock::default())
    }

    /// Makes a gate that takes the time from `clock`.
    pub fn with_clock(
        config: Config,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Self> {
        let runtime = Runtime::new(config, metrics.clone(), clock.now());
        let client = Arc::new(UpstreamClient::new(metrics.clone(), clock.clone()));
        let billing = Billing::new(ledger, metrics.clone(), runtime.clone(), clock);
        Arc::new(Self {
            worker: Worker::new(billing.clone(), client.clone(), runtime.clone()),
            services: Services {
                runtime,
                client,
                billing,
                metrics,
                uploads: Arc::default(),
                under_way: UnderWay::default(),
            },
            stopping: AtomicBool::new(false),
        })
    }

    /// Puts `config` in force, and returns its differences from the configuration before. Requests under
    /// way keep the configuration that they began with.
    pub fn reload(&self, config: Config) -> ConfigChange {
        self.services.runtime.replace(config, self.now())
    }

    /// Applies `control`, a change that an operator makes, to the channel `name`; `None` if there is no such
    /// channel. A state that an operator sets stays until the process ends, or until a reload changes the
    /// state that the configuration has for the channel.
    pub fn control_channel(&self, name: &str, control: ChannelControl) -> Option<()> {
        self.services.control_channel(name, control)
    }

    /// Records in the metrics that a reload failed because the new configuration is not valid: the
    /// present configuration stays in force.
    pub fn reload_failed(&self) {
        self.metrics().config_loaded(false, self.now());
    }

    /// Records that the gate's server is stopping: from then on `/readyz` answers 503, so that no new
    /// requests are sent here while those under way end. Requests that arrive nevertheless are answered.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Returns whether the gate's server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Describes the requests that have not ended, at most `most` of them, the oldest first.
    pub fn requests_under_way(&self, most: usize) -> Vec<String> {
        self.services.under_way.describe(most)
    }

    /// Returns the configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.services.runtime.snapshot()
    }

    /// Returns the time by the gate's clock.
    pub fn now(&self) -> Timestamp {
        self.services.now()
    }

    /// Returns the metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.services.metrics
    }

    /// Returns the ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        self.services.billing.ledger()
    }

    /// Returns whether the job cache holds any job. Cached jobs can be polled without the ledger.
    pub(crate) fn has_cached_jobs(&self) -> bool {
        self.services.billing.has_cached_jobs()
    }

    /// Returns the number of request bodies of this size class that are being uploaded.
    pub(crate) fn uploads_in_flight(&self, size: BodySize) -> usize {
        self.services.uploads.taken(size)
    }

    /// Sends a probe to `channel`, and returns the status of its answer if the channel can be used.
    ///
    /// # Errors
    /// If the channel cannot be used. The text gives the reason, in words for operators.
    pub async fn probe(&self, channel: &Arc<LiveChannel>) -> Result<http::StatusCode, String> {
        crate::upstream::probe(&self.services.client, channel).await
    }

    /// Returns whether the gate handles this request: its target is in the Videos API, or some server could
    /// read it as such. The target is judged as received, since Pingora's URI of a target that it cannot
    /// parse is `/`.
    pub fn claims(&self, request: &RequestHeader) -> bool {
        route::is_claimed(request.raw_path())
    }

    /// Answers a request of a Pingora proxy if the gate handles it, and returns `true`. Leaves all other
    /// requests untouched, and returns `false`. The proxy's `request_filter` should return the same value.
    ///
    /// # Errors
    /// An error means that the connection must be broken off: the client is gone, or a channel broke off in
    /// the middle of a download. The proxy must then write nothing more; Pingora's default `fail_to_proxy`
    /// writes nothing.
    pub async fn filter(&self, session: &mut Session) -> pingora::Result<bool> {
        self.filter_with(session, |_| Ok(())).await
    }

    /// Does what [`filter`](Self::filter) does, and lets the proxy edit the head of every
    /// response before it is written.
    ///
    /// # Errors
    /// As for [`filter`](Self::filter); where `edit` fails, the client gets a 502.
    pub async fn filter_with(
        &self,
        session: &mut Session,
        edit: impl FnMut(&mut ResponseHeader) -> pingora::Result<()> + Send,
    ) -> pingora::Result<bool> {
        if !self.claims(session.req_header()) {
            return Ok(false);
        }
        let mut client = EditedHeads::new(session, edit);
        match self.handle(&mut client).await {
            Ok(()) => Ok(true),
            // Everything that could be answered has been answered.
            Err(_) => Err(Error::new_down(pingora::ConnectionClosed)),
        }
    }

    /// Answers a request, counts it in the metrics, and writes its line of the access log.
    ///
    /// # Errors
    /// If the connection must be broken off: see [`filter`](Self::filter).
    pub async fn handle(&self, client: &mut impl Client) -> pingora::Result<()> {
        let mut ctx = RequestContext::new(self.snapshot(), client.session(), self.now());
        ctx.set_timeouts(client.session());
        let _under_way = self.services.under_way.enter(&ctx.record);
        let answered = self.answer(client, &mut ctx).await;
        if let Err(error) = &answered {
            self.answer_failure(client, error, &ctx).await;
        }
        self.count(client.session(), &ctx);
        answered
    }

    async fn answer(
        &self,
        client: &mut impl Client,
        ctx: &mut RequestContext,
    ) -> pingora::Result<()> {
        match self.dispatch(client.session(), ctx).await {
            Ok(response) => response::write(&self.services, client, ctx, response).await,
            Err(RequestError::Refused(refusal)) => self.refuse(client, ctx, &refusal).await,
            Err(RequestError::Disconnected(error)) => Err(error.into_down()),
        }
    }

    /// Checks the head of a request, finds its key, route and job, and calls the route's handler.
    async fn dispatch(
        &self,
        session: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Response, RequestError> {
        let (services, snapshot) = (&self.services, ctx.snapshot.clone());
        let request = session.req_header();
        let bounds = &snapshot.config.bounds;
        request_head::check_size(request, bounds)?;
        if let Some(answer) = Response::preflight(&snapshot.config, request) {
            return Ok(answer);
        }
        let route = Route::find(&request.method, request.uri.path());
        if let Ok(route) = &route {
            ctx.route = route.label();
        }
        let digest = request_head::presented_key(&request.headers)?;
        let entry = snapshot.config.digests.get(&digest);
        let entry = entry.ok_or(KeyFault::Unknown)?;
        ctx.set_key(&entry.key.name);
        let key = entry.valid_key(ctx.arrived)?;
        let mut route = route.map_err(|no| match no {
            NoRoute::Path => Refusal::NotFound(Missing::Route),
            NoRoute::Method(allowed) => Refusal::Method { allowed },
        })?;
        let job = match route.job() {
            Some(id) => Some(services.own_job(&snapshot, key, id).await?),
            None => None,
        };
        if let Some(entry) = &job {
            ctx.note_job(entry, &route);
            if matches!(route, Route::Remix(_) | Route::Delete(_)) && !entry.is_confirmed() {
                // The remix would name its source by an id that may turn out to be another job's, and the
                // deletion could not be recorded if the job turns out to have no reservation.
                return Err(Unavailable::transient("the job is not confirmed yet").into());
            }
            route.set_job(&entry.job.id);
        }
        if !matches!(route, Route::Create | Route::Remix(_)) {
            let expects_continue = request_head::no_body(request)?;
            upload::nothing_follows(session, expects_continue, bounds).await?;
        }
        // Boxed: each of these futures is large, and would be moved about for all other routes.
        match (&route, job) {
            (Route::Retrieve(_), Some(entry)) => {
                Box::pin(retrieve::handle(services, session, &route, entry, ctx)).await
            }
            (Route::Content(_), Some(entry)) => {
                Box::pin(content::handle(services, session, &route, &entry, ctx)).await
            }
            (Route::Delete(_), Some(entry)) => {
                Box::pin(delete::handle(services, session, &route, &entry, ctx)).await
            }
            (Route::Create | Route::Remix(_), source) => {
                Box::pin(create::handle(
                    services,
                    session,
                    key,
                    (&route, source),
                    ctx,
                ))
                .await
            }
            (Route::Models, _) => Ok(list::models(&snapshot, key, None)?),
            (Route::Model(name), _) => Ok(list::models(&snapshot, key, Some(name))?),
            (Route::Usage, _) => Ok(list::usage(services, key).await?),
            _ => {
                let request = session.req_header();
                Box::pin(list::handle(services, &snapshot, key, request)).await
            }
        }
    }

    /// Waits at most `within` for background writes to the ledger; returns the number of unfinished ones.
    pub async fn flush(&self, within: std::time::Duration) -> usize {
        self.services.billing.flush(within).await
    }

    /// Runs a write to the ledger in the background. [`Gate::flush`] waits for it, and when the server
    /// stops, [`Background`] waits for it for a few seconds. Nothing else does.
    pub fn spawn_write(&self, write: impl Future<Output = ()> + Send + 'static) {
        self.services.billing.spawn_write(write);
    }

    async fn refuse(
        &self,
        client: &mut impl Client,
        ctx: &RequestContext,
        refusal: &Refusal,
    ) -> pingora::Result<()> {
        let error = ErrorResponse::of(refusal);
        ctx.record.set_code(error.code);
        self.metrics().refusal(ctx.key_name(), error.code);
        response::write(&self.services, client, ctx, error.into()).await
    }

    /// Answers a request whose head cannot be read, after which the connection cannot be reused.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn refuse_unread(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let error = ErrorResponse::of(&Refusal::Head(HeadFault::Malformed));
        let ctx = RequestContext::unread(self.snapshot(), session, self.now());
        ctx.record.set_code(error.code);
        self.metrics().refusal("", error.code);
        let mut response = Response::from(error);
        response.headers.insert(REQUEST_ID, ctx.record.id_header());
        session.set_keepalive(None);
        let (head, body) = response.into_parts();
        let mut written = session.write_response_header(head).await;
        if let (Ok(()), Body::Whole(body)) = (&written, body) {
            written = session.write_response_body(body, true).await;
        }
        self.count(session, &ctx);
        written
    }

    /// Answers a request whose handling failed, with an error in the API's shape if one can still be
    /// written, and logs the failure.
    async fn answer_failure(&self, client: &mut impl Client, error: &Error, ctx: &RequestContext) {
        // In place of Pingora's own lines, which repeat the path and what a channel sent.
        let (side, kind) = (error.esource().as_str(), error.etype().as_str());
        let (route, key) = (ctx.route, ctx.key_name());
        match *error.esource() {
            // Clients may disconnect, or reset thousands of streams: the metrics count them. A failure of a
            // channel has been logged already.
            ErrorSource::Downstream | ErrorSource::Upstream => {
                log::debug!("{route} of {key}: {kind} ({side})");
            }
            _ => log::warn!("{route} of {key}: {kind} ({side})"),
        }
        let gone = *error.esource() == ErrorSource::Downstream;
        if gone || final_status(client.session()).is_some() {
            return;
        }
        // A create may have made a job, if the failure came while the response was edited or written.
        let created = matches!(ctx.route, "create" | "remix");
        let refusal = Refusal::Channel(ChannelFault::Broken { created });
        if let Err(error) = self.refuse(client, ctx, &refusal).await {
            log::debug!("{route} of {key}: no answer: {}", error.etype().as_str());
        }
    }

    /// Counts a request in the metrics, and writes its line of the access log.
    fn count(&self, session: &ServerSession, ctx: &RequestContext) {
        let code = final_status(session);
        // 499: the client was gone before an answer could be written.
        let gone = http::StatusCode::from_u16(499).unwrap_or(http::StatusCode::REQUEST_TIMEOUT);
        let (metrics, code) = (self.metrics(), code.unwrap_or(gone));
        metrics.request(ctx.route, ctx.key_name(), code);
        let (received, sent) = (session.body_bytes_read(), session.body_bytes_sent());
        metrics.bodies(ctx.route, received as u64, sent as u64);
        ctx.write_line(code, received as u64, sent as u64);
    }
}

impl Background {
    /// Makes the background service of `gate`.
    pub fn new(gate: Arc<Gate>) -> Self {
        Self {
            worker: gate.worker.clone(),
        }
    }
}
