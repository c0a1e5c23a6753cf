//! The inputs and the decisions of matching.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::ledger::{PromptDigest, ReservationId, State};
use crate::policy::Timestamp;

/// A job of a channel's list, with the fields that matching compares. A field that the list leaves out is
/// `None`, and fits any reservation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::billing) struct ListedJob {
    /// The upstream id of the job.
    pub(in crate::billing) id: Arc<str>,
    /// The job's model, by the name in the entry of the channel's job list; `None` if the entry has none.
    pub(in crate::billing) model: Option<Arc<str>>,
    /// The catalog's model that `model` names, either exactly or as a snapshot (`sora-2-2025-10-06` is one
    /// of `sora-2`); `None` if the catalog has no such model.
    pub(in crate::billing) offered: Option<Arc<str>>,
    pub(in crate::billing) prompt: Option<PromptDigest>,
    pub(in crate::billing) size: Option<Arc<str>>,
    pub(in crate::billing) seconds: Option<u32>,
    /// The upstream id of the job that this job is a remix of.
    pub(in crate::billing) source: Option<Arc<str>>,
    /// The time when the job was created, by the channel's clock.
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
    /// The upstream id of the job that the request was to remix; `None` if the request was no remix.
    pub(in crate::billing) source: Option<Arc<str>>,
    /// The reservation's state: pending, unknown, or voided not long ago without a job.
    pub(in crate::billing) state: State,
    /// The fingerprint of the request, if it has an idempotency key.
    pub(in crate::billing) fingerprint: Option<[u8; 32]>,
    /// The time of the reservation, by the clock of the gate that made it.
    pub(in crate::billing) created: Timestamp,
    /// The time when the reservation was marked as unknown; the time of the reservation if it never was.
    pub(in crate::billing) since: Timestamp,
    /// The time that the channel's clock showed when the reservation was made; `None` if no answer of the
    /// channel had shown its time before.
    pub(in crate::billing) channel_clock: Option<Timestamp>,
}

/// A listed job that reconciliation has matched with a reservation before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::billing) struct ReconciledJob {
    pub(in crate::billing) job: ListedJob,
    pub(in crate::billing) owner: Candidate,
}

/// The circumstances in which a list was read, and the tolerances for its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::billing) struct Rules {
    /// The time when the first page of the list was requested, by the gate's clock. The request may have
    /// been made several rounds ago.
    pub(in crate::billing) listed_at: Timestamp,
    /// Whether all jobs that may belong to a reservation were read and kept, back to the time of the oldest
    /// reservation whose outcome is unknown.
    pub(in crate::billing) complete: bool,
    /// Milliseconds by which the channel's clock is ahead, by the `Date` of its answers; `None` if no
    /// answer has one.
    pub(in crate::billing) clock_ahead: Option<i64>,
    /// Milliseconds by which clocks may differ beyond `clock_ahead`.
    pub(in crate::billing) skew: u64,
    /// Milliseconds from the end of a create within which its channel must list the job.
    pub(in crate::billing) grace: u64,
    /// The maximum duration of a create, in milliseconds. A reservation may become unknown while its create
    /// is still under way: another gate marks it as unknown if it considers the gate that sends the create
    /// dead.
    pub(in crate::billing) create_timeout: u64,
    /// The creation time from which on reservations may be missing from the candidates; `None` if none is
    /// missing.
    pub(in crate::billing) unseen_from: Option<Timestamp>,
}

/// A decision of matching. A reservation without a decision stays as it is until the next round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::billing) enum Decision {
    /// The job belongs to this reservation.
    Assign {
        reservation: ReservationId,
        job: Arc<str>,
    },
    /// No job was created for this reservation: it is voided.
    Void { reservation: ReservationId },
    /// It is uncertain, for the reason `why`, whether the job belongs to this reservation. This decision is
    /// only logged.
    Ambiguous {
        reservation: ReservationId,
        job: Arc<str>,
        why: Ambiguity,
    },
    /// The job belongs to a key, but no reservation of the key is left to be charged for it. This decision is
    /// only logged.
    Unclaimed { key: Arc<str>, job: Arc<str> },
}

/// The reason why it cannot be decided which reservation a job belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::billing) enum Ambiguity {
    /// Reservations of several keys fit the job.
    Keys,
    /// The list says too little about the job. The reservation stays unknown.
    Evidence,
    /// Several requests fit the job, and differ only in what a list does not show. The job is assigned to
    /// this reservation nevertheless.
    Requests,
    /// Several requests fit as in [`Requests`](Self::Requests), but there are fewer jobs than reservations.
    /// This reservation has got no job, and stays unknown.
    TooFewJobs,
}

