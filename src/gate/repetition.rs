//! Repetitions of a request under its `Idempotency-Key`: the first answer stands, whatever the
//! configuration says by now.

use http::{HeaderValue, StatusCode};

use super::create::Crossing;
use super::refusal::{Busy, Refusal};
use super::reply::Reply;
use super::upload::{Stopped, Upload};
use crate::inspect;
use crate::ledger::{Claimed, FirstAnswer};

impl Crossing<'_> {
    /// Reads a body that is not forwarded, and answers as its idempotency key was answered.
    pub(super) async fn compare(&self, upload: &mut Upload<'_>) -> Result<Reply, Stopped> {
        let refusal = match self.repeated(upload).await? {
            Some(repeated) => return Err(repeated),
            // It was freed meanwhile: the next attempt will find it so from the start.
            None => Refusal::IdempotencyInFlight,
        };
        Err(refusal.into())
    }

    /// How a request ends that was refused: if the policy is why, or that nobody serves the
    /// model, it may repeat one that was permitted once.
    pub(super) async fn unless_repeated(
        &self,
        upload: &mut Upload<'_>,
        refusal: Refusal,
    ) -> Stopped {
        let by_configuration = matches!(
            refusal,
            Refusal::Body(inspect::Refusal::Policy(_)) | Refusal::Busy(Busy::NoChannel)
        );
        let Some(idempotency_key) = self.idempotency_key.as_ref().filter(|_| by_configuration)
        else {
            return refusal.into();
        };
        let (ledger, at) = (self.gate.ledger(), self.gate.now());
        match ledger.claim(&self.key.name, idempotency_key, at).await {
            Ok(Some(_)) => {}
            Ok(None) => return refusal.into(),
            Err(error) => return error.into(),
        }
        match self.repeated(upload).await {
            Ok(Some(repeated)) => repeated,
            Ok(None) => refusal.into(),
            Err(stopped) => stopped,
        }
    }

    /// Reads a body to its end for what it asks, and looks up what its idempotency key stands
    /// for; `None` where that is nothing.
    async fn repeated(&self, upload: &mut Upload<'_>) -> Result<Option<Stopped>, Stopped> {
        upload.read_through().await?;
        match upload.inspector.finish() {
            Ok(_) | Err(inspect::Refusal::Policy(_)) => {}
            Err(refusal) => return Err(Refusal::from(refusal).into()),
        }
        let Some(claim) = self.claim(upload, self.gate.now()) else {
            return Ok(None);
        };
        let (ledger, at) = (self.gate.ledger(), self.gate.now());
        let claimed = ledger.claimed(&self.key.name, &claim, at).await?;
        Ok(claimed.map(repeats))
    }
}

/// How a request ends whose idempotency key stands for that already.
pub(super) fn repeats(claimed: Claimed) -> Stopped {
    match claimed {
        Claimed::Answered(first) => replayed(first),
        Claimed::Other => Refusal::IdempotencyKeyReused.into(),
        Claimed::InFlight => Refusal::IdempotencyInFlight.into(),
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
