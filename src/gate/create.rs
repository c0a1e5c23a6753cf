//! Handles a create or remix: inspects, decides and forwards while it streams.
//!
//! In order: [`handle`] judges the head; [`CreateRequest::run`] reads ahead, chooses a channel
//! and streams; [`CreateRequest::reserve`] has the ledger decide; then
//! [`CreateEnd`](super::create_end::CreateEnd) lets the last bytes go and follows the answer.

use std::sync::Arc;

use http::{HeaderMap, Method};
use pingora::protocols::http::ServerSession;

use super::create_end::{CreateEnd, StreamEnd};
use super::idempotency::{Idempotency, answer_claimed};
use super::refusal::{Busy, Refusal, RequestError};
use super::request_head;
use super::response::Response;
use super::services::{RequestContext, Services, channel_of};
use super::upload::Upload;
use super::upload_slots::{BodySize, READ_AHEAD, UploadSlot, slot_for};
use crate::billing::{self, JobEntry, Reservation, ReserveOutcome, ReserveRequest};
use crate::inspect::{Inspector, Source};
use crate::ledger::{Charge, PromptDigest};
use crate::metrics::seconds;
use crate::policy::{self, Key, Permit, Timestamp};
use crate::route::Route;
use crate::runtime::Snapshot;
use crate::upstream::{ChannelChoice, Exchange, Framing, LiveChannel, Sending, headers};

/// The maximum that is read before it is sent on, if it is at hand.
const MAX_BATCH_BYTES: usize = 128 * 1024;

/// Holds a create or remix while its body streams.
struct CreateRequest<'a> {
    services: &'a Services,
    snapshot: &'a Snapshot,
    key: &'a Arc<Key>,
    route: &'a Route,
    idempotency: Idempotency<'a>,
    choice: ChannelChoice<'a>,
    /// The job that a remix is made from.
    source: Option<Arc<JobEntry>>,
    /// What of the client's headers passes.
    headers: HeaderMap,
    framing: Framing,
}

/// What is to be done with a body, as the ledger sees it before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precheck {
    /// It may be forwarded.
    Forward,
    /// Its idempotency key was answered before: it is read for what it asks, and goes
    /// nowhere.
    Replay,
}

/// Handles a request that creates a job; `source` is the job that a remix is made from.
pub(super) async fn handle(
    services: &Services,
    session: &mut ServerSession,
    key: &Arc<Key>,
    (route, source): (&Route, Option<Arc<JobEntry>>),
    ctx: &mut RequestContext,
) -> Result<Response, RequestError> {
    let snapshot = ctx.snapshot.clone();
    let request = session.req_header();
    let body = request_head::body_head(request, &snapshot.config.bounds)?;
    let value = request_head::idempotency_key(&request.headers)?;
    let pinned = match &source {
        Some(entry) => Some(channel_of(&snapshot, &entry.job)?),
        None => None,
    };
    let asked = source.as_deref().map(asked_of);
    let mut inspector = Inspector::new(snapshot.plan.clone(), key.clone(), body.syntax, asked);
    if value.is_some() {
        inspector = inspector.fingerprinting();
    }
    let mut create = CreateRequest {
        services,
        snapshot: &snapshot,
        key,
        route,
        idempotency: Idempotency {
            billing: &services.billing,
            key,
            route,
            value,
            keep: snapshot.config.jobs.idempotency_for,
        },
        choice: ChannelChoice {
            channels: &snapshot.channels,
            key,
            pinned,
        },
        source,
        headers: headers::passing_up(&request.headers),
        framing: body.framing,
    };
    let inspector = Box::new(inspector);
    let mut upload = Upload::new(session, inspector, body.framing, &snapshot.config.bounds);
    if body.expects_continue {
        // A refusal here spares the client its upload.
        create.precheck(None).await?;
        upload.slot = Some(create.take_slot()?);
        upload.invite().await?;
    }
    let mut result = create.run(&mut upload).await;
    if let Err(RequestError::Refused(refusal)) = result {
        let replayed = create.idempotency.replay_or_refuse(&mut upload, refusal);
        result = replayed.await;
    }
    let inspecting = seconds(upload.inspecting());
    services.metrics.inspection.observe(inspecting);
    ctx.body_complete = upload.has_ended();
    result
}

/// Makes what a remix asks for: the same as its source.
fn asked_of(source: &JobEntry) -> Source {
    let charge = &source.job.charge;
    Source {
        model: charge.model.clone(),
        size: charge.size.clone(),
        seconds: charge.seconds.to_string().into(),
    }
}

