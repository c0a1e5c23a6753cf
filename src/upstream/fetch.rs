//! Sends a request without a body, and sends it again on another connection where a pooled one was
//! stale.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::http::RequestHeader;

use super::answer::Answer;
use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::error::{ConnectError, UpstreamError};
use super::exchange::{Exchange, Sending};
use super::headers;
use crate::policy::Timestamp;
use crate::route::Route;

/// The maximum number of times that a request is sent again because its pooled connection was dead. A channel
/// may close a connection at the moment at which the gate uses it again.
const MAX_STALE: u8 = 2;

/// The number of dead pooled connections that a request has met.
#[derive(Default)]
pub(crate) struct Stale(u8);

impl Stale {
    /// Counts another dead connection. Returns whether the request may be sent again.
    fn may_retry(&mut self) -> bool {
        self.0 += 1;
        self.0 <= MAX_STALE
    }
}

/// A request without a body.
pub(crate) struct FetchRequest<'a> {
    pub(crate) method: Method,
    pub(crate) route: &'a Route,
    /// The channel's id for the route's job, where it differs from the public id.
    pub(crate) job: Option<&'a str>,
    pub(crate) query: Option<&'a str>,
    /// The path and query that replace the route's, for the target of a redirect and for a probe.
    pub(crate) path: Option<&'a str>,
    pub(crate) headers: HeaderMap,
}

impl<'a> FetchRequest<'a> {
    /// Makes a GET request that the gate sends for itself, and not for a client.
    pub(super) fn own(route: &'a Route, query: Option<&'a str>) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        let agent = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::ACCEPT, json);
        Self {
            method: Method::GET,
            route,
            job: None,
            query,
            path: None,
            headers,
        }
    }

    /// Builds the head of the request to the channel.
    pub(super) fn head(self, channel: &LiveChannel) -> Result<Box<RequestHeader>, ConnectError> {
        let head = match self.path {
            Some(path) => headers::request_at(self.method, path.to_owned(), self.headers, channel),
            None => headers::request(
                self.method,
                (self.route, self.job),
                self.query,
                self.headers,
                channel,
            ),
        };
        Ok(head?)
    }
}

impl UpstreamClient {
    /// Sends a request and reads its answer, of which at most `max_bytes` bytes of body are kept.
    ///
    /// # Errors
    /// Where the channel gives no answer, or only a part of one. The error has been counted and logged.
    pub(crate) async fn fetch(
        &self,
        channel: &Arc<LiveChannel>,
        request: FetchRequest<'_>,
        max_bytes: usize,
    ) -> Result<Answer, UpstreamError> {
        let exchange = self.fetch_head(channel, request).await?;
        self.finish(channel, exchange, max_bytes).await
    }

    /// Sends a request and reads the head of its answer; the body is still to be read.
    ///
    /// # Errors
    /// Where the channel gives no answer. The error has been counted and logged.
    pub(crate) async fn fetch_head(
        &self,
        channel: &Arc<LiveChannel>,
        request: FetchRequest<'_>,
    ) -> Result<Exchange, UpstreamError> {
        let route = request.route.label();
        let head = self.head(channel, request)?;
        let mut stale = Stale::default();
        loop {
            let attempt = self.attempt(channel, route, head.clone(), &mut stale);
            if let Some(exchange) = attempt.await? {
                return Ok(exchange);
            }
        }
    }

    /// Builds the head of a request to `channel`.
    ///
    /// # Errors
    /// Where the head cannot be built. The error has been counted and logged.
    pub(crate) fn head(
        &self,
        channel: &LiveChannel,
        request: FetchRequest<'_>,
    ) -> Result<Box<RequestHeader>, UpstreamError> {
        let head = request.head(channel);
        let head = head.inspect_err(|e| self.unreachable(channel, e, self.clock.now()));
        Ok(head?)
    }

    /// Makes one attempt to send a request and to read the head of its answer; `None` if its pooled
    /// connection was stale and another attempt may follow. `route` is the route's label in metrics.
    ///
    /// # Errors
    /// Where the channel gives no answer. The error has been counted and logged.
    pub(crate) async fn attempt(
        &self,
        channel: &Arc<LiveChannel>,
        route: &str,
        head: Box<RequestHeader>,
        stale: &mut Stale,
    ) -> Result<Option<Exchange>, UpstreamError> {
        let began = self.clock.now();
        let mut exchange = match self.send(channel, head, began).await {
            Ok(exchange) => exchange,
            Err(error) if error.was_pooled && stale.may_retry() => return Ok(None),
            Err(error) => {
                self.unreachable(channel, &error, began);
                return Err(error.into());
            }
        };
        match exchange.head(channel.spec().answer_timeout).await {
            Ok(waited) => {
                let name = &channel.spec().name;
                self.metrics.answered(name, route, waited);
                if let Some(head) = exchange.answered() {
                    self.answered(name, head.status);
                    self.note_head(channel, head, || self.clock.now());
                    self.note_status(channel, head.status, began);
                }
                Ok(Some(exchange))
            }
            Err(error) => {
                let was_stale = exchange.was_stale(&error);
                exchange.abort().await;
                if was_stale && stale.may_retry() {
                    return Ok(None);
                }
                match &error {
                    UpstreamError::Connect(error) => self.unreachable(channel, error, began),
                    error => self.unanswered(channel, error),
                }
                Err(error)
            }
        }
    }

    /// Reads the rest of the answer of `exchange`, which is cut where its body exceeds `max_bytes` bytes.
    ///
    /// # Errors
    /// Where the channel breaks off its answer, or does not end it in time. The error has been counted and
    /// logged.
    pub(crate) async fn finish(
        &self,
        channel: &LiveChannel,
        exchange: Exchange,
        max_bytes: usize,
    ) -> Result<Answer, UpstreamError> {
        let answer = exchange.rest(max_bytes).await;
        let answer = answer.inspect_err(|error| self.unanswered(channel, error))?;
        self.note_encoding(channel, &answer);
        Ok(answer)
    }

    /// Connects to a channel and sends a request without a body, once. `now` is the time at which it begins.
    pub(super) async fn send(
        &self,
        channel: &Arc<LiveChannel>,
        head: Box<RequestHeader>,
        now: Timestamp,
    ) -> Result<Exchange, ConnectError> {
        Exchange::open(&self.pool, channel, head, Sending::Nothing, now).await
    }
}
