//! The moment of a create at which the ledger decides.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::books::{Reservation, millis};
use super::charge::random_id;
use super::create::Crossing;
use super::refusal::Refusal;
use super::reply::Reply;
use super::upload::{Stopped, Upload};
use crate::ledger::{Claim, Claimed, Draft, FirstAnswer, PromptDigest, Reserved};
use crate::policy::{Permit, Timestamp};

impl Crossing<'_> {
    /// Reserves what a permit costs on a channel, or says why not.
    pub(super) async fn reserve(
        &self,
        upload: &Upload<'_>,
        permit: &Permit,
        channel: &Arc<str>,
        at: Timestamp,
    ) -> Result<Reservation, Stopped> {
        let jobs = &self.state.config.jobs;
        let after = |span| Timestamp(at.0.saturating_add(millis(span)));
        let claim = match (&self.idempotency_key, upload.inspector.fingerprint()) {
            (Some(idempotency_key), Some(fingerprint)) => Some(Claim {
                idempotency_key: idempotency_key.clone(),
                fingerprint: self.route.fingerprint(fingerprint),
                expires: after(jobs.idempotency_for),
            }),
            _ => None,
        };
        let draft = Draft {
            id: random_id(at),
            charge: self.state.charges.charge(self.key, permit, channel),
            prompt: PromptDigest(upload.inspector.prompt_digest().unwrap_or_default()),
            remix_of: self.route.source().map(Arc::from),
            claim,
            look_at: after(jobs.poll_after),
        };
        let reserved = self.gate.books.reserve(draft, self.key, at).await?;
        reserved.map_err(|no| match no {
            Reserved::Refused(reached) => Refusal::Limit { reached, at }.into(),
            Reserved::Claimed(Claimed::Answered(first)) => replayed(first),
            Reserved::Claimed(Claimed::Other) => Refusal::IdempotencyKeyReused.into(),
            Reserved::Claimed(Claimed::InFlight) | Reserved::Done => {
                Refusal::IdempotencyInFlight.into()
            }
        })
    }
}

/// The answer that the first request under this idempotency key got.
fn replayed(first: FirstAnswer) -> Stopped {
    // One that was passed on before.
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    let mut reply = Reply::json(status, first.body);
    let yes = HeaderValue::from_static("true");
    match reply.head.insert_header("idempotent-replayed", yes) {
        Ok(()) => Stopped::Answered(reply),
        Err(error) => Stopped::Gone(error),
    }
}
