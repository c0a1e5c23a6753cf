//! Answers a repeated request under its `Idempotency-Key` with the first answer, even if the configuration
//! would refuse the request by now.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::refusal::{Busy, Refusal, RequestError};
use super::response::{Body, Response};
use super::upload::Upload;
use crate::billing::Billing;
use crate::clock::millis;
use crate::inspect;
use crate::ledger::{Claim, ClaimState, Claimed, FirstAnswer};
use crate::policy::{Key, Timestamp};
use crate::route::Route;

/// The name of the response header that marks a repeated answer.
const REPLAYED: &str = "idempotent-replayed";

/// The lookup of the answer to an earlier request under the same `Idempotency-Key`. The lookup does not bind
/// the idempotency key to its own request: the ledger does that when it reserves the cost.
pub(super) struct Idempotency<'a> {
    pub(super) billing: &'a Billing,
    /// The client key. Different client keys may use the same idempotency key.
    pub(super) key: &'a Key,
    pub(super) route: &'a Route,
    /// The idempotency key: the value of the header, if the request has it.
    pub(super) value: Option<Arc<str>>,
    /// The time for which the idempotency key stays bound to the request.
    pub(super) keep: Duration,
}

impl Idempotency<'_> {
    /// Returns whether an earlier request under this idempotency key has been answered; `false` without an
    /// idempotency key. The result is a hint, since the bodies have not been compared yet.
    ///
    /// # Errors
    /// If the first request under the idempotency key is still under way, or the ledger cannot be used.
    pub(super) async fn was_answered(&self) -> Result<bool, RequestError> {
        let Some(value) = &self.value else {
            return Ok(false);
        };
        let (ledger, at) = (self.billing.ledger(), self.billing.now());
        match ledger.claim(&self.key.name, value, at).await? {
            Some(ClaimState::InFlight) => Err(Refusal::IdempotencyInFlight.into()),
            Some(ClaimState::Answered) => Ok(true),
            None => Ok(false),
        }
    }

    /// Makes the claim that binds the idempotency key to this request's body, if the request has an
    /// idempotency key. Call this after the end of the body.
    pub(super) fn claim(&self, upload: &Upload<'_>, at: Timestamp) -> Option<Claim> {
        let fingerprint = upload.inspector.fingerprint()?;
        Some(Claim {
            idempotency_key: self.value.clone()?,
            fingerprint: self.route.fingerprint(fingerprint),
            expires: Timestamp(at.0.saturating_add(millis(self.keep))),
        })
    }

    /// Reads a body without forwarding it, and returns the answer that its idempotency key got before.
    /// Refuses the request if there is none.
    pub(super) async fn replay(&self, upload: &mut Upload<'_>) -> Result<Response, RequestError> {
        match self.first_response(upload).await? {
            Some(first) => Ok(first),
            // The key was freed meanwhile: the next attempt will find it free from the start.
            None => Err(Refusal::IdempotencyInFlight.into()),
        }
    }

    /// Answers a request that was refused. If the reason for the refusal is the configuration, the request
    /// may repeat one that was permitted earlier. It then gets the answer to that first request. Otherwise
    /// it stays refused.
    pub(super) async fn replay_or_refuse(
        &self,
        upload: &mut Upload<'_>,
        refusal: Refusal,
    ) -> Result<Response, RequestError> {
        let by_configuration = matches!(
            refusal,
            Refusal::Body(inspect::Refusal::Policy(_))
                | Refusal::Busy(Busy::NoChannel | Busy::ChannelsClosed)
        );
        let Some(value) = self.value.as_ref().filter(|_| by_configuration) else {
            return Err(refusal.into());
        };
        let (ledger, at) = (self.billing.ledger(), self.billing.now());
        if ledger.claim(&self.key.name, value, at).await?.is_none() {
            return Err(refusal.into());
        }
        match self.first_response(upload).await? {
            Some(first) => Ok(first),
            None => Err(refusal.into()),
        }
    }

    /// Reads a body to its end for its fingerprint, and returns the answer that its idempotency key got
    /// before; `None` if the idempotency key is bound to no request.
    async fn first_response(
        &self,
        upload: &mut Upload<'_>,
    ) -> Result<Option<Response>, RequestError> {
        upload.read_through().await?;
        match upload.inspector.finish() {
            Ok(_) | Err(inspect::Refusal::Policy(_)) => {}
            Err(refusal) => return Err(Refusal::from(refusal).into()),
        }
        let at = self.billing.now();
        let Some(claim) = self.claim(upload, at) else {
            return Ok(None);
        };
        let claimed = self.billing.ledger().claimed(&self.key.name, &claim, at);
        claimed.await?.map(answer_claimed).transpose()
    }
}

/// Answers a request whose idempotency key is already bound. If the key is bound to the same request, the
/// response is the first answer to that request. Refuses the request if the key is bound to another request,
/// or if there is no answer yet.
pub(super) fn answer_claimed(claimed: Claimed) -> Result<Response, RequestError> {
    match claimed {
        Claimed::Answered(first) => replayed(first),
        Claimed::Other => Err(Refusal::IdempotencyKeyReused.into()),
        Claimed::InFlight => Err(Refusal::IdempotencyInFlight.into()),
    }
}

/// Returns the body of `response` if the response repeats the answer to an earlier request.
pub(super) fn replayed_body(response: &Response) -> Option<&[u8]> {
    match &response.body {
        Body::Whole(body) if response.is_replay => Some(body),
        _ => None,
    }
}

/// Makes the response that repeats the first answer under an idempotency key.
fn replayed(first: FirstAnswer) -> Result<Response, RequestError> {
    // The status was passed on once before, so it is valid.
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    let mut response = Response::json(status, first.body);
    let yes = HeaderValue::from_static("true");
    response.headers.insert(REPLAYED, yes);
    response.is_replay = true;
    Ok(response)
}
