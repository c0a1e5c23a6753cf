//! Public and upstream ids of jobs.
//!
//! A channel's id is another party's opaque token: any text, unique at that channel. Clients see
//! the public id, which is unique in the ledger and stands in any path: the channel's own where
//! that will do, else one that is minted. Answers are passed on byte for byte; where the two
//! differ, the members that name a job are rewritten, and nothing else.

use std::sync::Arc;

use bytes::Bytes;

use super::Gate;
use super::answer::JobAnswer;
use super::known::Known;
use super::route::JobId;
use crate::ledger::{ReservationId, minted};

/// The public id of a job, unless that is taken.
pub(super) fn public_id(upstream_id: &Arc<str>, reservation: ReservationId) -> Arc<str> {
    match JobId::fits(upstream_id) {
        true => upstream_id.clone(),
        false => minted(reservation),
    }
}

/// An answer about a job as clients are told it: by its public id and that of its source.
pub(super) fn told(job: &JobAnswer, body: &Bytes, public_id: &str, source: Option<&str>) -> Bytes {
    let rewritten = job.rewritten(body, Some(public_id), source);
    rewritten.map_or_else(|| body.clone(), Bytes::from)
}

impl Known {
    /// The id that the channel has for the job, where clients know it by another one.
    pub(super) fn upstream_id(&self) -> Option<&str> {
        let job = &self.job;
        (job.upstream_id != job.id).then_some(&*job.upstream_id)
    }
}

impl Gate {
    /// The public id of the job that a remix is made from, where the channel names that by its
    /// own. Where the ledger is away, it is passed on as it is.
    pub(super) async fn public_source(
        &self,
        job: &JobAnswer,
        remix_of: Option<&str>,
    ) -> Option<Arc<str>> {
        let (told, public) = (job.source.as_deref()?, remix_of?);
        if told == public {
            return None;
        }
        let source = self.books.job(public).await.ok()??;
        (*source.job.upstream_id == *told).then(|| source.job.id.clone())
    }
}
