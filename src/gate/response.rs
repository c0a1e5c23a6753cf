//! Makes responses, and writes them so that even a client that is still sending its body can read them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::client::{Client, gone, in_time};
use super::error_response::{ErrorResponse, RateLimitValues};
use super::refusal::{ChannelFault, Refusal};
use super::services::{RequestContext, Services};
use crate::access_log::REQUEST_ID;
use crate::config::Config;
use crate::dialect::{ApiError, Blame};
use crate::policy::{self, Key, Timestamp};
use crate::upstream::headers::passing_down;
use crate::upstream::redirect::is_redirect;
use crate::upstream::{Answer, Exchange, LiveChannel, UpstreamClient};

/// The `Cache-Control` of every response: no cache may keep a response, which is for one client alone.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");

/// A response to a client.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Whether the response repeats the answer of an earlier request.
    pub(super) is_replay: bool,
}

/// The body of a response.
pub(super) enum Body {
    /// A body that is in memory as a whole.
    Whole(Bytes),
    /// A body that a channel is still sending.
    Stream(Box<Exchange>),
}

impl Response {
    /// Makes the response that passes a channel's answer on.
    pub(super) fn of(answer: Answer) -> Self {
        let Answer {
            status,
            headers,
            body,
            ..
        } = answer;
        Self::whole(status, headers, body)
    }

    /// Makes a response whose body is in memory as a whole.
    fn whole(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Self {
        headers.insert(header::CACHE_CONTROL, PRIVATE);
        // Responses with these statuses have no body, so no length is declared: RFC 9110, section 8.6.
        if !matches!(status.as_u16(), 204 | 304) {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        Self {
            status,
            headers,
            body: Body::Whole(body),
            is_replay: false,
        }
    }

    /// Makes the answer to a CORS preflight request, if `request` is one and the configuration allows
    /// CORS. A browser sends no key with a preflight request.
    pub(super) fn preflight(config: &Config, request: &RequestHeader) -> Option<Self> {
        let cors = config.cors.as_ref()?;
        let has = |name| request.headers.contains_key(name);
        let is_preflight = request.method == Method::OPTIONS
            && has(header::ORIGIN)
            && has(header::ACCESS_CONTROL_REQUEST_METHOD);
        is_preflight.then(|| {
            let response = Self::whole(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new());
            response.with_headers(cors.preflight_headers())
        })
    }

    /// Makes the response to a create that has made a job, with the rate limit headers of `key`: `used`
    /// is how much of each limit was used at `at`.
    pub(super) fn created(answer: Answer, key: &Key, (used, at): &(Box<[u64]>, Timestamp)) -> Self {
        let mut values = RateLimitValues::default();
        for limit in policy::rate_limits(key, used, *at) {
            values.add(&limit);
        }
        let mut headers = values.into_map();
        headers.extend(answer.headers);
        Self::whole(answer.status, headers, answer.body)
    }

    /// Makes a response with a JSON body of the gate's own.
    pub(super) fn json(status: StatusCode, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        Self::whole(status, headers, body)
    }

    /// Adds headers, and keeps existing ones of the same name. Leaves out a header whose value HTTP forbids.
    pub(super) fn with_headers(
        mut self,
        headers: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                self.headers.append(name, value);
            }
        }
        self
    }

    /// Returns the head of the response, as Pingora writes it, and the body.
    pub(super) fn into_parts(self) -> (Box<ResponseHeader>, Body) {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        (parts.status, parts.headers) = (self.status, self.headers);
        (Box::new(parts.into()), self.body)
    }
}

impl From<ErrorResponse> for Response {
    fn from(error: ErrorResponse) -> Self {
        Self::json(error.status, error.body()).with_headers(error.headers)
    }
}

/// Returns the headers of `answered` that are passed to clients, and those that frame a streamed body in
/// the HTTP `version` of the client.
pub(super) fn streamed_headers(answered: &ResponseHeader, version: Version) -> HeaderMap {
    let mut headers = passing_down(&answered.headers);
    headers.insert(header::CACHE_CONTROL, PRIVATE);
    if let Some(length) = content_length(answered) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    } else if version == Version::HTTP_11 {
        let chunked = HeaderValue::from_static("chunked");
        headers.insert(header::TRANSFER_ENCODING, chunked);
    }
    headers
}

