//! What is matched, and what is decided.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::ledger::{PromptDigest, ReservationId, State};
use crate::policy::Timestamp;

/// A job of a channel's list that belongs to no reservation yet. What the list leaves out
/// speaks against nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::billing) struct ListedJob {
    /// The channel's id for it.
    pub(in crate::billing) id: Arc<str>,
    /// The channel's name for its model.
    pub(in crate::billing) model: Option<Arc<str>>,
    /// The model on offer that this is a snapshot of.
    pub(in crate::billing) offered: Option<Arc<str>>,
    pub(in crate::billing) prompt: Option<PromptDigest>,
    pub(in crate::billing) size: Option<Arc<str>>,
    pub(in crate::billing) seconds: Option<u32>,
    /// The channel's id of the job that it is a remix of.
    pub(in crate::billing) source: Option<Arc<str>>,
    /// When it was created, by the channel's clock.
    pub(in crate::billing) created: Option<Timestamp>,
}

/// A reservation that a job may belong to, with what its request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::billing) struct Candidate {
    pub(in crate::billing) id: ReservationId,
    pub(in crate::billing) key: Arc<str>,
    pub(in crate::billing) model: Arc<str>,
    pub(in crate::billing) prompt: PromptDigest,
    pub(in crate::billing) size: Arc<str>,
    pub(in crate::billing) seconds: u32,
    /// The channel's id of the job that was to be remixed.
    pub(in crate::billing) source: Option<Arc<str>>,
    /// Pending, unknown, or voided not long ago without a job.
    pub(in crate::billing) state: State,
    /// The fingerprint that its idempotency key stands for, if it has one.
    pub(in crate::billing) fingerprint: Option<[u8; 32]>,
    /// When it was reserved.
    pub(in crate::billing) created: Timestamp,
    /// When it was found to be unknown, or voided.
    pub(in crate::billing) since: Timestamp,
    /// What the channel's clock showed when it was reserved; `None` where the channel had told it no
    /// time before.
    pub(in crate::billing) channel_clock: Option<Timestamp>,
}

/// A job of the list that reconciliation has matched with a reservation before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::billing) struct ReconciledJob {
    pub(in crate::billing) job: ListedJob,
    pub(in crate::billing) owner: Candidate,
}

/// How a list was read, and how its times are to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::billing) struct Rules {
    /// When reading the list began.
    pub(in crate::billing) listed_at: Timestamp,
    /// Whether the list was read back to the oldest unknown reservation.
    pub(in crate::billing) complete: bool,
    /// Milliseconds by which the channel's clock is ahead, as its answers say; `None` where none
    /// has a `Date`.
    pub(in crate::billing) clock_ahead: Option<i64>,
    /// Milliseconds by which clocks may differ all the same.
    pub(in crate::billing) skew: u64,
    /// Milliseconds that a channel has to list a job.
    pub(in crate::billing) grace: u64,
    /// Milliseconds that a create can be under way. A reservation may have been found to be
    /// unknown earlier than that, by a gate that took the one which sends it for dead.
    pub(in crate::billing) create_timeout: u64,
    /// Reservations made since then were not all given.
    pub(in crate::billing) unseen_from: Option<Timestamp>,
}

/// What is to be done. Where nothing is said of a reservation, it waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::billing) enum Decision {
    /// The job is this reservation's.
    Assign {
        reservation: ReservationId,
        job: Arc<str>,
    },
    /// The reservation became no job.
    Void { reservation: ReservationId },
    /// It cannot be told whether the job is this reservation's. For the log.
    Ambiguous {
        reservation: ReservationId,
        job: Arc<str>,
        why: Ambiguity,
    },
    /// The job belongs to a key's reservations, of which none is left to be charged for it.
    /// For the log.
    Unclaimed { key: Arc<str>, job: Arc<str> },
}

/// Why it cannot be told which reservation a job belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::billing) enum Ambiguity {
    /// Reservations of several keys fit it.
    Keys,
    /// The list tells too little of the job. The reservation is held.
    Evidence,
    /// Requests fit it that differ only in what a list does not show. The reservation has the
    /// job.
    Requests,
    /// The same, but there are fewer jobs than reservations: this one is held.
    TooFewJobs,
}

impl Decision {
    /// Reports that a job may be another reservation's than this one's.
    pub(super) fn ambiguous(candidate: &Candidate, job: &ListedJob, why: Ambiguity) -> Self {
        Self::Ambiguous {
            reservation: candidate.id,
            job: job.id.clone(),
            why,
        }
    }

