//! Asks a channel for the status of one of its jobs.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::channel::LiveChannel;
use super::client::UpstreamClient;
use super::error::QueryError;
use super::fetch::FetchRequest;
use crate::dialect::{JobAnswer, JobStatus};
use crate::route::{JobId, Route};

/// The status of one job, as its channel reports it.
pub(crate) struct JobReport {
    /// The parts of the channel's answer that the gate uses.
    pub(crate) job: JobAnswer,
    /// The body of the channel's answer.
    pub(crate) body: Bytes,
    /// The wait before the next poll, in milliseconds from the answer; `None` where the answer names none.
    pub(crate) poll_after_ms: Option<u64>,
}

/// Fetches the status of the job `upstream_id` from its channel. `id` is the job's public id, for the log.
/// The job need not be in a ledger. `answer_bytes` is the maximum length of the answer's body that is kept.
///
/// # Errors
/// Where the channel gives no answer, does not know the job, or its answer does not contain the job's status.
/// The error has been counted and logged.
pub(crate) async fn fetch(
    client: &UpstreamClient,
    channel: &Arc<LiveChannel>,
    id: &str,
    upstream_id: &str,
    answer_bytes: usize,
) -> Result<JobReport, QueryError> {
    let route = Route::Retrieve(JobId::new(id).ok_or(QueryError::Unreadable)?);
    let request = FetchRequest {
        job: Some(upstream_id),
        ..FetchRequest::own(&route, None)
    };
    let answer = client.fetch(channel, request, answer_bytes).await?;
    let dialect = &channel.spec().dialect;
    let status = match answer.cut {
        true => JobStatus::Unclear,
        false => dialect.job_status(answer.status.as_u16(), &answer.body, upstream_id),
    };
    match status {
        JobStatus::Job(job) => {
            client.note_status_word(channel, &job);
            let poll_after = answer.headers.get("openai-poll-after-ms");
            let poll_after_ms = poll_after.and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(JobReport {
                job,
                body: answer.body,
                poll_after_ms,
            })
        }
        JobStatus::Absent => {
            let (name, job) = (&channel.spec().name, (id, answer.status));
            let kind = match answer.status.is_success() {
                true => "no_job",
                false => "status",
            };
            let what = format_args!(
                "the channel does not know it ({}): unless it was deleted, it stays charged, and the \
                 channel is asked again until jobs.expire_after",
                answer.status
            );
            client.job_failed(name, job, kind, what);
            Err(QueryError::NotFound)
        }
        JobStatus::Unclear => Err(unreadable(client, channel, &route, answer.status, "no_job")),
    }
}

/// Counts and logs an answer that does not contain the job or list that was asked for, and returns the error
/// for it. `success` is the kind under which an answer with a 2xx status is counted.
pub(super) fn unreadable(
    client: &UpstreamClient,
    channel: &LiveChannel,
    route: &Route,
    status: StatusCode,
    success: &'static str,
) -> QueryError {
    let name = &channel.spec().name;
    let (kind, error) = match status.as_u16() {
        200..=299 => (success, QueryError::Unreadable),
        401..=403 => ("account", QueryError::Refused),
        429 => ("rate_limited", QueryError::Refused),
        _ => ("status", QueryError::Unreadable),
    };
    let label = route.label();
    // The answer about one job says nothing of the others, unless it is about the channel itself.
    let is_of_job = matches!(error, QueryError::Unreadable) && !status.is_server_error();
    match route.job() {
        Some(id) if is_of_job => {
            let what =
                format_args!("{label} was answered with {status}, which tells nothing of it");
            client.job_failed(name, (id, status), kind, what);
        }
        Some(id) => {
            let what = format_args!("{label} of job {id} was answered with {status}");
            client.failed(name, kind, what);
        }
        None => {
            let what = format_args!("{label} was answered with {status}");
            client.failed(name, kind, what);
        }
    }
    error
}
