//! The end of a create: its last bytes, the channel's answer, and what that means for the
//! charge and for the client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::answer::JobAnswer;
use super::asking::Silent;
use super::books::{NotConfirmed, Reservation};
use super::create::Crossing;
use super::exchange::{Answer, Exchange, NoAnswer};
use super::refusal::{Busy, ChannelFault, Refusal};
use super::reply::Reply;
use super::upload::{Stopped, Upload};
use super::{Gate, ids};
use crate::channel::{Channel, LiveChannel};
use crate::dialect::ApiError;
use crate::ledger::FirstAnswer;
use crate::metrics::seconds;

impl Crossing<'_> {
    /// Lets the last bytes go, and follows the answer. From here on the client is not
    /// watched: what has been paid for is seen to its end whether or not it still waits.
    pub(super) async fn release(
        &self,
        upload: &mut Upload<'_>,
        mut exchange: Exchange,
        reservation: Reservation,
    ) -> Result<Reply, Stopped> {
        let channel = exchange.channel().clone();
        let name = &channel.spec().name;
        let most = self.state.config.bounds.answer_bytes;
        // A reservation that old may have been given up by another gate, which took this one
        // for dead.
        if reservation.age() >= self.state.config.jobs.unknown_grace {
            log::warn!(
                "a request was held up for longer than jobs.unknown_grace, and broken off: see \
                 what held the gate up, or give it longer"
            );
            exchange.abort().await;
            self.gate.books.abandon(reservation, "stalled").await;
            return Err(Refusal::Busy(Busy::Stalled).into());
        }
        let completed = exchange.complete(upload.withheld.take()).await;
        let departed = completed.as_ref().map_or_else(|_| Instant::now(), |at| *at);
        let before_answer = departed - upload.arrived();
        let answer = match completed {
            Ok(_) => match exchange.head(channel.spec().answer_timeout).await {
                Ok(waited) => {
                    let rest = exchange.rest(&self.gate.pool, most).await;
                    rest.map(|answer| (answer, Some(waited)))
                }
                Err(no_answer) => {
                    exchange.was_stale(&self.gate.pool, no_answer);
                    exchange.abort().await;
                    Err(no_answer)
                }
            },
            Err(error) => {
                log::debug!("channel {name}: end of upload: {}", error.etype().as_str());
                let answer = exchange.last_words(most).await;
                // It came before the request was complete: nothing to measure.
                answer
                    .map(|answer| (answer, None))
                    .ok_or(NoAnswer::Broken { begun: false })
            }
        };
        let answered = Instant::now();
        let reply = match answer {
            Ok((answer, waited)) => {
                self.gate.note_coding(&channel, &answer);
                self.gate.channel_answered(name, answer.status);
                if let Some(waited) = waited {
                    self.gate.metrics.answered(name, self.route.label(), waited);
                }
                self.resolve(reservation, &channel, answer).await
            }
            Err(no_answer) => {
                self.gate.books.unknown(reservation).await;
                let created = true;
                let fault = match self.gate.silent(&channel, no_answer) {
                    Silent::Timeout => ChannelFault::Timeout { created },
                    Silent::Broken | Silent::Unreachable => ChannelFault::Broken { created },
                };
                Err(Refusal::Channel(fault).into())
            }
        };
        let overhead = before_answer + answered.elapsed();
        self.gate.metrics.overhead.observe(seconds(overhead));
        reply
    }

    /// What the answer means for the charge.
    async fn resolve(
        &self,
        reservation: Reservation,
        channel: &Arc<LiveChannel>,
        mut answer: Answer,
    ) -> Result<Reply, Stopped> {
        let (books, name) = (&self.gate.books, &channel.spec().name);
        let status = answer.status;
        if status.is_success() {
            let dialect = &channel.spec().dialect;
            let job = JobAnswer::read(&answer.body, dialect).filter(|_| !answer.cut);
            let Some(job) = job.filter(|job| job.id.is_some()) else {
                books.unknown(reservation).await;
                let what = "its answer to a create names no job";
                self.gate.channel_failed(name, "no_job", what);
                return Err(Refusal::Channel(ChannelFault::Broken { created: true }).into());
            };
            self.gate.note_word(channel, &job);
            let config = &self.state.config;
            let source = self.gate.public_source(&job, self.route.source()).await;
            let told = |id: &str| ids::told(&job, &answer.body, id, source.as_deref());
            let first = |id: &str| {
                self.idempotency_key.is_some().then(|| FirstAnswer {
                    status: status.as_u16(),
                    // Copied: of HTTP/2 it is a part of a larger buffer, and this is kept for long.
                    body: Bytes::copy_from_slice(&told(id)),
                })
            };
            let mut confirmed = books.confirm(reservation, &job, first, config).await;
            // Another gate took this one for dead, or the clock was set: there is a job all the
            // same, which is charged like any other.
            if let Err(NotConfirmed::GivenUp(late)) = &confirmed
                && let Some(anew) = books.reserve_anew(late, self.key).await
            {
                log::warn!(
                    "channel {name} answered with job {:?} after its reservation was given up: it \
                     is charged by a new one",
                    job.id
                );
                confirmed = books.confirm(anew, &job, first, config).await;
            }
            match confirmed {
                Ok(id) => {
                    answer.body = told(&id);
                    return Ok(Reply::of(answer));
                }
                Err(NotConfirmed::Taken(reservation)) => {
                    books.unknown(reservation).await;
                    let what = "its answer to a create names a job that there is already";
                    self.gate.channel_failed(name, "job_taken", what);
                    return Err(Refusal::Channel(ChannelFault::Broken { created: true }).into());
                }
                Err(NotConfirmed::GivenUp(_)) => {
                    log::error!(
                        "channel {name} answered with job {:?} after its reservation was given \
                         up, and it cannot be charged by a new one, since a limit has no room \
                         for it or the ledger is away: nobody can reach it",
                        job.id
                    );
                    let what = "its answer to a create came after that was given up";
                    self.gate.channel_failed(name, "too_late", what);
                    return Err(Refusal::Channel(ChannelFault::TooLate).into());
                }
            }
        }
        let dialect = &channel.spec().dialect;
        if dialect.proves_nothing_created(status.as_u16(), &answer.body) {
            let model = reservation.charge().model.clone();
            books.abandon(reservation, "refused").await;
            return self.pass_on(channel, answer, Some(&model));
        }
        books.unknown(reservation).await;
        let what = format_args!("a create was answered with {status}");
        self.gate.channel_failed(name, "status", what);
        Err(Refusal::Channel(ChannelFault::Broken { created: true }).into())
    }

    /// Hands the refusal of a create to the client. One about the channel's account is worth
    /// another try where another channel serves the model: nothing has been created.
    pub(super) fn pass_on(
        &self,
        channel: &LiveChannel,
        answer: Answer,
        model: Option<&str>,
    ) -> Result<Reply, Stopped> {
        let name = &channel.spec().name;
        let passed = self.gate.pass_on(channel, answer);
        let Err(Stopped::Refused(Refusal::Channel(ChannelFault::Account { .. }))) = passed else {
            return passed;
        };
        let serves = |channel: &Channel| {
            let model = model.is_none_or(|model| channel.models.contains(model));
            model && channel.name != *name
        };
        let mut channels = self.state.channels.all().iter();
        let elsewhere = self.pinned.is_none() && channels.any(|channel| serves(channel.spec()));
        Err(Refusal::Channel(ChannelFault::Account { elsewhere }).into())
    }
}

impl Gate {
    /// Hands a channel's refusal to the client, unless it is about the channel's account.
    pub(super) fn pass_on(&self, channel: &LiveChannel, answer: Answer) -> Result<Reply, Stopped> {
        let (name, status) = (&channel.spec().name, answer.status.as_u16());
        let is_spent = || {
            let error = ApiError::read(&answer.body, &channel.spec().dialect);
            error.is_some_and(|error| error.is_spent_account())
        };
        if matches!(status, 401..=403) || (status == 429 && is_spent()) {
            let what = format_args!("it refuses the gate's account with status {status}");
            self.channel_failed(name, "account", what);
            let elsewhere = false;
            return Err(Refusal::Channel(ChannelFault::Account { elsewhere }).into());
        }
        let kind = match status {
            429 => "rate_limited",
            500.. => "status",
            _ => return Ok(Reply::of(answer)),
        };
        let what = format_args!("a request was answered with status {status}");
        self.channel_failed(name, kind, what);
        Ok(Reply::of(answer))
    }
}
