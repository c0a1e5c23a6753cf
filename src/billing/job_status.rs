//! Asks channels for the status of jobs that the ledger has, and settles jobs that have ended.

use std::sync::Arc;

use super::job_cache::JobEntry;
use super::public_id::{public_source, with_public_ids};
use super::reserve::Billing;
use crate::dialect::Status;
use crate::runtime::Snapshot;
use crate::upstream::job_status::{self, JobReport};
use crate::upstream::{LiveChannel, QueryError, UpstreamClient};

/// Fetches the status of a job from its channel. The body of the report is as clients see it, with public
/// ids.
///
/// # Errors
/// If the channel returns no status of the job. The error has been counted and logged.
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

/// Fetches the status of a job, and settles its charge if it has ended. If the caller drops this future,
/// a settlement that has begun is still completed.
///
/// # Errors
/// As for [`fetch`].
pub(crate) async fn fetch_and_settle(
    billing: &Billing,
    client: &UpstreamClient,
    snapshot: &Arc<Snapshot>,
    channel: &Arc<LiveChannel>,
    entry: &Arc<JobEntry>,
) -> Result<JobReport, QueryError> {
    let report = fetch(billing, client, snapshot, channel, entry).await?;
    if report.job.status.is_some_and(Status::is_end) {
        let (settles, entry, snapshot) = (billing.clone(), entry.clone(), snapshot.clone());
        let job = report.job.clone();
        let settled = billing.spawn_write(async move {
            settles.settle(&entry, &job, &snapshot.config).await;
        });
        // The spawned task fails only by a panic, which has been logged.
        let _ = settled.await;
    }
    Ok(report)
}
