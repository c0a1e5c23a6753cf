//! Asks channels about jobs that the ledger knows, and settles what they say.

use std::sync::Arc;

use super::job_cache::JobEntry;
use super::public_id::{public_source, with_public_ids};
use super::reserve::Billing;
use crate::runtime::Snapshot;
use crate::upstream::job_status::{self, JobReport};
use crate::upstream::{LiveChannel, QueryError, UpstreamClient};

/// Fetches the status of a job from its channel. The report's body is as clients are told it:
/// it names jobs by their public ids.
///
/// # Errors
/// Where the channel tells nothing of the job. It has been counted and logged.
pub(crate) async fn fetch(
    billing: &Billing,
    client: &UpstreamClient,
    snapshot: &Snapshot,
    channel: &Arc<LiveChannel>,
    entry: &JobEntry,
) -> Result<JobReport, QueryError> {
    let job = &entry.job;
    let max_bytes = snapshot.config.bounds.answer_bytes;
    let report = job_status::fetch(client, channel, &job.id, &job.upstream_id, max_bytes);
    let mut report = report.await?;
    let source = public_source(billing, &report.job, job.remix_of.as_deref()).await;
    report.body = with_public_ids(&report.job, &report.body, &job.id, source.as_deref());
    Ok(report)
}

/// Fetches the status of a job and settles its charge if it has ended. Not to be given up
/// half-way: the metrics would miss what the ledger does.
///
/// # Errors
/// As for [`fetch`].
pub(crate) async fn fetch_and_settle(
    billing: &Billing,
    client: &UpstreamClient,
    snapshot: &Snapshot,
    channel: &Arc<LiveChannel>,
    entry: &JobEntry,
) -> Result<JobReport, QueryError> {
    let report = fetch(billing, client, snapshot, channel, entry).await?;
    let config = &snapshot.config;
    billing.settle(entry, &report.job, config).await;
    Ok(report)
}
