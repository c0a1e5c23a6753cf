//! The moment of a create at which the ledger decides.

use std::sync::Arc;
use std::time::Duration;

use super::books::{Reservation, millis};
use super::charge::random_id;
use super::create::Crossing;
use super::refusal::Refusal;
use super::repetition::repeats;
use super::upload::{Stopped, Upload};
use crate::ledger::{Claim, Draft, PromptDigest, Reserved};
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
        let draft = Draft {
            id: random_id(at),
            charge: self.state.charges.charge(self.key, permit, channel),
            prompt: PromptDigest(upload.inspector.prompt_digest().unwrap_or_default()),
            remix_of: self.route.source().map(Arc::from),
            claim: self.claim(upload, at),
            look_at: after(at, self.state.config.jobs.poll_after),
        };
        let reserved = self.gate.books.reserve(draft, self.key, at).await?;
        reserved.map_err(|no| match no {
            Reserved::Refused(reached) => Refusal::Limit { reached, at }.into(),
            Reserved::Claimed(claimed) => repeats(claimed),
            Reserved::Done => Refusal::IdempotencyInFlight.into(),
        })
    }

    /// What the idempotency key is to stand for, if there is one: after the body's end.
    pub(super) fn claim(&self, upload: &Upload<'_>, at: Timestamp) -> Option<Claim> {
        let fingerprint = upload.inspector.fingerprint()?;
        Some(Claim {
            idempotency_key: self.idempotency_key.clone()?,
            fingerprint: self.route.fingerprint(fingerprint),
            expires: after(at, self.state.config.jobs.idempotency_for),
        })
    }
}

fn after(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(millis(span)))
}
