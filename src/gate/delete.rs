//! Handles the deletion of a video at its channel.
//!
//! A deleted job no longer counts against its key's limit of jobs in flight. Its charge is posted, unless the
//! job's end was seen before and has resolved the charge. So a deletion counts only if the channel has really
//! deleted the job: a 404 may come from a channel that has no such route, and any server may answer 200. And
//! nothing is deleted while the ledger cannot be used, or is not known to have the job: the deletion could not
//! be recorded, and the end of the job could not be found out afterwards.

use std::sync::Arc;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;

use super::refusal::{Busy, ChannelFault, Refusal, RequestError};
use super::response::{Response, relay};
use super::services::{RequestContext, Services, channel_of};
use crate::billing::{JobEntry, fetch_and_settle_status, fetch_status, with_public_ids};
use crate::dialect::{Deletion, Dialect, JobAnswer, Status};
use crate::route::Route;
use crate::runtime::Snapshot;
use crate::upstream::{Answer, FetchRequest, LiveChannel, QueryError, headers};

/// Handles the deletion of a job that the ledger is known to have. The ledger records the deletion before the
/// client is answered, so that a list that is requested afterwards does not show the job. A client that
/// disconnects does not stop the deletion, which cannot be undone.
pub(super) async fn handle(
    services: &Services,
    session: &ServerSession,
    route: &Route,
    entry: &Arc<JobEntry>,
    ctx: &RequestContext,
) -> Result<Response, RequestError> {
    let snapshot = &ctx.snapshot;
    let (upstream, billing) = (&services.client, &services.billing);
    let channel = channel_of(snapshot, &entry.job)?;
    billing.ledger().ready().await?;
    let mut was_absent = false;
    if !entry.is_resolved() {
        // The last chance to see how the job ended.
        let status = fetch_and_settle_status(billing, upstream, snapshot, &channel, entry).await;
        let job = status.as_ref().ok().map(|report| &report.job);
        let has_ended = job.is_some_and(|job| job.status.is_some_and(Status::is_end));
        if has_ended && !entry.is_resolved() {
            return Err(Refusal::Busy(Busy::Ledger).into());
        }
        was_absent = matches!(status, Err(QueryError::NotFound));
    }
    let client = session.req_header();
    let request = FetchRequest {
        method: Method::DELETE,
        route,
        job: entry.upstream_id(),
        query: client.uri.query(),
        path: None,
        headers: headers::passing_up(&client.headers, ctx.record.id_header()),
    };
    let max_bytes = snapshot.config.bounds.answer_bytes;
    let mut answer = upstream.fetch(&channel, request, max_bytes).await?;
    let deletion = judge(services, snapshot, &channel, entry, &answer, was_absent).await?;
    if let Some(job) = JobAnswer::read(&answer.body, &channel.spec().dialect) {
        answer.body = with_public_ids(&job, &answer.body, &entry.job.id, None);
    }
    match deletion {
        Deletion::Done => {
            billing.note_deleted(entry).await;
            Ok(relay(upstream, &channel, answer)?)
        }
        Deletion::Unsupported => {
            let (name, job) = (&channel.spec().name, (&*entry.job.id, answer.status));
            let what = format_args!(
                "it was not deleted: DELETE was answered with {}, and it is there",
                answer.status
            );
            upstream.job_failed(name, job, "status", what);
            Err(Refusal::Channel(ChannelFault::NotDeleted).into())
        }
        // The channel accepted the deletion without proof, or refused it. Its answer is passed on.
        Deletion::Refused | Deletion::Unproven => Ok(relay(upstream, &channel, answer)?),
    }
}

/// Decides whether the channel has deleted the job, by `answer`, its answer to the DELETE. If the answer
/// proves nothing, asks the channel for the job once more. `was_absent` is set if the channel did not have
/// the job even before the DELETE.
async fn judge(
    services: &Services,
    snapshot: &Snapshot,
    channel: &Arc<LiveChannel>,
    entry: &JobEntry,
    answer: &Answer,
    was_absent: bool,
) -> Result<Deletion, Refusal> {
    let dialect: &Dialect = &channel.spec().dialect;
    let status = answer.status.as_u16();
    let deletion = match answer.cut {
        true => Deletion::Unproven,
        false => dialect.deletion(status, &answer.body, &entry.job.upstream_id),
    };
    if deletion != Deletion::Unproven {
        return Ok(deletion);
    }
    if was_absent {
        return Ok(Deletion::Done);
    }
    // The job is not settled by this status: a job that was deleted stays charged.
    let (billing, upstream) = (&services.billing, &services.client);
    match fetch_status(billing, upstream, snapshot, channel, entry).await {
        Err(QueryError::NotFound) => Ok(Deletion::Done),
        Ok(report) if report.job.is_cancelled() => Ok(Deletion::Done),
        Ok(_) if answer.status == StatusCode::ACCEPTED => Ok(Deletion::Unproven),
        Ok(_) => Ok(Deletion::Unsupported),
        Err(QueryError::Unreadable) if entry.is_resolved() && answer.status.is_success() => {
            Ok(Deletion::Done)
        }
        Err(_) => Err(Refusal::Channel(ChannelFault::Broken { created: false })),
    }
}
