//! Decides which reservation without an answer each job of a channel's list belongs to. No IO
//! and no clock: a list and the ledger's entries go in, decisions come out.
//!
//! **Whose a job is, is never guessed.** Jobs and reservations that fit each other, directly or
//! through others, form a component. Where a component holds reservations of several keys, a
//! job in it is assigned only if a single reservation fits it. A reservation that was voided
//! not long ago is still a rival: its job may be listed late, and is not to go to another key.
//!
//! **Within one key**, jobs and reservations are matched together, not job by job: first as
//! many as possible of those that asked for exactly what the job has, then as many as possible
//! of the rest, so that no job stays unreachable that some reservation of its key could have.
//!
//! **Requests that differ only in what a list never shows** (the reference image) cannot be
//! told apart. Where all of them get a job, any assignment keeps each job reachable and
//! charged, and each idempotency key answered, so that no repetition makes another job. Where
//! there are fewer jobs than reservations, some of them became nothing, and it is unknown
//! which:
//! - One without an idempotency key is voided. Nobody can repeat it in a way that the gate
//!   could have answered, and its key is charged for as many jobs as there are.
//! - Those with an idempotency key come first for the jobs. One that is left over stays
//!   unknown until it expires: if it were voided, its idempotency key would be free, and a
//!   repetition would make a second job if the first one was its own. The price is a
//!   reservation that is held for a request that may have become nothing, and an answer that
//!   may be that of the other image; a job too many would be charged for good.
//! - Requests with the same fingerprint are interchangeable: each may have the other's job.

mod assignment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::ledger::{PromptDigest, ReservationId, State};
use crate::policy::Timestamp;
use assignment::Assignment;

/// A job of a channel's list that belongs to no reservation yet. What the list leaves out
/// speaks against nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ListedJob {
    /// The channel's id for it.
    pub(super) id: Arc<str>,
    /// The channel's name for its model.
    pub(super) model: Option<Arc<str>>,
    /// The model on offer that this is a snapshot of.
    pub(super) offered: Option<Arc<str>>,
    pub(super) prompt: Option<PromptDigest>,
    pub(super) size: Option<Arc<str>>,
    pub(super) seconds: Option<u32>,
    /// The channel's id of the job that it is a remix of.
    pub(super) source: Option<Arc<str>>,
    /// When it was created, by the channel's clock.
    pub(super) created: Option<Timestamp>,
}

/// A reservation that a job may belong to, with what its request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: ReservationId,
    pub(super) key: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) prompt: PromptDigest,
    pub(super) size: Arc<str>,
    pub(super) seconds: u32,
    /// The channel's id of the job that was to be remixed.
    pub(super) source: Option<Arc<str>>,
    /// Pending, unknown, or voided not long ago without a job.
    pub(super) state: State,
    /// The fingerprint that its idempotency key stands for, if it has one.
    pub(super) fingerprint: Option<[u8; 32]>,
    /// When it was reserved.
    pub(super) created: Timestamp,
    /// When it was found to be unknown, or voided.
    pub(super) since: Timestamp,
}

/// A job of the list that was found to be a reservation's, though no answer said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) job: ListedJob,
    pub(super) owner: Candidate,
}

/// How a list was read, and how its times are to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// When reading the list began.
    pub(super) listed_at: Timestamp,
    /// Whether it was read as far as the oldest unknown reservation.
    pub(super) complete: bool,
    /// Milliseconds by which the channel's clock is ahead, as its answers say.
    pub(super) clock_ahead: i64,
    /// Milliseconds by which clocks may differ all the same.
    pub(super) skew: u64,
    /// Milliseconds that a channel has to list a job.
    pub(super) grace: u64,
    /// Reservations made since then were not all given.
    pub(super) unseen_from: Option<Timestamp>,
}

/// What is to be done. Where nothing is said of a reservation, it waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Decision {
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
pub(super) enum Ambiguity {
    /// Reservations of several keys fit it.
    Keys,
    /// Requests fit it that differ only in what a list does not show. The reservation has the
    /// job.
    Requests,
    /// The same, but there are fewer jobs than reservations: this one is held.
    TooFewJobs,
}

/// The reservations of one channel, ready to be matched with its jobs.
pub(super) struct Matcher<'a> {
    candidates: Vec<&'a Candidate>,
    by_prompt: HashMap<[u8; 32], Vec<usize>>,
    all: Vec<usize>,
    rules: Rules,
}

