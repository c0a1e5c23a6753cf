//! The way of a create or remix: inspect, decide and forward while it streams.

use std::sync::Arc;

use http::{HeaderMap, Method};
use pingora::protocols::http::ServerSession;

use super::books::Reservation;
use super::charge::charge;
use super::context::Context;
use super::exchange::{Exchange, Sending, Unreachable};
use super::head::{BodyHead, Framing};
use super::known::Known;
use super::refusal::{Busy, ChannelFault, Refusal};
use super::relay;
use super::reply::Reply;
use super::route::Route;
use super::upload::{Stopped, Upload};
use super::upload_slots::BodySize;
use super::{Gate, State};
use crate::channel::{Channel, LiveChannel};
use crate::inspect::{self, Inspector, SecondsType, Written};
use crate::ledger::{Charge, ClaimState, Unavailable};
use crate::metrics::seconds;
use crate::policy::{self, Key, Param, Timestamp};

/// How much of a body is read before a channel is connected to, if it is at hand.
pub(super) const READ_AHEAD: usize = 64 * 1024;
/// How much is read before it is sent on, if it is at hand.
const AT_ONCE: usize = 128 * 1024;

/// A request that is to be inspected, accepted by its head.
pub(super) struct Accepted {
    pub(super) route: Route,
    pub(super) key: Arc<Key>,
    pub(super) body: BodyHead,
    /// Boxed: it is large, and would be moved about.
    pub(super) inspector: Box<Inspector>,
    /// What the header `Idempotency-Key` holds.
    pub(super) idempotency_key: Option<Arc<str>>,
    /// The channel that must take it: where the source of a remix was made.
    pub(super) pinned: Option<Arc<LiveChannel>>,
    /// The source of a remix.
    pub(super) source: Option<Arc<Known>>,
}

impl From<Unavailable> for Stopped {
    fn from(error: Unavailable) -> Self {
        // Said once, where it was noticed: it is the same for every request.
        log::debug!("{error}");
        Self::Refused(Refusal::Busy(Busy::Ledger))
    }
}

/// A request on its way to a channel.
pub(super) struct Crossing<'a> {
    pub(super) gate: &'a Gate,
    pub(super) state: &'a State,
    pub(super) key: &'a Arc<Key>,
    pub(super) route: &'a Route,
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) pinned: Option<Arc<LiveChannel>>,
    source: Option<Arc<Known>>,
    /// What of the client's headers passes.
    headers: HeaderMap,
    pub(super) framing: Framing,
}

impl Gate {
    /// Takes an accepted request through: the reply to give, or why there is none.
    pub(super) async fn cross(
        &self,
        session: &mut ServerSession,
        state: &State,
        accepted: Accepted,
        ctx: &mut Context,
    ) -> Result<Reply, Stopped> {
        let Accepted {
            route,
            key,
            body,
            inspector,
            idempotency_key,
            pinned,
            source,
        } = accepted;
        let headers = relay::passing_up(&session.req_header().headers);
        let mut crossing = Crossing {
            gate: self,
            state,
            key: &key,
            route: &route,
            idempotency_key,
            pinned,
            source,
            headers,
            framing: body.framing,
        };
        let mut upload = Upload::new(session, inspector, body.framing, &state.config.bounds);
        if body.expects_continue {
            // A refusal here spares the client its upload.
            crossing.look_ahead(None).await?;
            upload.slot = Some(crossing.take_slot()?);
            upload.invite().await?;
        }
        let mut result = crossing.run(&mut upload).await;
        if let Err(Stopped::Refused(refusal)) = result {
            result = Err(crossing.unless_repeated(&mut upload, refusal).await);
        }
        self.metrics
            .inspection
            .observe(seconds(upload.inspecting()));
        ctx.body_complete = upload.has_ended();
        result
    }
}

/// What is to be done with a body, as the ledger sees it before its end.
#[derive(PartialEq)]
enum Ahead {
    /// It may be forwarded.
    Forward,
    /// Its idempotency key was answered before: it is read for what it asks, and goes
    /// nowhere.
    Compare,
}

