//! Finds the augmenting path with the greatest gain: exchanges of jobs that assign one job more.

use super::assignment::Assignment;
use super::values::RANKS;

/// The pairs of reservations and jobs that a matching may have, with their ranks.
pub(super) struct RankedPairs {
    /// For each reservation, the jobs that it may have, each with the rank of the pair.
    pub(super) of: Vec<Vec<(usize, usize)>>,
    /// For each reservation, whether it is preferred to others for which the gain would be the same.
    pub(super) is_first: Vec<bool>,
}

/// The change that a path makes: for each rank, the change in the number of pairs, and then 1 if the path
/// begins at a preferred reservation. Gains are compared from rank 0 on; the greater is better.
type Gain = [i32; RANKS + 1];

impl RankedPairs {
    /// Assigns one more job, along the augmenting path with the greatest gain. Does nothing if there is no
    /// augmenting path. The matching must be such that no exchange of jobs among its reservations would be a
    /// gain; then the same holds for the result.
    pub(super) fn extend(&self, matching: &mut Assignment) {
        let (takers, end) = self.search(matching);
        // A path has each reservation at most once.
        let mut job = end;
        for _ in 0..matching.size().0 {
            let Some(taker) = job.and_then(|job| takers[job]) else {
                return;
            };
            job = matching.job(taker);
            if let (None, Some(end)) = (job, end) {
                return matching.shift(taker, end, &takers);
            }
        }
    }

    /// Finds the augmenting path with the greatest gain, from a reservation without a job to a job without an
    /// owner, by the algorithm of Bellman and Ford. Returns for each job on the path the reservation that
    /// takes it, and the job at the end; `None` for the latter if there is no augmenting path.
    fn search(&self, matching: &Assignment) -> (Vec<Option<usize>>, Option<usize>) {
        let (count, job_count) = matching.size();
        let ranks: Vec<_> = (0..count).map(|at| self.rank(matching, at)).collect();
        let mut gains: Vec<Option<Gain>> = vec![None; count];
        let mut takers = vec![None; job_count];
        let mut last: Option<(Gain, usize)> = None;
        let mut changed: Vec<usize> = (0..count)
            .filter(|at| matching.job(*at).is_none())
            .collect();
        for &at in &changed {
            let mut gain = Gain::default();
            gain[RANKS] = i32::from(self.is_first[at]);
            gains[at] = Some(gain);
        }
        // A path has each reservation at most once.
        for _ in 0..count {
            if changed.is_empty() {
                break;
            }
            for at in std::mem::take(&mut changed) {
                let Some(so_far) = gains[at] else { continue };
                for &(job, rank) in &self.of[at] {
                    let mut gain = so_far;
                    gain[rank] += 1;
                    let Some(owner) = matching.owner(job) else {
                        if last.is_none_or(|(most, _)| gain > most) {
                            (last, takers[job]) = (Some((gain, job)), Some(at));
                        }
                        continue;
                    };
                    gain[ranks[owner]] -= 1;
                    if owner != at && gains[owner].is_none_or(|most| gain > most) {
                        (gains[owner], takers[job]) = (Some(gain), Some(at));
                        changed.push(owner);
                    }
                }
            }
        }
        (takers, last.map(|(_, job)| job))
    }

    /// Returns the rank of the pair that `matching` has for a reservation. If the pair is not among those that
    /// may be made now, the rank is 0: only exact pairs are ruled out after they were made.
    fn rank(&self, matching: &Assignment, reservation: usize) -> usize {
        let mut pairs = self.of[reservation].iter();
        let pair = pairs.find(|(job, _)| matching.job(reservation) == Some(*job));
        pair.map_or(0, |(_, rank)| *rank)
    }
}