/// Jobs and reservations that fit each other, directly or through others.
#[derive(Default)]
struct Component<'a> {
    jobs: Vec<&'a ListedJob>,
    candidates: Vec<&'a Candidate>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(candidates: &'a [Candidate], rules: Rules) -> Self {
        let mut candidates: Vec<_> = candidates.iter().collect();
        // An order of their own: decisions do not depend on the one in which they are given.
        candidates.sort_by_key(|candidate| (candidate.created, candidate.id));
        let mut by_prompt = HashMap::<_, Vec<_>>::new();
        for (at, candidate) in candidates.iter().enumerate() {
            by_prompt.entry(candidate.prompt.0).or_default().push(at);
        }
        Self {
            all: (0..candidates.len()).collect(),
            candidates,
            by_prompt,
            rules,
        }
    }

    /// Whether any reservation fits the job.
    pub(super) fn concerns(&self, job: &ListedJob) -> bool {
        self.fitting(job).next().is_some()
    }

    /// What is to be done, given the jobs of the list that belong to no reservation, and those
    /// that were found to belong to one before.
    pub(super) fn decide(&self, jobs: &[ListedJob], found: &[Found]) -> Vec<Decision> {
        let mut jobs: Vec<_> = jobs.iter().collect();
        jobs.sort_by_key(|job| (self.created(job), &job.id));
        jobs.dedup_by(|a, b| a.id == b.id);
        let mut decisions = Vec::new();
        for component in self.components(&jobs) {
            match component.single_key() {
                Some(_) => self.match_together(&component, found, &mut decisions),
                None => self.match_certain(&component, found, &mut decisions),
            }
        }
        decisions.sort();
        decisions.dedup();
        decisions
    }

    /// The reservations that fit a job.
    fn fitting(&self, job: &ListedJob) -> impl Iterator<Item = usize> {
        let among = match job.prompt {
            Some(digest) => self.by_prompt.get(&digest.0).map_or(&[][..], Vec::as_slice),
            None => &self.all,
        };
        let fits = |at: &usize| self.rules.differences(job, self.candidates[*at]).is_some();
        among.iter().copied().filter(fits)
    }

    fn components<'j>(&self, jobs: &[&'j ListedJob]) -> Vec<Component<'j>>
    where
        'a: 'j,
    {
        // Reservations come first, then jobs.
        let first_job = self.candidates.len();
        let mut sets = DisjointSets::new(first_job + jobs.len());
        for (at, job) in jobs.iter().enumerate() {
            for candidate in self.fitting(job) {
                sets.join(candidate, first_job + at);
            }
        }
        let mut components = BTreeMap::<usize, Component<'j>>::new();
        for (at, &candidate) in self.candidates.iter().enumerate() {
            let component = components.entry(sets.root(at)).or_default();
            component.candidates.push(candidate);
        }
        for (at, &job) in jobs.iter().enumerate() {
            // A job that no reservation fits is none of ours.
            if let Some(component) = components.get_mut(&sets.root(first_job + at)) {
                component.jobs.push(job);
            }
        }
        components.into_values().collect()
    }

    /// Matches the jobs and reservations of one key.
    fn match_together(
        &self,
        component: &Component<'_>,
        found: &[Found],
        decisions: &mut Vec<Decision>,
    ) {
        let Component { jobs, candidates } = component;
        let assignment = self.assign(component);
        let waits: Vec<_> = jobs.iter().map(|job| self.waits(job, candidates)).collect();
        for (at, job) in jobs.iter().enumerate().filter(|(at, _)| !waits[*at]) {
            let Some(owner) = assignment.owner(at).map(|owner| candidates[owner]) else {
                if self.rules.complete {
                    decisions.push(unclaimed(job, candidates));
                }
                continue;
            };
            let (reservation, job_id) = (owner.id, job.id.clone());
            decisions.push(Decision::Assign {
                reservation,
                job: job_id,
            });
            let mut others = candidates.iter().filter(|other| other.is_unknown());
            if others.any(|other| self.are_exchangeable(job, owner, other)) {
                let why = Ambiguity::Requests;
                decisions.push(ambiguous(owner, job, why));
            }
        }
        let left = |at: &usize| candidates[*at].is_unknown() && assignment.job(*at).is_none();
        for left in (0..candidates.len()).filter(left).map(|at| candidates[at]) {
            let fits = |job: &ListedJob| self.rules.differences(job, left).is_some();
            if (jobs.iter().zip(&waits)).any(|(job, waits)| *waits && fits(job)) {
                continue;
            }
            let given = jobs.iter().enumerate();
            let given = given.filter_map(|(at, job)| Some((*job, assignment.owner(at)?)));
            let given = given.map(|(job, owner)| (job, candidates[owner]));
            let mut owned = given.chain(found.iter().map(|found| (&found.job, &found.owner)));
            let taken = owned.find(|(job, owner)| self.is_held_for(left, job, owner));
            match taken {
                Some((job, _)) => decisions.push(ambiguous(left, job, Ambiguity::TooFewJobs)),
                None => decisions.extend(self.void(left)),
            }
        }
    }

    /// Assigns the jobs of one key: those first that were asked for exactly.
    fn assign(&self, component: &Component<'_>) -> Assignment {
        let Component { jobs, candidates } = component;
        let times = jobs.iter().map(|job| self.created(job).0).collect();
        let mut assignment = Assignment::new(candidates.iter().map(|c| c.created.0), times);
        let differences = |candidate: usize, job: usize| {
            let candidate = candidates[candidate];
            self.rules.differences(jobs[job], candidate)
        };
        let unknown = |at: usize| candidates[at].is_unknown();
        let repeatable = |at: usize| unknown(at) && candidates[at].fingerprint.is_some();
        let exact = |at, job| differences(at, job) == Some(0);
        assignment.extend(repeatable, exact);
        assignment.extend(unknown, exact);
        // What was exactly asked for by a reservation that is voided is left to it for as long
        // as the others may still find their own. After that a job that can be reached by a
        // reservation of its key is better than one that cannot.
        let mut with_rivals = assignment.clone();
        with_rivals.extend(|at| candidates[at].state == State::Voided, exact);
        let is_rivals = |job| with_rivals.owner(job).is_some_and(|at| !unknown(at));
        let rivals: Vec<_> = (0..jobs.len()).map(is_rivals).collect();
        for most in 1..=MOST_DIFFERENCES {
            let near = |at: usize, job: usize| {
                (!rivals[job] || self.is_due(candidates[at]))
                    && differences(at, job).is_some_and(|count| count <= most)
            };
            assignment.extend(repeatable, near);
            assignment.extend(unknown, near);
        }
        assignment
    }

    /// Matches jobs among reservations of several keys: only those that a single reservation
    /// fits. Another choice, even within one key, could leave a reservation to other keys'
    /// jobs that has one already.
    fn match_certain(
        &self,
        component: &Component<'_>,
        found: &[Found],
        decisions: &mut Vec<Decision>,
    ) {
        let mut open = BTreeSet::new();
        let mut certain = BTreeMap::<_, Component<'_>>::new();
        for &job in &component.jobs {
            let fits = |c: &&&Candidate| self.rules.differences(job, c).is_some();
            let fitting: Vec<_> = component.candidates.iter().filter(fits).copied().collect();
            match fitting[..] {
                [only] if only.is_unknown() => {
                    let part = certain.entry(only.id).or_default();
                    part.candidates = vec![only];
                    part.jobs.push(job);
                    continue;
                }
                _ => open.extend(fitting.iter().map(|candidate| candidate.id)),
            }
            if self.waits(job, &fitting) {
                continue;
            }
            let part = Component {
                jobs: vec![job],
                candidates: fitting,
            };
            if part.single_key().is_none() {
                let unknown = part.candidates.iter().filter(|c| c.is_unknown());
                decisions.extend(unknown.map(|c| ambiguous(c, job, Ambiguity::Keys)));
            } else if !part.candidates.iter().any(|c| c.is_unknown()) {
                decisions.push(unclaimed(job, &part.candidates));
            }
        }
        for part in certain.values() {
            self.match_together(part, found, decisions);
        }
        let rest = component.candidates.iter();
        for rest in rest.filter(|c| !open.contains(&c.id) && !certain.contains_key(&c.id)) {
            decisions.extend(self.void(rest));
        }
    }

    /// Whether a job may still be confirmed by its answer, or may have come of a reservation
    /// that was not given.
    fn waits(&self, job: &ListedJob, fitting: &[&Candidate]) -> bool {
        let rules = &self.rules;
        let is_pending =
            |c: &&&Candidate| c.state == State::Pending && rules.differences(job, c).is_some();
        let unseen = |from: Timestamp| self.created(job).0.saturating_add(rules.skew) >= from.0;
        rules.unseen_from.is_some_and(unseen) || fitting.iter().any(|c| is_pending(&c))
    }

    /// Whether a list cannot tell which of two requests a job came of, though the answer to a
    /// repetition of one of them depends on it.
    fn are_exchangeable(&self, job: &ListedJob, one: &Candidate, other: &Candidate) -> bool {
        one.id != other.id
            && one.fingerprint != other.fingerprint
            && self.rules.differences(job, one) == self.rules.differences(job, other)
    }

    /// Whether a reservation that got no job may be the one that an owner's job came of, and a
    /// repetition of it could make a second one.
    fn is_held_for(&self, left: &Candidate, job: &ListedJob, owner: &Candidate) -> bool {
        left.fingerprint.is_some()
            && left.key == owner.key
            && self.rules.differences(job, left).is_some()
            && self.are_exchangeable(job, left, owner)
    }

    fn void(&self, candidate: &Candidate) -> Option<Decision> {
        let reservation = candidate.id;
        (candidate.is_unknown() && self.is_due(candidate)).then_some(Decision::Void { reservation })
    }

    /// Whether the channel has had its time to list what became of a reservation, and its job
    /// would have been noticed.
    fn is_due(&self, candidate: &Candidate) -> bool {
        let Rules {
            listed_at,
            complete,
            grace,
            unseen_from,
            ..
        } = self.rules;
        let was_seen = unseen_from.is_none_or(|from| candidate.created < from);
        complete && was_seen && listed_at.since(candidate.since) >= grace
    }

    /// When a job was created by the gates' clock.
    fn created(&self, job: &ListedJob) -> Timestamp {
        let at = job.created.map(|at| self.rules.by_our_clock(at));
        at.unwrap_or(self.rules.listed_at)
    }
}

