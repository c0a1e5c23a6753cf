//! Decides the public ids of jobs, and writes them into answers.
//!
//! A channel's id is another party's opaque token: any text, unique at that channel. Clients see
//! the public id, which is unique in the ledger and stands in any path: the channel's own where
//! that will do, else one that is generated. Answers are passed on byte for byte; where the two
//! differ, the members that name a job are rewritten, and nothing else.

use std::sync::Arc;

use bytes::Bytes;

use super::reserve::Billing;
use crate::dialect::JobAnswer;
use crate::ledger::{ReservationId, generated_public_id};
use crate::route::JobId;

/// Chooses the public id of a job, to be used unless it is taken.
pub(super) fn public_id(upstream_id: &Arc<str>, reservation: ReservationId) -> Arc<str> {
    match JobId::fits(upstream_id) {
        true => upstream_id.clone(),
        false => generated_public_id(reservation, upstream_id),
    }
}

/// Rewrites an answer about a job to name it and its source by their public ids.
pub(crate) fn with_public_ids(
    job: &JobAnswer,
    body: &Bytes,
    public_id: &str,
    source: Option<&str>,
) -> Bytes {
    let rewritten = job.rewritten(body, Some(public_id), source);
    rewritten.map_or_else(|| body.clone(), Bytes::from)
}

/// Finds the public id of the job that a remix is made from, where the channel names that job
/// by an id of its own. `None` where nothing is to be rewritten, or the ledger cannot be used.
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
