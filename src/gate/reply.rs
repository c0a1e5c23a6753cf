//! What goes back to the client.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::FailToProxy;
use pingora::{Error, ErrorSource, WriteTimedout};
use tokio::time::timeout;

use super::client::Client;
use super::exchange::{Answer, Exchange};
use super::refusal::{ChannelFault, HeadFault, Refusal};
use super::relay::answer_head;
use super::upload::Stopped;
use super::wait::within;
use super::{Context, Gate};

/// An answer.
pub(super) struct Reply {
    pub(super) head: Box<ResponseHeader>,
    pub(super) body: Body,
}

/// What follows its head.
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// What a channel is still sending.
    Stream(Box<Exchange>),
}

impl Reply {
    /// A channel's answer as the client gets it.
    pub(super) fn of(answer: Answer) -> Self {
        let Answer {
            status,
            headers,
            body,
            ..
        } = answer;
        Self {
            head: Box::new(answer_head(status, headers, body.len())),
            body: Body::Whole(body),
        }
    }

    /// An answer of the gate's own.
    pub(super) fn json(status: StatusCode, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        Self {
            head: Box::new(answer_head(status, headers, body.len())),
            body: Body::Whole(body),
        }
    }
}

/// What a claimed request is answered with.
pub(super) enum Response {
    Reply(Reply),
    Refusal(Refusal),
}

impl Gate {
    /// What a claimed request is answered with.
    ///
    /// # Errors
    /// Where the client is gone.
    pub(super) async fn respond(
        &self,
        session: &mut ServerSession,
        ctx: &mut Context,
    ) -> pingora::Result<Response> {
        ctx.claimed = true;
        let state = ctx.state.clone();
        match self.answer(session, &state, ctx).await {
            Ok(reply) | Err(Stopped::Answered(reply)) => Ok(Response::Reply(reply)),
            Err(Stopped::Refused(refusal)) => Ok(Response::Refusal(refusal)),
            Err(Stopped::Gone(error)) => Err(error.into_down()),
        }
    }

    /// Writes a reply, so that it arrives: a client that still sends is read on, within
    /// bounds, since closing the connection under its hands would destroy the answer before
    /// it is read. Where writing fails, the client is gone: it is not to get another reply,
    /// which would say that nothing happened.
    pub(super) async fn give(
        &self,
        client: &mut impl Client,
        ctx: &Context,
        reply: Reply,
    ) -> pingora::Result<()> {
        let bounds = &ctx.state.config.bounds;
        let session = client.session();
        let has_no_body = session.req_header().method == Method::HEAD;
        let still_sends = !ctx.body_complete && !session.is_body_done();
        if still_sends {
            session.set_keepalive(None);
        }
        let patience = bounds.read_timeout;
        in_time(patience, client.write_head(reply.head)).await?;
        match reply.body {
            Body::Whole(body) => {
                let body = if has_no_body { Bytes::new() } else { body };
                in_time(patience, client.write_body(body, true)).await?;
            }
            // Boxed: it would be moved about for every poll.
            Body::Stream(exchange) => {
                Box::pin(self.pass_through(exchange, client, patience)).await?;
            }
        }
        if still_sends {
            let drained = drain(client.session(), bounds.drain_bytes);
            // Beyond the bounds the connection closes.
            let _ = timeout(bounds.drain_timeout, drained).await;
        }
        Ok(())
    }

    /// Answers with a refusal.
    pub(super) async fn refuse(
        &self,
        client: &mut impl Client,
        ctx: &Context,
        refusal: &Refusal,
    ) -> pingora::Result<()> {
        let answer = refusal.answer();
        self.metrics.refusal(ctx.key(), answer.code);
        let (head, body) = answer.into_response()?;
        let body = Body::Whole(body);
        self.give(client, ctx, Reply { head, body }).await
    }

    /// Answers a request whose head cannot be read. Its connection is of no more use.
    ///
    /// # Errors
    /// Where the client is gone.
    pub async fn refuse_unread(&self, session: &mut ServerSession) -> pingora::Result<()> {
        let answer = Refusal::Head(HeadFault::Malformed).answer();
        self.metrics.refusal("", answer.code);
        self.metrics.request("other", "", answer.status);
        let (head, body) = answer.into_response()?;
        session.set_keepalive(None);
        session.write_response_header(head).await?;
        session.write_response_body(body, true).await
    }

    /// Mirrors [`ProxyHttp::fail_to_proxy`](pingora::proxy::ProxyHttp::fail_to_proxy): writes a
    /// line, and an error in the API's shape where one can still be written.
    pub async fn fail_to_proxy(
        &self,
        client: &mut impl Client,
        error: &Error,
        ctx: &Context,
    ) -> FailToProxy {
        let nothing = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        // In place of Pingora's own lines, which repeat the path and what a channel sent.
        let (side, kind) = (error.esource().as_str(), error.etype().as_str());
        let (route, key) = (ctx.route, ctx.key());
        let gone = *error.esource() == ErrorSource::Downstream;
        match *error.esource() {
            // Clients go as they please, and reset streams by the thousand: see the metrics. What
            // a channel did has been said.
            ErrorSource::Downstream | ErrorSource::Upstream => {
                log::debug!("{route} of {key}: {kind} ({side})");
            }
            _ => log::warn!("{route} of {key}: {kind} ({side})"),
        }
        if gone || final_status(client.session()).is_some() {
            return nothing;
        }
        // Of a create that got its answer: what the host makes of that comes after.
        let created = matches!(ctx.route, "create" | "remix");
        let refusal = Refusal::Channel(ChannelFault::Broken { created });
        let status = refusal.answer().status.as_u16();
        match self.refuse(client, ctx, &refusal).await {
            Ok(()) => FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            },
            Err(_) => nothing,
        }
    }
}

/// Waits for a write for at most so long: a client that takes nothing is gone.
pub(super) async fn in_time(
    limit: Duration,
    write: impl Future<Output = pingora::Result<()>> + Send,
) -> pingora::Result<()> {
    let written = within(|| limit, write).await;
    written.unwrap_or_else(|_| Err(Error::new_down(WriteTimedout)))
}

/// The status of the answer that has been written, interim ones aside.
pub(super) fn final_status(session: &ServerSession) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    (!status.is_informational()).then_some(status)
}

async fn drain(session: &mut ServerSession, most: u64) {
    let mut drained = 0;
    while let Ok(Some(chunk)) = session.read_request_body().await {
        drained += chunk.len() as u64;
        if drained > most {
            return;
        }
    }
}
