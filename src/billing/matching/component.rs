//! Jobs and reservations that have to be matched together.

use std::sync::Arc;

use super::values::{Candidate, ListedJob, ReconciledJob};

/// Jobs and reservations that fit each other, directly or through others.
#[derive(Default)]
pub(super) struct Component<'a> {
    pub(super) jobs: Vec<&'a ListedJob>,
    pub(super) candidates: Vec<&'a Candidate>,
}

impl Component<'_> {
    /// Returns the key of all its reservations, if it is one.
    pub(super) fn single_key(&self) -> Option<&Arc<str>> {
        let mut keys = self.candidates.iter().map(|candidate| &candidate.key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }
}

/// What jobs of the list tell of reservations that they are not assigned to.
pub(super) struct Hints<'a> {
    /// Jobs that were matched with a reservation before.
    pub(super) reconciled: &'a [ReconciledJob],
    /// Jobs that are evidence for no reservation.
    pub(super) vague: Vec<VagueJob<'a>>,
}

/// A job that is evidence for no reservation.
pub(super) struct VagueJob<'a> {
    pub(super) job: &'a ListedJob,
    /// Whether it may still be confirmed by its answer.
    pub(super) waits: bool,
}
