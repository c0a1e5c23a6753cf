//! Handles a client's poll: asks the channel for the job's status, and settles a job that has ended.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::client::gone;
use super::refusal::{NotFound, Refusal, RequestError};
use super::response::{Response, relay};
use super::services::{RequestContext, Services, channel_of};
use crate::billing::{AnswerDigest, JobEntry, public_source};
use crate::dialect::{JobAnswer, JobStatus, Status};
use crate::route::Route;
use crate::upstream::{Answer, FetchRequest, LiveChannel, Stale, headers};

/// The maximum time that a client waits for the ledger to record the end of its job.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// Handles a retrieve of the client's own job `entry`.
pub(super) async fn handle(
    services: &Services,
    session: &mut ServerSession,
    route: &Route,
    entry: Arc<JobEntry>,
    ctx: &RequestContext,
) -> Result<Response, RequestError> {
    let channel = channel_of(&ctx.snapshot, &entry.job)?;
    let (upstream, label) = (&services.client, route.label());
    let max_bytes = ctx.snapshot.config.bounds.answer_bytes;
    let mut stale = Stale::default();
    let answer = loop {
        let client = session.req_header();
        let request = FetchRequest {
            method: Method::GET,
            route,
            job: entry.upstream_id(),
            query: client.uri.query(),
            path: None,
            headers: headers::passing_up(&client.headers, ctx.record.id_header()),
        };
        // Built again if a connection was stale: a copy kept for that case would make every poll more
        // expensive.
        let head = upstream.head(&channel, request)?;
        let fetched = async {
            match upstream.attempt(&channel, label, head, &mut stale).await? {
                Some(exchange) => upstream
                    .finish(&channel, exchange, max_bytes)
                    .await
                    .map(Some),
                None => Ok(None),
            }
        };
        let fetched = tokio::select! {
            biased;
            fetched = fetched => fetched?,
            // A client that is gone must not keep a channel busy.
            error = gone(session) => return Err(RequestError::Disconnected(error)),
        };
        if let Some(answer) = fetched {
            break answer;
        }
    };
    read_and_settle(services, &channel, &entry, answer, ctx).await
}

/// Reads the job from the channel's answer, settles the job if it has ended, and makes the client's
/// response.
async fn read_and_settle(
    services: &Services,
    channel: &Arc<LiveChannel>,
    entry: &Arc<JobEntry>,
    answer: Answer,
    ctx: &RequestContext,
) -> Result<Response, RequestError> {
    if answer.cut {
        return no_job(services, channel, entry, answer);
    }
    // Most polls get the same answer as the one before: to read that again would be the
    // largest part of their cost.
    let digest = AnswerDigest::of(&answer.body);
    if answer.status.is_success() && entry.is_last_answer(digest) {
        entry.note_poll(ctx.arrived);
        return Ok(Response::of(answer));
    }
    let dialect = &channel.spec().dialect;
    let upstream_id = &entry.job.upstream_id;
    match dialect.job_status(answer.status.as_u16(), &answer.body, upstream_id) {
        JobStatus::Job(job) => {
            let (response, same) = respond(services, entry, &job, answer).await;
            entry.note_poll(ctx.arrived);
            services.client.note_status_word(channel, &job);
            let ended = job.status.is_some_and(Status::is_end);
            if ended && !entry.is_resolved() {
                settle(services, entry, job, ctx).await;
            }
            // After an end that the ledger could not record, the next poll settles again.
            if same && (entry.is_resolved() || !ended) {
                entry.set_last_answer(digest);
            }
            Ok(response)
        }
        JobStatus::Absent if answer.status != StatusCode::NOT_FOUND => {
            Err(Refusal::NotFound(NotFound::Job).into())
        }
        JobStatus::Absent | JobStatus::Unclear => no_job(services, channel, entry, answer),
    }
}

/// Settles a job that has ended. The client waits at most [`SETTLE_WITHIN`]: if the ledger is unavailable
/// or slow, the end is recorded later.
async fn settle(services: &Services, entry: &Arc<JobEntry>, job: JobAnswer, ctx: &RequestContext) {
    let (billing, entry) = (services.billing.clone(), entry.clone());
    let snapshot = ctx.snapshot.clone();
    let settled = services
        .billing
        .spawn_write(async move { billing.settle(&entry, &job, &snapshot.config).await });
    let _ = timeout(SETTLE_WITHIN, settled).await;
}

/// Makes the response with the job's status and public ids. Also returns whether the response is the
/// channel's answer unchanged. An answer that was rewritten must be read again when the channel repeats it.
async fn respond(
    services: &Services,
    entry: &JobEntry,
    job: &JobAnswer,
    mut answer: Answer,
) -> (Response, bool) {
    let known = &entry.job;
    let source = public_source(&services.billing, job, known.remix_of.as_deref()).await;
    let rewritten = job.rewritten(&answer.body, Some(&known.id), source.as_deref());
    let same = rewritten.is_none() && answer.status.is_success();
    if let Some(rewritten) = rewritten {
        answer.body = rewritten.into();
    }
    // The request succeeded, even if the job failed.
    if !answer.status.is_success() {
        answer.status = StatusCode::OK;
    }
    (Response::of(answer), same)
}

/// Passes on an answer in which no job was found, and counts it as a failure if its status is a success.
fn no_job(
    services: &Services,
    channel: &LiveChannel,
    entry: &JobEntry,
    answer: Answer,
) -> Result<Response, RequestError> {
    let status = answer.status;
    let response = relay(&services.client, channel, answer)?;
    if status.is_success() {
        let (name, job) = (&channel.spec().name, (&*entry.job.id, status));
        let what = "what its channel answers for it is no job";
        services.client.job_failed(name, job, "no_job", what);
    }
    Ok(response)
}