/// The most that [`Rules::differences`] counts.
const MOST_DIFFERENCES: u32 = 3;

impl Rules {
    /// In how many things a job differs from what a reservation asked for, if it may belong to
    /// it. With the prompt there, size and seconds need not be those that were asked for,
    /// since a channel may render others.
    fn differences(&self, job: &ListedJob, candidate: &Candidate) -> Option<u32> {
        let model = &candidate.model;
        let named = [&job.model, &job.offered];
        let is_model = job.model.is_none() || named.into_iter().flatten().any(|name| name == model);
        let is_prompt = job.prompt.is_none_or(|prompt| prompt == candidate.prompt);
        let is_source = job.source.is_none() || job.source == candidate.source;
        if !(is_model && is_prompt && is_source && self.is_in_time(job, candidate)) {
            return None;
        }
        let other_size = job
            .size
            .as_ref()
            .is_some_and(|size| *size != candidate.size);
        let other_seconds = job.seconds.is_some_and(|s| s != candidate.seconds);
        if job.prompt.is_none() && (other_size || other_seconds) {
            return None;
        }
        // Whoever lists remixes says what of.
        let other_source = job.source != candidate.source;
        Some(u32::from(other_size) + u32::from(other_seconds) + u32::from(other_source))
    }

    /// Whether the job was created while the reservation's request was under way, by its time
    /// as it is written, or as its channel's clock corrects it: what stamps an answer with its
    /// date may be another machine than the one that creates jobs.
    fn is_in_time(&self, job: &ListedJob, candidate: &Candidate) -> bool {
        let Some(written) = job.created else {
            return true;
        };
        let from = candidate.created.0.saturating_sub(self.skew);
        let to = candidate.since.0.max(candidate.created.0);
        let window = from..=to.saturating_add(self.skew).saturating_add(self.grace);
        window.contains(&written.0) || window.contains(&self.by_our_clock(written).0)
    }

