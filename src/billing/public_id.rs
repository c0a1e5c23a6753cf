//! Chooses the public ids of jobs, and writes them into answers.
//!
//! A job's upstream id is another party's opaque token: any text, unique at that channel. Clients see the
//! public id, which is unique in the ledger and valid in any path: the upstream id if it qualifies, otherwise
//! a generated id. Answers are passed on byte for byte; if the two ids differ, only the members that name a
//! job are rewritten.

use std::sync::Arc;

use bytes::Bytes;

use super::reserve::Billing;
use crate::dialect::JobAnswer;
use crate::ledger::{ReservationId, generated_public_id};
use crate::route::JobId;

/// Returns the preferred public id of a job, which is used unless another job has it already.
pub(super) fn public_id(upstream_id: &Arc<str>, reservation: ReservationId) -> Arc<str> {
    match JobId::fits(upstream_id) {
        true => upstream_id.clone(),
        false => generated_public_id(reservation, upstream_id),
    }
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
