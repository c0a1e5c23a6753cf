//! Jobs and reservations that have to be matched together.

use std::sync::Arc;

use super::values::{Candidate, ListedJob};

/// Jobs and reservations that fit each other, directly or through others.
#[derive(Default)]
pub(super) struct Component<'a> {
    pub(super) jobs: Vec<&'a ListedJob>,
    pub(super) candidates: Vec<&'a Candidate>,
}

impl Component<'_> {
    /// The key of all its reservations, if it is one.
    pub(super) fn single_key(&self) -> Option<&Arc<str>> {
        let mut keys = self.candidates.iter().map(|candidate| &candidate.key);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }
}
