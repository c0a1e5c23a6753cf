//! The ledger and the cost metrics, always moved together.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::answer::{JobAnswer, Status};
use crate::catalog::{Catalog, Quote};
use crate::ledger::{
    Charge, Confirmation, Confirmed, Draft, FirstAnswer, Job, Ledger, LimitReached, Payer,
    PromptDigest, ReservationId, Reserved, Resolution, Unavailable,
};
use crate::metrics::{Event, Metrics, seconds};
use crate::policy::{Key, Permit, Timestamp};

/// The time of the machine's clock. All time that the core is told comes from here.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// Moves money: each step is made in the ledger and then shown in the metrics, once,
/// because the ledger says which call it was that changed something.
pub(super) struct Books {
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
}

/// A pending charge that this request has made.
#[derive(Debug)]
pub(super) struct Reservation {
    id: ReservationId,
    charge: Charge,
    created: Timestamp,
}

impl Books {
    pub(super) fn new(ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>) -> Self {
        Self { ledger, metrics }
    }

    pub(super) fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Whether the ledger would refuse a charge, as far as it is known.
    pub(super) async fn check(
        &self,
        key: &Arc<Key>,
        charge: Option<&Charge>,
    ) -> Result<Option<LimitReached>, Unavailable> {
        self.ledger.check(key, charge, now()).await
    }

    /// Reserves the cost of what has been permitted.
    pub(super) async fn reserve(
        &self,
        key: &Arc<Key>,
        permit: &Permit,
        channel: Arc<str>,
    ) -> Result<Result<Reservation, (LimitReached, Timestamp)>, Unavailable> {
        let created = now();
        let draft = Draft {
            id: ReservationId(rand_id()),
            charge: charge(key, permit, channel),
            prompt: PromptDigest([0; 32]),
            remix_of: None,
            claim: None,
            look_at: created,
        };
        let started = Instant::now();
        let reserved = self.ledger.reserve(&draft, key, created).await;
        self.metrics
            .ledger_commit
            .observe(seconds(started.elapsed()));
        match reserved? {
            Reserved::Claimed(_) => unreachable!("no claim was made"),
            Reserved::Refused(reached) => Ok(Err((reached, created))),
            Reserved::Done => {
                let Draft { id, charge, .. } = draft;
                self.metrics.charge(Event::Reserved, &charge);
                self.metrics
                    .jobs_in_flight
                    .with_label_values(&[&*charge.payer.key])
                    .inc();
                Ok(Ok(Reservation {
                    id,
                    charge,
                    created,
                }))
            }
        }
    }

    /// The channel clearly refused, or never had the whole request.
    pub(super) async fn void(&self, reservation: &Reservation) {
        match self.ledger.abandon(reservation.id, "refused", now()).await {
            Ok(Some(charge)) => self.ended(Event::Voided, &charge),
            Ok(None) => {}
            Err(error) => log::error!("reservation {} not voided: {error}", reservation.id),
        }
    }

    /// Nobody can tell what the channel made of the request.
    pub(super) async fn unknown(&self, reservation: &Reservation) {
        let channel = &reservation.charge.channel;
        log::warn!(
            "reservation {} on channel {channel}: outcome unknown",
            reservation.id
        );
        self.metrics
            .unresolved
            .with_label_values(&[&**channel])
            .inc();
        if let Err(error) = self.ledger.mark_unknown(reservation.id, now()).await {
            log::error!("reservation {} not marked: {error}", reservation.id);
        }
    }

    /// The channel created a job: ties the charge to it, corrected to what is really
    /// rendered, and resolves it if the job has ended already. `false` where the name of the
    /// job is another reservation's.
    pub(super) async fn confirm(
        &self,
        reservation: &Reservation,
        channel: &Arc<str>,
        answer: &JobAnswer,
        catalog: &Catalog,
    ) -> bool {
        let Some(job) = &answer.id else { return false };
        let mut charge = corrected(&reservation.charge, answer, catalog);
        charge.channel = channel.clone();
        let confirmation = Confirmation {
            job: job.as_str().into(),
            charge,
            answer: None::<FirstAnswer>,
        };
        let confirmed = self
            .ledger
            .confirm(reservation.id, &confirmation, None, now());
        match confirmed.await {
            Ok(Confirmed::Now { before, after }) => self.correct(&before, &after),
            Ok(Confirmed::Already) => {}
            Ok(Confirmed::Taken | Confirmed::Closed) => return false,
            Err(error) => log::error!("reservation {} not confirmed: {error}", reservation.id),
        }
        let job = Job {
            id: confirmation.job,
            reservation: reservation.id,
            charge: confirmation.charge,
            created: reservation.created,
            remix_of: None,
            resolution: None,
            end: None,
            deleted: false,
        };
        self.settle(&job, answer).await;
        true
    }

