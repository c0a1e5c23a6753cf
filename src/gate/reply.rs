//! What goes back to the client.

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::FailToProxy;
use pingora::{Error, ErrorSource};
use tokio::time::timeout;

use super::client::Client;
use super::exchange::{Answer, Exchange};
use super::refusal::{ChannelFault, Refusal};
use super::relay::answer_head;
use super::upload::Stopped;
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

    /// Writes a reply. Where that fails, the client is gone: it is not to get another one,
    /// which would say that nothing happened.
    pub(super) async fn give(&self, client: &mut impl Client, reply: Reply) -> pingora::Result<()> {
        let written = client.write_head(reply.head).await;
        written.map_err(Error::into_down)?;
        match reply.body {
            Body::Whole(body) => {
                let written = client.write_body(body, true).await;
                written.map_err(Error::into_down)
            }
            // Boxed: it would be moved about for every poll.
            Body::Stream(exchange) => Box::pin(self.pass_through(exchange, client)).await,
        }
    }

    /// Answers with a refusal, so that it arrives: a client that still sends is read on,
    /// within bounds, since closing the connection under its hands would destroy the
    /// answer before it is read.
    pub(super) async fn refuse(
        &self,
        client: &mut impl Client,
        ctx: &mut Context,
        refusal: &Refusal,
    ) -> pingora::Result<()> {
        let answer = refusal.answer();
        self.metrics.refusal(&ctx.key, answer.code);
        let rest = !ctx.body_complete && !client.session().is_body_done();
        if rest {
            client.session().set_keepalive(None);
        }
        let (head, body) = answer.into_response()?;
        let body = Body::Whole(body);
        self.give(client, Reply { head, body }).await?;
        if rest {
            let session = client.session();
            session.finish_body().await?;
            let bounds = &ctx.state.config.bounds;
            let drained = drain(session, bounds.drain_bytes);
            // Beyond the bounds the connection closes.
            let _ = timeout(bounds.drain_timeout, drained).await;
        }
        Ok(())
    }

    /// Mirrors [`ProxyHttp::fail_to_proxy`](pingora::proxy::ProxyHttp::fail_to_proxy): writes a
    /// line, and an error in the API's shape where one can still be written.
    pub async fn fail_to_proxy(
        &self,
        client: &mut impl Client,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let nothing = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        // In place of Pingora's own lines, which repeat the path and what a channel sent.
        let (side, kind) = (error.esource().as_str(), error.etype().as_str());
        log::warn!("{} of {}: {kind} ({side})", ctx.route, ctx.key);
        let gone = *error.esource() == ErrorSource::Downstream;
        if gone || client.session().response_written().is_some() {
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

async fn drain(session: &mut ServerSession, most: u64) {
    let mut drained = 0;
    while let Ok(Some(chunk)) = session.read_request_body().await {
        drained += chunk.len() as u64;
        if drained > most {
            return;
        }
    }
}
