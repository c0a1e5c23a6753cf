//! The keys of the objects that are open, to find a key that comes twice.

/// A stack of keys: those of an inner object lie on top of those of the outer ones.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: String,
    /// The offset in `bytes` at which each complete key ends.
    ends: Vec<usize>,
}

impl Keys {
    /// Returns the number of complete keys.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all complete keys but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.complete());
    }

    /// Adds characters to the key that is being read.
    pub(super) fn push(&mut self, characters: &str) {
        self.bytes.push_str(characters);
    }

    /// Returns the key that is being read.
    pub(super) fn current(&self) -> &str {
        &self.bytes[self.complete()..]
    }

    /// Returns whether the key that is being read is among the complete ones, from the index `first` on.
    /// Letter case does not count: Go's `encoding/json` matches keys without regard to it.
    pub(super) fn is_duplicate(&self, first: usize) -> bool {
        let mut start = match first {
            0 => 0,
            _ => self.ends[first - 1],
        };
        self.ends[first..].iter().any(|&end| {
            let key = &self.bytes[start..end];
            start = end;
            key.eq_ignore_ascii_case(self.current())
        })
    }

    /// Completes the key that is being read.
    pub(super) fn complete_current(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn complete(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}
