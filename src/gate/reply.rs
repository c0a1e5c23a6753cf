//! What goes back to the client.

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use super::exchange::Answer;
use super::refusal::Refusal;
use super::relay::answer_head;
use super::upload::Stopped;
use super::{Context, Gate};

/// An answer.
pub(super) struct Reply {
    pub(super) head: Box<ResponseHeader>,
    pub(super) body: Bytes,
}

impl Reply {
    /// A channel's answer as the client gets it.
    pub(super) fn of(answer: Answer) -> Self {
        Self {
            head: Box::new(answer_head(&answer)),
            body: answer.body,
        }
    }

    /// Writes it. Where that fails, the client is gone: it is not to get another one, which
    /// would say that nothing happened.
    pub(super) async fn give(self, session: &mut Session) -> pingora::Result<()> {
        let written = session.write_response_header(self.head, false).await;
        written.map_err(pingora::Error::into_down)?;
        let written = session.write_response_body(Some(self.body), true).await;
        written.map_err(pingora::Error::into_down)
    }
}

/// What becomes of a claimed request.
pub(super) enum Response {
    /// Pingora forwards it.
    Forward,
    /// It is to be answered with this.
    Reply(Reply),
    /// It has been refused.
    Refused,
}

impl Gate {
    /// What becomes of a claimed request.
    pub(super) async fn respond(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<Response> {
        ctx.claimed = true;
        let state = ctx.state.clone();
        match self.answer(session, &state, ctx).await {
            Ok(None) => Ok(Response::Forward),
            Ok(Some(reply)) | Err(Stopped::Answered(reply)) => Ok(Response::Reply(reply)),
            Err(Stopped::Refused(refusal)) => {
                self.refuse(session, ctx, &refusal).await?;
                Ok(Response::Refused)
            }
            Err(Stopped::Gone(error)) => Err(error.into_down()),
        }
    }

    /// Answers with a refusal, so that it arrives: a client that still sends is read on,
    /// within bounds, since closing the connection under its hands would destroy the
    /// answer before it is read.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        refusal: &Refusal,
    ) -> pingora::Result<()> {
        let answer = refusal.answer();
        self.metrics.refusal(&ctx.key, answer.code);
        let rest = !ctx.body_complete && !session.is_body_done();
        if rest {
            session.set_keepalive(None);
        }
        let (head, body) = answer.into_response()?;
        Reply { head, body }.give(session).await?;
        if rest {
            session.finish_body().await?;
            let bounds = &ctx.state.config.bounds;
            let drained = drain(session, bounds.drain_bytes);
            // Beyond the bounds the connection closes.
            let _ = timeout(bounds.drain_timeout, drained).await;
        }
        Ok(())
    }
}

async fn drain(session: &mut Session, most: u64) {
    let mut drained = 0;
    while let Ok(Some(chunk)) = session.read_request_body().await {
        drained += chunk.len() as u64;
        if drained > most {
            return;
        }
    }
}
