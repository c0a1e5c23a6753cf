//! A matching of reservations and jobs, extended by augmenting paths: exchanges that assign one job more.

use std::collections::VecDeque;

/// A matching of reservations with jobs: each reservation has at most one job, and each job at most one
/// reservation. Reservations and jobs are numbered from 0.
#[derive(Clone)]
pub(super) struct Assignment {
    /// The time of each reservation, in milliseconds since 1970.
    made: Vec<u64>,
    /// The creation time of each job, ascending, in milliseconds since 1970.
    created: Vec<u64>,
    jobs: Vec<Option<usize>>,
    owners: Vec<Option<usize>>,
}

impl Assignment {
    /// Makes a matching in which nothing is assigned. `created` must ascend.
    pub(super) fn new(made: impl Iterator<Item = u64>, created: Vec<u64>) -> Self {
        let made: Vec<_> = made.collect();
        Self {
            jobs: vec![None; made.len()],
            owners: vec![None; created.len()],
            made,
            created,
        }
    }

    /// Returns the job that is assigned to `reservation`, if there is one.
    pub(super) fn job(&self, reservation: usize) -> Option<usize> {
        self.jobs.get(reservation).copied().flatten()
    }

    /// Returns the reservation that `job` is assigned to, if there is one.
    pub(super) fn owner(&self, job: usize) -> Option<usize> {
        self.owners.get(job).copied().flatten()
    }

    /// Returns the number of reservations and the number of jobs.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.jobs.len(), self.owners.len())
    }

    /// Returns the number of assigned jobs.
    pub(super) fn len(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    /// Returns whether a reservation has no job and a job has no owner, of those for which
    /// `has_reservation` and `has_job` return true.
    pub(super) fn has_room(
        &self,
        has_reservation: impl Fn(usize) -> bool,
        has_job: impl Fn(usize) -> bool,
    ) -> bool {
        let mut reservations = 0..self.jobs.len();
        let mut jobs = 0..self.owners.len();
        reservations.any(|at| self.job(at).is_none() && has_reservation(at))
            && jobs.any(|job| self.owner(job).is_none() && has_job(job))
    }

    /// Assigns jobs to as many as possible of those reservations without a job for which `admitted` returns
    /// true. A reservation that has a job already keeps a job, though perhaps another one.
    /// `edge(reservation, job)` returns whether the reservation can have the job. Pairs that are closest in
    /// time are preferred.
    pub(super) fn extend(
        &mut self,
        admitted: impl Fn(usize) -> bool,
        edge: impl Fn(usize, usize) -> bool,
    ) {
        let without = (0..self.made.len()).filter(|at| self.job(*at).is_none() && admitted(*at));
        let closest = |at| self.by_distance(at).find(|job| edge(at, *job));
        let mut order: Vec<_> = without
            .filter_map(|at| closest(at).map(|job| (self.made[at].abs_diff(self.created[job]), at)))
            .collect();
        order.sort_unstable();
        // For each job, the reservation from which the search reached it. Jobs that a failed search has
        // reached lead nowhere until something changes.
        let mut reached = vec![None; self.created.len()];
        for (_, start) in order {
            if let Some(end) = self.search(start, &edge, &mut reached) {
                self.shift(start, end, &reached);
                reached.fill(None);
            }
        }
    }

    /// Finds a free job at the end of the shortest augmenting path from the reservation `start`; `None` if
    /// there is no such path. Records in `reached`, for each job on the way, the reservation from which it
    /// was reached.
    fn search(
        &self,
        start: usize,
        edge: impl Fn(usize, usize) -> bool,
        reached: &mut [Option<usize>],
    ) -> Option<usize> {
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for job in self.by_distance(at) {
                if reached[job].is_some() || !edge(at, job) {
                    continue;
                }
                reached[job] = Some(at);
                match self.owner(job) {
                    None => return Some(job),
                    Some(owner) => queue.push_back(owner),
                }
            }
        }
        None
    }

    /// Assigns to each reservation on the augmenting path from `start` to `job` the job that comes after it
    /// on the path.
    pub(super) fn shift(&mut self, start: usize, mut job: usize, reached: &[Option<usize>]) {
        while let Some(taker) = reached[job] {
            self.owners[job] = Some(taker);
            let given_up = self.jobs[taker].replace(job);
            match given_up {
                Some(before) if taker != start => job = before,
                _ => break,
            }
        }
    }

    /// Returns all jobs, those closest in time to `reservation` first.
    fn by_distance(&self, reservation: usize) -> impl Iterator<Item = usize> + use<'_> {
        let (at, created) = (self.made[reservation], &self.created);
        let mut later = created.partition_point(|time| *time < at);
        let mut earlier = later;
        std::iter::from_fn(move || {
            let before = earlier.checked_sub(1);
            let distance = |job: Option<usize>| Some(created.get(job?)?.abs_diff(at));
            let (past, future) = (distance(before), distance(Some(later)));
            if past.is_some_and(|past| future.is_none_or(|future| past <= future)) {
                earlier -= 1;
                Some(earlier)
            } else {
                future?;
                later += 1;
                Some(later - 1)
            }
        })
    }
}