    fn by_our_clock(&self, written: Timestamp) -> Timestamp {
        Timestamp(written.0.saturating_add_signed(-self.clock_ahead))
    }
}

impl Candidate {
    fn is_unknown(&self) -> bool {
        self.state == State::Unknown
    }
}

impl Component<'_> {
    /// The key of all its reservations, if it is one.
    fn single_key(&self) -> Option<&Arc<str>> {
        let mut keys = self.candidates.iter().map(|candidate| &candidate.key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }
}

fn ambiguous(candidate: &Candidate, job: &ListedJob, why: Ambiguity) -> Decision {
    Decision::Ambiguous {
        reservation: candidate.id,
        job: job.id.clone(),
        why,
    }
}

fn unclaimed(job: &ListedJob, candidates: &[&Candidate]) -> Decision {
    let key = candidates.first().map(|candidate| candidate.key.clone());
    Decision::Unclaimed {
        key: key.unwrap_or_default(),
        job: job.id.clone(),
    }
}

/// Sets that can be joined, by the number of one member each.
struct DisjointSets(Vec<usize>);

impl DisjointSets {
    fn new(members: usize) -> Self {
        Self((0..members).collect())
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            // Halves the way for the next time.
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The smallest is the root, so that the order of the sets is the members'.
        let (low, high) = (one.min(other), one.max(other));
        self.0[high] = low;
    }
}
