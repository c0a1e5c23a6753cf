//! Requests to a channel that create nothing there: asked again where a connection that was
//! kept has died meanwhile.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::exchange::{Answer, Exchange, NoAnswer, Sending, Unreachable};
use super::refusal::{Busy, ChannelFault, Refusal};
use super::route::Route;
use super::{Gate, relay};
use crate::channel::LiveChannel;

/// How many pooled connections may turn out to be dead before a request is given up. The
/// channel may close one at the moment that it is used again.
const STALE: usize = 2;

/// Why a channel gave no answer. It has been counted and logged.
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

/// A request without a body.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) route: &'a Route,
    /// The channel's id for the route's job, where that is not the public one.
    pub(super) job: Option<&'a str>,
    pub(super) query: Option<&'a str>,
    /// The path and query at another server than the channel's own, in place of the route's.
    pub(super) path: Option<&'a str>,
    pub(super) headers: HeaderMap,
}

impl Gate {
    /// The whole answer to a request, or as much of it as may be kept. Whatever a channel
    /// answers is an answer.
    pub(super) async fn ask_for(
        &self,
        channel: &Arc<LiveChannel>,
        asked: Asked<'_>,
        most: usize,
    ) -> Result<Answer, Silent> {
        let exchange = self.ask_for_head(channel, asked).await?;
        let answer = exchange.rest(&self.pool, most).await;
        let answer = answer.map_err(|no_answer| self.silent(channel, no_answer))?;
        self.note_coding(channel, &answer);
        Ok(answer)
    }

    /// Counts an answer that the gate cannot read because it is compressed. It tells nothing
    /// of a job then, be it one that was created: that is found out from the channel's list.
    pub(super) fn note_coding(&self, channel: &LiveChannel, answer: &Answer) {
        if answer.is_encoded() {
            let name = &channel.spec().name;
            let what = "an answer is compressed, though the gate asks for none that is \
                        (Accept-Encoding: identity): it cannot be read; see what compresses it \
                        on the way";
            self.channel_failed(name, "encoded", what);
        }
    }

    /// The head of the answer to a request, with what follows to be read yet.
    pub(super) async fn ask_for_head(
        &self,
        channel: &Arc<LiveChannel>,
        asked: Asked<'_>,
    ) -> Result<Exchange, Silent> {
        let limit = channel.spec().answer_timeout;
        let mut stale = 0;
        loop {
            let mut exchange = match self.send(channel, &asked).await {
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
            match exchange.head(limit).await {
                Ok(waited) => {
                    let (name, route) = (&channel.spec().name, asked.route.label());
                    self.metrics.answered(name, route, waited);
                    if let Some(head) = exchange.answered() {
                        self.channel_answered(name, head.status);
                    }
                    return Ok(exchange);
                }
                Err(no_answer) => {
                    let was_stale = exchange.was_stale(&self.pool, no_answer);
                    exchange.abort().await;
                    if !was_stale || stale == STALE {
                        return Err(self.silent(channel, no_answer));
                    }
                    stale += 1;
                }
            }
        }
    }

    pub(super) async fn send(
        &self,
        channel: &Arc<LiveChannel>,
        asked: &Asked<'_>,
    ) -> Result<Exchange, Unreachable> {
        let (method, headers) = (asked.method.clone(), asked.headers.clone());
        let head = match asked.path {
            Some(path) => relay::request_at(method, path, headers, channel),
            None => relay::request(
                method,
                (asked.route, asked.job),
                asked.query,
                headers,
                channel,
            ),
        };
        let head = head.map_err(|error| Unreachable::by_kind(&error))?;
        Exchange::open(&self.pool, channel, head, Sending::Nothing, self.now()).await
    }

    /// Counts that a channel broke off, or gave no answer.
    pub(super) fn silent(&self, channel: &LiveChannel, no_answer: NoAnswer) -> Silent {
        let (kind, silent, what) = match no_answer {
            NoAnswer::Timeout => ("timeout", Silent::Timeout, "no answer in time"),
            NoAnswer::Broken { begun: false } => ("broken", Silent::Broken, "no answer"),
            NoAnswer::Broken { begun: true } => (
                "broken",
                Silent::Broken,
                "its answer cannot be read to its end",
            ),
        };
        let name = &channel.spec().name;
        self.metrics.upstream_request(name, "none");
        self.channel_failed(name, kind, what);
        silent
    }
}
