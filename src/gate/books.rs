//! The ledger and the cost metrics, always moved together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{JobAnswer, Status};
use super::charge::{corrected, random_id};
use super::clock::Clock;
use super::ids::public_id;
use super::known::{Known, KnownJobs};
use super::repeat::{Repeats, Step};
use crate::config::Config;
use crate::ledger::{
    BindingLimits, Charge, Confirmation, Confirmed, Draft, FirstAnswer, Job, Ledger, Payer,
    ReservationId, Reserved, Resolution, Scope, Unavailable, minted,
};
use crate::metrics::{Event, Metrics, seconds};
use crate::policy::{Key, Timestamp};

/// A span in whole milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Moves money: each step is made in the ledger and then shown in the metrics, once,
/// because the ledger says which call it was that changed something.
#[derive(Clone)]
pub(super) struct Books {
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    known: Arc<KnownJobs>,
    repeats: Repeats,
    clock: Clock,
}

/// A pending charge that this request has made. Dropped without having been resolved (the
/// task was cancelled, or panicked), its outcome is unknown.
pub(super) struct Reservation {
    draft: Draft,
    created: Timestamp,
    /// When it was made, by [`Clock::running`].
    made: Duration,
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    is_open: bool,
}

impl Reservation {
    pub(super) fn age(&self) -> Duration {
        self.clock.running().saturating_sub(self.made)
    }

    pub(super) fn charge(&self) -> &Arc<Charge> {
        &self.draft.charge
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (ledger, clock, id) = (self.ledger.clone(), self.clock.clone(), self.draft.id);
        // Without a runtime the process is ending: the next one finds it pending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = ledger.mark_unknown(id, clock.now()).await {
                    log::error!("reservation {id} not marked: {error}");
                }
            });
        }
    }
}

/// How a job has ended, and what that means for its charge.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) resolution: Resolution,
    /// A word for operators and labels.
    pub(super) status: &'static str,
    /// How long it took, by the channel's clock, where it tells.
    pub(super) lasted: Option<Duration>,
}

impl End {
    /// The job was deleted before its end was seen.
    pub(super) const DELETED: Self = Self {
        resolution: Resolution::Posted,
        status: "deleted",
        lasted: None,
    };
    /// The job's end was not seen in time.
    pub(super) const EXPIRED: Self = Self {
        resolution: Resolution::Posted,
        status: "expired",
        lasted: None,
    };

    /// The end that a job's status tells, if it is one.
    pub(super) fn of(status: Status, charge_failed_jobs: bool) -> Option<Self> {
        let owed = match status {
            Status::Completed => true,
            Status::Failed | Status::Cancelled | Status::Expired => charge_failed_jobs,
            Status::Queued | Status::InProgress => return None,
        };
        Some(Self {
            resolution: match owed {
                true => Resolution::Posted,
                false => Resolution::Voided,
            },
            status: status.end(),
            lasted: None,
        })
    }
}

