//! A union-find structure.

/// Disjoint sets of numbers that can be joined; the smallest member identifies a set.
pub(super) struct DisjointSets(Vec<usize>);

impl DisjointSets {
    pub(super) fn new(members: usize) -> Self {
        Self((0..members).collect())
    }

    pub(super) fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            // Path halving, for the next call.
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The smallest member is the root, so that the order of the sets is that of their members.
        let (low, high) = (one.min(other), one.max(other));
        self.0[high] = low;
    }
}