impl CreateRequest<'_> {
    fn end(&self) -> CreateEnd<'_> {
        CreateEnd {
            services: self.services,
            snapshot: self.snapshot,
            route: self.route,
            choice: &self.choice,
            keeps_answer: self.idempotency.value.is_some(),
        }
    }

    async fn run(&mut self, upload: &mut Upload<'_>) -> Result<Response, RequestError> {
        upload.read_at_hand(READ_AHEAD)?;
        if upload.has_ended() {
            return self.run_at_hand(upload).await;
        }
        let (mut charge, mut checked) = (self.charge_so_far(upload), None);
        if upload.slot.is_none() {
            // The key's limits first: a slot is for what can still end well.
            if BodySize::of(self.framing) == BodySize::Large {
                checked = Some(self.precheck(charge.as_deref()).await?);
            }
            upload.slot = Some(self.take_slot()?);
        }
        if !upload.has_begun() {
            upload.read_ahead(READ_AHEAD).await?;
            if upload.has_ended() {
                return self.run_at_hand(upload).await;
            }
        }
        if charge.is_none() {
            charge = self.charge_so_far(upload);
            checked = checked.filter(|_| charge.is_none());
        }
        let checked = match checked {
            Some(checked) => checked,
            None => self.precheck(charge.as_deref()).await?,
        };
        if checked == Precheck::Replay {
            return self.idempotency.replay(upload).await;
        }
        let mut exchange = self.connect_any(&upload.inspector).await?;
        if let Err(end) = self.stream(upload, &mut exchange).await {
            let model = upload.inspector.asked().model;
            return self.end().break_off(exchange, end, model).await;
        }
        let reserved = self.reserve_streamed(upload, exchange.channel()).await;
        match reserved {
            Ok(Ok(reservation)) => self.end().release(upload, exchange, reservation).await,
            Ok(Err(replayed)) => {
                exchange.abort().await;
                Ok(replayed)
            }
            Err(error) => {
                exchange.abort().await;
                Err(error)
            }
        }
    }

    /// Handles a body that is at hand as a whole: everything is decided before a channel is
    /// touched.
    async fn run_at_hand(&mut self, upload: &mut Upload<'_>) -> Result<Response, RequestError> {
        let permit = upload.inspector.finish().map_err(Refusal::from)?;
        let mut at = self.services.now();
        let written = upload.inspector.written_seconds();
        let model = Some(permit.model().name());
        let candidates = self.choice.candidates(model.map(|m| &**m), written, at)?;
        let body = Sending::AtOnce(self.framing);
        let mut candidates = candidates.into_iter();
        while let Some(channel) = candidates.next() {
            // The ledger must know which channel to ask if the outcome is unknown.
            let name = &channel.spec().name;
            let reservation = match self.reserve(upload, &permit, name, at).await? {
                Ok(reservation) => reservation,
                Err(replayed) => return Ok(replayed),
            };
            let last = candidates.len() == 0;
            match self.connect(&channel, body, last).await {
                Some(exchange) => {
                    return self.end().release(upload, exchange, reservation).await;
                }
                None => {
                    let billing = &self.services.billing;
                    billing.void(reservation, "unreachable").await;
                }
            }
            at = self.services.now();
        }
        Err(Refusal::Busy(Busy::Channels).into())
    }

    /// Asks the ledger, before a body is read or a channel touched, whether the request can
    /// still end well. No decision: that is made with the reservation.
    async fn precheck(&self, charge: Option<&Charge>) -> Result<Precheck, RequestError> {
        if self.idempotency.was_answered().await? {
            // The repetition of a request takes nothing from a limit.
            return Ok(Precheck::Replay);
        }
        let (ledger, at) = (self.services.billing.ledger(), self.services.now());
        let Some(reached) = ledger.check(self.key, charge, at).await? else {
            return Ok(Precheck::Forward);
        };
        // What is in the way may be the first request under the same idempotency key, made
        // meanwhile.
        match self.idempotency.was_answered().await? {
            true => Ok(Precheck::Replay),
            false => Err(Refusal::Limit { reached, at }.into()),
        }
    }

    /// Computes what the request would cost, once its three fields are known.
    fn charge_so_far(&self, upload: &Upload<'_>) -> Option<Arc<Charge>> {
        let asked = upload.inspector.asked();
        asked.model.and(asked.size).and(asked.seconds)?;
        let permit = policy::permit(&self.snapshot.config.catalog, self.key, asked).ok()?;
        Some(billing::charge(self.key, &permit, "".into()))
    }

    fn take_slot(&self) -> Result<UploadSlot, Refusal> {
        let (slots, bounds) = (&self.services.uploads, &self.snapshot.config.bounds);
        slot_for(
            slots,
            bounds,
            self.key,
            BodySize::of(self.framing),
            self.services.now(),
        )
    }

    /// Connects to the first channel that can be reached.
    async fn connect_any(&mut self, inspector: &Inspector) -> Result<Exchange, Refusal> {
        let (model, written) = (inspector.asked().model, inspector.written_seconds());
        let candidates = self
            .choice
            .candidates(model, written, self.services.now())?;
        let body = Sending::Piecemeal(self.framing);
        let mut candidates = candidates.into_iter();
        while let Some(channel) = candidates.next() {
            let last = candidates.len() == 0;
            if let Some(exchange) = self.connect(&channel, body, last).await {
                return Ok(exchange);
            }
        }
        Err(Refusal::Busy(Busy::Channels))
    }

    /// Opens an exchange; `None` where the channel cannot be reached, which is noted. With
    /// the `last` channel to be tried the headers go.
    async fn connect(
        &mut self,
        channel: &Arc<LiveChannel>,
        body: Sending,
        last: bool,
    ) -> Option<Exchange> {
        let passing = match last {
            true => std::mem::take(&mut self.headers),
            false => self.headers.clone(),
        };
        let source = self.source.as_ref().and_then(|source| source.upstream_id());
        let head = headers::request(Method::POST, (self.route, source), None, passing, channel);
        let opened = self.services.client.open(channel, head, body).await;
        opened.ok()
    }

    /// Sends on all that is safe, as it comes, until the body has ended.
    async fn stream(
        &self,
        upload: &mut Upload<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), StreamEnd> {
        let client = |refusal: Refusal| StreamEnd::Client(refusal.into());
        loop {
            while let Some(piece) = upload.next_safe() {
                exchange.send(piece).await.map_err(StreamEnd::Upstream)?;
            }
            if upload.has_ended() {
                return Ok(());
            }
            tokio::select! {
                read = upload.read() => {
                    let chunk = read.map_err(StreamEnd::Client)?;
                    upload.take(chunk).map_err(client)?;
                    upload.read_at_hand(MAX_BATCH_BYTES).map_err(StreamEnd::Client)?;
                }
                answered = exchange.answer_head() => match answered {
                    Ok(()) => return Err(StreamEnd::Answered),
                    Err(error) => return Err(StreamEnd::Upstream(error)),
                },
            }
            self.check_channel(upload, exchange.channel())
                .map_err(client)?;
        }
    }

    /// Reserves for a body that was streamed to its end: the whole grammar must have held, and
    /// the channel must take what it asks for.
    async fn reserve_streamed(
        &self,
        upload: &mut Upload<'_>,
        channel: &Arc<LiveChannel>,
    ) -> Result<Result<Reservation, Response>, RequestError> {
        let permit = upload.inspector.finish().map_err(Refusal::from)?;
        self.check_channel(upload, channel)?;
        let (name, at) = (&channel.spec().name, self.services.now());
        self.reserve(upload, &permit, name, at).await
    }

    /// Checks that the channel takes the model and the seconds, which may have become known
    /// after it was chosen.
    fn check_channel(&self, upload: &Upload<'_>, channel: &LiveChannel) -> Result<(), Refusal> {
        let inspector = &upload.inspector;
        let (model, written) = (inspector.asked().model, inspector.written_seconds());
        let now = self.services.now();
        Ok(self.choice.check(model, written, channel, now)?)
    }

    /// Reserves what a permit costs on a channel. Returns the reservation, or the response that the
    /// idempotency key got before.
    async fn reserve(
        &self,
        upload: &Upload<'_>,
        permit: &Permit,
        channel: &Arc<str>,
        at: Timestamp,
    ) -> Result<Result<Reservation, Response>, RequestError> {
        let request = ReserveRequest {
            key: self.key,
            permit,
            channel,
            prompt: PromptDigest(upload.inspector.prompt_digest().unwrap_or_default()),
            remix_of: self.route.source().map(Arc::from),
            claim: self.idempotency.claim(upload, at),
            poll_after: self.snapshot.config.jobs.poll_after,
        };
        match self.services.billing.reserve(request, at).await? {
            ReserveOutcome::Reserved(reservation) => Ok(Ok(reservation)),
            ReserveOutcome::LimitReached(reached) => Err(Refusal::Limit { reached, at }.into()),
            ReserveOutcome::Claimed(claimed) => answer_claimed(claimed).map(Err),
        }
    }
}