/// Reads the length that a channel declares. Pingora has checked that repeated values are the same.
fn content_length(answered: &ResponseHeader) -> Option<u64> {
    if answered.headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let value = answered
        .headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?;
    value.split(',').next()?.trim().parse().ok()
}

/// Makes the response that passes a channel's answer on to the client. Refuses redirects, answers longer than
/// `bounds.answer_bytes`, and answers about the channel's account.
pub(super) fn relay(
    client: &UpstreamClient,
    channel: &LiveChannel,
    answer: Answer,
) -> Result<Response, Refusal> {
    let (name, success) = (&channel.spec().name, answer.status.is_success());
    if is_redirect(answer.status) {
        let what = "a redirect was not followed: only those of a video are";
        client.failed(name, "redirect", what);
        return Err(Refusal::Channel(ChannelFault::Redirect));
    }
    let account = matches!(answer.status.as_u16(), 401..=403);
    if account || !(success || answer.cut) {
        return relay_failure(client, channel, answer);
    }
    if answer.cut {
        let kind = if success { "no_job" } else { "status" };
        client.failed(name, kind, "an answer is longer than bounds.answer_bytes");
        return Err(Refusal::Channel(ChannelFault::Broken { created: false }));
    }
    Ok(Response::of(answer))
}

/// Passes a channel's refusal of a create on to the client, unless the refusal is about the channel's
/// account. A 403 may be about either: it is passed on if it is an API error that blames the request, as
/// the content filter of an API does.
pub(super) fn relay_refused_create(
    client: &UpstreamClient,
    channel: &LiveChannel,
    answer: Answer,
) -> Result<Response, Refusal> {
    let dialect = &channel.spec().dialect;
    let is_about_request = answer.status == StatusCode::FORBIDDEN
        && dialect.blame(403, &answer.body) == Blame::Request
        && ApiError::read(&answer.body, dialect).is_some();
    match is_about_request {
        true => Ok(Response::of(answer)),
        false => relay_failure(client, channel, answer),
    }
}

/// Passes a channel's refusal on to the client, unless the refusal is about the channel's account.
fn relay_failure(
    client: &UpstreamClient,
    channel: &LiveChannel,
    answer: Answer,
) -> Result<Response, Refusal> {
    let (name, status) = (&channel.spec().name, answer.status.as_u16());
    let is_spent = || {
        let error = ApiError::read(&answer.body, &channel.spec().dialect);
        error.is_some_and(|error| error.is_spent_account())
    };
    if matches!(status, 401..=403) || (status == 429 && is_spent()) {
        let what = format_args!("it refuses the gate's account with status {status}");
        client.failed(name, "account", what);
        return Err(Refusal::Channel(ChannelFault::Account));
    }
    let kind = match status {
        429 => "rate_limited",
        500.. => "status",
        _ => return Ok(Response::of(answer)),
    };
    let what = format_args!("a request was answered with status {status}");
    client.failed(name, kind, what);
    Ok(Response::of(answer))
}

/// Returns whether `status`, the answer to an incomplete request, may be caused by a slow client: servers
/// and proxies send 408, 502 or 504 when they stop waiting for a body. Such an answer must eject no channel.
pub(super) fn is_of_upload(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 502 | 504)
}

/// Writes a response. Goes on reading, within bounds, from a client that is still sending its body: closing
/// the connection then would destroy the response before the client has read it.
///
/// # Errors
/// If the response cannot be written, or a channel breaks off a download. The source of the error is
/// downstream if the client is gone.
pub(super) async fn write(
    services: &Services,
    client: &mut impl Client,
    ctx: &RequestContext,
    mut response: Response,
) -> pingora::Result<()> {
    let bounds = &ctx.snapshot.config.bounds;
    let session = client.session();
    let has_no_body = session.req_header().method == Method::HEAD;
    let still_sends = !ctx.body_complete && !session.is_body_done();
    if still_sends {
        session.set_keepalive(None);
    }
    let patience = bounds.read_timeout;
    response.headers.insert(REQUEST_ID, ctx.record.id_header());
    if let Some(cors) = &ctx.snapshot.config.cors {
        let origin = client.session().req_header().headers.get(header::ORIGIN);
        let origin = origin.and_then(|origin| origin.to_str().ok());
        response = response.with_headers(cors.headers(origin));
    }
    let (head, body) = response.into_parts();
    in_time(patience, client.write_head(head)).await?;
    match body {
        Body::Whole(body) => {
            let body = if has_no_body { Bytes::new() } else { body };
            in_time(patience, client.write_body(body, true)).await?;
        }
        // Boxed: otherwise this future would make that of every response larger.
        Body::Stream(exchange) => {
            Box::pin(pass_through(&services.client, exchange, client, patience)).await?;
        }
    }
    if still_sends {
        let drained = drain(client.session(), bounds.drain_bytes);
        // Beyond the bounds the connection closes.
        let _ = timeout(bounds.drain_timeout, drained).await;
    }
    Ok(())
}

