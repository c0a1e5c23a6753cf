//! Follows a channel's redirect to a video on the client's behalf, without sending the channel's credential.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use thiserror::Error;

use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::error::UpstreamError;
use super::exchange::Exchange;
use super::fetch::FetchRequest;
use super::headers;
use crate::channel::{ContentUrl, NotFollowed};
use crate::route::Route;

/// The maximum number of redirects of one request that are followed.
const HOPS: usize = 3;

/// Returns whether a status is a redirect that has a `Location`: 301, 302, 303, 307 or 308.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The reason why the download of a video failed after the channel had redirected it. The error has been
/// counted and logged.
#[derive(Debug, Error)]
pub(crate) enum RedirectError {
    /// The server that the redirect leads to gives no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The redirect was not followed: its `Location` cannot be read, the channel's configuration does not
    /// allow the target, or there were more than `HOPS` redirects.
    #[error("a redirect was not followed: {0}")]
    NotFollowed(NotFollowed),
}

/// Follows redirects until an answer is no redirect. Returns the exchange of this answer, whose head has been
/// read; it is the given `exchange` if its answer is no redirect. `client_headers` are the headers of the
/// client's request.
pub(crate) async fn follow(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
    route: &Route,
    client_headers: &HeaderMap,
    mut exchange: Exchange,
) -> Result<Exchange, RedirectError> {
    for hop in 0..=HOPS {
        let Some(head) = exchange.answered() else {
            break;
        };
        if !is_redirect(head.status) {
            return Ok(exchange);
        }
        if hop == HOPS {
            break;
        }
        let location = head.headers.get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let from = &exchange.channel().spec().url;
        let resolved = location
            .ok_or(NotFollowed::Unreadable)
            .and_then(|location| ContentUrl::resolve(location, from, channel.spec()));
        exchange.discard().await;
        let url = resolved.map_err(|why| not_followed(client, channel, route, why))?;
        let server = channel.content_server(&url);
        let request = FetchRequest {
            // The URL was signed for this method.
            method: Method::GET,
            route,
            job: None,
            query: None,
            path: Some(&url.path),
            headers: headers::passing_away(client_headers),
        };
        exchange = client.fetch_head(&server, request).await?;
    }
    exchange.abort().await;
    Err(not_followed(client, channel, route, NotFollowed::TooMany))
}

/// Counts and logs a redirect that is not followed, and returns the error for it.
fn not_followed(
    client: &UpstreamClient,
    channel: &LiveChannel,
    route: &Route,
    why: NotFollowed,
) -> RedirectError {
    let what = format_args!("a redirect of {} was not followed: {why}", route.label());
    client.failed(&channel.spec().name, "redirect", what);
    RedirectError::NotFollowed(why)
}
