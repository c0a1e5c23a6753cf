//! Downloads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;

use super::asking::Asked;
use super::client::{Client, gone};
use super::exchange::Exchange;
use super::known::Known;
use super::refusal::{ChannelFault, Refusal};
use super::reply::{Body, Reply, in_time};
use super::route::Route;
use super::upload::Stopped;
use super::{Gate, State, channel_of, relay};
use crate::channel::LiveChannel;

impl Gate {
    /// A download: goes on to the client as it comes. Of HEAD it is the head alone.
    pub(super) async fn download(
        &self,
        session: &mut ServerSession,
        state: &State,
        route: &Route,
        known: &Known,
    ) -> Result<Reply, Stopped> {
        let channel = channel_of(state, &known.job)?;
        let client = session.req_header();
        let (version, query) = (client.version, client.uri.query().map(str::to_owned));
        let head_only = client.method == Method::HEAD;
        let asked = Asked {
            method: client.method.clone(),
            route,
            job: known.upstream_id(),
            query: query.as_deref(),
            path: None,
            headers: relay::passing_up(&client.headers),
        };
        let sent = client.headers.clone();
        let begin = async {
            let exchange = self.begin_download(&channel, asked).await?;
            // Boxed: few channels redirect, and it would make every download larger.
            Box::pin(self.follow(&channel, route, &sent, exchange)).await
        };
        let exchange = tokio::select! {
            biased;
            exchange = begin => exchange?,
            error = gone(session) => return Err(Stopped::Gone(error)),
        };
        let is_away = !Arc::ptr_eq(exchange.channel(), &channel);
        let streams = |status: StatusCode| status.is_success() && status != StatusCode::NO_CONTENT;
        match exchange.answered() {
            Some(head) if streams(head.status) => {
                let mut head = relay::streamed_head(head, version);
                if head_only {
                    head.remove_header(&http::header::TRANSFER_ENCODING);
                    // Behind a GET's head the video follows, which stays at the channel, and
                    // behind HEAD's too with some: the connection is not used again.
                    exchange.abort().await;
                    return Ok(Reply {
                        head: Box::new(head),
                        body: Body::Whole(Bytes::new()),
                    });
                }
                if !head.headers.contains_key(http::header::CONTENT_LENGTH)
                    && version == http::Version::HTTP_10
                {
                    // Its end is told by the connection's.
                    session.set_keepalive(None);
                }
                Ok(Reply {
                    head: Box::new(head),
                    body: Body::Stream(Box::new(exchange)),
                })
            }
            _ => {
                let most = state.config.bounds.answer_bytes;
                let answer = exchange.rest(&self.pool, most).await;
                let answer = answer.map_err(|no| Refusal::from(self.silent(&channel, no)))?;
                // What the channel's store says is none of the client's business, but for what
                // the client has asked it.
                if is_away && !matches!(answer.status.as_u16(), 304 | 412 | 416) {
                    let (name, status) = (&channel.spec().name, answer.status);
                    let what = format_args!("where its redirect leads, the answer is {status}");
                    self.channel_failed(name, "redirect", what);
                    return Err(Refusal::Channel(ChannelFault::Content).into());
                }
                Ok(Reply::of(self.successful(&channel, answer)?))
            }
        }
    }

    /// The exchange of a download with its head read. A channel that answers HEAD with
    /// something that it may not say to GET is asked with GET: many know no HEAD.
    async fn begin_download(
        &self,
        channel: &Arc<LiveChannel>,
        asked: Asked<'_>,
    ) -> Result<Exchange, Refusal> {
        let method = asked.method.clone();
        let (route, job) = (asked.route, asked.job);
        let (query, headers) = (asked.query, asked.headers.clone());
        let exchange = self.ask_for_head(channel, asked).await?;
        let status = exchange.answered().map_or(0, |head| head.status.as_u16());
        if method != Method::HEAD || !matches!(status, 400 | 404 | 405 | 501) {
            return Ok(exchange);
        }
        exchange.abort().await;
        let asked = Asked {
            method: Method::GET,
            route,
            job,
            query,
            path: None,
            headers,
        };
        Ok(self.ask_for_head(channel, asked).await?)
    }

    /// Hands a body on as it comes, to a client that takes each piece of it within so long.
    ///
    /// # Errors
    /// Where either side breaks off. The client's connection must then be broken off as well,
    /// so that what it got is not taken for the whole.
    pub(super) async fn pass_through(
        &self,
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
                Err(no_answer) => {
                    let channel = exchange.channel().clone();
                    self.silent(&channel, no_answer);
                    exchange.abort().await;
                    let broken = pingora::Error::explain(pingora::ConnectionClosed, "a download");
                    return Err(broken.into_up());
                }
            }
        }
        exchange.release(&self.pool).await;
        in_time(patience, client.write_body(Bytes::new(), true)).await
    }
}
