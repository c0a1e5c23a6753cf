//! Reserves the cost of a permit, and voids the reservation if no job was created.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::charge::ChargeCache;
use super::job_cache::{JobCache, JobEntry};
use super::pending_writes::PendingWrites;
use super::reservation::{Guard, Reservation};
use super::retry::{LedgerCall, LedgerRetries};
use crate::clock::{Clock, millis};
use crate::ledger::{
    BindingLimits, ChannelAnswer, Claim, Claimed, Draft, Job, Ledger, LimitReached, Note, Payer,
    Placement, PromptDigest, Reroute, Rerouted, ReservationId, Reserved, Unavailable,
};
use crate::metrics::{Event, Metrics, seconds};
use crate::policy::{Allow, Group, Key, Permit, Timestamp};
use crate::runtime::Runtime;
use crate::upstream::LiveChannel;

/// The service that moves money in the ledger, and counts each movement in the metrics once. Clones share
/// the ledger, the caches and the pending writes.
#[derive(Clone)]
pub(crate) struct Billing {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) jobs: Arc<JobCache>,
    charges: Arc<ChargeCache>,
    pub(super) retries: LedgerRetries,
    writes: PendingWrites,
    guard: Arc<Guard>,
    runtime: Arc<Runtime>,
    clock: Clock,
}

/// The parameters of a reservation.
pub(crate) struct ReserveRequest<'a> {
    /// The client key that pays, and whose limits apply.
    pub(crate) key: &'a Arc<Key>,
    pub(crate) permit: &'a Permit,
    /// The channel that the ledger records for the reservation. It is asked for the job if the outcome
    /// becomes unknown.
    pub(crate) channel: &'a LiveChannel,
    pub(crate) prompt: PromptDigest,
    /// The public id of the job that a remix is made from; `None` if the request is no remix.
    pub(crate) remix_of: Option<Arc<str>>,
    pub(crate) claim: Option<Claim>,
    /// The time after the reservation when the job is first polled, if no client asks for it before.
    pub(crate) poll_after: Duration,
    /// The id of the new reservation.
    pub(crate) id: ReservationId,
    /// The id of the client's request; `None` if the gate made it from the reservation's id.
    pub(crate) request_id: Option<&'a str>,
}

/// The outcome of [`Billing::reserve`]: a reservation, or the reason why there is none.
pub(crate) enum ReserveOutcome {
    /// The cost is reserved, and the guard of the pending reservation is returned.
    Reserved(Box<Reservation>),
    /// A limit of the key, its group or its channel is reached.
    LimitReached(LimitReached),
    /// The idempotency key is bound to an earlier request.
    Claimed(Claimed),
}

