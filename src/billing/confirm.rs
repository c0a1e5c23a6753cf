//! Ties a reservation to the job that its channel has created, and corrects its charge to what
//! is really rendered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::charge::corrected;
use super::job_cache::JobEntry;
use super::public_id::public_id;
use super::reservation::Reservation;
use super::reserve::Billing;
use super::retry::LedgerCall;
use crate::config::Config;
use crate::dialect::JobAnswer;
use crate::ledger::{
    BindingLimits, ChannelAnswer, Charge, Confirmation, Confirmed, FirstAnswer, Job, LimitReached,
    Payer, ReservationId, Scope, Unavailable, generated_public_id,
};
use crate::metrics::Event;

/// For how long a limit may have no room for a job that its client was told of, before it is given
/// up. By time, since a gate that stops tries more often.
const NO_ROOM_FOR: Duration = Duration::from_secs(40);

/// Why a reservation is not tied to the job that a channel has answered.
pub(crate) enum NotConfirmed {
    /// The job's id is another reservation's: whose it is cannot be known.
    Taken(Box<Reservation>),
    /// The reservation was voided before, since nothing showed that there would be an answer,
    /// and no limit has room for another one.
    GivenUp,
}

impl Billing {
    /// Confirms a reservation with the job of its answer, corrects the charge, and resolves it
    /// if the job has ended already. Returns the job's public id, for which `first` makes what
    /// repetitions of the request are answered with. Where the reservation was given up
    /// meanwhile, because another gate took this one for dead or the clock was set, the job is
    /// charged by a new one.
    ///
    /// # Errors
    /// Where it is not confirmed: no client is to be told of the job then.
    pub(crate) async fn confirm(
        &self,
        reservation: Box<Reservation>,
        answer: &JobAnswer,
        channel_answer: ChannelAnswer,
        first: impl Fn(&str) -> Option<FirstAnswer>,
        config: &Config,
    ) -> Result<Arc<str>, NotConfirmed> {
        let Some(upstream_id) = &answer.id else {
            return Err(NotConfirmed::Taken(reservation));
        };
        let charge = corrected(reservation.charge(), answer, &config.catalog);
        let limits = binding_limits(config, reservation.charge(), &charge);
        let confirmation_as = |job: Arc<str>| Confirmation {
            charge: charge.clone(),
            answer: first(&job),
            channel_answer: channel_answer.clone(),
            job,
            upstream_id: upstream_id.clone(),
        };
        let attempt =
            self.confirm_or_reserve_again(reservation, upstream_id, &limits, &confirmation_as);
        let (mut reservation, confirmed, confirmation) = attempt.await;
        let (charge, public) = match confirmed {
            Ok(Confirmed::Done { after, .. }) => (after, confirmation.job),
            Ok(Confirmed::Already { job }) => (charge.clone(), job),
            Ok(Confirmed::Taken | Confirmed::IdTaken) => {
                return Err(NotConfirmed::Taken(reservation));
            }
            Ok(Confirmed::Closed) => {
                log_given_up(&reservation, None, upstream_id);
                reservation.close();
                return Err(NotConfirmed::GivenUp);
            }
            Err(error) => {
                let id = reservation.id();
                log::error!("reservation {id} not confirmed yet: {error}");
                let public = confirmation.job.clone();
                let confirmations = [
                    confirmation,
                    confirmation_as(generated_public_id(id, upstream_id)),
                ];
                self.retry_confirm(&reservation, limits, confirmations);
                (charge.clone(), public)
            }
        };
        reservation.close();
        let id = reservation.id();
        let entry = self.jobs.insert(JobEntry::new(Job {
            id: public.clone(),
            upstream_id: upstream_id.clone(),
            reservation: id,
            charge,
            address: reservation.draft.placement.address.take(),
            created: reservation.created,
            remix_of: reservation.draft.remix_of.take(),
            resolution: None,
            end: None,
            deleted: false,
        }));
        // Where the ledger could not be used, the public id may turn out to be the one of
        // another channel's job, which this answer says nothing about.
        if entry.job.reservation == id {
            self.settle(&entry, answer, config).await;
        }
        Ok(public)
    }

