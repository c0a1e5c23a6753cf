//! The pairs that a matching may use without having fewer pairs of a better (lower) rank.

use super::assignment::Assignment;

/// The pairs of reservations and jobs that a matching may use at later ranks without having fewer pairs of an
/// earlier rank. A matching that is extended, rank after rank, by these pairs alone has as many pairs as
/// possible of rank 0, then as many as possible of rank 1, and so on: R. W. Irving et al., "Rank-maximal
/// matchings", ACM Transactions on Algorithms 2(4), 2006.
#[derive(Default)]
pub(super) struct OpenPairs {
    /// The decomposition at each rank that has been decided, from rank 0 on.
    decided: Vec<Decomposition>,
}

/// The Dulmage–Mendelsohn decomposition of a graph of reservations and jobs: the place of each.
pub(super) struct Decomposition {
    reservations: Vec<Place>,
    jobs: Vec<Place>,
}

/// The place of a reservation or a job in a [`Decomposition`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has no partner in some largest matching: it stands at an even distance from one without a partner,
    /// on a path whose pairs are alternately outside and inside the matching.
    Even,
    /// It stands at an odd distance from one without a partner, on such a path. Every largest matching pairs
    /// it with one whose place is `Even`.
    Odd,
    /// It stands on no such path. Every largest matching pairs it with one of the same place.
    Unreachable,
}

impl OpenPairs {
    /// Returns whether a pair of the given rank may be used.
    pub(super) fn contains(&self, reservation: usize, job: usize, rank: usize) -> bool {
        let mut decided = (0..).zip(&self.decided);
        decided.all(
            |(level, at)| match (at.reservations[reservation], at.jobs[job]) {
                (Place::Even, Place::Even) => true,
                (Place::Odd, Place::Odd | Place::Unreachable) => false,
                (Place::Unreachable, Place::Odd) => false,
                _ => rank <= level,
            },
        )
    }

    /// Decides what the next rank leaves open. `decomposition` is that of the open pairs up to this rank.
    pub(super) fn decide(&mut self, decomposition: Decomposition) {
        self.decided.push(decomposition);
    }
}

impl Decomposition {
    /// Computes the decomposition of the graph of those reservations and jobs for which `has_reservation`
    /// and `has_job` return true, with the pairs for which `edge` returns true. `matching` must be a largest
    /// one of this graph.
    pub(super) fn new(
        matching: &Assignment,
        has_reservation: impl Fn(usize) -> bool,
        has_job: impl Fn(usize) -> bool,
        edge: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let (count, job_count) = matching.size();
        let mut reservations = vec![Place::Unreachable; count];
        let mut jobs = vec![Place::Unreachable; job_count];
        let is_free = |at: &usize| has_reservation(*at) && matching.job(*at).is_none();
        let mut even: Vec<_> = (0..count).filter(is_free).collect();
        while let Some(at) = even.pop() {
            reservations[at] = Place::Even;
            for (job, place) in jobs.iter_mut().enumerate() {
                if *place == Place::Unreachable && edge(at, job) {
                    *place = Place::Odd;
                    even.extend(matching.owner(job));
                }
            }
        }
        let is_free = |job: &usize| has_job(*job) && matching.owner(*job).is_none();
        let mut even: Vec<_> = (0..job_count).filter(is_free).collect();
        while let Some(job) = even.pop() {
            jobs[job] = Place::Even;
            for (at, place) in reservations.iter_mut().enumerate() {
                if *place == Place::Unreachable && edge(at, job) {
                    *place = Place::Odd;
                    even.extend(matching.job(at));
                }
            }
        }
        Self { reservations, jobs }
    }
}