/// Streams a body from the channel to the client; the client must accept each piece within `patience`.
///
/// # Errors
/// If either side breaks off. The client's connection must then be broken off as well, so that the client
/// does not take an incomplete body for a whole one.
async fn pass_through(
    upstream: &UpstreamClient,
    mut exchange: Box<Exchange>,
    client: &mut impl Client,
    patience: Duration,
) -> pingora::Result<()> {
    loop {
        let piece = tokio::select! {
            biased;
            piece = exchange.piece() => piece,
            error = gone(client.session()) => {
                exchange.abort().await;
                return Err(error.into_down());
            }
        };
        match piece {
            Ok(Some(piece)) => {
                if let Err(error) = in_time(patience, client.write_body(piece, false)).await {
                    exchange.abort().await;
                    return Err(error);
                }
            }
            Ok(None) => break,
            Err(error) => {
                let channel = exchange.channel().clone();
                upstream.unanswered(&channel, &error);
                exchange.abort().await;
                let broken = pingora::Error::explain(pingora::ConnectionClosed, "a download");
                return Err(broken.into_up());
            }
        }
    }
    exchange.release().await;
    in_time(patience, client.write_body(Bytes::new(), true)).await
}

/// Returns the status of the response that has been written, not counting interim (1xx) responses.
pub(super) fn final_status(session: &ServerSession) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    (!status.is_informational()).then_some(status)
}

async fn drain(session: &mut ServerSession, max_bytes: u64) {
    let mut drained = 0;
    while let Ok(Some(chunk)) = session.read_request_body().await {
        drained += chunk.len() as u64;
        if drained > max_bytes {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::headers::passing_down;

    #[test]
    fn answers_lose_what_is_the_channels_own() {
        let mut answered = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("content-type", "video/mp4"),
            ("cache-control", "public, max-age=600"),
            ("set-cookie", "a=b"),
            ("openai-organization", "org"),
            ("x-ratelimit-limit-requests", "5"),
            ("alt-svc", "h3=\":443\""),
            ("connection", "x-secret"),
            ("content-length", "7"),
        ] {
            answered.append_header(name, value).unwrap();
        }
        let passing = passing_down(&answered.headers);
        let whole = Response::whole(StatusCode::OK, passing, Bytes::from_static(b"nine bits"));
        assert_eq!(whole.headers["cache-control"], "private, no-store");
        assert_eq!(whole.headers["content-length"], "9");
        assert_eq!(whole.headers.len(), 3);
        let streamed = streamed_headers(&answered, Version::HTTP_11);
        assert_eq!(streamed["cache-control"], "private, no-store");
        assert_eq!(streamed["content-length"], "7");
        assert_eq!(streamed.len(), 3);
    }

    #[test]
    fn an_open_end_is_told_as_the_client_can_read_it() {
        let mut answered = ResponseHeader::build(206, None).unwrap();
        answered
            .append_header("transfer-encoding", "chunked")
            .unwrap();
        answered.append_header("content-length", "7").unwrap();
        for (version, chunked) in [
            (Version::HTTP_10, false),
            (Version::HTTP_11, true),
            (Version::HTTP_2, false),
        ] {
            let streamed = streamed_headers(&answered, version);
            assert!(!streamed.contains_key("content-length"));
            let told = streamed.contains_key("transfer-encoding");
            assert_eq!(told, chunked, "{version:?}");
        }
    }
}