    /// Reports a job that all of these reservations fit and none is left for.
    pub(super) fn unclaimed(job: &ListedJob, candidates: &[&Candidate]) -> Self {
        let key = candidates.first().map(|candidate| candidate.key.clone());
        Self::Unclaimed {
            key: key.unwrap_or_default(),
            job: job.id.clone(),
        }
    }
}

/// The maximum that [`Rules::differences`] counts.
pub(super) const MAX_DIFFERENCES: u32 = 3;

impl Rules {
    /// In how many things a job differs from what a reservation asked for, if it may belong to
    /// it. Size and seconds need not be those that were asked for, since a channel may render
    /// others.
    pub(super) fn differences(&self, job: &ListedJob, candidate: &Candidate) -> Option<u32> {
        if !(job.is_like(candidate) && self.is_in_time(job, candidate)) {
            return None;
        }
        let (other_size, other_seconds) = job.renders_other(candidate);
        // Whoever lists remixes says what of.
        let other_source = job.source != candidate.source;
        Some(u32::from(other_size) + u32::from(other_seconds) + u32::from(other_source))
    }

    /// Returns whether a job may be another key's than those that it fits: that of a reservation
    /// which was made at any time. The clock of the gate that reserved it may have been wrong, and
    /// what the channel's clock showed is not known.
    pub(super) fn may_be_at_any_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        candidate.channel_clock.is_none() && job.is_like(candidate)
    }

    /// Returns whether the reservation asked for exactly what the job has, its prompt included, and
    /// only the job's time speaks against it while that time is not certain.
    pub(super) fn is_exact_at_another_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        job.prompt.is_some()
            && self.may_be_at_any_time(job, candidate)
            && job.is_exactly(candidate)
            && !self.is_in_time(job, candidate)
    }

    /// Returns whether a reservation asked for exactly what a job has, though not at its time, and
    /// none of those in time did that could have it.
    pub(super) fn comes_first(
        &self,
        job: &ListedJob,
        candidate: &Candidate,
        others: &[&Candidate],
    ) -> bool {
        let mut unknown = others.iter().filter(|other| other.is_unknown());
        self.is_exact_at_another_time(job, candidate)
            && !unknown.any(|other| self.differences(job, other) == Some(0))
    }

    /// Returns whether a list cannot tell which of two requests a job came of, though the answer to
    /// a repetition of one of them depends on it.
    pub(super) fn are_exchangeable(
        &self,
        job: &ListedJob,
        one: &Candidate,
        other: &Candidate,
    ) -> bool {
        one.id != other.id
            && one.fingerprint != other.fingerprint
            && self.differences(job, one) == self.differences(job, other)
            && self.is_exact_at_another_time(job, one) == self.is_exact_at_another_time(job, other)
    }

    /// Returns whether a reservation that got no job may be the one that an owner's job came of,
    /// and a repetition of it could make a second one.
    pub(super) fn is_held_for(&self, left: &Candidate, job: &ListedJob, owner: &Candidate) -> bool {
        let at_another_time = self.is_exact_at_another_time(job, left);
        let may_have_it = self.differences(job, left).is_some() || at_another_time;
        // The owner has it for want of one that could be known for sure then.
        let is_nearer = at_another_time
            && left.fingerprint != owner.fingerprint
            && self.differences(job, owner) != Some(0);
        left.fingerprint.is_some()
            && left.key == owner.key
            && may_have_it
            && (is_nearer || self.are_exchangeable(job, left, owner))
    }

    /// Returns whether a job fits a reservation and is no evidence for it.
    pub(super) fn is_vague(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        self.differences(job, candidate).is_some() && !self.is_evidence(job, candidate)
    }

    /// Returns whether a job may be assigned to a reservation that it fits, by what the list shows
    /// of it.
    ///
    /// A listed prompt is enough. Without one, the job's time must fit by the channel's clock, as
    /// its answers told it then and as they tell it now, and by the gates', with the size and the
    /// seconds that were asked for: a time proves nothing while it is not known how far any of these
    /// clocks is off.
    pub(super) fn is_evidence(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        if job.prompt.is_some() {
            return true;
        }
        let in_time = |written| {
            let window = self.window(candidate, candidate.created);
            window.contains(&written)
                && window.contains(&self.by_our_clock(written))
                && self.fits_channel_clock(written, candidate)
        };
        self.clock_ahead.is_some()
            && job.created.is_some_and(in_time)
            && job.renders_other(candidate) == (false, false)
    }

    /// Returns whether the job was created while the reservation's request was under way, by its
    /// time as it is written, or as its channel's clock corrects it: what stamps an answer with its
    /// date may be another machine than the one that creates jobs, and the clock of the gate may
    /// have been wrong.
    fn is_in_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        let Some(written) = job.created else {
            return true;
        };
        let window = self.window(candidate, candidate.created);
        window.contains(&written)
            || window.contains(&self.by_our_clock(written))
            || self.fits_channel_clock(written, candidate)
    }

    /// Returns whether the job was created while the request was under way, by the channel's clock
    /// alone.
    fn fits_channel_clock(&self, written: Timestamp, candidate: &Candidate) -> bool {
        let clock = candidate.channel_clock;
        clock.is_some_and(|began| self.window(candidate, began).contains(&written))
    }

    /// Returns when the job of a reservation may have been created, by the clock that showed
    /// `began` when it was made.
    fn window(&self, candidate: &Candidate, began: Timestamp) -> RangeInclusive<Timestamp> {
        let from = began.0.saturating_sub(self.skew);
        let lasted = self.over(candidate).since(candidate.created);
        let to = began.0.saturating_add(lasted);
        let to = to.saturating_add(self.skew).saturating_add(self.grace);
        Timestamp(from)..=Timestamp(to)
    }

    /// Returns whether the channel has had its time to list what became of a reservation, and its
    /// job would have been noticed.
    pub(super) fn is_due(&self, candidate: &Candidate) -> bool {
        let was_seen = self.unseen_from.is_none_or(|from| candidate.created < from);
        let over = self.over(candidate).0.saturating_add(self.grace);
        self.complete && was_seen && self.listed_at.0 >= over
    }

    /// Returns whether a job may still be confirmed by its answer, or may have come of a
    /// reservation that was not given.
    pub(super) fn waits(&self, job: &ListedJob, fitting: &[&Candidate]) -> bool {
        let may_have_it =
            |c: &Candidate| self.differences(job, c).is_some() || self.comes_first(job, c, fitting);
        let is_pending = |c: &&&Candidate| c.state == State::Pending && may_have_it(c);
        let unseen = |from: Timestamp| self.created(job).0.saturating_add(self.skew) >= from.0;
        self.unseen_from.is_some_and(unseen) || fitting.iter().any(|c| is_pending(&c))
    }

    /// Returns when a job was created by the gates' clock.
    pub(super) fn created(&self, job: &ListedJob) -> Timestamp {
        let at = job.created.map(|at| self.by_our_clock(at));
        at.unwrap_or(self.listed_at)
    }

    /// Returns when a reservation's request was under way no more.
    fn over(&self, candidate: &Candidate) -> Timestamp {
        let deadline = candidate.created.0.saturating_add(self.create_timeout);
        candidate.since.max(Timestamp(deadline))
    }

    fn by_our_clock(&self, written: Timestamp) -> Timestamp {
        Timestamp(
            written
                .0
                .saturating_add_signed(-self.clock_ahead.unwrap_or(0)),
        )
    }
}