impl Decision {
    /// Makes the report that it is uncertain, for the reason `why`, whether `job` belongs to `candidate`.
    pub(super) fn ambiguous(candidate: &Candidate, job: &ListedJob, why: Ambiguity) -> Self {
        Self::Ambiguous {
            reservation: candidate.id,
            job: job.id.clone(),
            why,
        }
    }

    /// Makes the report of a job that belongs to the key of `candidates`, none of which is left to be
    /// charged for it.
    pub(super) fn unclaimed(job: &ListedJob, candidates: &[&Candidate]) -> Self {
        let key = candidates.first().map(|candidate| candidate.key.clone());
        Self::Unclaimed {
            key: key.unwrap_or_default(),
            job: job.id.clone(),
        }
    }
}

/// The maximum result of [`Rules::differences`].
const MAX_DIFFERENCES: usize = 3;
/// The number of ranks that a pair of a reservation and a job can have: see
/// [`Ranks`](super::ranks::Ranks).
pub(super) const RANKS: usize = MAX_DIFFERENCES + 2;

impl Rules {
    /// Counts in how many of size, seconds and source `job` differs from what `candidate` asked for; `None`
    /// if the job cannot belong to the reservation. Size and seconds may differ, since a channel may render
    /// others than requested.
    pub(super) fn differences(&self, job: &ListedJob, candidate: &Candidate) -> Option<u32> {
        if !(job.is_like(candidate) && self.is_in_time(job, candidate)) {
            return None;
        }
        let (other_size, other_seconds) = job.renders_other(candidate);
        // A channel that lists remixes also lists their sources.
        let other_source = job.source != candidate.source;
        Some(u32::from(other_size) + u32::from(other_seconds) + u32::from(other_source))
    }

