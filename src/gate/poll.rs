//! Polls: a client asks how its job stands, and the gate learns from the answer.
//!
//! A poll is an exchange of the gate's own, like a create: the description of a job is small,
//! and Pingora's proxy loop would cost more than all that the gate does about it.

use std::sync::Arc;

use http::{HeaderMap, Method};
use pingora::proxy::Session;

use super::answer::JobAnswer;
use super::books::{End, now};
use super::context::{Context, Seen};
use super::exchange::{Answer, Exchange, NoAnswer, Sending, Unreachable};
use super::known::{Echo, Known};
use super::refusal::{Busy, ChannelFault, Refusal};
use super::reply::Reply;
use super::route::Route;
use super::upload::Stopped;
use super::{Gate, State, channel_of, relay};
use crate::channel::LiveChannel;
use crate::metrics::seconds;

/// How many pooled connections may turn out to be dead before a request is given up. The
/// channel may close one at the moment that it is used again.
const STALE: usize = 2;

/// Why a channel gave no answer to a question that changes nothing. It has been counted and
/// logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silent {
    /// It cannot be reached.
    Unreachable,
    /// None within the time.
    Timeout,
    /// It broke off.
    Broken,
}

impl From<Silent> for Refusal {
    fn from(silent: Silent) -> Self {
        let created = false;
        match silent {
            Silent::Unreachable => Self::Busy(Busy::Channels),
            Silent::Timeout => Self::Channel(ChannelFault::Timeout { created }),
            Silent::Broken => Self::Channel(ChannelFault::Broken { created }),
        }
    }
}

impl Gate {
    /// The answer to a client's poll. What it tells is learned once it is on its way: see
    /// [`Gate::learn`].
    pub(super) async fn poll(
        &self,
        session: &mut Session,
        state: &State,
        route: &Route,
        known: Arc<Known>,
        ctx: &mut Context,
    ) -> Result<Reply, Stopped> {
        let channel = channel_of(state, &known.job)?;
        let client = session.req_header();
        let headers = relay::passing_up(&client.headers);
        let query = client.uri.query().map(str::to_owned);
        let most = state.config.bounds.answer_bytes;
        let answer = tokio::select! {
            biased;
            answer = self.get(&channel, route, query.as_deref(), headers, most) => answer,
            // Who is gone does not keep a channel busy.
            gone = session.read_body_or_idle(true) => return Err(Stopped::Gone(match gone {
                Err(error) => error,
                Ok(_) => pingora::Error::new(pingora::ConnectionClosed),
            })),
        };
        let answer = answer.map_err(Refusal::from)?;
        let (name, success) = (&channel.spec().name, answer.status.is_success());
        let account = matches!(answer.status.as_u16(), 401..=403);
        if account || !(success || answer.cut) {
            return self.pass_on(name, answer);
        }
        if answer.cut {
            log::warn!("channel {name}: an answer is longer than bounds.answer_bytes");
            let kind = if success { "no_job" } else { "status" };
            self.metrics.channel_error(name, kind);
            return Err(Refusal::from(Silent::Broken).into());
        }
        ctx.seen = Some(Seen {
            body: answer.body.clone(),
            channel,
            known,
        });
        Ok(Reply::of(answer))
    }

    /// What an answer that was passed on tells about its job. One that is no job's changes
    /// nothing.
    pub(super) async fn learn(&self, state: &State, seen: Seen) {
        let Seen {
            channel,
            known,
            body,
        } = seen;
        let echo = Echo::of(&body);
        if known.has_heard(echo) {
            known.polled(now());
            return;
        }
        let about = |job: &JobAnswer| {
            let own = job.id.as_deref().is_none_or(|id| id == &*known.job.id);
            own && job.status.is_some()
        };
        let Some(job) = JobAnswer::read(&body).filter(about) else {
            self.metrics.channel_error(&channel.spec().name, "no_job");
            return;
        };
        known.polled(now());
        let charge_failed = state.config.jobs.charge_failed_jobs;
        self.books.settle(&known, &job, charge_failed).await;
        // Of an end that the ledger could not note, the next poll tells again.
        let ended = job.status.and_then(|s| End::of(s, charge_failed)).is_some();
        if known.is_resolved() || !ended {
            known.heard(echo);
        }
    }

    /// Asks a channel for something that changes nothing there. Whatever it answers is an
    /// answer.
    pub(super) async fn get(
        &self,
        channel: &Arc<LiveChannel>,
        route: &Route,
        query: Option<&str>,
        headers: HeaderMap,
        most: usize,
    ) -> Result<Answer, Silent> {
        let name = &channel.spec().name;
        let within = channel.spec().answer_timeout;
        let mut stale = 0;
        loop {
            let asked = self.ask_for(channel, route, query, headers.clone()).await;
            let exchange = match asked {
                Ok(exchange) => exchange,
                Err(error) if error.was_pooled && stale < STALE => {
                    stale += 1;
                    continue;
                }
                Err(error) => {
                    self.unreachable(channel, &error);
                    return Err(Silent::Unreachable);
                }
            };
            let was_pooled = exchange.was_pooled();
            let silent = match exchange.answer(&self.pool, most, within).await {
                Ok((answer, waited)) => {
                    let labels = [&**name, route.label()];
                    let histogram = &self.metrics.upstream_response;
                    histogram
                        .with_label_values(&labels)
                        .observe(seconds(waited));
                    return Ok(answer);
                }
                Err(NoAnswer::Broken { begun: false }) if was_pooled && stale < STALE => {
                    stale += 1;
                    continue;
                }
                Err(NoAnswer::Broken { .. }) => Silent::Broken,
                Err(NoAnswer::Timeout) => Silent::Timeout,
            };
            let kind = match silent {
                Silent::Timeout => "timeout",
                Silent::Broken | Silent::Unreachable => "broken",
            };
            self.metrics.channel_error(name, kind);
            return Err(silent);
        }
    }

    async fn ask_for(
        &self,
        channel: &Arc<LiveChannel>,
        route: &Route,
        query: Option<&str>,
        headers: HeaderMap,
    ) -> Result<Exchange, Unreachable> {
        let head = relay::request(Method::GET, route, query, headers, channel);
        let head = head.map_err(|error| Unreachable::by_kind(&error))?;
        Exchange::open(&self.pool, channel, head, Sending::Nothing, now()).await
    }
}
