//! Confirms a reservation with the job that its channel created, and corrects the charge to what is
//! really rendered.

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
    BindingLimits, ChannelAnswer, Charge, Confirmation, Confirmed, Draft, FirstAnswer, Job,
    LimitReached, Payer, ReservationId, Scope, Unavailable, generated_public_id,
};
use crate::metrics::Event;

/// The time for which a confirmation is still retried after a limit has first refused the charge for its job.
/// The client has been told of the job already. The bound is a time and not a number of attempts, since a
/// gate that stops makes attempts more often.
const NO_ROOM_FOR: Duration = Duration::from_secs(40);

/// The reason why a reservation was not confirmed with the job of its channel's answer.
pub(crate) enum NotConfirmed {
    /// The ledger has the job's id under another reservation: the owner of the job cannot be known.
    Taken(Box<Reservation>),
    /// The reservation was voided before its channel answered, since no answer was to be expected any more,
    /// and a new reservation would exceed a limit.
    GivenUp,
}

impl Billing {
    /// Confirms a reservation with the job of the channel's answer, corrects the charge, and resolves it if
    /// the job has ended already. Returns the job's public id; `first` makes, from that id, the answer that
    /// repetitions of the request get. If the reservation was voided meanwhile, because another gate
    /// considered this gate dead or the clock was set, a new reservation is charged for the job.
    ///
    /// # Errors
    /// If the reservation is not confirmed. The client must then not be told of the job.
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
        let confirmation_as = |job: Arc<str>| Confirmation {
            charge: charge.clone(),
            answer: first(&job),
            channel_answer: channel_answer.clone(),
            job,
            upstream_id: upstream_id.clone(),
        };
        let attempt = self.confirm_or_reserve_again(reservation, upstream_id, &confirmation_as);
        let (mut reservation, confirmed, confirmation) = attempt.await;
        let mut unwritten = None;
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
                let other = confirmation_as(generated_public_id(id, upstream_id));
                let told = match self.is_of_another_channel(&confirmation.job, &charge.channel) {
                    true => other.clone(),
                    // The id that a reconciliation would choose if this gate died now.
                    false => confirmation,
                };
                let public = told.job.clone();
                unwritten = Some((reservation.draft.clone(), [told, other]));
                (charge.clone(), public)
            }
        };
        reservation.close();
        let id = reservation.id();
        let job = Job {
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
        };
        let entry = match unwritten {
            None => self.jobs.insert_known(JobEntry::new(job)),
            Some((draft, confirmations)) => {
                let entry = self.jobs.insert(JobEntry::unconfirmed(job));
                // After the entry is there: what becomes of the confirmation is noted in it.
                self.retry_confirm(id, draft, confirmations);
                entry
            }
        };
        // If the ledger could not be used, the cached entry may be that of another job with the same id, about
        // which this answer says nothing.
        if entry.job.reservation == id {
            self.settle(&entry, answer, config).await;
        }
        Ok(public)
    }

    /// Confirms a reservation, or a new reservation in its place if it was voided meanwhile. Returns the
    /// reservation that was used, the ledger's result and the last confirmation that was tried.
    async fn confirm_or_reserve_again(
        &self,
        mut reservation: Box<Reservation>,
        upstream_id: &Arc<str>,
        confirmation_as: &impl Fn(Arc<str>) -> Confirmation,
    ) -> (
        Box<Reservation>,
        Result<Confirmed, Unavailable>,
        Confirmation,
    ) {
        let attempt = self.confirm_by_answer(&reservation, upstream_id, confirmation_as);
        let (confirmed, confirmation) = attempt.await;
        if confirmed != Ok(Confirmed::Closed) {
            return (reservation, confirmed, confirmation);
        }
        reservation.close();
        match self.reserve_again(&reservation.draft).await {
            Ok(Some(anew)) => {
                log_given_up(&reservation, Some(&anew), upstream_id);
                let attempt = self.confirm_by_answer(&anew, upstream_id, confirmation_as);
                let (confirmed, confirmation) = attempt.await;
                (anew, confirmed, confirmation)
            }
            Ok(None) => (reservation, confirmed, confirmation),
            Err(error) => (reservation, Err(error), confirmation),
        }
    }

    /// Confirms a reservation under the preferred public id of its job, or under a generated id if that
    /// is taken. Returns the ledger's result and the confirmation with the id that was used.
    async fn confirm_by_answer(
        &self,
        reservation: &Reservation,
        upstream_id: &Arc<str>,
        confirmation_as: &impl Fn(Arc<str>) -> Confirmation,
    ) -> (Result<Confirmed, Unavailable>, Confirmation) {
        let (id, before) = (reservation.id(), reservation.charge());
        let mut confirmation = confirmation_as(public_id(upstream_id, id));
        let mut confirmed = self.confirm_once(id, before, &confirmation).await;
        if let Ok(Confirmed::IdTaken) = confirmed {
            confirmation = confirmation_as(generated_public_id(id, upstream_id));
            confirmed = self.confirm_once(id, before, &confirmation).await;
        }
        (confirmed, confirmation)
    }

    /// Starts retries that confirm a reservation once the ledger can be used; its client has been told of
    /// the job already. Uses the public id that the client was told, or a generated one if that is taken.
    /// If the reservation was voided meanwhile, a new reservation is charged for the job.
    fn retry_confirm(&self, id: ReservationId, draft: Draft, confirmations: [Confirmation; 2]) {
        let (refused, taken) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
        let again = (self.clone(), draft, confirmations, refused, taken);
        self.retries.start(id, LedgerCall::Confirm, move || {
            let (billing, draft, confirmations, refused, taken) = again.clone();
            async move {
                let [told, other] = &confirmations;
                let before = &draft.charge;
                // Once the told id is known to be taken, each attempt is a repetition of the call with the other
                // one: only a repetition gets the outcome of a call whose answer was lost.
                let used = taken.get().unwrap_or(told);
                let mut confirmed = billing.confirm_once(id, before, used).await?;
                if confirmed == Confirmed::IdTaken && used.job != other.job {
                    let used = taken.get_or_init(|| other.clone());
                    confirmed = billing.confirm_once(id, before, used).await?;
                }
                match confirmed {
                    Confirmed::Done { .. } => {
                        let used = taken.get().unwrap_or(told);
                        billing.note_confirmed(id, &told.job, &used.job);
                        return Ok(());
                    }
                    Confirmed::Already { job } => {
                        billing.note_confirmed(id, &told.job, &job);
                        return Ok(());
                    }
                    Confirmed::Closed => match billing.reserve_again(&draft).await? {
                        Some(mut anew) => {
                            billing.jobs.forget(&told.job, id);
                            billing.retry_confirm(anew.id(), anew.draft.clone(), confirmations);
                            anew.close();
                            return Ok(());
                        }
                        // The limit may be used up by a reservation that is about to be voided.
                        None if first_refusal(&refused, id, &told.job).elapsed() < NO_ROOM_FOR => {
                            return Err(Unavailable::transient("a limit has no room for a job"));
                        }
                        None => {}
                    },
                    Confirmed::Taken | Confirmed::IdTaken => {}
                }
                // The job that the client was told of cannot be charged to this reservation.
                let job = &told.job;
                log::error!(
                    "reservation {id}: job {job}, of which its client was told, is not charged and \
                     cannot be reached: {confirmed:?}"
                );
                billing.jobs.forget(job, id);
                billing.ledger.mark_unknown(id, billing.now()).await
            }
        });
    }

    /// Updates the job cache after the ledger has confirmed the reservation `id`. `job` is the public id of its
    /// job, and `told` the id that the client was told.
    fn note_confirmed(&self, id: ReservationId, told: &str, job: &str) {
        if told == job {
            // Drop the cached entry of a reservation that was voided.
            self.jobs.forget_others(job, id);
            self.jobs.set_confirmed(job, id);
        } else {
            log::error!("reservation {id}: its job is {job}, and not {told}");
            self.jobs.forget(told, id);
        }
    }

    /// Confirms a reservation with the listed job that was matched with it, now or as soon as the ledger
    /// can be used. `before` is the charge of the reservation so far.
    pub(super) async fn confirm_reconciled(
        &self,
        id: ReservationId,
        before: &Arc<Charge>,
        confirmation: &Confirmation,
    ) -> Result<Confirmed, Unavailable> {
        let confirmed = self.confirm_once(id, before, confirmation).await;
        if confirmed.is_err() {
            let again = (self.clone(), before.clone(), confirmation.clone());
            self.retries.start(id, LedgerCall::ConfirmMatched, move || {
                let (billing, before, confirmation) = again.clone();
                async move {
                    let confirmed = billing.confirm_once(id, &before, &confirmation);
                    confirmed.await.map(drop)
                }
            });
        }
        confirmed
    }

    /// Returns whether `public` is known to be the id of a job of another channel than `channel`. While the ledger
    /// cannot be used, only the cache can tell that. A job that is not known to be confirmed does not count: the
    /// ledger may have given its id to the reservation at hand, by the call whose answer was lost.
    fn is_of_another_channel(&self, public: &str, channel: &str) -> bool {
        let cached = self.jobs.get(public);
        cached.is_some_and(|e| e.is_confirmed() && *e.job.charge.channel != *channel)
    }

    /// Makes one attempt to confirm a reservation, and counts a corrected charge in the metrics. The old
    /// charge counts as voided and the new one as reserved, so that reserved = posted + voided + open still
    /// holds. Also counts a correction that was left out because it would have exceeded a limit, since the
    /// channel may bill for it.
    async fn confirm_once(
        &self,
        id: ReservationId,
        before: &Arc<Charge>,
        confirmation: &Confirmation,
    ) -> Result<Confirmed, Unavailable> {
        // The limits of now, and not of the request's time: a retry may come after a reload.
        let limits = match *before == confirmation.charge {
            true => BindingLimits::default(),
            false => self.limits_in_force(&before.payer),
        };
        let now = self.now();
        let confirmed = self.ledger.confirm(id, confirmation, &limits, now).await?;
        let Confirmed::Done {
            after,
            limit_reached,
            ..
        } = &confirmed
        else {
            return Ok(confirmed);
        };
        // `before` comes from the caller: a ledger that is asked a second time may not return it any more.
        if before != after {
            self.metrics.charge(Event::Voided, before);
            self.metrics.charge(Event::Reserved, after);
        }
        // If the ledger's first answer was lost, so was the name of the limit.
        let is_uncorrected = after == before && confirmation.charge != *before;
        if limit_reached.is_some() || is_uncorrected {
            self.metrics.correction_left_out(before);
            log_uncorrected(id, before, confirmation, limit_reached.as_ref());
        }
        Ok(confirmed)
    }
}

/// Returns the time when charging for a job first failed because of a limit. The client has been told of this
/// job. The first call stores the time in `refused`, and logs a warning, since the gate may stop before the
/// last retry.
fn first_refusal(refused: &OnceLock<Instant>, id: ReservationId, job: &str) -> Instant {
    *refused.get_or_init(|| {
        log::warn!(
            "reservation {id}: job {job}, of which its client was told, is not charged so far: a \
             limit has no room for it"
        );
        Instant::now()
    })
}

/// Logs that a channel answered with a job after the reservation had been given up. The job is charged by
/// the new reservation `anew`; without one it is not charged.
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

/// Logs that a charge was not corrected because the corrected charge would exceed a limit.
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
