//! Handles `GET` and `HEAD /v1/videos/{id}/content`: downloads of a video.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;

use super::client::gone;
use super::refusal::{ChannelFault, Refusal, RequestError};
use super::response::{Body, Response, relay, streamed_headers};
use super::services::{RequestContext, Services, channel_of};
use crate::billing::JobEntry;
use crate::route::Route;
use crate::runtime::Snapshot;
use crate::upstream::redirect::{RedirectError, follow};
use crate::upstream::{
    Exchange, FetchRequest, LiveChannel, UpstreamClient, UpstreamError, headers,
};

/// Handles a download: streams the video from the channel to the client. The answer to HEAD is the head
/// alone.
pub(super) async fn handle(
    services: &Services,
    session: &mut ServerSession,
    route: &Route,
    entry: &JobEntry,
    ctx: &RequestContext,
) -> Result<Response, RequestError> {
    let snapshot = &ctx.snapshot;
    let (upstream, channel) = (&services.client, channel_of(snapshot, &entry.job)?);
    let client = session.req_header();
    let (version, query) = (client.version, client.uri.query().map(str::to_owned));
    let head_only = client.method == Method::HEAD;
    let request = FetchRequest {
        method: client.method.clone(),
        route,
        job: entry.upstream_id(),
        query: query.as_deref(),
        path: None,
        headers: headers::passing_up(&client.headers, ctx.record.id_header()),
    };
    let sent = client.headers.clone();
    let begun = async {
        let exchange = begin(upstream, &channel, request).await?;
        // Boxed: few channels redirect, and this future would make that of every download larger.
        Box::pin(follow(upstream, &channel, route, &sent, exchange)).await
    };
    let exchange = tokio::select! {
        biased;
        exchange = begun => exchange.map_err(not_followed)?,
        error = gone(session) => return Err(RequestError::Disconnected(error)),
    };
    let streams = |status: StatusCode| status.is_success() && status != StatusCode::NO_CONTENT;
    match exchange.answered() {
        Some(head) if streams(head.status) => {
            let status = head.status;
            let mut headers = streamed_headers(head, version);
            if head_only {
                headers.remove(http::header::TRANSFER_ENCODING);
                // After a GET's head the channel would send the video, and some channels send it after
                // HEAD's as well: the connection is not used again.
                exchange.abort().await;
                return Ok(Response {
                    status,
                    headers,
                    body: Body::Whole(Bytes::new()),
                    is_replay: false,
                });
            }
            if !headers.contains_key(http::header::CONTENT_LENGTH)
                && version == http::Version::HTTP_10
            {
                // The end of the connection marks the end of the body.
                session.set_keepalive(None);
            }
            Ok(Response {
                status,
                headers,
                body: Body::Stream(Box::new(exchange)),
                is_replay: false,
            })
        }
        _ => no_content(services, snapshot, &channel, exchange).await,
    }
}

/// Makes the response to a download for which the channel sent no video, from the channel's answer.
async fn no_content(
    services: &Services,
    snapshot: &Snapshot,
    channel: &Arc<LiveChannel>,
    exchange: Exchange,
) -> Result<Response, RequestError> {
    let upstream = &services.client;
    let was_redirected = !Arc::ptr_eq(exchange.channel(), channel);
    let answer = exchange.rest(snapshot.config.bounds.answer_bytes).await;
    let answer = answer.inspect_err(|error| upstream.unanswered(channel, error))?;
    // The answer of a store that the channel redirected to is not passed on to the client, except for
    // answers to the client's own conditional and range headers.
    if was_redirected && !matches!(answer.status.as_u16(), 304 | 412 | 416) {
        let (name, status) = (&channel.spec().name, answer.status);
        let what = format_args!("where its redirect leads, the answer is {status}");
        upstream.failed(name, "redirect", what);
        return Err(Refusal::Channel(ChannelFault::Content).into());
    }
    Ok(relay(upstream, channel, answer)?)
}

fn not_followed(error: RedirectError) -> Refusal {
    match error {
        RedirectError::Upstream(error) => error.into(),
        RedirectError::NotFollowed(_) => Refusal::Channel(ChannelFault::Redirect),
    }
}

/// Begins a download and reads the head of the channel's answer. If the channel answers HEAD with 400,
/// 404, 405 or 501, asks again with GET: many channels do not support HEAD.
async fn begin(
    upstream: &UpstreamClient,
    channel: &Arc<LiveChannel>,
    request: FetchRequest<'_>,
) -> Result<Exchange, UpstreamError> {
    let again = FetchRequest {
        method: Method::GET,
        headers: request.headers.clone(),
        ..request
    };
    let method = request.method.clone();
    let exchange = upstream.fetch_head(channel, request).await?;
    let status = exchange.answered().map_or(0, |head| head.status.as_u16());
    if method != Method::HEAD || !matches!(status, 400 | 404 | 405 | 501) {
        return Ok(exchange);
    }
    exchange.abort().await;
    upstream.fetch_head(channel, again).await
}
