//! Handles a create or remix: inspects and forwards the body while it streams, and decides about the request.
//!
//! In order: [`handle`] judges the head; [`CreateRequest::run`] reads ahead, chooses a channel and streams;
//! [`CreateEnd`] has the ledger reserve the cost, sends the last bytes and processes the answer.

use std::sync::Arc;

use http::{HeaderMap, Method};
use pingora::protocols::http::ServerSession;

use super::create_end::{CreateEnd, Placed, Released};
use super::idempotency::{Idempotency, replayed_body};
use super::refusal::{Refusal, RequestError};
use super::request_head;
use super::response::Response;
use super::services::{RequestContext, Services, asked_of, channel_of};
use super::upload::{StreamEnd, Upload};
use super::upload_slots::{BodySize, READ_AHEAD, UploadSlot, slot_for};
use crate::access_log::RequestRecord;
use crate::billing::{self, JobEntry};
use crate::inspect::Inspector;
use crate::metrics::seconds;
use crate::policy::{self, Key, Permit};
use crate::route::Route;
use crate::runtime::Snapshot;
use crate::upstream::{Attempts, ChannelChoice, Declined, Exchange, Framing};
use crate::upstream::{LiveChannel, Sending, Trial, full, headers};

/// The number of held-back bytes at which the gate stops reading without waiting, and forwards what it may.
const MAX_BATCH_BYTES: usize = 128 * 1024;

/// The state of a create or remix while its body streams.
struct CreateRequest<'a> {
    services: &'a Services,
    snapshot: &'a Snapshot,
    key: &'a Arc<Key>,
    route: &'a Route,
    idempotency: Idempotency<'a>,
    choice: ChannelChoice<'a>,
    record: &'a RequestRecord,
    /// The job that a remix is made from.
    source: Option<Arc<JobEntry>>,
    /// The client's headers that are passed to the channel.
    headers: HeaderMap,
    framing: Framing,
}

/// The use of a body, as decided before any of it is forwarded: to forward it, or to compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precheck {
    /// The body may be forwarded.
    Forward,
    /// An earlier request under the same idempotency key has an answer. The body is read to be compared
    /// with that of the earlier request, and is not forwarded.
    Replay,
}

/// Handles a request that creates a job; `source` is the job that a remix is made from, and `None` if the
/// request is no remix.
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
        record: &ctx.record,
        source,
        headers: headers::passing_up(&request.headers, ctx.record.id_header()),
        framing: body.framing,
    };
    let inspector = Box::new(inspector);
    let mut upload = Upload::new(session, inspector, body.framing, &snapshot.config.bounds);
    if body.expects_continue {
        // A refusal here spares the client the upload.
        create.precheck(None).await?;
        upload.slot = Some(create.take_slot()?);
        upload.invite().await?;
    }
    let mut result = create.run(&mut upload).await;
    if let Err(RequestError::Refused(refusal)) = result {
        let replayed = create.idempotency.replay_or_refuse(&mut upload, refusal);
        result = replayed.await;
    }
    if let Some(body) = result.as_ref().ok().and_then(replayed_body) {
        ctx.note_replay(services, body).await;
    }
    let inspecting = seconds(upload.inspecting());
    services.metrics.inspection.observe(inspecting);
    ctx.note_asked(upload.inspector.asked());
    ctx.body_complete = upload.has_ended();
    result
}

