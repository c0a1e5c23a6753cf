//! Decides which reservation with an unknown outcome each job of a channel's list belongs to. It does no IO
//! and reads no clock: its input is a list and the ledger's entries, and its output is decisions.
//!
//! **The key that owns a job is never guessed.** Jobs and reservations that may belong to each other,
//! directly or through others, form a component. Where a component holds reservations of several keys, a job
//! in it is assigned only if a single reservation fits it. A reservation that was voided not long ago is
//! still a candidate: its job may be listed late, and must not be assigned to another key.
//!
//! **A job may fit a reservation without being evidence for it.** It fits if no listed field rules out that
//! it is the reservation's job. A prompt is evidence. If the list has no prompts, the time is evidence,
//! together with all other listed fields, but only if the channel's clock is known to agree with the gates'.
//! A job that is evidence for no reservation is assigned to none, and no reservation that it fits is voided.
//! To make a match ambiguous, a fit is enough: a channel may render another size than requested.
//!
//! **Time separates keys only by the channel's own clock.** A reservation of another key may own a job of
//! any time, unless it is known what the channel's clock showed when the reservation was made: the clock of
//! the gate that made it may have been wrong by hours.
//!
//! **Within one key**, jobs and reservations are matched all together. As many jobs as possible are
//! assigned, so that their key can reach them. Of the ways to do so, one is used with the most jobs that are
//! exactly what their reservation asked for, then with the most that differ from it in one thing, and so on.
//! Jobs with a listed prompt come first, and the others go to the reservations that are left; in the end,
//! any pair is given up if one more job can then be assigned. A job that a voided reservation asked for
//! exactly may stay unassigned for a while. What was asked for counts more than an uncertain time: if no
//! reservation that asked for exactly a job in time gets it, one that asked for it at another time, by a
//! clock that may have been wrong, gets it before one that asked for something else.
//!
//! **Requests that differ only in what a list never shows** (the reference image) cannot be told apart.
//! Where all of them get a job, any assignment keeps each job reachable and charged, and each idempotency
//! key answered, so that no repetition makes another job. Where there are fewer jobs than reservations, some
//! of the requests created nothing, and it is unknown which:
//! - A reservation without an idempotency key is voided. Nobody can repeat its request in a way that the
//!   gate would recognise, and its client key is charged for as many jobs as there are.
//! - Reservations with an idempotency key get jobs first. One that is left over stays unknown until it
//!   expires: if it were voided, its idempotency key would be free, and a repetition would make a second job
//!   if the first job was its own. The drawback is a reserved amount for a request that may have created
//!   nothing, and an answer that may be that of the other image. But a second job would be charged for good.
//!   The same holds for a reservation with an uncertain time, if a job that it asked for exactly was
//!   assigned to one that did not ask for it.
//! - Requests with the same fingerprint have the same content: each may have the other's job.

mod assignment;
mod best_path;
mod component;
mod open_pairs;
mod ranks;
mod sets;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ledger::State;
use assignment::Assignment;
use component::{Component, Hints, VagueJob};
use ranks::Ranks;
use sets::DisjointSets;
pub(super) use values::{Ambiguity, Candidate, Decision, ListedJob, ReconciledJob, Rules};

