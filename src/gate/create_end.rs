//! Ends a create: reserves the cost, sends the last bytes, and derives the charge and the response from the
//! channel's answer; or breaks the create off before it is complete.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::idempotency::{Idempotency, answer_claimed};
use super::refusal::{Busy, ChannelFault, Refusal, RequestError};
use super::response::{Response, is_of_upload, relay_refused_create};
use super::services::Services;
use super::upload::{StreamEnd, Upload};
use crate::access_log::RequestRecord;
use crate::billing::{
    NotConfirmed, Reservation, ReserveOutcome, ReserveRequest, public_source, with_public_ids,
};
use crate::dialect::JobAnswer;
use crate::ledger::{ChannelAnswer, FirstAnswer, PromptDigest, Rerouted, ReservationId, Scope};
use crate::metrics::seconds;
use crate::policy::{Key, Permit, Timestamp};
use crate::route::Route;
use crate::runtime::Snapshot;
use crate::upstream::{Answer, Attempts, ChannelChoice, CreateOutcome, Declined};
use crate::upstream::{Exchange, LiveChannel, UpstreamError, declined, full};

/// The last steps of a create: completes the create, or breaks it off.
pub(super) struct CreateEnd<'a> {
    pub(super) services: &'a Services,
    pub(super) snapshot: &'a Snapshot,
    pub(super) route: &'a Route,
    pub(super) choice: &'a ChannelChoice<'a>,
    pub(super) key: &'a Arc<Key>,
    pub(super) idempotency: &'a Idempotency<'a>,
    pub(super) record: &'a RequestRecord,
}

/// The result of asking the ledger for a reservation.
pub(super) enum Placed {
    /// The cost is reserved on the channel.
    Reserved(Box<Reservation>),
    /// The response that the same idempotency key got before.
    Replayed(Response),
    /// A limit of the channel is reached. A reservation on the channel that was tried before is kept.
    Full(Option<Box<Reservation>>, Declined),
}

/// The outcome of sending the last bytes of a create and reading the channel's answer.
pub(super) enum Released {
    /// The create has ended with this response to the client.
    Ended(Response),
    /// The channel has proved that it created nothing, for a reason that does not lie in the request: another
    /// channel may accept the request.
    Declined(Box<Reservation>, Declined),
}

