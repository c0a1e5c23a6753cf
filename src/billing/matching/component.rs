//! The jobs and reservations that have to be matched together.

use std::sync::Arc;

use super::values::{Candidate, ListedJob, ReconciledJob};

/// A connected component of jobs and reservations that may belong to each other, directly or through other
/// jobs and reservations of the component.
#[derive(Default)]
pub(super) struct Component<'a> {
    pub(super) jobs: Vec<&'a ListedJob>,
    pub(super) candidates: Vec<&'a Candidate>,
}

impl Component<'_> {
    /// Returns the key of the component's reservations; `None` if they have several keys.
    pub(super) fn single_key(&self) -> Option<&Arc<str>> {
        let mut keys = self.candidates.iter().map(|candidate| &candidate.key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }
}

/// The listed jobs that can keep a reservation from being voided although they are not assigned to it.
pub(super) struct Hints<'a> {
    /// The jobs that were matched with a reservation before.
    pub(super) reconciled: &'a [ReconciledJob],
    /// The jobs whose listed fields are not enough to assign them to any reservation.
    pub(super) vague: Vec<VagueJob<'a>>,
}

/// A listed job whose fields are not enough to assign it to any reservation.
pub(super) struct VagueJob<'a> {
    pub(super) job: &'a ListedJob,
    /// Whether a pending reservation, or one that is missing from the candidates, may still be confirmed
    /// with this job.
    pub(super) waits: bool,
}