    /// Shows a correction so that reserved = posted + voided + pending still holds: what
    /// the charge was is voided, what it is now is reserved.
    fn correct(&self, before: &Charge, after: &Charge) {
        let same = before.list == after.list
            && before.seconds == after.seconds
            && before.size == after.size
            && before.channel == after.channel;
        if !same {
            self.metrics.charge(Event::Voided, before);
            self.metrics.charge(Event::Reserved, after);
        }
    }

    /// A job's state was seen: resolves its charge if the job has ended.
    pub(super) async fn settle(&self, job: &Job, answer: &JobAnswer) {
        let status = match answer.status {
            Some(status) if status.has_ended() => status,
            _ => return,
        };
        if job.resolution.is_some() {
            return;
        }
        let posted = status == Status::Completed;
        let resolution = if posted {
            Resolution::Posted
        } else {
            Resolution::Voided
        };
        let resolved = self
            .ledger
            .settle(job.reservation, resolution, status.label(), now())
            .await;
        let charge = match resolved {
            Ok(Some(charge)) => charge,
            Ok(None) => return,
            Err(error) => {
                log::error!("reservation {} not resolved: {error}", job.reservation);
                return;
            }
        };
        let event = if posted { Event::Posted } else { Event::Voided };
        self.ended(event, &charge);
        let labels = [&*charge.channel, &*charge.model, status.label()];
        self.metrics.jobs.with_label_values(&labels).inc();
        #[expect(clippy::cast_precision_loss, reason = "a duration in a histogram")]
        let lasted = now().since(job.created) as f64 / 1000.0;
        self.metrics
            .job_duration
            .with_label_values(&labels)
            .observe(lasted);
    }

    fn ended(&self, event: Event, charge: &Charge) {
        self.metrics.charge(event, charge);
        let in_flight = &self.metrics.jobs_in_flight;
        in_flight.with_label_values(&[&*charge.payer.key]).dec();
    }
}

/// What a permit costs a key on a channel.
pub(super) fn charge(key: &Arc<Key>, permit: &Permit, channel: Arc<str>) -> Charge {
    let Quote { list, billed } = permit.quote();
    Charge {
        payer: Payer::from(&**key),
        channel,
        model: permit.model().name().clone(),
        size: permit.size().name.clone(),
        seconds: permit.seconds(),
        list,
        billed,
    }
}

/// The charge for what the answer says is rendered. A size that has no price keeps the
/// price that was agreed on.
fn corrected(charge: &Charge, answer: &JobAnswer, catalog: &Catalog) -> Charge {
    let mut charge = charge.clone();
    let Some(model) = catalog.get(&charge.model) else {
        return charge;
    };
    let answered = answer
        .size
        .as_deref()
        .and_then(|name| model.find_size(name));
    let Some(size) = answered.or_else(|| model.find_size(&charge.size)) else {
        return charge;
    };
    let seconds = answer.seconds.unwrap_or(charge.seconds);
    if let Some(quote) = Quote::new(size.price, seconds, charge.payer.multiplier) {
        charge.size = size.name.clone();
        charge.seconds = seconds;
        charge.list = quote.list;
        charge.billed = quote.billed;
    }
    charge
}

/// 128 random bits, from the keys that the standard library seeds its hash maps with and a
/// counter: unique for what they name, and no secret.
fn rand_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEEDS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (high, low) = SEEDS.get_or_init(|| (RandomState::new(), RandomState::new()));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = now().0;
    u128::from(high.hash_one((time, count))) << 64 | u128::from(low.hash_one((count, time)))
}
