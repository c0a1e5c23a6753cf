//! Polls: a client asks how its job stands, and the gate learns from the answer.

use std::sync::Arc;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;

use super::answer::{JobAnswer, Status};
use super::asking::{Asked, Silent};
use super::client::gone;
use super::exchange::Answer;
use super::known::{Echo, Known};
use super::redirect::is_redirect;
use super::refusal::{ChannelFault, NotFound, Refusal};
use super::reply::Reply;
use super::route::Route;
use super::upload::Stopped;
use super::{Context, Gate, State, channel_of, relay};
use crate::channel::LiveChannel;
use crate::dialect::JobStatus;

/// What the answer to a poll has told.
pub(super) struct Seen {
    channel: Arc<LiveChannel>,
    known: Arc<Known>,
    told: Told,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one for each answer: a box would cost more than what it saves"
)]
enum Told {
    /// What the last one told that taught all it can.
    Again,
    /// How the job stands, and what the answer is recognised by when it comes again; `None`
    /// where it has to be read again then, since the client is told it in other words.
    Job(JobAnswer, Option<Echo>),
    /// A success, but no job.
    NoJob,
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
            job: known.upstream_id(),
            query: query.as_deref(),
            path: None,
            headers: relay::passing_up(&client.headers),
        };
        let most = state.config.bounds.answer_bytes;
        let answer = tokio::select! {
            biased;
            answer = self.ask_for(&channel, asked, most) => answer.map_err(Refusal::from)?,
            // Who is gone does not keep a channel busy.
            error = gone(session) => return Err(Stopped::Gone(error)),
        };
        let (told, reply) = self.told(&channel, &known, answer).await?;
        ctx.seen = Some(Seen {
            channel,
            known,
            told,
        });
        Ok(reply)
    }

    /// What an answer tells of the job, and how the client is told.
    async fn told(
        &self,
        channel: &LiveChannel,
        known: &Known,
        mut answer: Answer,
    ) -> Result<(Told, Reply), Stopped> {
        if answer.cut {
            return Ok((Told::NoJob, Reply::of(self.successful(channel, answer)?)));
        }
        // Most polls get the same answer as the one before: to read that again would be the
        // largest part of their cost.
        let echo = Echo::of(&answer.body);
        if answer.status.is_success() && known.has_heard(echo) {
            return Ok((Told::Again, Reply::of(answer)));
        }
        let dialect = &channel.spec().dialect;
        match dialect.job_status(answer.status.as_u16(), &answer.body, &known.job.upstream_id) {
            JobStatus::Job(job) => {
                let source = self
                    .public_source(&job, known.job.remix_of.as_deref())
                    .await;
                let rewritten = job.rewritten(&answer.body, Some(&known.job.id), source.as_deref());
                let same = rewritten.is_none() && answer.status.is_success();
                if let Some(rewritten) = rewritten {
                    answer.body = rewritten.into();
                }
                // A job that failed is no failure to tell how it stands.
                if !answer.status.is_success() {
                    answer.status = StatusCode::OK;
                }
                Ok((Told::Job(job, same.then_some(echo)), Reply::of(answer)))
            }
            JobStatus::Absent if answer.status != StatusCode::NOT_FOUND => {
                Err(Refusal::NotFound(NotFound::Job).into())
            }
            JobStatus::Absent | JobStatus::Unclear => {
                Ok((Told::NoJob, Reply::of(self.successful(channel, answer)?)))
            }
        }
    }

    /// An answer that is a success. Any other is handed to the client, as far as it is the
    /// client's business.
    pub(super) fn successful(
        &self,
        channel: &LiveChannel,
        answer: Answer,
    ) -> Result<Answer, Stopped> {
        let (name, success) = (&channel.spec().name, answer.status.is_success());
        if is_redirect(answer.status) {
            let what = "a redirect was not followed: only those of a video are";
            self.channel_failed(name, "redirect", what);
            return Err(Refusal::Channel(ChannelFault::Redirect).into());
        }
        let account = matches!(answer.status.as_u16(), 401..=403);
        if account || !(success || answer.cut) {
            return Err(Stopped::Answered(self.pass_on(channel, answer)?));
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
            told,
        } = seen;
        let (job, echo) = match told {
            Told::Job(job, echo) => (job, echo),
            Told::Again => {
                known.polled(self.now());
                return;
            }
            Told::NoJob => {
                let what = format_args!("what it answers for job {} is no job", known.job.id);
                self.channel_failed(&channel.spec().name, "no_job", what);
                return;
            }
        };
        known.polled(self.now());
        self.note_word(&channel, &job);
        let charge_failed = state.config.jobs.charge_failed_jobs;
        self.books.settle(&known, &job, charge_failed).await;
        // Of an end that the ledger could not note, the next poll tells again.
        let ended = job.status.is_some_and(Status::is_end);
        if let Some(echo) = echo.filter(|_| known.is_resolved() || !ended) {
            known.heard(echo);
        }
    }
}