    /// Confirms a reservation, or a new one in its place if it was voided meanwhile. Returns the
    /// reservation that was used, the ledger's answer and the confirmation that was tried last.
    async fn confirm_or_reserve_again(
        &self,
        mut reservation: Box<Reservation>,
        upstream_id: &Arc<str>,
        limits: &BindingLimits,
        confirmation_as: &impl Fn(Arc<str>) -> Confirmation,
    ) -> (
        Box<Reservation>,
        Result<Confirmed, Unavailable>,
        Confirmation,
    ) {
        let attempt = self.confirm_by_answer(&reservation, upstream_id, limits, confirmation_as);
        let (confirmed, confirmation) = attempt.await;
        if confirmed != Ok(Confirmed::Closed) {
            return (reservation, confirmed, confirmation);
        }
        reservation.close();
        let anew = self.reserve_again(&reservation.draft, &reservation.key);
        match anew.await {
            Ok(Some(anew)) => {
                log_given_up(&reservation, Some(&anew), upstream_id);
                let attempt = self.confirm_by_answer(&anew, upstream_id, limits, confirmation_as);
                let (confirmed, confirmation) = attempt.await;
                (anew, confirmed, confirmation)
            }
            Ok(None) => (reservation, confirmed, confirmation),
            Err(error) => (reservation, Err(error), confirmation),
        }
    }

    /// Confirms a reservation under the public id that is wanted, or under one that is generated
    /// where that is taken. Returns under which it was.
    async fn confirm_by_answer(
        &self,
        reservation: &Reservation,
        upstream_id: &Arc<str>,
        limits: &BindingLimits,
        confirmation_as: &impl Fn(Arc<str>) -> Confirmation,
    ) -> (Result<Confirmed, Unavailable>, Confirmation) {
        let (id, before) = (reservation.id(), reservation.charge());
        let mut confirmation = confirmation_as(public_id(upstream_id, id));
        let mut confirmed = self.confirm_once(id, before, &confirmation, limits).await;
        if let Ok(Confirmed::IdTaken) = confirmed {
            confirmation = confirmation_as(generated_public_id(id, upstream_id));
            confirmed = self.confirm_once(id, before, &confirmation, limits).await;
        }
        (confirmed, confirmation)
    }

    /// Confirms a reservation as soon as the ledger can be used, though its client has been
    /// told of the job already: with the public id that the client was told, or with one that
    /// is generated where that is taken. Where it was given up meanwhile, the job is charged by a
    /// new reservation.
    fn retry_confirm(
        &self,
        reservation: &Reservation,
        limits: BindingLimits,
        confirmations: [Confirmation; 2],
    ) {
        let id = reservation.id();
        let (draft, key) = (reservation.draft.clone(), reservation.key.clone());
        let refused = Arc::new(OnceLock::new());
        let again = (self.clone(), draft, key, limits, confirmations, refused);
        self.retries.start(id, LedgerCall::Confirm, move || {
            let (billing, draft, key, limits, confirmations, refused) = again.clone();
            async move {
                let [wanted, other] = &confirmations;
                let before = &draft.charge;
                let attempt = billing.confirm_once(id, before, wanted, &limits);
                let mut confirmed = attempt.await?;
                if confirmed == Confirmed::IdTaken {
                    let (reported, job) = (&wanted.job, &other.job);
                    log::error!("reservation {id}: its job is {job}, and not {reported}");
                    billing.jobs.forget(reported, id);
                    let attempt = billing.confirm_once(id, before, other, &limits);
                    confirmed = attempt.await?;
                }
                match confirmed {
                    Confirmed::Done { .. } | Confirmed::Already { .. } => {
                        // What was cached of a reservation that was given up.
                        billing.jobs.forget_others(&wanted.job, id);
                        return Ok(());
                    }
                    Confirmed::Closed => match billing.reserve_again(&draft, &key).await? {
                        Some(mut anew) => {
                            billing.retry_confirm(&anew, limits, confirmations);
                            anew.close();
                            return Ok(());
                        }
                        // A reservation that is about to be voided may be what takes the room.
                        None if first_refusal(&refused, id, &wanted.job).elapsed()
                            < NO_ROOM_FOR =>
                        {
                            return Err(Unavailable::transient("a limit has no room for a job"));
                        }
                        None => {}
                    },
                    Confirmed::Taken | Confirmed::IdTaken => {}
                }
                // What the client was told of is not its own after all.
                let job = &wanted.job;
                log::error!(
                    "reservation {id}: job {job}, of which its client was told, is not charged and \
                     cannot be reached: {confirmed:?}"
                );
                billing.jobs.forget(job, id);
                billing.ledger.mark_unknown(id, billing.now()).await
            }
        });
    }

