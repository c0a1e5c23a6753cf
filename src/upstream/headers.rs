//! Selects the headers that pass between clients and channels, and builds the heads of requests to channels.
//!
//! Both directions use **allow lists**. A deny list would have to name every header in which some proxy or
//! vendor carries credentials, addresses or method overrides.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use pingora::{Error, InvalidHTTPHeader};

use super::channel::LiveChannel;
use crate::access_log::REQUEST_ID;
use crate::route::Route;

/// Returns whether a client's header passes to the channel.
///
/// `idempotency-key` is absent on purpose. Many clients share one account at the channel, so that the
/// channel would answer one client with the job of another.
fn is_request_header_allowed(name: &HeaderName) -> bool {
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
    ) || name.starts_with("x-stainless-")
}

/// Returns whether a client's header passes to a server that a redirect leads to: only headers that say
/// which part of the video is wanted pass, and nothing about the client.
fn is_redirect_header_allowed(name: &HeaderName) -> bool {
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

/// Returns whether a channel's header passes to the client.
///
/// Absent on purpose: `openai-organization`, `openai-project` and `x-ratelimit-*` describe the channel's
/// account. `set-cookie` and `alt-svc` would bind the client to the channel. The gate sets `cache-control`
/// and the framing of its answers itself. `x-request-id` is kept in the ledger; the client gets the gate's
/// own request id instead.
fn is_response_header_allowed(name: &HeaderName) -> bool {
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
            | "x-should-retry"
    )
}

/// Selects the headers of a client's request that pass to a channel, and adds `request_id`, the gate's own
/// id of the request, in place of any id that the client has sent. The client's `Host` and
/// `Accept-Encoding` are in the result, too: [`request_at`] replaces them, which costs less than removing
/// them first.
pub(crate) fn passing_up(headers: &HeaderMap, request_id: HeaderValue) -> HeaderMap {
    let replaced = [header::HOST, header::ACCEPT_ENCODING, REQUEST_ID];
    let mut passing = passing(headers, |name| {
        is_request_header_allowed(name) || replaced.contains(name)
    });
    passing.insert(REQUEST_ID, request_id);
    passing
}

/// Selects the headers of a client's request that pass to the server that a redirect leads to.
pub(crate) fn passing_away(headers: &HeaderMap) -> HeaderMap {
    passing(headers, is_redirect_header_allowed)
}

/// The number of headers for which a response to a client gets memory in advance: a few of the channel's, and
/// those that the gate adds.
const RESPONSE_HEADERS: usize = 6;

/// Selects the headers of a channel's answer that pass to the client.
pub(crate) fn passing_down(headers: &HeaderMap) -> HeaderMap {
    // Few headers pass, and the gate adds its own: a new map costs less than a copy that must grow.
    let mut passing = HeaderMap::with_capacity(RESPONSE_HEADERS);
    for (name, value) in headers {
        if is_response_header_allowed(name) {
            passing.append(name, value.clone());
        }
    }
    passing
}

fn passing(headers: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    // Most headers pass. Copying the map takes half as long as making a new one, name by name.
    let mut passing = headers.clone();
    for name in headers.keys().filter(|name| !passes(name)) {
        passing.remove(name);
    }
    passing
}

/// The value of `Accept-Encoding` in requests to a channel: no compression. The gate reads answers as they
/// are, and a request without `Accept-Encoding` accepts any coding (RFC 9110, section 12.5.3).
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Builds the head of a request to a channel from the path of the route, the channel's host and credential,
/// and `passing`, the client's headers that pass. `job` is the channel's id of the route's job, where it
/// differs from the public id.
pub(crate) fn request(
    method: Method,
    (route, job): (&Route, Option<&str>),
    query: Option<&str>,
    passing: HeaderMap,
    channel: &LiveChannel,
) -> pingora::Result<Box<RequestHeader>> {
    let path = route.path(&channel.spec().url.base_path, job, query);
    request_at(method, path, passing, channel)
}

/// Builds the head of a request to a channel for `path`: the whole path and query, sent as they are.
pub(crate) fn request_at(
    method: Method,
    path: String,
    mut passing: HeaderMap,
    channel: &LiveChannel,
) -> pingora::Result<Box<RequestHeader>> {
    for (name, value) in channel.identity()? {
        passing.insert(name, value.clone());
    }
    passing.insert(header::ACCEPT_ENCODING, IDENTITY);
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = method;
    parts.uri = http::Uri::try_from(path).map_err(|_| unfit("path"))?;
    parts.headers = passing;
    Ok(Box::new(parts.into()))
}

fn unfit(what: &'static str) -> Box<Error> {
    Error::explain(InvalidHTTPHeader, what)
}

/// Turns a head into the form that HTTP/2 needs: with an absolute URI in place of the header `Host`.
pub(crate) fn into_http2(head: &mut RequestHeader, tls: bool) -> pingora::Result<()> {
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