impl Books {
    pub(super) fn new(ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            ledger,
            metrics,
            known: Arc::default(),
            repeats: Repeats::default(),
            clock,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The job of that id, whoever's it is.
    pub(super) async fn job(&self, id: &str) -> Result<Option<Arc<Known>>, Unavailable> {
        if let Some(known) = self.known.get(id) {
            return Ok(Some(known));
        }
        let job = self.ledger.job(id).await?;
        Ok(job.map(|job| self.known.insert(Known::new(job))))
    }

    /// Whether any job is known without the ledger.
    pub(super) fn knows_jobs(&self) -> bool {
        !self.known.is_empty()
    }

    /// What is known of a job that the ledger has given.
    pub(super) fn know(&self, job: &Job) -> Arc<Known> {
        match self.known.get(&job.id) {
            Some(known) => known,
            None => self.known.insert(Known::new(job.clone())),
        }
    }

    /// Makes a reservation, if the limits of `key` and its idempotency key allow it.
    pub(super) async fn reserve(
        &self,
        draft: Draft,
        key: &Key,
        at: Timestamp,
    ) -> Result<Result<Reservation, Reserved>, Unavailable> {
        let (made, started) = (self.clock.running(), Instant::now());
        let reserved = self.ledger.reserve(&draft, key, at).await;
        self.metrics
            .ledger_commit
            .observe(seconds(started.elapsed()));
        match reserved? {
            Reserved::Done => {
                self.metrics.charge(Event::Reserved, &draft.charge);
                Ok(Ok(Reservation {
                    draft,
                    created: at,
                    made,
                    ledger: self.ledger.clone(),
                    clock: self.clock.clone(),
                    is_open: true,
                }))
            }
            other => Ok(Err(other)),
        }
    }

    /// Reserves once more what was given up before its channel answered with a job, if the limits
    /// still allow it: a reservation is resolved once, and a job is charged. `None` where it
    /// cannot be.
    pub(super) async fn reserve_anew(&self, late: &Reservation, key: &Key) -> Option<Reservation> {
        let at = self.now();
        // Its idempotency key was free meanwhile, and may stand for a later request.
        for claim in [late.draft.claim.clone(), None] {
            let draft = Draft {
                id: random_id(at),
                claim,
                ..late.draft.clone()
            };
            match self.reserve(draft, key, at).await {
                Ok(Ok(anew)) => return Some(anew),
                Ok(Err(Reserved::Claimed(_))) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
        None
    }

    /// No job came of it, for sure.
    pub(super) async fn abandon(&self, mut reservation: Reservation, why: &'static str) {
        reservation.is_open = false;
        let id = reservation.draft.id;
        if let Err(error) = self.try_abandon(id, why).await {
            log::error!("reservation {id} not voided yet: {error}");
        }
    }

    /// Voids a reservation that has no job, now or as soon as the ledger can be asked. Whether
    /// this call did it.
    pub(super) async fn try_abandon(
        &self,
        id: ReservationId,
        why: &'static str,
    ) -> Result<bool, Unavailable> {
        let voided = self.void(id, why).await;
        if voided.is_err() {
            let books = self.clone();
            self.repeats.start(id, Step::Void, move || {
                let books = books.clone();
                async move { books.void(id, why).await.map(drop) }
            });
        }
        voided
    }

    async fn void(&self, id: ReservationId, why: &'static str) -> Result<bool, Unavailable> {
        let voided = self.ledger.abandon(id, why, self.now()).await?;
        if let Some(charge) = &voided {
            self.metrics.charge(Event::Voided, charge);
        }
        Ok(voided.is_some())
    }

    /// Nobody can tell what the channel made of the request.
    pub(super) async fn unknown(&self, mut reservation: Reservation) {
        reservation.is_open = false;
        let (id, channel) = (reservation.draft.id, &reservation.charge().channel);
        // The channel's failure is said once, and the ledger names each reservation.
        log::debug!("reservation {id} on channel {channel}: outcome unknown");
        if let Err(error) = self.ledger.mark_unknown(id, self.now()).await {
            log::error!("reservation {id} not marked yet: {error}");
            let books = self.clone();
            self.repeats.start(id, Step::MarkUnknown, move || {
                let books = books.clone();
                async move { books.ledger.mark_unknown(id, books.now()).await }
            });
        }
    }

    /// The channel created a job: ties the charge to it, corrected to what is really
    /// rendered, and resolves it if the job has ended already. Answers the job's public id, for
    /// which `first` has what repetitions of the request are answered with.
    ///
    /// # Errors
    /// Where it is not: no client is to be told of the job then.
    pub(super) async fn confirm(
        &self,
        mut reservation: Reservation,
        answer: &JobAnswer,
        first: impl Fn(&str) -> Option<FirstAnswer>,
        config: &Config,
    ) -> Result<Arc<str>, NotConfirmed> {
        let Some(upstream_id) = &answer.id else {
            return Err(NotConfirmed::Taken(reservation));
        };
        let id = reservation.draft.id;
        let public = public_id(upstream_id, id);
        let mut confirmation = Confirmation {
            charge: corrected(reservation.charge(), answer, &config.catalog),
            answer: first(&public),
            job: public,
            upstream_id: upstream_id.clone(),
        };
        let otherwise = |confirmation: &Confirmation| Confirmation {
            job: minted(id),
            answer: first(&minted(id)),
            ..confirmation.clone()
        };
        let before = reservation.charge().clone();
        let limits = binding(config, &before, &confirmation.charge);
        let mut confirmed = self.confirm_once(id, &before, &confirmation, &limits).await;
        if let Ok(Confirmed::IdTaken) = confirmed {
            confirmation = otherwise(&confirmation);
            confirmed = self.confirm_once(id, &before, &confirmation, &limits).await;
        }
        let charge = match confirmed {
            Ok(Confirmed::Now { after, .. }) => after,
            Ok(Confirmed::Already { job }) => {
                confirmation.job = job;
                confirmation.charge.clone()
            }
            Ok(Confirmed::Taken | Confirmed::IdTaken) => {
                return Err(NotConfirmed::Taken(reservation));
            }
            Ok(Confirmed::Closed) => {
                reservation.is_open = false;
                return Err(NotConfirmed::GivenUp(reservation));
            }
            Err(error) => {
                log::error!("reservation {id} not confirmed yet: {error}");
                let both = [confirmation.clone(), otherwise(&confirmation)];
                let again = (self.clone(), before, limits, both);
                self.repeats.start(id, Step::Confirm, move || {
                    let (books, before, limits, [confirmation, otherwise]) = again.clone();
                    async move {
                        let confirmed = books.confirm_once(id, &before, &confirmation, &limits);
                        let mut outcome = confirmed.await?;
                        if outcome == Confirmed::IdTaken {
                            let (told, job) = (&confirmation.job, &otherwise.job);
                            log::error!("reservation {id}: its job is {job}, and not {told}");
                            books.known.forget(told, id);
                            let confirmed = books.confirm_once(id, &before, &otherwise, &limits);
                            outcome = confirmed.await?;
                        }
                        if matches!(
                            outcome,
                            Confirmed::Taken | Confirmed::IdTaken | Confirmed::Closed
                        ) {
                            // What the client was told of is not its own after all.
                            let job = &confirmation.job;
                            log::error!("reservation {id}: job {job} is not its own: {outcome:?}");
                            books.known.forget(job, id);
                            books.ledger.mark_unknown(id, books.now()).await?;
                        }
                        Ok(())
                    }
                });
                confirmation.charge.clone()
            }
        };
        reservation.is_open = false;
        let public = confirmation.job.clone();
        let known = self.known.insert(Known::new(Job {
            id: confirmation.job,
            upstream_id: confirmation.upstream_id,
            reservation: id,
            charge,
            created: reservation.created,
            remix_of: reservation.draft.remix_of.take(),
            resolution: None,
            end: None,
            deleted: false,
        }));
        // Where the ledger was not to be asked, the public id may turn out to be the one of
        // another channel's job, which this answer says nothing about.
        if known.job.reservation == id {
            let charge_failed = config.jobs.charge_failed_jobs;
            self.settle(&known, answer, charge_failed).await;
        }
        Ok(public)
    }

    /// Ties a reservation to a job that was found for it, now or as soon as the ledger can be
    /// asked. `before` is what it charges so far.
    pub(super) async fn try_confirm(
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
            self.repeats.start(id, Step::Confirm, move || {
                let (books, before, limits, confirmation) = again.clone();
                async move {
                    let confirmed = books.confirm_once(id, &before, &confirmation, &limits);
                    confirmed.await.map(drop)
                }
            });
        }
        confirmed
    }

    /// One attempt to tie a reservation to its job. Shows a correction so that reserved =
    /// posted + voided + open still holds: what the charge was is voided, what it is now is
    /// reserved. Shows one that was left out, too: the channel may bill for it.
    async fn confirm_once(
        &self,
        id: ReservationId,
        before: &Arc<Charge>,
        confirmation: &Confirmation,
        limits: &BindingLimits,
    ) -> Result<Confirmed, Unavailable> {
        let confirmed = self
            .ledger
            .confirm(id, confirmation, limits, self.now())
            .await?;
        let Confirmed::Now {
            after, left_out, ..
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
        if let Some(reached) = left_out {
            self.metrics.correction_left_out(before);
            let Payer { key, group, .. } = &before.payer;
            let whose = match reached.scope {
                Scope::Key(_) => format!("key {key}"),
                Scope::Group(_) => format!("group {group}"),
            };
            log::warn!(
                "reservation {id}: channel {} renders {} s in {} for job {}, but {whose} has no \
                 room for it in its limit {} of {}: it stays charged for {} s in {}",
                before.channel,
                confirmation.charge.seconds,
                confirmation.charge.size,
                confirmation.job,
                reached.limit,
                reached.limit.measure.name(),
                before.seconds,
                before.size,
            );
        } else if after == before && confirmation.charge != *before {
            // The answer that named the limit was lost.
            self.metrics.correction_left_out(before);
            log::warn!(
                "reservation {id}: a limit has no room for what channel {} renders for job {}: \
                 it stays charged for {} s in {}",
                before.channel,
                confirmation.job,
                before.seconds,
                before.size
            );
        }
        Ok(confirmed)
    }

    /// A job's state was seen: resolves its charge if the job has ended. What is not about
    /// this job changes nothing.
    pub(super) async fn settle(&self, known: &Known, answer: &JobAnswer, charge_failed: bool) {
        let about = answer.id.as_deref();
        if known.is_resolved() || about.is_some_and(|id| id != &*known.job.upstream_id) {
            return;
        }
        let end = answer.status.and_then(|s| End::of(s, charge_failed));
        if let Some(mut end) = end {
            end.lasted = lasted(answer);
            // Where the ledger is away, it is repeated.
            let _ = self.end(known, end).await;
        }
    }

    /// A job was deleted at its channel. Nobody can see its end any more, and the channel gives
    /// nothing back: it stays charged unless its end was seen before. What the ledger cannot note
    /// now it is told again.
    pub(super) async fn delete(&self, known: &Known) {
        let id = known.job.reservation;
        if let Err(error) = self.ledger.mark_deleted(id, self.now()).await {
            let job = &known.job.id;
            log::error!("job {job}, reservation {id}: not marked as deleted yet: {error}");
            let books = self.clone();
            self.repeats.start(id, Step::MarkDeleted, move || {
                let books = books.clone();
                async move { books.ledger.mark_deleted(id, books.now()).await }
            });
        }
        if !known.is_resolved() {
            let _ = self.end(known, End::DELETED).await;
        }
    }

    /// Resolves the charge of a job that has ended, now or as soon as the ledger can be asked.
    pub(super) async fn end(&self, known: &Known, end: End) -> Result<(), Unavailable> {
        let id = known.job.reservation;
        let ended = self.try_end(&known.job, Some(known), end).await;
        if let Err(error) = &ended {
            log::error!(
                "job {}, reservation {id}: not resolved yet: {error}",
                known.job.id
            );
            let (books, job) = (self.clone(), known.job.clone());
            self.repeats.start(id, Step::Resolve, move || {
                let (books, job) = (books.clone(), job.clone());
                async move {
                    let known = books.known.get(&job.id);
                    books.try_end(&job, known.as_deref(), end).await
                }
            });
        }
        ended
    }

    async fn try_end(&self, job: &Job, known: Option<&Known>, end: End) -> Result<(), Unavailable> {
        if self.repeats.has(job.reservation, Step::Confirm) {
            // Whether it was corrected is to be told first: the ledger knows its last call only.
            return Err(Unavailable("its confirmation is not known yet".into()));
        }
        let End {
            resolution,
            status,
            lasted,
        } = end;
        let settled = self
            .ledger
            .settle(job.reservation, resolution, status, self.now())
            .await?;
        let Some(charge) = settled else {
            // Resolved already, or its confirmation is still on its way to the ledger.
            let job = self.ledger.job(&job.id).await?;
            if job.is_some_and(|job| job.resolution.is_some()) {
                known.map(Known::set_resolved);
            }
            return Ok(());
        };
        known.map(Known::set_resolved);
        if known.is_some_and(Known::was_counted) {
            return Ok(());
        }
        let event = match resolution {
            Resolution::Posted => Event::Posted,
            Resolution::Voided => Event::Voided,
        };
        self.metrics.charge(event, &charge);
        // Without the channel's word, until it was seen: up to a poll later than it was.
        let seen = || Duration::from_millis(self.now().since(job.created));
        let lasted = lasted.unwrap_or_else(seen);
        self.metrics.ended(&charge, status, lasted);
        Ok(())
    }

    /// Whether the ledger says that a job runs whose charge was resolved here: a database that
    /// took over from another may have missed that. It is followed to its end once more then.
    pub(super) async fn reopen(&self, known: &Known) -> Result<bool, Unavailable> {
        let job = self.ledger.job(&known.job.id).await?;
        let runs = job.is_some_and(|job| job.resolution.is_none());
        if runs {
            log::warn!(
                "job {}: the ledger has lost that it had ended, so its channel is asked again",
                known.job.id
            );
            known.reopen();
        }
        Ok(runs)
    }
}

/// Why a reservation is not tied to the job that a channel has answered.
pub(super) enum NotConfirmed {
    /// The job's name is another reservation's: whose it is cannot be known.
    Taken(Reservation),
    /// The reservation was voided before, since nothing showed that there would be an answer.
    GivenUp(Reservation),
}

/// How long a job took, by the times that its channel gives.
fn lasted(answer: &JobAnswer) -> Option<Duration> {
    let seconds = answer.completed?.checked_sub(answer.created?)?;
    Some(Duration::from_secs(seconds))
}

/// The limits that bind a correction, where it is one.
pub(super) fn binding(config: &Config, before: &Charge, after: &Charge) -> BindingLimits {
    match before == after {
        true => BindingLimits::default(),
        false => config.limits_of(&before.payer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PriceList;
    use crate::ledger::{MemoryLedger, Payer, PromptDigest};
    use crate::money::{Amount, Multiplier};

    /// A gate that was resumed after another had voided its reservation does not let the last
    /// byte go: see `outcome.rs`.
    #[tokio::test]
    async fn a_reservation_grows_old_while_the_machine_is_suspended() {
        let clock = Clock::manual(Timestamp(0));
        let name = || Arc::<str>::from("x");
        let charge = Charge {
            payer: Payer {
                key: name(),
                group: name(),
                currency: name(),
                multiplier: Multiplier::from_thousandths(1000).unwrap(),
            },
            channel: name(),
            model: name(),
            size: name(),
            seconds: 4,
            list: Amount::ZERO,
            billed: Amount::ZERO,
            prices: PriceList::default(),
        };
        let reservation = Reservation {
            draft: Draft {
                id: ReservationId(1),
                charge: Arc::new(charge),
                prompt: PromptDigest([0; 32]),
                remix_of: None,
                claim: None,
                look_at: clock.now(),
            },
            created: clock.now(),
            made: clock.running(),
            ledger: Arc::new(MemoryLedger::default()),
            clock: clock.clone(),
            is_open: false,
        };
        let grace = Duration::from_secs(180);
        assert!(reservation.age() < grace);
        clock.suspend(grace);
        assert!(reservation.age() >= grace);
    }
}
