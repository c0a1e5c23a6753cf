//! Follows a channel's redirect for a video, for the client and without the credential.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};

use super::Gate;
use super::asking::Asked;
use super::exchange::Exchange;
use super::refusal::{ChannelFault, Refusal};
use super::relay;
use super::route::Route;
use crate::channel::{ContentUrl, LiveChannel, NotFollowed};

/// How often an answer may lead on.
const HOPS: usize = 3;

/// Whether a status says that the answer is somewhere else.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Gate {
    /// The exchange with whoever has the video, its head read: the one that is given, if that is
    /// no redirect. `client` are the headers of the client's request.
    pub(super) async fn follow(
        &self,
        channel: &Arc<LiveChannel>,
        route: &Route,
        client: &HeaderMap,
        mut exchange: Exchange,
    ) -> Result<Exchange, Refusal> {
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
            exchange.discard(&self.pool).await;
            let url = resolved.map_err(|why| self.not_followed(channel, route, why))?;
            let server = channel.content_server(&url);
            let asked = Asked {
                // Whoever signed the URL has signed it for this method.
                method: Method::GET,
                route,
                job: None,
                query: None,
                path: Some(&url.path),
                headers: relay::passing_away(client),
            };
            exchange = self.ask_for_head(&server, asked).await?;
        }
        exchange.abort().await;
        Err(self.not_followed(channel, route, NotFollowed::TooMany))
    }

    /// Counts a redirect that is not followed, and says why.
    fn not_followed(&self, channel: &LiveChannel, route: &Route, why: NotFollowed) -> Refusal {
        let name = &channel.spec().name;
        let what = format_args!("a redirect of {} was not followed: {why}", route.label());
        self.channel_failed(name, "redirect", what);
        Refusal::Channel(ChannelFault::Redirect)
    }
}