    /// Returns whether `job` may belong to `candidate` whatever their times are: the job's listed model,
    /// prompt and source are those that were asked for, and it is not known what the channel's clock showed
    /// at the reservation. The clock of the gate that made the reservation may have been wrong.
    pub(super) fn may_be_at_any_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        candidate.channel_clock.is_none() && job.is_like(candidate)
    }

    /// Returns whether `candidate` asked for exactly what `job` has, including a listed prompt, though not at
    /// the time of the job. The time of `candidate` must be uncertain: it is not known what the channel's
    /// clock showed at the reservation.
    pub(super) fn is_exact_at_another_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        job.prompt.is_some()
            && self.may_be_at_any_time(job, candidate)
            && job.is_exactly(candidate)
            && !self.is_in_time(job, candidate)
    }

    /// Returns whether `candidate` asked for exactly what `job` has, at a time that is uncertain, while no
    /// unknown reservation of `others` matches the job exactly and in time.
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

    /// Returns whether `one` and `other` are reservations of different requests that fit `job` equally well,
    /// so that the list cannot show which request created it. A repetition of either request is answered with
    /// the job of its own reservation. `false` if neither has an idempotency key: neither can be repeated.
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

    /// Returns whether `left`, a reservation that got no job, must stay unknown because its request may
    /// have created `job`, which was assigned to `owner`. If `left` were voided, a repetition of its
    /// request could create a second job.
    pub(super) fn is_held_for(&self, left: &Candidate, job: &ListedJob, owner: &Candidate) -> bool {
        let at_another_time = self.is_exact_at_another_time(job, left);
        let may_have_it = self.differences(job, left).is_some() || at_another_time;
        // The owner has the job only because no reservation with a certain time matched it better.
        let is_nearer = at_another_time
            && left.fingerprint != owner.fingerprint
            && self.differences(job, owner) != Some(0);
        left.fingerprint.is_some()
            && left.key == owner.key
            && may_have_it
            && (is_nearer || self.are_exchangeable(job, left, owner))
    }

    /// Returns whether `job` fits `candidate`, but its listed fields are not enough to assign it to that
    /// reservation.
    pub(super) fn is_vague(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        self.differences(job, candidate).is_some() && !self.is_evidence(job, candidate)
    }

    /// Returns whether the listed fields of a job are enough to assign it to a reservation that it fits.
    ///
    /// A listed prompt is enough. Without a prompt, size and seconds must be those that were asked for, and
    /// the job's time must fit in three readings: as listed, as converted to the gates' clock, and as
    /// compared with the time that the channel's clock showed at the reservation. A time proves nothing
    /// while it is not known how far any of these clocks is off.
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

    /// Returns whether `job` was created while the request of `candidate` was under way, or has no listed
    /// time. One of three readings of the time must fit: as listed, as converted to the gates' clock, or as
    /// compared with the time that the channel's clock showed at the reservation. The machine that dates an
    /// answer may be another one than the machine that creates jobs, and the clock of the gate may have
    /// been wrong.
    fn is_in_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        let Some(written) = job.created else {
            return true;
        };
        let window = self.window(candidate, candidate.created);
        window.contains(&written)
            || window.contains(&self.by_our_clock(written))
            || self.fits_channel_clock(written, candidate)
    }

    /// Returns whether a job was created while the request of `candidate` was under way, by the channel's
    /// clock alone. `written` is the job's listed time. `false` if it is not known what that clock showed at
    /// the reservation.
    fn fits_channel_clock(&self, written: Timestamp, candidate: &Candidate) -> bool {
        let clock = candidate.channel_clock;
        clock.is_some_and(|began| self.window(candidate, began).contains(&written))
    }

    /// Returns the range of times in which the job of `candidate` may have been created, by a clock that
    /// showed `began` when the reservation was made.
    fn window(&self, candidate: &Candidate, began: Timestamp) -> RangeInclusive<Timestamp> {
        let from = began.0.saturating_sub(self.skew);
        let lasted = self.over(candidate).since(candidate.created);
        let to = began.0.saturating_add(lasted);
        let to = to.saturating_add(self.skew).saturating_add(self.grace);
        Timestamp(from)..=Timestamp(to)
    }

    /// Returns whether the list would have shown a job of `candidate`. The list must be complete and must
    /// have been requested at least `grace` after the request was over. The reservation must also have been
    /// a candidate while the list was read: jobs that fit no candidate are not kept.
    pub(super) fn is_due(&self, candidate: &Candidate) -> bool {
        let was_seen = self.unseen_from.is_none_or(|from| candidate.created < from);
        let over = self.over(candidate).0.saturating_add(self.grace);
        self.complete && was_seen && self.listed_at.0 >= over
    }

    /// Returns whether `job` must not be assigned yet: a pending reservation of `fitting`, or a reservation
    /// that is missing from the candidates, may still be confirmed with it.
    pub(super) fn waits(&self, job: &ListedJob, fitting: &[&Candidate]) -> bool {
        let may_have_it =
            |c: &Candidate| self.differences(job, c).is_some() || self.comes_first(job, c, fitting);
        let is_pending = |c: &&&Candidate| c.state == State::Pending && may_have_it(c);
        let unseen = |from: Timestamp| self.created(job).0.saturating_add(self.skew) >= from.0;
        self.unseen_from.is_some_and(unseen) || fitting.iter().any(|c| is_pending(&c))
    }

    /// Returns the time when `job` was created, by the gates' clock, or the time of the list if the job has
    /// no time.
    pub(super) fn created(&self, job: &ListedJob) -> Timestamp {
        let at = job.created.map(|at| self.by_our_clock(at));
        at.unwrap_or(self.listed_at)
    }

    /// Returns the earliest time at which a reservation's request was certainly over.
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
    /// Returns whether all listed fields but the time, the size and the seconds match what a reservation
    /// asked for.
    fn is_like(&self, candidate: &Candidate) -> bool {
        let named = [&self.model, &self.offered];
        let mut named = named.into_iter().flatten();
        let is_model = self.model.is_none() || named.any(|name| *name == candidate.model);
        let is_prompt = self.prompt.is_none_or(|prompt| prompt == candidate.prompt);
        let is_source = self.source.is_none() || self.source == candidate.source;
        is_model && is_prompt && is_source
    }

    /// Returns whether the listed size, seconds and source are exactly what a reservation asked for.
    fn is_exactly(&self, candidate: &Candidate) -> bool {
        self.renders_other(candidate) == (false, false) && self.source == candidate.source
    }

    /// Returns whether the job's size and whether its seconds differ from what `candidate` asked for, in
    /// this order. A field that is not listed does not differ.
    fn renders_other(&self, candidate: &Candidate) -> (bool, bool) {
        let size = self.size.as_ref();
        (
            size.is_some_and(|size| *size != candidate.size),
            self.seconds.is_some_and(|s| s != candidate.seconds),
        )
    }
}

impl Candidate {
    /// Marks a candidate whose outcome is decided at another address of its channel. It then counts like a
    /// voided reservation: no job is assigned to it here, and a job that it fits is not assigned to another
    /// key.
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
