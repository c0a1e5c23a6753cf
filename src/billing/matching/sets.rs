//! Disjoint sets.

/// Sets that can be joined, by the number of one member each.
pub(super) struct DisjointSets(Vec<usize>);

impl DisjointSets {
    pub(super) fn new(members: usize) -> Self {
        Self((0..members).collect())
    }

    pub(super) fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            // Halves the way for the next time.
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The smallest is the root, so that the order of the sets is the members'.
        let (low, high) = (one.min(other), one.max(other));
        self.0[high] = low;
    }
}
