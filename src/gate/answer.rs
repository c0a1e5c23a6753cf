//! The body of a channel's answer, gathered from its chunks.

use bytes::{Bytes, BytesMut};

pub(super) use crate::dialect::{JobAnswer, Status};

/// The body of an answer, gathered from its chunks. One that comes in a single chunk, as most
/// do, is not copied.
#[derive(Default)]
pub(super) struct Gathered {
    first: Bytes,
    /// All chunks, where there are several.
    joined: BytesMut,
}

impl Gathered {
    pub(super) fn len(&self) -> usize {
        self.first.len().max(self.joined.len())
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() {
            self.first = chunk;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&chunk);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.joined.is_empty() {
            true => self.first,
            false => self.joined.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        let gathered = |chunks: &[&'static str]| {
            let mut gathered = Gathered::default();
            let (mut sum, chunks) = (0, chunks.iter().map(|c| Bytes::from_static(c.as_bytes())));
            for chunk in chunks {
                sum += chunk.len();
                gathered.push(chunk);
                assert_eq!(gathered.len(), sum);
            }
            gathered.into_bytes()
        };
        assert_eq!(gathered(&[]), "");
        assert_eq!(gathered(&["", "a", ""]), "a");
        assert_eq!(gathered(&["ab", "c", "", "d"]), "abcd");
    }
}