    /// Ties a reservation to a listed job that was matched with it, now or as soon as the ledger
    /// can be used. `before` is what it charges so far.
    pub(super) async fn confirm_reconciled(
        &self,
        id: ReservationId,
        before: &Arc<Charge>,
        confirmation: &Confirmation,
        limits: &BindingLimits,
    ) -> Result<Confirmed, Unavailable> {
        let confirmed = self.confirm_once(id, before, confirmation, limits).await;
        if confirmed.is_err() {
            let limits = limits.clone();
            let again = (self.clone(), before.clone(), limits, confirmation.clone());
            self.retries.start(id, LedgerCall::Confirm, move || {
                let (billing, before, limits, confirmation) = again.clone();
                async move {
                    let confirmed = billing.confirm_once(id, &before, &confirmation, &limits);
                    confirmed.await.map(drop)
                }
            });
        }
        confirmed
    }

    /// Makes one attempt to tie a reservation to its job. Shows a correction so that reserved =
    /// posted + voided + open still holds: what the charge was is voided, what it is now is
    /// reserved. Shows one that was left out, too: the channel may bill for it.
    async fn confirm_once(
        &self,
        id: ReservationId,
        before: &Arc<Charge>,
        confirmation: &Confirmation,
        limits: &BindingLimits,
    ) -> Result<Confirmed, Unavailable> {
        let now = self.now();
        let confirmed = self.ledger.confirm(id, confirmation, limits, now).await?;
        let Confirmed::Done {
            after,
            limit_reached,
            ..
        } = &confirmed
        else {
            return Ok(confirmed);
        };
        // What it was is the caller's to know: a ledger that was asked again may have
        // forgotten.
        if before != after {
            self.metrics.charge(Event::Voided, before);
            self.metrics.charge(Event::Reserved, after);
        }
        // Where the ledger's first answer was lost, so was the limit that it named.
        let is_uncorrected = after == before && confirmation.charge != *before;
        if limit_reached.is_some() || is_uncorrected {
            self.metrics.correction_left_out(before);
            log_uncorrected(id, before, confirmation, limit_reached.as_ref());
        }
        Ok(confirmed)
    }
}

/// Returns when a limit first had no room for a job that its client was told of. It is logged then: a
/// gate that stops may not come to give the job up.
fn first_refusal(refused: &OnceLock<Instant>, id: ReservationId, job: &str) -> Instant {
    *refused.get_or_init(|| {
        log::warn!(
            "reservation {id}: job {job}, of which its client was told, is not charged so far: a \
             limit has no room for it"
        );
        Instant::now()
    })
}

/// Logs that a channel has answered with a job after its reservation was given up.
fn log_given_up(given_up: &Reservation, anew: Option<&Reservation>, job: &str) {
    let (id, channel) = (given_up.id(), &given_up.charge().channel);
    match anew {
        Some(anew) => log::warn!(
            "reservation {id} was given up before channel {channel} answered with job {job:?}: it \
             is charged by reservation {}",
            anew.id()
        ),
        None => log::error!(
            "reservation {id} was given up before channel {channel} answered with job {job:?}, and \
             a limit has no room for it any more: it is not charged, and nobody can reach the job"
        ),
    }
}

/// Logs that a charge was not corrected for want of room in a limit.
fn log_uncorrected(
    id: ReservationId,
    before: &Charge,
    confirmation: &Confirmation,
    reached: Option<&LimitReached>,
) {
    let Payer { key, group, .. } = &before.payer;
    let limit = match reached {
        Some(reached) => {
            let whose = match reached.scope {
                Scope::Key(_) => format!("key {key}"),
                Scope::Group(_) => format!("group {group}"),
                Scope::Channel(_) => format!("channel {}", before.channel),
            };
            let limit = &reached.limit;
            format!("the limit {limit} of {} of {whose}", limit.measure.name())
        }
        None => format!("a limit of key {key} or group {group}"),
    };
    log::warn!(
        "reservation {id}: channel {} renders {} s in {} for job {}, for which {limit} has no \
         room: it stays charged for {} s in {}",
        before.channel,
        confirmation.charge.seconds,
        confirmation.charge.size,
        confirmation.job,
        before.seconds,
        before.size,
    );
}

/// Returns the limits that bind a correction, where it is one.
pub(super) fn binding_limits(config: &Config, before: &Charge, after: &Charge) -> BindingLimits {
    match before == after {
        true => BindingLimits::default(),
        false => config.limits_of(&before.payer),
    }
}
