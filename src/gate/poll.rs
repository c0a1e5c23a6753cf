//! Polls: a client asks how its job stands, and the gate learns from the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use pingora::protocols::http::ServerSession;

use super::answer::JobAnswer;
use super::asking::{Asked, Silent};
use super::books::End;
use super::client::gone;
use super::exchange::Answer;
use super::known::{Echo, Known};
use super::refusal::Refusal;
use super::reply::Reply;
use super::route::Route;
use super::upload::Stopped;
use super::{Context, Gate, State, channel_of, relay};
use crate::channel::LiveChannel;

/// The successful answer to a poll.
pub(super) struct Seen {
    channel: Arc<LiveChannel>,
    known: Arc<Known>,
    body: Bytes,
}

impl Gate {
    /// The answer to a client's poll. What it tells is learned once it is on its way: see
    /// [`Gate::learn`].
    pub(super) async fn poll(
        &self,
        session: &mut ServerSession,
        state: &State,
        route: &Route,
        known: Arc<Known>,
        ctx: &mut Context,
    ) -> Result<Reply, Stopped> {
        let channel = channel_of(state, &known.job)?;
        let client = session.req_header();
        let query = client.uri.query().map(str::to_owned);
        let asked = Asked {
            method: Method::GET,
            route,
            query: query.as_deref(),
            headers: relay::passing_up(&client.headers),
        };
        let most = state.config.bounds.answer_bytes;
        let answer = tokio::select! {
            biased;
            answer = self.ask_for(&channel, asked, most) => answer.map_err(Refusal::from)?,
            // Who is gone does not keep a channel busy.
            error = gone(session) => return Err(Stopped::Gone(error)),
        };
        let answer = self.successful(&channel, answer)?;
        ctx.seen = Some(Seen {
            body: answer.body.clone(),
            channel,
            known,
        });
        Ok(Reply::of(answer))
    }

    /// An answer that is a success. Any other is handed to the client, as far as it is the
    /// client's business.
    pub(super) fn successful(
        &self,
        channel: &LiveChannel,
        answer: Answer,
    ) -> Result<Answer, Stopped> {
        let (name, success) = (&channel.spec().name, answer.status.is_success());
        let account = matches!(answer.status.as_u16(), 401..=403);
        if account || !(success || answer.cut) {
            return Err(Stopped::Answered(self.pass_on(name, answer)?));
        }
        if answer.cut {
            let kind = if success { "no_job" } else { "status" };
            self.channel_failed(name, kind, "an answer is longer than bounds.answer_bytes");
            return Err(Refusal::from(Silent::Broken).into());
        }
        Ok(answer)
    }

    /// What an answer that was passed on tells about its job. One that is no job's changes
    /// nothing.
    pub(super) async fn learn(&self, state: &State, seen: Seen) {
        let Seen {
            channel,
            known,
            body,
        } = seen;
        let echo = Echo::of(&body);
        if known.has_heard(echo) {
            known.polled(self.now());
            return;
        }
        let about = |job: &JobAnswer| {
            let own = job.id.as_deref().is_none_or(|id| id == &*known.job.id);
            own && job.status.is_some()
        };
        let Some(job) = JobAnswer::read(&body).filter(about) else {
            let what = format_args!("what it answers for job {} is no job", known.job.id);
            self.channel_failed(&channel.spec().name, "no_job", what);
            return;
        };
        known.polled(self.now());
        let charge_failed = state.config.jobs.charge_failed_jobs;
        self.books.settle(&known, &job, charge_failed).await;
        // Of an end that the ledger could not note, the next poll tells again.
        let ended = job.status.and_then(|s| End::of(s, charge_failed)).is_some();
        if known.is_resolved() || !ended {
            known.heard(echo);
        }
    }
}