impl Billing {
    /// Makes the billing service of a gate, which writes to `ledger` and counts in `metrics`. A charge that
    /// is corrected or reserved again is subject to the limits in force in `runtime`.
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        runtime: Arc<Runtime>,
        clock: Clock,
    ) -> Self {
        let writes = PendingWrites::default();
        let guard = Guard {
            ledger: ledger.clone(),
            clock: clock.clone(),
            writes: writes.clone(),
        };
        Self {
            ledger,
            metrics,
            jobs: Arc::default(),
            charges: Arc::default(),
            retries: LedgerRetries::new(writes.clone()),
            writes,
            guard: Arc::new(guard),
            runtime,
            clock,
        }
    }

    /// Starts a write to the ledger in a task, and returns the task's handle. Dropping the handle does not
    /// stop the write. When the gate stops, [`flush`](Self::flush) waits for the write.
    pub(crate) fn spawn_write<T: Send + 'static>(
        &self,
        write: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.writes.spawn(write)
    }

    /// Waits at most `within` for all background writes to the ledger. Returns the number of writes that
    /// have not ended.
    pub(crate) async fn flush(&self, within: Duration) -> usize {
        self.writes.flush(within).await
    }

    /// Returns the present time, by the clock of the gate.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the ledger.
    pub(crate) fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Finds the job with the public id `id`, whichever key it belongs to; `None` if the ledger has no such
    /// job.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<Arc<JobEntry>>, Unavailable> {
        if let Some(entry) = self.jobs.get(id) {
            return Ok(Some(entry));
        }
        let job = self.ledger.job(id).await?;
        Ok(job.map(|job| self.jobs.insert_known(JobEntry::new(job))))
    }

    /// Returns the cached entry of `job`, a job that the ledger returned. Adds one to the cache if there is
    /// none, and replaces one that names another reservation.
    pub(crate) fn entry(&self, job: &Job) -> Arc<JobEntry> {
        self.jobs.entry_of(job)
    }

    /// Returns whether the job cache holds at least one job. Cached jobs can be polled while the ledger is
    /// unavailable.
    pub(crate) fn has_cached_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Reserves the cost of the permit in `request`, unless a limit of the key, its group or the channel is
    /// reached, or the idempotency key is bound to an earlier request. `at` is the time of the reservation.
    /// Returns the outcome and the time that the ledger took.
    pub(crate) async fn reserve(
        &self,
        request: ReserveRequest<'_>,
        at: Timestamp,
    ) -> Result<(ReserveOutcome, Duration), Unavailable> {
        let ReserveRequest { key, permit, .. } = request;
        let draft = Draft {
            id: request.id,
            request_id: request.request_id.map(Arc::from),
            charge: self.charges.charge(key, permit, request.channel.spec()),
            prompt: request.prompt,
            remix_of: request.remix_of,
            claim: request.claim,
            next_poll: Timestamp(at.0.saturating_add(millis(request.poll_after))),
            placement: placement(request.channel, at),
        };
        self.reserve_draft(draft, key, at).await
    }

    async fn reserve_draft(
        &self,
        draft: Draft,
        key: &Arc<Key>,
        at: Timestamp,
    ) -> Result<(ReserveOutcome, Duration), Unavailable> {
        let made = self.clock.running();
        let reserved = self.ledger.reserve_counted(&draft, key, at).await;
        let took = self.clock.running().saturating_sub(made);
        self.metrics.ledger_commit.observe(seconds(took));
        let (reserved, used) = reserved?;
        let outcome = match reserved {
            Reserved::Done => {
                self.metrics.charge(Event::Reserved, &draft.charge);
                let guard = self.guard.clone();
                let mut reservation = Reservation::new(draft, key.clone(), at, made, guard);
                reservation.used = used;
                // Boxed: a reservation is large, and moved from step to step until it is resolved.
                ReserveOutcome::Reserved(Box::new(reservation))
            }
            Reserved::Refused(reached) => ReserveOutcome::LimitReached(reached),
            Reserved::Claimed(claimed) => ReserveOutcome::Claimed(claimed),
        };
        Ok((outcome, took))
    }

    /// Returns the limits of `payer` in the configuration in force. They apply to amounts that are added to
    /// the payer's charges after the reservation.
    pub(super) fn limits_in_force(&self, payer: &Payer) -> BindingLimits {
        self.runtime.snapshot().config.limits_of(payer)
    }

    /// Makes a new reservation from `draft`, whose own reservation was voided before its channel answered
    /// with a job. A voided reservation cannot be confirmed any more, and the job must be charged. Returns
    /// `None` if the cost would exceed a limit in force.
    pub(super) async fn reserve_again(
        &self,
        draft: &Draft,
    ) -> Result<Option<Box<Reservation>>, Unavailable> {
        let at = self.now();
        let payer = &draft.charge.payer;
        let key = &bound_key(payer, self.limits_in_force(payer));
        // The channel has made the job already: its limits do not matter any more.
        let placement = Placement {
            limits: Arc::default(),
            ..draft.placement.clone()
        };
        let request_id = draft.request_id.clone();
        let request_id = request_id.unwrap_or_else(|| draft.id.request_id().into());
        // The idempotency key was free in the meantime, and may now be bound to a later request.
        for claim in [draft.claim.clone(), None] {
            let draft = Draft {
                id: ReservationId::generate(at),
                request_id: Some(request_id.clone()),
                claim,
                placement: placement.clone(),
                ..draft.clone()
            };
            match self.reserve_draft(draft, key, at).await?.0 {
                ReserveOutcome::Reserved(anew) => return Ok(Some(anew)),
                ReserveOutcome::Claimed(_) => {}
                ReserveOutcome::LimitReached(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Moves `reservation` to `channel`, because its present channel has created no job. `refused_by` names
    /// the channels that were tried so far, with their reasons.
    ///
    /// # Errors
    /// If the ledger cannot be used. The caller must then void the reservation, whether or not the ledger
    /// has moved it.
    pub(crate) async fn reroute(
        &self,
        reservation: &mut Reservation,
        permit: &Permit,
        channel: &LiveChannel,
        refused_by: &str,
    ) -> Result<Rerouted, Unavailable> {
        let to = Reroute {
            charge: (self.charges).charge(&reservation.key, permit, channel.spec()),
            placement: placement(channel, self.now()),
            refused_by: refused_by.into(),
        };
        let rerouted = self.ledger.reroute(reservation.id(), &to).await?;
        if rerouted == Rerouted::Done {
            // The metrics label a charge by its channel.
            self.metrics
                .charge(Event::Voided, &reservation.draft.charge);
            self.metrics.charge(Event::Reserved, &to.charge);
            reservation.draft.charge = to.charge;
            reservation.draft.placement = to.placement;
        }
        Ok(rerouted)
    }

    /// Records a channel's answer to a create, in the background and only for operators: no decision
    /// depends on the record.
    pub(crate) fn note_answer(&self, reservation: &Reservation, answer: ChannelAnswer) {
        let (billing, id) = (self.clone(), reservation.id());
        let channel = reservation.charge().channel.clone();
        let note = Note::Answer { channel, answer };
        self.spawn_write(async move {
            if billing.ledger.note(id, &note).await.is_err() {
                let (ledger, note) = (billing.ledger.clone(), Arc::new(note));
                billing.retries.start(id, LedgerCall::NoteAnswer, move || {
                    let (ledger, note) = (ledger.clone(), note.clone());
                    async move { ledger.note(id, &note).await }
                });
            }
        });
    }

    /// Voids a reservation for which certainly no job was created. `reason` is recorded for operators.
    pub(crate) async fn void(&self, mut reservation: Box<Reservation>, reason: &'static str) {
        reservation.close();
        let id = reservation.id();
        if let Err(error) = self.void_by_id(id, reason).await {
            log::error!("reservation {id} not voided yet: {error}");
        }
    }

    /// Returns whether a confirmation of the reservation `id` is still to be written to the ledger. The
    /// reservation then has a job, and must not be voided.
    pub(super) fn is_being_confirmed(&self, id: ReservationId) -> bool {
        self.retries.has_confirmation(id)
    }

    /// Voids a reservation that has no job, now or as soon as the ledger can be used. Returns whether
    /// this call voided it.
    pub(super) async fn void_by_id(
        &self,
        id: ReservationId,
        reason: &'static str,
    ) -> Result<bool, Unavailable> {
        let voided = self.void_once(id, reason).await;
        if voided.is_err() {
            let billing = self.clone();
            self.retries.start(id, LedgerCall::Void, move || {
                let billing = billing.clone();
                async move { billing.void_once(id, reason).await.map(drop) }
            });
        }
        voided
    }

    async fn void_once(
        &self,
        id: ReservationId,
        reason: &'static str,
    ) -> Result<bool, Unavailable> {
        let voided = self.ledger.void(id, reason, self.now()).await?;
        if let Some(charge) = &voided {
            self.metrics.charge(Event::Voided, charge);
        }
        Ok(voided.is_some())
    }

    /// Marks the outcome of a reservation as unknown, so that its channel will be asked for the job.
    pub(crate) async fn mark_unknown(&self, mut reservation: Box<Reservation>) {
        reservation.close();
        let (id, channel) = (reservation.id(), &reservation.charge().channel);
        // The channel's failure is logged once, and the ledger names each reservation.
        log::debug!("reservation {id} on channel {channel}: outcome unknown");
        if let Err(error) = self.ledger.mark_unknown(id, self.now()).await {
            log::error!("reservation {id} not marked yet: {error}");
            let billing = self.clone();
            self.retries.start(id, LedgerCall::MarkUnknown, move || {
                let billing = billing.clone();
                async move { billing.ledger.mark_unknown(id, billing.now()).await }
            });
        }
    }
}

/// Makes a key under which the ledger reserves for `payer` with `limits`. The client's configured key is
/// not used: by now it may have other limits, be in another group, or be configured no more.
fn bound_key(payer: &Payer, limits: BindingLimits) -> Arc<Key> {
    Arc::new(Key {
        name: payer.key.clone(),
        group: Arc::new(Group {
            name: payer.group.clone(),
            multiplier: payer.multiplier,
            currency: payer.currency.clone(),
            limits: limits.group,
            channels: None,
        }),
        allow: Allow::default(),
        limits: limits.key,
        channels: None,
    })
}

/// Returns what a reservation made at `at` records about `channel`: its address, the time that its clock
/// shows, and its limits.
fn placement(channel: &LiveChannel, at: Timestamp) -> Placement {
    let limits = &channel.spec().limits;
    Placement {
        address: channel.address().cloned(),
        channel_clock: channel.clock().at(at),
        limits: match limits.is_empty() {
            true => Arc::default(),
            false => limits.as_slice().into(),
        },
    }
}
