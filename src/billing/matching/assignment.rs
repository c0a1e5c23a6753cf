//! A matching of reservations and jobs, extended by augmenting paths.

use std::collections::VecDeque;

/// Which job each reservation has. Both are numbered.
#[derive(Clone)]
pub(super) struct Assignment {
    /// When each reservation was made.
    made: Vec<u64>,
    /// When each job was created, ascending.
    created: Vec<u64>,
    jobs: Vec<Option<usize>>,
    owners: Vec<Option<usize>>,
}

impl Assignment {
    /// Nothing is assigned. `created` ascends.
    pub(super) fn new(made: impl Iterator<Item = u64>, created: Vec<u64>) -> Self {
        let made: Vec<_> = made.collect();
        Self {
            jobs: vec![None; made.len()],
            owners: vec![None; created.len()],
            made,
            created,
        }
    }

    /// Returns the job of a reservation.
    pub(super) fn job(&self, reservation: usize) -> Option<usize> {
        self.jobs.get(reservation).copied().flatten()
    }

    /// Returns the reservation that has a job.
    pub(super) fn owner(&self, job: usize) -> Option<usize> {
        self.owners.get(job).copied().flatten()
    }

    /// Gives jobs to as many more as possible of the reservations that are `admitted`. Who has
    /// a job keeps one, though it may become another. `edge` says whether a reservation can
    /// have a job. What lies closest in time is preferred.
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
        // By job: the reservation from which the search came to it. What a search in vain has
        // seen leads nowhere until something changes.
        let mut reached = vec![None; self.created.len()];
        for (_, start) in order {
            if let Some(end) = self.search(start, &edge, &mut reached) {
                self.shift(start, end, &reached);
                reached.fill(None);
            }
        }
    }

    /// A job that is free, on the shortest path of exchanges that leads to one.
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

    /// Exchanges jobs along the path that was found.
    fn shift(&mut self, start: usize, mut job: usize, reached: &[Option<usize>]) {
        while let Some(taker) = reached[job] {
            self.owners[job] = Some(taker);
            let given_up = self.jobs[taker].replace(job);
            match given_up {
                Some(before) if taker != start => job = before,
                _ => break,
            }
        }
    }

    /// All jobs, the closest in time to a reservation first.
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