/// The reservations of one channel, indexed to be matched with the jobs of its list.
pub(super) struct Matcher<'a> {
    candidates: Vec<&'a Candidate>,
    by_prompt: HashMap<[u8; 32], Vec<usize>>,
    all: Vec<usize>,
    rules: Rules,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(candidates: &'a [Candidate], rules: Rules) -> Self {
        let mut candidates: Vec<_> = candidates.iter().collect();
        // Sorted: decisions must not depend on the order of the input.
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

    /// Returns whether `job` may belong to at least one reservation: it fits the reservation, or is exactly
    /// what the reservation asked for at a time that is uncertain.
    pub(super) fn concerns(&self, job: &ListedJob) -> bool {
        let is_exact = |at: &usize| {
            self.rules
                .is_exact_at_another_time(job, self.candidates[*at])
        };
        self.fitting(job).next().is_some() || self.alike(job).iter().any(is_exact)
    }

    /// Decides about the reservations. `jobs` are the listed jobs that belong to no reservation, and
    /// `reconciled` the listed jobs that reconciliation has matched before.
    pub(super) fn decide(&self, jobs: &[ListedJob], reconciled: &[ReconciledJob]) -> Vec<Decision> {
        let mut jobs: Vec<_> = jobs.iter().collect();
        jobs.sort_by_key(|job| (self.rules.created(job), &job.id));
        jobs.dedup_by(|a, b| a.id == b.id);
        let is_clear = |job: &&ListedJob| {
            let mut fitting = self.fitting(job).map(|at| self.candidates[at]);
            fitting.any(|candidate| self.rules.is_evidence(job, candidate))
        };
        let (jobs, vague): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_clear);
        let vague = vague.into_iter().map(|job| {
            let fitting: Vec<_> = self.fitting(job).map(|at| self.candidates[at]).collect();
            let waits = self.rules.waits(job, &fitting);
            VagueJob { job, waits }
        });
        let vague = vague.collect();
        let hints = Hints { reconciled, vague };
        let mut decisions = Vec::new();
        for component in self.components(&jobs) {
            match component.single_key() {
                Some(_) => self.match_together(&component, &hints, &mut decisions),
                None => self.match_certain(&component, &hints, &mut decisions),
            }
        }
        decisions.sort();
        decisions.dedup();
        decisions
    }

    /// Returns the indices of the reservations that `job` fits.
    fn fitting(&self, job: &ListedJob) -> impl Iterator<Item = usize> {
        let fits = |at: &usize| self.rules.differences(job, self.candidates[*at]).is_some();
        self.alike(job).iter().copied().filter(fits)
    }

    /// Returns the indices of the reservations that `job` may belong to: those that it fits, and those with
    /// an uncertain time that asked for its model, prompt and source.
    fn possible(&self, job: &ListedJob) -> impl Iterator<Item = usize> {
        let rules = &self.rules;
        let is_possible = move |at: &usize| {
            let candidate = self.candidates[*at];
            rules.differences(job, candidate).is_some() || rules.may_be_at_any_time(job, candidate)
        };
        self.alike(job).iter().copied().filter(is_possible)
    }

    /// Returns the indices of the reservations with the job's prompt, or all if the prompt is not listed.
    fn alike(&self, job: &ListedJob) -> &[usize] {
        match job.prompt {
            Some(digest) => self.by_prompt.get(&digest.0).map_or(&[], Vec::as_slice),
            None => &self.all,
        }
    }

    fn components<'j>(&self, jobs: &[&'j ListedJob]) -> Vec<Component<'j>>
    where
        'a: 'j,
    {
        // In the sets, reservations have the first numbers, then jobs.
        let first_job = self.candidates.len();
        let mut sets = DisjointSets::new(first_job + jobs.len());
        for (at, job) in jobs.iter().enumerate() {
            for candidate in self.possible(job) {
                sets.join(candidate, first_job + at);
            }
        }
        let mut components = BTreeMap::<usize, Component<'j>>::new();
        for (at, &candidate) in self.candidates.iter().enumerate() {
            let component = components.entry(sets.root(at)).or_default();
            component.candidates.push(candidate);
        }
        for (at, &job) in jobs.iter().enumerate() {
            // A job that no reservation fits is not the gate's.
            if let Some(component) = components.get_mut(&sets.root(first_job + at)) {
                component.jobs.push(job);
            }
        }
        components.into_values().collect()
    }

    /// Matches all jobs and reservations of a component whose reservations belong to one key.
    fn match_together(
        &self,
        component: &Component<'_>,
        hints: &Hints<'_>,
        decisions: &mut Vec<Decision>,
    ) {
        let Component { jobs, candidates } = component;
        let assignment = self.assign(component);
        let waits: Vec<_> = jobs
            .iter()
            .map(|job| self.rules.waits(job, candidates))
            .collect();
        let left = |at: &usize| candidates[*at].is_unknown() && assignment.job(*at).is_none();
        let left: Vec<_> = (0..candidates.len()).filter(left).collect();
        let left = left.into_iter().map(|at| candidates[at]);
        for (at, job) in jobs.iter().enumerate().filter(|(at, _)| !waits[*at]) {
            let Some(owner) = assignment.owner(at).map(|owner| candidates[owner]) else {
                if self.rules.complete && !left.clone().any(|left| self.rules.is_vague(job, left)) {
                    decisions.push(Decision::unclaimed(job, candidates));
                }
                continue;
            };
            let (reservation, job_id) = (owner.id, job.id.clone());
            decisions.push(Decision::Assign {
                reservation,
                job: job_id,
            });
            let mut others = candidates.iter().filter(|other| other.is_unknown());
            if others.any(|other| self.rules.are_exchangeable(job, owner, other)) {
                let why = Ambiguity::Requests;
                decisions.push(Decision::ambiguous(owner, job, why));
            }
        }
        for left in left {
            let fits = |job: &ListedJob| self.rules.differences(job, left).is_some();
            if (jobs.iter().zip(&waits)).any(|(job, waits)| *waits && fits(job)) {
                continue;
            }
            let mut free = jobs.iter().enumerate();
            if let Some((_, job)) = free
                .find(|(at, job)| assignment.owner(*at).is_none() && self.rules.is_vague(job, left))
            {
                decisions.extend(self.hold(left, job));
                continue;
            }
            let given = jobs.iter().enumerate();
            let given = given.filter_map(|(at, job)| Some((*job, assignment.owner(at)?)));
            let given = given.map(|(job, owner)| (job, candidates[owner]));
            decisions.extend(self.hold_or_void(left, given, hints));
        }
    }

    /// Assigns the jobs of one key to reservations: as many jobs as possible, and of these as many as possible
    /// to reservations that asked for exactly such a job. A job with a listed prompt is recognised by it; a
    /// job without one may be anybody's, and comes last.
    fn assign(&self, component: &Component<'_>) -> Assignment {
        let Component { jobs, candidates } = component;
        let times = jobs.iter().map(|job| self.rules.created(job).0).collect();
        let mut assignment = Assignment::new(candidates.iter().map(|c| c.created.0), times);
        let mut ranks = Ranks::new(&self.rules, component);
        let with_prompt = |job: usize| jobs[job].prompt.is_some();
        ranks.assign_best(&mut assignment, with_prompt);
        ranks.assign_most(&mut assignment, with_prompt);
        ranks.assign_best(&mut assignment, |job| !with_prompt(job));
        ranks.assign_most(&mut assignment, |job| !with_prompt(job));
        ranks.assign_rest(&mut assignment);
        assignment
    }

    /// Matches the jobs of a component that has reservations of several keys, and assigns only a job that
    /// fits a single reservation. Any other choice, even between two reservations of one key, could leave a
    /// reservation open whose own job went to the other, and the open one could get another key's job.
    ///
    /// A second reservation of the same key may have asked for exactly what the job has, at an uncertain
    /// time. Then the job is assigned once the list would show any other job of the reservation that it fits.
    /// The second one stays a candidate: a job that fits it and another key's reservation is not assigned.
    fn match_certain(
        &self,
        component: &Component<'_>,
        hints: &Hints<'_>,
        decisions: &mut Vec<Decision>,
    ) {
        let mut open = BTreeSet::new();
        let mut certain = BTreeMap::<_, Component<'_>>::new();
        for &job in &component.jobs {
            let rules = &self.rules;
            let candidates = component.candidates.iter().copied();
            let fits = |c: &&Candidate| rules.differences(job, c).is_some();
            let (fitting, others): (Vec<_>, Vec<_>) = candidates.partition(fits);
            // Reservations with an uncertain time: of other keys, or with a more exact match.
            let is_others = |c: &Candidate| fitting.iter().any(|own| own.key != c.key);
            let is_rival = |c: &&Candidate| {
                is_others(c) && rules.may_be_at_any_time(job, c)
                    || rules.comes_first(job, c, &fitting)
            };
            let rivals: Vec<_> = others.into_iter().filter(is_rival).collect();
            let is_pending = |c: &&Candidate| c.state == State::Pending;
            // A rival of the same key prevents the assignment only while the rival is pending: it may
            // still be confirmed with the job.
            let is_disputed = rivals.iter().any(|c| is_others(c) || is_pending(c));
            let is_owner = |only: &Candidate| {
                only.is_unknown()
                    && !is_disputed
                    && (rivals.is_empty() || self.rules.is_due(only))
                    && rules.is_evidence(job, only)
            };
            match fitting[..] {
                [only] if is_owner(only) => {
                    let part = certain.entry(only.id).or_default();
                    part.candidates = vec![only];
                    part.jobs.push(job);
                    continue;
                }
                _ => open.extend(fitting.iter().chain(&rivals).map(|candidate| candidate.id)),
            }
            if fitting.is_empty()
                || self.rules.waits(job, &fitting)
                || rivals.iter().any(is_pending)
            {
                continue;
            }
            let part = Component {
                jobs: vec![job],
                candidates: [fitting, rivals].concat(),
            };
            if part.single_key().is_none() {
                let unknown = part.candidates.iter().filter(|c| c.is_unknown());
                decisions.extend(unknown.map(|c| Decision::ambiguous(c, job, Ambiguity::Keys)));
            } else if !part.candidates.iter().any(|c| c.is_unknown()) {
                decisions.push(Decision::unclaimed(job, &part.candidates));
            }
        }
        for part in certain.values() {
            self.match_together(part, hints, decisions);
        }
        let given = certain.values().flat_map(|part| {
            let owner = part.candidates.first().copied();
            let jobs = part.jobs.iter().copied();
            jobs.filter_map(move |job| Some((job, owner?)))
        });
        let rest = component.candidates.iter();
        for rest in rest.filter(|c| !open.contains(&c.id) && !certain.contains_key(&c.id)) {
            decisions.extend(self.hold_or_void(rest, given.clone(), hints));
        }
    }

    /// Decides about `left`, a reservation that got no job. It stays unknown if its request may have created
    /// a job that is in `given`, with its owner, or was matched before. Otherwise [`Self::void`] decides.
    fn hold_or_void<'j>(
        &self,
        left: &Candidate,
        given: impl Iterator<Item = (&'j ListedJob, &'j Candidate)>,
        hints: &'j Hints<'_>,
    ) -> Option<Decision> {
        let before = hints.reconciled.iter();
        let mut given = given.chain(before.map(|known| (&known.job, &known.owner)));
        match given.find(|(job, owner)| self.rules.is_held_for(left, job, owner)) {
            Some((job, _)) => left
                .is_unknown()
                .then(|| Decision::ambiguous(left, job, Ambiguity::TooFewJobs)),
            None => self.void(left, hints),
        }
    }

    /// Decides about a reservation that no assigned job may belong to. It stays unknown if an unassigned job
    /// may be its own, and is voided once certainly no job was created for it. Until then returns `None`.
    fn void(&self, candidate: &Candidate, hints: &Hints<'_>) -> Option<Decision> {
        let reservation = candidate.id;
        let fits = |vague: &&VagueJob<'_>| self.rules.differences(vague.job, candidate).is_some();
        let mut vague = hints.vague.iter().filter(fits).peekable();
        if vague.peek().is_some() {
            let vague = vague.find(|vague| !vague.waits)?;
            return self.hold(candidate, vague.job);
        }
        (candidate.is_unknown() && self.rules.is_due(candidate))
            .then_some(Decision::Void { reservation })
    }

    /// Reports that `candidate` stays unknown because `job` may be its own; `None` if it could not be
    /// voided yet in any case.
    fn hold(&self, candidate: &Candidate, job: &ListedJob) -> Option<Decision> {
        let is_held = candidate.is_unknown() && self.rules.is_due(candidate);
        is_held.then(|| Decision::ambiguous(candidate, job, Ambiguity::Evidence))
    }
}