impl Crossing<'_> {
    async fn run(&mut self, upload: &mut Upload<'_>) -> Result<Reply, Stopped> {
        upload.read_at_hand(READ_AHEAD)?;
        if upload.has_ended() {
            return self.run_small(upload).await;
        }
        let (mut charge, mut ahead) = (self.charge_so_far(upload), None);
        if upload.slot.is_none() {
            // The key's limits first: a slot is for what can still end well.
            if self.body_size() == BodySize::Large {
                ahead = Some(self.look_ahead(charge.as_deref()).await?);
            }
            upload.slot = Some(self.take_slot()?);
        }
        if !upload.has_begun() {
            upload.read_ahead(READ_AHEAD).await?;
            if upload.has_ended() {
                return self.run_small(upload).await;
            }
        }
        if charge.is_none() {
            charge = self.charge_so_far(upload);
            ahead = ahead.filter(|_| charge.is_none());
        }
        let ahead = match ahead {
            Some(ahead) => ahead,
            None => self.look_ahead(charge.as_deref()).await?,
        };
        if ahead == Ahead::Compare {
            return self.compare(upload).await;
        }
        let inspector = &upload.inspector;
        let (model, written) = (inspector.asked().model, inspector.written_seconds());
        let candidates = self.candidates(model, written, self.gate.now())?;
        let mut exchange = self.connect_any(candidates).await?;
        if let Err(stop) = self.stream(upload, &mut exchange).await {
            let model = upload.inspector.asked().model;
            return self.break_off(exchange, stop, model).await;
        }
        let judged = self.judge(upload, exchange.channel()).await;
        let reservation = match judged {
            Ok(reservation) => reservation,
            Err(stopped) => {
                exchange.abort().await;
                return Err(stopped);
            }
        };
        self.release(upload, exchange, reservation).await
    }

    /// The whole body is at hand: everything is decided before a channel is touched.
    async fn run_small(&mut self, upload: &mut Upload<'_>) -> Result<Reply, Stopped> {
        let permit = upload.inspector.finish().map_err(Refusal::from)?;
        let mut at = self.gate.now();
        let written = upload.inspector.written_seconds();
        let candidates = self.candidates(Some(permit.model().name()), written, at)?;
        let body = Sending::AtOnce(self.framing);
        let mut candidates = candidates.into_iter();
        while let Some(channel) = candidates.next() {
            // The ledger must know which channel to ask if the outcome is unknown.
            let name = &channel.spec().name;
            let reservation = self.reserve(upload, &permit, name, at).await?;
            let last = candidates.len() == 0;
            match self.connect(&channel, body, last, at).await {
                Some(exchange) => {
                    return self.release(upload, exchange, reservation).await;
                }
                None => self.gate.books.abandon(reservation, "unreachable").await,
            }
            at = self.gate.now();
        }
        Err(Refusal::Busy(Busy::Channels).into())
    }

    /// Asks the ledger, before a body is read or a channel touched, whether the request can
    /// still end well. No decision: that is made with the reservation.
    async fn look_ahead(&self, charge: Option<&Charge>) -> Result<Ahead, Stopped> {
        if let Some(ahead) = self.claimed_ahead().await? {
            return Ok(ahead);
        }
        let at = self.gate.now();
        let Some(reached) = self.gate.ledger().check(self.key, charge, at).await? else {
            return Ok(Ahead::Forward);
        };
        // What is in the way may be the first request under the same idempotency key, made
        // meanwhile.
        match self.claimed_ahead().await? {
            Some(ahead) => Ok(ahead),
            None => Err(Refusal::Limit { reached, at }.into()),
        }
    }

    /// What the idempotency key means for the body, where it stands for a request already.
    async fn claimed_ahead(&self) -> Result<Option<Ahead>, Stopped> {
        let Some(idempotency_key) = &self.idempotency_key else {
            return Ok(None);
        };
        let (ledger, at) = (self.gate.ledger(), self.gate.now());
        match ledger.claim(&self.key.name, idempotency_key, at).await? {
            Some(ClaimState::InFlight) => Err(Refusal::IdempotencyInFlight.into()),
            // The repetition of a request takes nothing from a limit.
            Some(ClaimState::Answered) => Ok(Some(Ahead::Compare)),
            None => Ok(None),
        }
    }

    /// What the request would cost, once its three fields are known.
    fn charge_so_far(&self, upload: &Upload<'_>) -> Option<Arc<Charge>> {
        let asked = upload.inspector.asked();
        asked.model.and(asked.size).and(asked.seconds)?;
        let permit = policy::permit(&self.state.config.catalog, self.key, asked).ok()?;
        Some(charge(self.key, &permit, "".into()))
    }

    /// The channels to try, best first, of those that take `seconds` as they are written: by
    /// the model where it is known; else those that serve the most of what this key may ask
    /// for.
    fn candidates(
        &self,
        model: Option<&str>,
        written: Option<Written>,
        now: Timestamp,
    ) -> Result<Vec<Arc<LiveChannel>>, Refusal> {
        if let Some(channel) = &self.pinned {
            return Ok(vec![channel.clone()]);
        }
        let serves = |channel: &Channel| match model {
            Some(model) => usize::from(channel.models.contains(model)),
            None => {
                let models = channel.models.iter();
                models.filter(|model| self.key.allow.model(model)).count()
            }
        };
        let takes = |channel: &Channel| match channel.seconds_type.takes(written) {
            true => serves(channel),
            false => 0,
        };
        let channels = &self.state.channels;
        let candidates = channels.choose(takes, now);
        if candidates.is_empty() {
            // Those that serve it all want the other type.
            let other = channels.choose(serves, now).into_iter().next();
            return Err(match other {
                Some(channel) => wrong_type(channel.spec().seconds_type),
                None => Refusal::Busy(Busy::NoChannel),
            });
        }
        Ok(candidates)
    }

    async fn connect_any(
        &mut self,
        candidates: Vec<Arc<LiveChannel>>,
    ) -> Result<Exchange, Refusal> {
        let body = Sending::Piecemeal(self.framing);
        let mut candidates = candidates.into_iter();
        while let Some(channel) = candidates.next() {
            let last = candidates.len() == 0;
            if let Some(exchange) = self.connect(&channel, body, last, self.gate.now()).await {
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
        now: Timestamp,
    ) -> Option<Exchange> {
        let headers = match last {
            true => std::mem::take(&mut self.headers),
            false => self.headers.clone(),
        };
        let source = self.source.as_ref().and_then(|source| source.upstream_id());
        let head = relay::request(Method::POST, (self.route, source), None, headers, channel);
        let opened = match head {
            Ok(head) => {
                let pool = &self.gate.pool;
                Exchange::open(pool, channel, head, body, now).await
            }
            Err(error) => Err(Unreachable::by_kind(&error)),
        };
        match opened {
            Ok(exchange) => Some(exchange),
            Err(error) => {
                self.gate.unreachable(channel, &error);
                None
            }
        }
    }

    /// Sends on all that is safe, as it comes, until the body has ended.
    async fn stream(
        &mut self,
        upload: &mut Upload<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), Break> {
        loop {
            while let Some(piece) = upload.next_safe() {
                exchange.send(piece).await.map_err(Break::Upstream)?;
            }
            if upload.has_ended() {
                return Ok(());
            }
            tokio::select! {
                read = upload.read() => {
                    let chunk = read.map_err(Break::Stopped)?;
                    upload.take(chunk).map_err(|r| Break::Stopped(r.into()))?;
                    upload.read_at_hand(AT_ONCE).map_err(Break::Stopped)?;
                }
                answered = exchange.answer_head() => match answered {
                    Ok(()) => return Err(Break::Answered),
                    Err(error) => return Err(Break::Upstream(error)),
                },
            }
            self.check_channel(upload, exchange.channel())
                .map_err(|r| Break::Stopped(r.into()))?;
        }
    }

    /// The model and the seconds may have become known after the channel was chosen.
    fn check_channel(
        &self,
        upload: &Upload<'_>,
        channel: &Arc<LiveChannel>,
    ) -> Result<(), Refusal> {
        if self.pinned.is_some() {
            return Ok(());
        }
        let (inspector, spec) = (&upload.inspector, channel.spec());
        let model = inspector.asked().model;
        if model.is_some_and(|model| !spec.models.contains(model)) {
            return Err(Refusal::Channel(ChannelFault::ModelTooLate));
        }
        let written = inspector.written_seconds();
        if spec.seconds_type.takes(written) {
            return Ok(());
        }
        // Another channel may take them, if they come in time for the choice.
        let others = self.candidates(model, written, self.gate.now());
        others.and(Err(Refusal::Channel(ChannelFault::SecondsTooLate)))
    }

    /// The request was not completed, so nothing was created and nothing is owed. If the
    /// channel has said why it wants no more, that goes to the client.
    async fn break_off(
        &self,
        exchange: Exchange,
        stop: Break,
        model: Option<&str>,
    ) -> Result<Reply, Stopped> {
        let channel = exchange.channel().clone();
        match stop {
            Break::Stopped(stopped) => {
                exchange.abort().await;
                Err(stopped)
            }
            Break::Upstream(_) | Break::Answered => {
                if let Break::Upstream(error) = &stop {
                    let kind = error.etype().as_str();
                    log::debug!("channel {}: upload: {kind}", channel.spec().name);
                }
                let most = self.state.config.bounds.answer_bytes;
                let name = &channel.spec().name;
                let broken = Refusal::Channel(ChannelFault::Broken { created: false });
                let answer = exchange.last_words(most).await;
                match &answer {
                    Some(answer) => self.gate.channel_answered(name, answer.status),
                    None => self.gate.metrics.upstream_request(name, "none"),
                }
                match answer {
                    // A success for half a request is none.
                    Some(answer) if !answer.status.is_success() => {
                        self.pass_on(&channel, answer, model)
                    }
                    _ => {
                        self.gate
                            .channel_failed(name, "broken", "it broke off an upload");
                        Err(broken.into())
                    }
                }
            }
        }
    }

    /// The body has ended: the whole grammar must have held, the policy permits, and the
    /// ledger reserves.
    async fn judge(
        &self,
        upload: &mut Upload<'_>,
        channel: &Arc<LiveChannel>,
    ) -> Result<Reservation, Stopped> {
        let permit = upload.inspector.finish().map_err(Refusal::from)?;
        self.check_channel(upload, channel)?;
        let name = &channel.spec().name;
        self.reserve(upload, &permit, name, self.gate.now()).await
    }
}

fn wrong_type(seconds_type: SecondsType) -> Refusal {
    Refusal::Body(inspect::Refusal::WrongKind {
        name: Param::Seconds.name().into(),
        wanted: seconds_type.wanted(),
    })
}

/// Why streaming to a channel stopped before the body's end.
enum Break {
    /// On the client's side, or by the gate's decision.
    Stopped(Stopped),
    /// The channel's connection broke.
    Upstream(Box<pingora::Error>),
    /// The channel answered already.
    Answered,
}