impl CreateRequest<'_> {
    fn end(&self) -> CreateEnd<'_> {
        CreateEnd {
            services: self.services,
            snapshot: self.snapshot,
            route: self.route,
            choice: &self.choice,
            key: self.key,
            idempotency: &self.idempotency,
            record: self.record,
        }
    }

    async fn run(&mut self, upload: &mut Upload<'_>) -> Result<Response, RequestError> {
        upload.read_at_hand(READ_AHEAD)?;
        if upload.has_ended() {
            return self.run_at_hand(upload).await;
        }
        let (mut permit, mut checked) = (self.permit_so_far(upload), None);
        if upload.slot.is_none() {
            // The key's limits first: only a request that can still succeed gets a slot.
            if BodySize::of(self.framing) == BodySize::Large {
                checked = Some(self.precheck(permit.as_ref()).await?);
            }
            upload.slot = Some(self.take_slot()?);
        }
        if !upload.has_begun() {
            upload.read_ahead(READ_AHEAD).await?;
            if upload.has_ended() {
                return self.run_at_hand(upload).await;
            }
        }
        if permit.is_none() {
            permit = self.permit_so_far(upload);
            checked = checked.filter(|_| permit.is_none());
        }
        let checked = match checked {
            Some(checked) => checked,
            None => self.precheck(permit.as_ref()).await?,
        };
        if checked == Precheck::Replay {
            return self.idempotency.replay(upload).await;
        }
        let connected = self.connect_any(&upload.inspector, permit.as_ref()).await?;
        let (mut exchange, _trial) = connected;
        if let Err(end) = self.stream(upload, &mut exchange).await {
            let model = upload.inspector.asked().model;
            return self.end().break_off(exchange, end, model).await;
        }
        let reserved = self.reserve_streamed(upload, exchange.channel()).await;
        match reserved {
            Ok(Placed::Reserved(reservation)) => {
                let (rest, arrived) = (upload.holdback.take().collect(), upload.arrived());
                self.end()
                    .release_streamed(rest, arrived, exchange, reservation)
                    .await
            }
            Ok(Placed::Replayed(response)) => {
                exchange.abort().await;
                Ok(response)
            }
            Ok(Placed::Full(_, why)) => {
                let channel = exchange.channel().clone();
                exchange.abort().await;
                let model = upload.inspector.asked().model;
                Err(self.end().not_taken(&channel, why, model).into())
            }
            Err(error) => {
                exchange.abort().await;
                Err(error)
            }
        }
    }

    /// Handles a body that has been read whole: decides everything before a channel is touched. Tries the
    /// candidate channels in turn until one takes the request, and tries the next one only if it is certain
    /// that the one before has created nothing.
    async fn run_at_hand(&mut self, upload: &mut Upload<'_>) -> Result<Response, RequestError> {
        let permit = upload.inspector.finish().map_err(Refusal::from)?;
        let written = upload.inspector.written_seconds();
        let (model, now) = (Some(&**permit.model().name()), self.services.now());
        let candidates = self.choice.candidates(model, written, true, now)?;
        let body = Sending::AtOnce(self.framing);
        let (mut attempts, mut reservation) = (Attempts::default(), None);
        let (mut candidates, mut first_at) = (candidates.into_iter(), Some(now));
        while let Some((channel, _trial)) = candidates.next() {
            let name = &channel.spec().name;
            // If another channel was tried before, time has passed.
            let at = first_at.take().unwrap_or_else(|| self.services.now());
            // The ledger must know which channel to ask if the outcome stays unknown.
            let end = self.end();
            let placed = match reservation.take() {
                None => end.reserve(upload, &permit, &channel, at).await?,
                Some(held) => end.reroute(held, &permit, &channel, &attempts).await?,
            };
            let held = match placed {
                Placed::Reserved(held) => held,
                Placed::Replayed(response) => return Ok(response),
                Placed::Full(held, why) => {
                    attempts.add(name, why);
                    reservation = held;
                    continue;
                }
            };
            let last = candidates.len() == 0;
            let Some(exchange) = self.connect(&channel, body, last).await else {
                attempts.add(name, Declined::Unreachable);
                reservation = Some(held);
                continue;
            };
            let (whole, arrived) = (upload.holdback.copy(), upload.arrived());
            match self.end().release(whole, arrived, exchange, held).await? {
                Released::Ended(response) => return Ok(response),
                Released::Declined(held, why) => {
                    attempts.add(name, why);
                    reservation = Some(held);
                }
            }
        }
        if let Some(held) = reservation {
            self.services.billing.void(held, attempts.outcome()).await;
        }
        Err(attempts.none_left().into())
    }

    /// Asks the ledger, before the whole body is read or a channel is touched, whether the request is within
    /// the limits, or its idempotency key has an answer. The result is a hint: the reservation decides later.
    async fn precheck(&self, permit: Option<&Permit>) -> Result<Precheck, RequestError> {
        if self.idempotency.was_answered().await? {
            // The repetition of a request does not count against a limit.
            return Ok(Precheck::Replay);
        }
        let (ledger, at) = (self.services.billing.ledger(), self.services.now());
        let charge = permit.map(|permit| billing::charge(self.key, permit, None));
        let Some(reached) = ledger.check(self.key, charge.as_deref(), at).await? else {
            return Ok(Precheck::Forward);
        };
        // The limit may be used up by the first request under the same idempotency key, made meanwhile.
        match self.idempotency.was_answered().await? {
            true => Ok(Precheck::Replay),
            false => Err(Refusal::limit(reached, self.key, at, charge.is_some()).into()),
        }
    }

    /// Returns the permit for model, size and seconds; `None` while any of them is unknown or refused.
    fn permit_so_far(&self, upload: &Upload<'_>) -> Option<Permit> {
        let asked = upload.inspector.asked();
        asked.model.and(asked.size).and(asked.seconds)?;
        policy::permit(&self.snapshot.config.catalog, self.key, asked).ok()
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

    /// Connects to the first candidate channel that can be reached and whose limits are not known to be
    /// full.
    async fn connect_any(
        &mut self,
        inspector: &Inspector,
        permit: Option<&Permit>,
    ) -> Result<(Exchange, Option<Trial>), Refusal> {
        let (model, written) = (inspector.asked().model, inspector.written_seconds());
        let candidates = self
            .choice
            .candidates(model, written, false, self.services.now())?;
        let body = Sending::Piecemeal(self.framing);
        let mut attempts = Attempts::default();
        let mut candidates = candidates.into_iter();
        while let Some((channel, trial)) = candidates.next() {
            let name = &channel.spec().name;
            let last = candidates.len() == 0;
            if let Some(why) = self.is_full(&channel, permit).await? {
                attempts.add(name, why);
            } else if let Some(exchange) = self.connect(&channel, body, last).await {
                return Ok((exchange, trial));
            } else {
                attempts.add(name, Declined::Unreachable);
            }
        }
        Err(attempts.none_left().into())
    }

    /// Returns the reason why the request would exceed the limits of `channel`; `None` if it would not, or
    /// without a permit. The result is a hint: the reservation decides later.
    async fn is_full(
        &self,
        channel: &LiveChannel,
        permit: Option<&Permit>,
    ) -> Result<Option<Declined>, Refusal> {
        let spec = channel.spec();
        let Some(permit) = permit.filter(|_| !spec.limits.is_empty()) else {
            return Ok(None);
        };
        let charge = billing::charge(self.key, permit, Some(spec));
        let (ledger, now) = (self.services.billing.ledger(), self.services.now());
        let reached = ledger.check_channel(&charge, &spec.limits, now).await?;
        Ok(reached.map(|reached| full(channel, &reached, now)))
    }

    /// Opens an exchange with `channel`. Counts a failure to reach the channel, and then returns `None`.
    /// For the `last` candidate, the headers to pass are moved out of `self`; the others get a copy.
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

    /// Forwards the bytes of the body as soon as the inspector lets them pass, until the body has ended.
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

    /// Reserves the cost of a body that was streamed to its end. Checks first that the whole grammar held and
    /// that the channel accepts the model and the seconds.
    async fn reserve_streamed(
        &self,
        upload: &mut Upload<'_>,
        channel: &Arc<LiveChannel>,
    ) -> Result<Placed, RequestError> {
        let permit = upload.inspector.finish().map_err(Refusal::from)?;
        self.check_channel(upload, channel)?;
        let now = self.services.now();
        self.end().reserve(upload, &permit, channel, now).await
    }

    /// Checks that `channel` accepts the model and the seconds of the request, which may have become known
    /// only after the channel was chosen.
    fn check_channel(&self, upload: &Upload<'_>, channel: &LiveChannel) -> Result<(), Refusal> {
        let inspector = &upload.inspector;
        let (model, written) = (inspector.asked().model, inspector.written_seconds());
        Ok(self.choice.check(model, written, channel)?)
    }
}