impl ListedJob {
    /// Returns whether all that the list tells of it but its time is what a reservation asked for.
    /// Size and seconds need not be.
    fn is_like(&self, candidate: &Candidate) -> bool {
        let named = [&self.model, &self.offered];
        let mut named = named.into_iter().flatten();
        let is_model = self.model.is_none() || named.any(|name| *name == candidate.model);
        let is_prompt = self.prompt.is_none_or(|prompt| prompt == candidate.prompt);
        let is_source = self.source.is_none() || self.source == candidate.source;
        is_model && is_prompt && is_source
    }

    /// Returns whether nothing that the list tells of it is other than what a reservation asked for.
    fn is_exactly(&self, candidate: &Candidate) -> bool {
        self.renders_other(candidate) == (false, false) && self.source == candidate.source
    }

    /// Returns whether its size, and its seconds, are others than a reservation asked for.
    fn renders_other(&self, candidate: &Candidate) -> (bool, bool) {
        let size = self.size.as_ref();
        (
            size.is_some_and(|size| *size != candidate.size),
            self.seconds.is_some_and(|s| s != candidate.seconds),
        )
    }
}

impl Candidate {
    /// Makes it one of which it is decided elsewhere what became of it: no job is assigned to it here,
    /// and none that it fits is taken for another key's, as with one that was voided.
    pub(in crate::billing) fn decided_elsewhere(mut self) -> Self {
        if self.is_unknown() {
            self.state = State::Voided;
        }
        self
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.state == State::Unknown
    }
}