impl CreateEnd<'_> {
    /// Reserves the cost of `permit` on `channel`.
    pub(super) async fn reserve(
        &self,
        upload: &Upload<'_>,
        permit: &Permit,
        channel: &LiveChannel,
        at: Timestamp,
    ) -> Result<Placed, RequestError> {
        let named = self.record.named_reservation();
        let request = ReserveRequest {
            key: self.key,
            permit,
            channel,
            prompt: PromptDigest(upload.inspector.prompt_digest().unwrap_or_default()),
            remix_of: self.route.source().map(Arc::from),
            claim: self.idempotency.claim(upload, at),
            poll_after: self.snapshot.config.jobs.poll_after,
            id: named.unwrap_or_else(|| ReservationId::generate(at)),
            request_id: named.is_none().then(|| self.record.id()),
        };
        let (outcome, took) = self.services.billing.reserve(request, at).await?;
        self.record.add_ledger_time(took);
        match outcome {
            ReserveOutcome::Reserved(reservation) => {
                let (model, size) = (permit.model().name(), &permit.size().name);
                (self.record).set_requested(Some(model), Some(size), Some(permit.seconds()));
                self.record.set_reservation(reservation.id());
                Ok(Placed::Reserved(reservation))
            }
            ReserveOutcome::Claimed(claimed) => answer_claimed(claimed).map(Placed::Replayed),
            ReserveOutcome::LimitReached(reached) => match &reached.scope {
                Scope::Channel(_) => Ok(Placed::Full(None, full(channel, &reached, at))),
                _ => Err(Refusal::limit(reached, self.key, at, true).into()),
            },
        }
    }

    /// Moves the reservation `held` to `channel`. On an error, voids the reservation.
    pub(super) async fn reroute(
        &self,
        mut held: Box<Reservation>,
        permit: &Permit,
        channel: &LiveChannel,
        attempts: &Attempts,
    ) -> Result<Placed, RequestError> {
        let (billing, now) = (&self.services.billing, self.services.now());
        let rerouted = billing.reroute(&mut held, permit, channel, attempts.text());
        let error = match rerouted.await {
            Ok(Rerouted::Done) => return Ok(Placed::Reserved(held)),
            Ok(Rerouted::Refused(reached)) => {
                return Ok(Placed::Full(Some(held), full(channel, &reached, now)));
            }
            // Another gate considered this gate dead, so the reservation is not pending any more.
            Ok(Rerouted::Closed) => Refusal::Busy(Busy::Stalled),
            Err(error) => error.into(),
        };
        billing.void(held, attempts.outcome()).await;
        Err(error.into())
    }

    /// Breaks off a request that is not complete, so that nothing is created and nothing is charged. If
    /// the channel has already said why it refuses the request, that answer goes to the client.
    pub(super) async fn break_off(
        &self,
        exchange: Exchange,
        end: StreamEnd,
        model: Option<&str>,
    ) -> Result<Response, RequestError> {
        let channel = exchange.channel().clone();
        let (client, name) = (&self.services.client, &channel.spec().name);
        if let StreamEnd::Client(error) = end {
            exchange.abort().await;
            return Err(error);
        }
        if let StreamEnd::Upstream(error) = end {
            log::debug!("channel {name}: upload: {}", error.etype().as_str());
        }
        let max_bytes = self.snapshot.config.bounds.answer_bytes;
        let began = exchange.began();
        let early = exchange.read_early_response(max_bytes).await;
        if let Err(UpstreamError::Connect(error)) = &early {
            client.unreachable(&channel, error, began);
            return Err(self
                .not_taken(&channel, Declined::Unreachable, model)
                .into());
        }
        let answer = early.ok();
        match &answer {
            Some(answer) => client.answered(name, answer.status),
            None => self.services.metrics.upstream_request(name, "none"),
        }
        match answer {
            // A success that was sent before the end of the request does not count as a success.
            Some(answer) if !answer.status.is_success() => {
                if !is_of_upload(answer.status) {
                    client.note_refusal(&channel, began, &answer);
                }
                match declined(&channel, &answer) {
                    Some(why) => {
                        client.declined(&channel, why);
                        Err(self.not_taken(&channel, why, model).into())
                    }
                    None => Ok(relay_refused_create(client, &channel, answer)?),
                }
            }
            _ => {
                // The channel is not ejected: what the client sends may be the cause.
                client.failed(name, "broken", "it broke off an upload");
                Err(Refusal::Channel(ChannelFault::Broken { created: false }).into())
            }
        }
    }

    /// Sends the last bytes of a body that was streamed, and processes the channel's answer.
    pub(super) async fn release_streamed(
        &self,
        rest: Vec<Bytes>,
        arrived: Instant,
        exchange: Exchange,
        reservation: Box<Reservation>,
    ) -> Result<Response, RequestError> {
        let channel = exchange.channel().clone();
        let (held, why) = match self.release(rest, arrived, exchange, reservation).await? {
            Released::Ended(response) => return Ok(response),
            Released::Declined(held, why) => (held, why),
        };
        let model = held.charge().model.clone();
        self.services.billing.void(held, "refused").await;
        Err(self.not_taken(&channel, why, Some(&model)).into())
    }

    /// Makes the refusal for a streamed body that the channel did not accept. The bytes that have left cannot
    /// be sent to another channel: the client can try again, if there is another channel.
    pub(super) fn not_taken(
        &self,
        channel: &LiveChannel,
        why: Declined,
        model: Option<&str>,
    ) -> Refusal {
        let name = &channel.spec().name;
        if self.choice.has_other(name, model) {
            return Refusal::Channel(ChannelFault::Declined);
        }
        let mut attempts = Attempts::default();
        attempts.add(name, why);
        attempts.none_left().into()
    }

    /// Sends the last bytes, and processes the channel's answer. From here on a client that disconnects
    /// does not stop the request: a job that has been paid for is followed to its end.
    pub(super) async fn release(
        &self,
        rest: Vec<Bytes>,
        arrived: Instant,
        mut exchange: Exchange,
        reservation: Box<Reservation>,
    ) -> Result<Released, RequestError> {
        let channel = exchange.channel().clone();
        let (billing, client) = (&self.services.billing, &self.services.client);
        self.record.set_channel(&channel.spec().name);
        self.record.set_arrival(arrived);
        // Another gate that considered this gate dead may have voided a reservation of that age.
        if reservation.age() >= self.snapshot.config.jobs.unknown_grace {
            log::warn!(
                "a request was held up for longer than jobs.unknown_grace, and broken off: see \
                 what held the gate up, or give it longer"
            );
            exchange.abort().await;
            billing.void(reservation, "stalled").await;
            return Err(Refusal::Busy(Busy::Stalled).into());
        }
        let completed = exchange.complete(rest.into_iter()).await;
        let departed = completed.as_ref().map_or_else(|_| Instant::now(), |at| *at);
        let before_answer = departed - arrived;
        let began = exchange.began();
        let answer = self.read_answer(exchange, completed.map(drop)).await;
        let answered = Instant::now();
        self.record.set_channel_time(answered - departed);
        let response = match answer {
            Ok((answer, waited)) => {
                let name = &channel.spec().name;
                client.note_encoding(&channel, &answer);
                client.answered(name, answer.status);
                if let Some(waited) = waited {
                    let route = self.route.label();
                    self.services.metrics.answered(name, route, waited);
                }
                self.settle_answer(reservation, &channel, began, answer)
                    .await
            }
            // The channel broke off the handshake and read nothing: another channel may take the request.
            Err(UpstreamError::Connect(error)) => {
                client.unreachable(&channel, &error, began);
                Ok(Released::Declined(reservation, Declined::Unreachable))
            }
            Err(error) => {
                billing.note_answer(&reservation, error.evidence());
                billing.mark_unknown(reservation).await;
                client.unanswered(&channel, &error);
                let created = true;
                let (outcome, fault) = match error {
                    UpstreamError::Timeout => {
                        (CreateOutcome::TimedOut, ChannelFault::Timeout { created })
                    }
                    _ => (CreateOutcome::Broken, ChannelFault::Broken { created }),
                };
                client.note_create(&channel, began, outcome);
                Err(Refusal::Channel(fault).into())
            }
        };
        let overhead = before_answer + answered.elapsed();
        self.services.metrics.overhead.observe(seconds(overhead));
        response
    }

    /// Reads the channel's answer, even if sending the last bytes failed (`completed`). Returns the answer,
    /// and the time from the last byte to the answer's head; `None` if the sending failed.
    async fn read_answer(
        &self,
        mut exchange: Exchange,
        completed: pingora::Result<()>,
    ) -> Result<(Answer, Option<Duration>), UpstreamError> {
        let max_bytes = self.snapshot.config.bounds.answer_bytes;
        let channel = exchange.channel().clone();
        if let Err(error) = completed {
            let (name, kind) = (&channel.spec().name, error.etype().as_str());
            log::debug!("channel {name}: end of upload: {kind}");
            // The channel may have answered before the request was complete.
            let answer = exchange.read_early_response(max_bytes).await;
            return answer.map(|answer| (answer, None));
        }
        let waiting = channel.wait_for_create(self.services.now());
        match exchange.head(channel.spec().answer_timeout).await {
            Ok(waited) => {
                let now = self.services.now();
                waiting.answered(now);
                if let Some(head) = exchange.answered() {
                    self.services.client.note_head(&channel, head, || now);
                }
                let answer = exchange.rest(max_bytes).await?;
                Ok((answer, Some(waited)))
            }
            Err(error) => {
                exchange.was_stale(&error);
                exchange.abort().await;
                Err(error)
            }
        }
    }

    /// Updates the reservation by the channel's answer, and makes the client's response.
    async fn settle_answer(
        &self,
        reservation: Box<Reservation>,
        channel: &Arc<LiveChannel>,
        began: Timestamp,
        mut answer: Answer,
    ) -> Result<Released, RequestError> {
        let (billing, client) = (&self.services.billing, &self.services.client);
        let (name, dialect) = (&channel.spec().name, &channel.spec().dialect);
        let status = answer.status;
        if status.is_success() {
            let job = JobAnswer::read(&answer.body, dialect).filter(|_| !answer.cut);
            if let Some(job) = job.filter(|job| job.id.is_some()) {
                client.note_create(channel, began, CreateOutcome::Created);
                let used = self
                    .confirm(reservation, channel, &mut answer, &job)
                    .await?;
                return Ok(Released::Ended(Response::created(answer, self.key, &used)));
            }
            client.note_create(channel, began, CreateOutcome::Broken);
            billing.note_answer(&reservation, answer.evidence(channel.spec()));
            billing.mark_unknown(reservation).await;
            client.failed(name, "no_job", "its answer to a create names no job");
            return Err(Refusal::Channel(ChannelFault::Broken { created: true }).into());
        }
        client.note_refusal(channel, began, &answer);
        billing.note_answer(&reservation, answer.evidence(channel.spec()));
        if dialect.proves_nothing_created(status.as_u16(), &answer.body) {
            if let Some(why) = declined(channel, &answer) {
                client.declined(channel, why);
                return Ok(Released::Declined(reservation, why));
            }
            billing.void(reservation, "refused").await;
            return Ok(Released::Ended(relay_refused_create(
                client, channel, answer,
            )?));
        }
        billing.mark_unknown(reservation).await;
        let what = format_args!("a create was answered with {status}");
        client.failed(name, "status", what);
        Err(Refusal::Channel(ChannelFault::Broken { created: true }).into())
    }

    /// Confirms the reservation with the job of the channel's answer, and puts the public ids into the
    /// answer. Returns how much of each limit of the key was used when the reservation was made, and the
    /// time of the reservation.
    async fn confirm(
        &self,
        mut reservation: Box<Reservation>,
        channel: &LiveChannel,
        answer: &mut Answer,
        job: &JobAnswer,
    ) -> Result<(Box<[u64]>, Timestamp), RequestError> {
        let (billing, client) = (&self.services.billing, &self.services.client);
        let name = &channel.spec().name;
        client.note_status_word(channel, job);
        let config = &self.snapshot.config;
        let source = public_source(billing, job, self.route.source()).await;
        let public_body = |id: &str| with_public_ids(job, &answer.body, id, source.as_deref());
        let first = |id: &str| {
            self.idempotency.value.is_some().then(|| FirstAnswer {
                status: answer.status.as_u16(),
                // Copied: an HTTP/2 body is part of a larger buffer, and this is kept for long.
                body: Bytes::copy_from_slice(&public_body(id)),
            })
        };
        let (evidence, used) = (answer.evidence(channel.spec()), reservation.take_used());
        match billing
            .confirm(reservation, job, evidence.clone(), first, config)
            .await
        {
            Ok(id) => {
                self.record.set_job(&id);
                answer.body = public_body(&id);
                Ok(used)
            }
            Err(NotConfirmed::Taken(reservation)) => {
                let what = "its answer to a create names a job that there is already";
                let error = Some(what.into());
                billing.note_answer(&reservation, ChannelAnswer { error, ..evidence });
                billing.mark_unknown(reservation).await;
                client.failed(name, "job_taken", what);
                Err(Refusal::Channel(ChannelFault::Broken { created: true }).into())
            }
            Err(NotConfirmed::GivenUp) => {
                let what = "its answer to a create came after that was given up";
                client.failed(name, "too_late", what);
                Err(Refusal::Channel(ChannelFault::TooLate).into())
            }
        }
    }
}
