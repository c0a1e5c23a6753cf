//! Chooses the public ids of jobs, and writes them into answers.
//!
//! A job's upstream id is another party's opaque token: any text, unique at that channel. Clients see the
//! public id, which is unique in the ledger and valid in any path: the upstream id if it qualifies, otherwise
//! a generated id. Answers are passed on byte for byte; if the two ids differ, only the members that name a
//! job are rewritten.
//!
//! While the ledger cannot be used, a client may be told an upstream id that another channel's job has as its
//! public id. The client's own job then gets a generated id, and the client reaches it by either of the two,
//! unless its key has two jobs with that upstream id.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::job_cache::JobEntry;
use super::reserve::Billing;
use crate::dialect::JobAnswer;
use crate::ledger::{Job, ReservationId, Unavailable, generated_public_id};
use crate::route::JobId;

/// Returns the preferred public id of a job, which is used unless another job has it already.
pub(super) fn public_id(upstream_id: &Arc<str>, reservation: ReservationId) -> Arc<str> {
    match JobId::fits(upstream_id) {
        true => upstream_id.clone(),
        false => generated_public_id(reservation, upstream_id),
    }
}

/// Finds the job of the key named `key` that has the public id `id`. If there is none, finds its job whose
/// upstream id at one of `channels` is `id`, if there is just one: the client may have been told that id. The
/// ledger gets the same calls for the id of another key's job as for an unknown id.
///
/// # Errors
/// Fails if the cache has no such job and the ledger cannot be used, or does not have it while this gate has
/// a confirmation to write, which may be that of the job.
pub(crate) async fn own_job(
    billing: &Billing,
    key: &str,
    id: &str,
    channels: impl Iterator<Item = &str>,
) -> Result<Option<Arc<JobEntry>>, Unavailable> {
    let cached = billing.jobs.get(id);
    let cached = cached.filter(|entry| *entry.job.charge.payer.key == *key);
    let is_waiting = |entry: &JobEntry| billing.is_being_confirmed(entry.job.reservation);
    if let Some(entry) = &cached
        && (entry.is_confirmed() || is_waiting(entry))
    {
        return Ok(cached);
    }
    let recorded = recorded_job(billing, key, id, channels).await;
    match (recorded, cached) {
        // A job whose confirmation is not retried: the ledger may have got it from another gate, but need not.
        (Ok(None) | Err(_), Some(entry)) => Ok(Some(entry)),
        (recorded, _) => recorded,
    }
}

/// Finds a job as [`own_job`] does, in the ledger alone.
async fn recorded_job(
    billing: &Billing,
    key: &str,
    id: &str,
    channels: impl Iterator<Item = &str>,
) -> Result<Option<Arc<JobEntry>>, Unavailable> {
    let is_own = |job: &Job| *job.charge.payer.key == *key;
    // Asked before the ledger: the confirmation may be written between the two.
    let is_confirming = billing.retries.has_any_confirmation();
    let ledger = billing.ledger();
    if let Some(job) = ledger.job(id).await?.filter(is_own) {
        return Ok(Some(billing.entry(&job)));
    }
    let asked = channels.map(|channel| ledger.job_of_channel(channel, id));
    let found: Vec<_> = join_all(asked)
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    let found = found.into_iter().flatten();
    let mut found = found.filter(is_own);
    let job = found.next().filter(|_| found.next().is_none());
    if job.is_none() && is_confirming {
        return Err(Unavailable::transient("a confirmation is not written yet"));
    }
    Ok(job.map(|job| billing.entry(&job)))
}

/// Returns `body`, an answer about a job, with the public ids of the job and its source in place of the
/// upstream ids. `job` is what was read from the body, and a `source` of `None` leaves the source's id as
/// it is.
pub(crate) fn with_public_ids(
    job: &JobAnswer,
    body: &Bytes,
    public_id: &str,
    source: Option<&str>,
) -> Bytes {
    let rewritten = job.rewritten(body, Some(public_id), source);
    rewritten.map_or_else(|| body.clone(), Bytes::from)
}

/// Finds the public id of the job that `job` is a remix of, if the channel names that source by another id.
/// `None` if nothing has to be rewritten, or if the ledger cannot be used. `remix_of` is the public id that
/// the ledger has recorded.
pub(crate) async fn public_source(
    billing: &Billing,
    job: &JobAnswer,
    remix_of: Option<&str>,
) -> Option<Arc<str>> {
    let (upstream_source, public) = (job.source.as_deref()?, remix_of?);
    if upstream_source == public {
        return None;
    }
    let source = billing.job(public).await.ok()??;
    (*source.job.upstream_id == *upstream_source).then(|| source.job.id.clone())
}
