//! Assigns the jobs of one key to reservations: as many jobs as possible, and of these as many as possible to
//! reservations that asked for exactly such a job.

use super::assignment::Assignment;
use super::best_path::RankedPairs;
use super::component::Component;
use super::open_pairs::{Decomposition, OpenPairs};
use super::values::{Candidate, ListedJob, RANKS, Rules};
use crate::ledger::State;

/// The ranks of the pairs of a reservation and a job of a component.
pub(super) struct Ranks<'a> {
    rules: &'a Rules,
    component: &'a Component<'a>,
    /// For each job, whether it is left to a voided reservation that asked for exactly it: the unknown
    /// reservations that asked for exactly it in time have other jobs.
    left_to_voided: Vec<bool>,
    /// For each job, whether no unknown reservation that asked for exactly it in time has it, although at
    /// least one unknown reservation could have it.
    goes_to_other: Vec<bool>,
}

impl<'a> Ranks<'a> {
    pub(super) fn new(rules: &'a Rules, component: &'a Component<'a>) -> Self {
        let none = vec![false; component.jobs.len()];
        Self {
            rules,
            component,
            left_to_voided: none.clone(),
            goes_to_other: none,
        }
    }

    /// Assigns jobs for which `is_next` returns true to reservations that have none: as many as possible as
    /// pairs of rank 0, then as many as possible of rank 1, and so on. Reservations with an idempotency key
    /// come first within a rank. Jobs for which `is_next` returns true must not have been assigned before.
    pub(super) fn assign_best(
        &mut self,
        assignment: &mut Assignment,
        is_next: impl Fn(usize) -> bool,
    ) {
        let has_none = |at: usize| self.is_unknown(at) && assignment.job(at).is_none();
        let without: Vec<_> = (0..self.component.candidates.len()).map(has_none).collect();
        let mut open = OpenPairs::default();
        for rank in 0..RANKS {
            let edge = |at: usize, job: usize| {
                let of = || self.of(at, job).filter(|of| *of <= rank);
                without[at] && is_next(job) && of().is_some_and(|of| open.contains(at, job, of))
            };
            assignment.extend(|at| self.is_repeatable(at), edge);
            assignment.extend(|at| self.is_unknown(at), edge);
            if !assignment.has_room(|at| without[at], &is_next) {
                return;
            }
            let graph = Decomposition::new(assignment, |at| without[at], &is_next, edge);
            open.decide(graph);
            if rank == 0 {
                self.note_exact(assignment, &is_next);
            }
        }
    }

    /// Assigns as many further jobs as possible for which `is_next` returns true, by letting reservations
    /// exchange jobs. As few pairs as possible of rank 0 are given up for that, then as few as possible of
    /// rank 1, and so on.
    pub(super) fn assign_most(&self, assignment: &mut Assignment, is_next: impl Fn(usize) -> bool) {
        let mut most = assignment.clone();
        let is_pair = |at: usize, job: usize| is_next(job) && self.of(at, job).is_some();
        most.extend(|at| self.is_unknown(at), is_pair);
        let count = most.len() - assignment.len();
        if count == 0 {
            return;
        }
        let (reservations, jobs) = assignment.size();
        let pairs_of = |at: usize| -> Vec<_> {
            let jobs = (0..jobs).filter(|job| self.is_unknown(at) && is_next(*job));
            let rank = |job| Some((job, self.of(at, job)?));
            jobs.filter_map(rank).collect()
        };
        let pairs = RankedPairs {
            of: (0..reservations).map(pairs_of).collect(),
            is_first: (0..reservations).map(|at| self.is_repeatable(at)).collect(),
        };
        for _ in 0..count {
            pairs.extend(assignment);
        }
    }

    /// Assigns jobs to as many reservations as possible, whatever pairs are given up for that. A job that is
    /// assigned already is not left to a voided reservation any more.
    pub(super) fn assign_rest(&self, assignment: &mut Assignment) {
        let is_owned = |job: usize| assignment.owner(job).is_some();
        let owned: Vec<_> = (0..self.component.jobs.len()).map(is_owned).collect();
        let is_pair = |at: usize, job: usize| {
            self.of(at, job).is_some() || owned[job] && self.differences(at, job).is_some()
        };
        assignment.extend(|at| self.is_repeatable(at), is_pair);
        assignment.extend(|at| self.is_unknown(at), is_pair);
    }

    /// Returns the rank of a pair of an unknown reservation and a job; a lower rank is better. The rank is 0 if
    /// the reservation asked for exactly the job, 1 if it did so at another time, and otherwise the number of
    /// differences plus one. `None` if the job must not be assigned to the reservation.
    fn of(&self, reservation: usize, job: usize) -> Option<usize> {
        let candidate = self.component.candidates[reservation];
        let is_free = || !self.left_to_voided[job] || self.rules.is_due(candidate);
        let goes_to_other = self.goes_to_other[job];
        match self.differences(reservation, job) {
            Some(0) => (goes_to_other || is_free()).then_some(0),
            _ if goes_to_other && self.is_exact_at_another_time(reservation, job) => Some(1),
            differences => differences
                .filter(|_| is_free())
                .map(|count| count as usize + 1),
        }
    }

    /// Computes which of the jobs for which `is_next` returns true are left to voided reservations, and which
    /// go to others. `exact` has the pairs of rank 0.
    ///
    /// A job left to a voided reservation may be its own. It stays unassigned while the list may still show
    /// the other reservations' own jobs. Then another reservation gets it, so that the key can reach it.
    fn note_exact(&mut self, exact: &Assignment, is_next: impl Fn(usize) -> bool) {
        let candidates = &self.component.candidates;
        let jobs: Vec<_> = (0..self.component.jobs.len())
            .filter(|job| is_next(*job))
            .collect();
        let mut with_voided = exact.clone();
        with_voided.extend(
            |at| candidates[at].state == State::Voided,
            |at, job| is_next(job) && self.is_exact_at_any_time(at, job),
        );
        for &job in &jobs {
            let owner = with_voided.owner(job);
            self.left_to_voided[job] = owner.is_some_and(|at| !self.is_unknown(at));
        }
        for &job in &jobs {
            let fits = |at: usize| self.is_unknown(at) && self.of(at, job).is_some();
            let is_fitting = exact.owner(job).is_none() && (0..candidates.len()).any(fits);
            self.goes_to_other[job] = is_fitting;
        }
    }

    fn differences(&self, reservation: usize, job: usize) -> Option<u32> {
        let (candidate, job) = self.pair(reservation, job);
        let differences = self.rules.differences(job, candidate);
        differences.filter(|_| self.rules.is_evidence(job, candidate))
    }

    fn is_exact_at_another_time(&self, reservation: usize, job: usize) -> bool {
        let (candidate, job) = self.pair(reservation, job);
        self.rules.is_exact_at_another_time(job, candidate)
    }

    fn is_exact_at_any_time(&self, reservation: usize, job: usize) -> bool {
        let is_exact = self.differences(reservation, job) == Some(0);
        is_exact || self.is_exact_at_another_time(reservation, job)
    }

    fn pair(&self, reservation: usize, job: usize) -> (&Candidate, &ListedJob) {
        let Component { jobs, candidates } = self.component;
        (candidates[reservation], jobs[job])
    }

    fn is_unknown(&self, reservation: usize) -> bool {
        self.component.candidates[reservation].is_unknown()
    }

    fn is_repeatable(&self, reservation: usize) -> bool {
        let candidate = self.component.candidates[reservation];
        candidate.is_unknown() && candidate.fingerprint.is_some()
    }
}
