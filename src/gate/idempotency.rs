//! Answers repetitions of a request under its `Idempotency-Key`: the first answer stands,
//! whatever the configuration says by now.

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

/// The header of an answer that repeats an earlier one.
const REPLAYED: &str = "idempotent-replayed";

/// Looks up and replays what an earlier request under the same `Idempotency-Key` was answered. Claims
/// nothing itself: the ledger does, with the reservation.
pub(super) struct Idempotency<'a> {
    pub(super) billing: &'a Billing,
    /// The client's key, whose requests the idempotency keys are of.
    pub(super) key: &'a Key,
    pub(super) route: &'a Route,
    /// The idempotency key: the value of the header, if the request has it.
    pub(super) value: Option<Arc<str>>,
    /// How long it stands for the request.
    pub(super) keep: Duration,
}

impl Idempotency<'_> {
    /// Returns whether the request was answered under its idempotency key before. A hint, read
    /// before the body is.
    ///
    /// # Errors
    /// Where the first request under it is still under way.
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

    /// Makes what the idempotency key is to stand for, if there is one: after the body's end.
    pub(super) fn claim(&self, upload: &Upload<'_>, at: Timestamp) -> Option<Claim> {
        let fingerprint = upload.inspector.fingerprint()?;
        Some(Claim {
            idempotency_key: self.value.clone()?,
            fingerprint: self.route.fingerprint(fingerprint),
            expires: Timestamp(at.0.saturating_add(millis(self.keep))),
        })
    }

    /// Reads a body that is not forwarded, and answers as its idempotency key was answered.
    pub(super) async fn replay(&self, upload: &mut Upload<'_>) -> Result<Response, RequestError> {
        match self.first_response(upload).await? {
            Some(first) => Ok(first),
            // It was freed meanwhile: the next attempt will find it so from the start.
            None => Err(Refusal::IdempotencyInFlight.into()),
        }
    }

    /// Answers a request that was refused. If the configuration is why, it may repeat one that
    /// was permitted once, and gets the first one's answer.
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

    /// Reads a body to its end for what it asks, and looks up how its idempotency key was
    /// answered; `None` where it stands for nothing.
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

/// Answers a request whose idempotency key stands for one already.
pub(super) fn answer_claimed(claimed: Claimed) -> Result<Response, RequestError> {
    match claimed {
        Claimed::Answered(first) => replayed(first),
        Claimed::Other => Err(Refusal::IdempotencyKeyReused.into()),
        Claimed::InFlight => Err(Refusal::IdempotencyInFlight.into()),
    }
}

/// Returns the body of a response, if that repeats the answer of an earlier request.
pub(super) fn replayed_body(response: &Response) -> Option<&[u8]> {
    response.headers.get(REPLAYED)?;
    match &response.body {
        Body::Whole(body) => Some(body),
        _ => None,
    }
}

/// Repeats the answer that the first request under this idempotency key got.
fn replayed(first: FirstAnswer) -> Result<Response, RequestError> {
    // One that was passed on before.
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    let mut response = Response::json(status, first.body);
    let yes = HeaderValue::from_static("true");
    response.headers.insert(REPLAYED, yes);
    Ok(response)
}
