//! The heads that go on, in either direction.
//!
//! Both directions work by **lists of what passes**. A list of what does not would have to
//! know every header by which some proxy or vendor carries credentials, addresses or
//! method overrides.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, InvalidHTTPHeader};

use super::head::Framing;
use super::route::Route;
use crate::channel::LiveChannel;

/// What the gate says of every answer: it is for one client alone.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");

/// Whether a client's header goes on to the channel.
///
/// Absent on purpose: `idempotency-key`, since one account stands behind many clients: the
/// channel would answer one of them with another's job.
fn passes_up(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "accept"
            | "accept-language"
            | "content-type"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "openai-beta"
            | "range"
            | "traceparent"
            | "tracestate"
            | "user-agent"
            | "x-client-request-id"
            | "x-request-id"
    ) || name.starts_with("x-stainless-")
}

/// Whether a client's header goes on to a server that a redirect leads to: what says which part
/// of the video is wanted, and nothing about the client.
fn passes_away(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "range"
    )
}

/// Whether a channel's header goes on to the client.
///
/// Absent on purpose: `openai-organization`, `openai-project` and `x-ratelimit-*` tell
/// about the channel's account, `set-cookie` and `alt-svc` would bind the client to the
/// channel, `cache-control` is the gate's to say, and how the channel framed its answer is
/// its own affair.
fn passes_down(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept-ranges"
            | "content-disposition"
            | "content-encoding"
            | "content-range"
            | "content-type"
            | "date"
            | "etag"
            | "last-modified"
            | "openai-poll-after-ms"
            | "openai-processing-ms"
            | "openai-version"
            | "retry-after"
            | "retry-after-ms"
            | "x-request-id"
            | "x-should-retry"
    )
}

/// The headers of a client's head that go on to a channel.
pub(super) fn passing_up(headers: &HeaderMap) -> HeaderMap {
    passing(headers, passes_up)
}

/// The headers of a client's head that go on to where a redirect leads.
pub(super) fn passing_away(headers: &HeaderMap) -> HeaderMap {
    passing(headers, passes_away)
}

/// The headers of a channel's answer that go on to the client.
pub(super) fn passing_down(headers: &HeaderMap) -> HeaderMap {
    passing(headers, passes_down)
}

fn passing(headers: &HeaderMap, passes: fn(&HeaderName) -> bool) -> HeaderMap {
    // With room for what the gate itself puts in.
    let mut passing = HeaderMap::with_capacity(headers.len() + 5);
    for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
        passing.append(name, value.clone());
    }
    passing
}

/// The gate reads answers as they are, and none at all means any coding (RFC 9110, section
/// 12.5.3).
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// The head of a request of the gate's own making: the route at the channel, its host and
/// credential, and what of the client's headers passes.
pub(super) fn request(
    method: Method,
    (route, job): (&Route, Option<&str>),
    query: Option<&str>,
    passing: HeaderMap,
    channel: &LiveChannel,
) -> pingora::Result<RequestHeader> {
    let path = route.path(&channel.spec().url.base_path, job, query);
    request_at(method, &path, passing, channel)
}

/// The same, for a path and query as they are.
pub(super) fn request_at(
    method: Method,
    path: &str,
    mut passing: HeaderMap,
    channel: &LiveChannel,
) -> pingora::Result<RequestHeader> {
    for (name, value) in channel.identity()? {
        passing.insert(name, value.clone());
    }
    passing.insert(header::ACCEPT_ENCODING, IDENTITY);
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = method;
    parts.uri = http::Uri::try_from(path).map_err(|_| unfit("path"))?;
    parts.headers = passing;
    Ok(parts.into())
}

fn unfit(what: &'static str) -> Box<Error> {
    Error::explain(InvalidHTTPHeader, what)
}

/// Turns the framing of a body into headers of the head that goes on.
pub(super) fn set_framing(
    head: &mut RequestHeader,
    framing: Framing,
    http2: bool,
) -> pingora::Result<()> {
    match framing {
        Framing::Length(length) => head.insert_header(header::CONTENT_LENGTH, length),
        Framing::Open if http2 => Ok(()),
        Framing::Open => head.insert_header(header::TRANSFER_ENCODING, "chunked"),
    }
}

/// Turns a head into the form that HTTP/2 wants: an absolute URI in place of Host.
pub(super) fn into_http2(head: &mut RequestHeader, tls: bool) -> pingora::Result<()> {
    let host = head.remove_header(&header::HOST);
    let scheme = if tls { "https" } else { "http" };
    let uri = http::Uri::builder()
        .scheme(scheme)
        .authority(host.as_ref().map_or(&b""[..], HeaderValue::as_bytes))
        .path_and_query(head.raw_path())
        .build();
    head.set_uri(uri.map_err(|_| unfit("channel's address"))?);
    head.set_version(http::Version::HTTP_2);
    Ok(())
}

/// The head of an answer that was read to its end, as the client gets it.
pub(super) fn answer_head(status: StatusCode, passing: HeaderMap, length: usize) -> ResponseHeader {
    let mut head = head_down(status, passing);
    // Those have no body, whose length would be told: RFC 9110, section 8.6.
    if !matches!(status.as_u16(), 204 | 304) {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    head.into()
}

/// The head of an answer whose body goes on as it comes, for a client of that version.
pub(super) fn streamed_head(answered: &ResponseHeader, version: Version) -> ResponseHeader {
    let mut head = head_down(answered.status, passing_down(&answered.headers));
    if let Some(length) = told_length(answered) {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    } else if version == Version::HTTP_11 {
        let chunked = HeaderValue::from_static("chunked");
        head.headers.insert(header::TRANSFER_ENCODING, chunked);
    }
    head.into()
}

/// The length that a channel tells. Pingora has seen to it that where it stands several times
/// it is the same.
fn told_length(answered: &ResponseHeader) -> Option<u64> {
    if answered.headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let told = answered
        .headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?;
    told.split(',').next()?.trim().parse().ok()
}

fn head_down(status: StatusCode, passing: HeaderMap) -> http::response::Parts {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = passing;
    parts.headers.insert(header::CACHE_CONTROL, PRIVATE);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let whole = answer_head(StatusCode::OK, passing_down(&answered.headers), 9);
        assert_eq!(whole.headers["cache-control"], "private, no-store");
        assert_eq!(whole.headers["content-length"], "9");
        assert_eq!(whole.headers.len(), 3);
        let streamed = streamed_head(&answered, Version::HTTP_11);
        assert_eq!(streamed.headers["cache-control"], "private, no-store");
        assert_eq!(streamed.headers["content-length"], "7");
        assert_eq!(streamed.headers.len(), 3);
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
            let streamed = streamed_head(&answered, version);
            assert!(!streamed.headers.contains_key("content-length"));
            let told = streamed.headers.contains_key("transfer-encoding");
            assert_eq!(told, chunked, "{version:?}");
        }
    }
}
