//! Holds back the received bytes of a body that may not be forwarded yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The size below which chunks are joined, in bytes. Otherwise the bookkeeping for a body in tiny chunks
/// would cost more than its bytes.
const SMALL: usize = 1024;
/// The maximum size, in bytes, of the rest of a chunk that is copied when the chunk's beginning is released.
/// As a slice, the rest would keep the chunk's whole buffer in memory for as long as it is held back.
const REMAINDER: usize = 8 * 1024;

/// A queue of the chunks of a body that are held back, with their offset in the body. Large chunks go
/// through as slices of the buffers that came in.
#[derive(Debug, Default)]
pub(crate) struct Holdback {
    /// The offset in the body of the first byte that is held back.
    start: u64,
    len: usize,
    chunks: VecDeque<Bytes>,
    /// The last bytes in the queue, joined from small chunks; empty if `chunks` has all bytes.
    tail: BytesMut,
}

impl Holdback {
    /// Returns the number of bytes that are held back.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        if chunk.len() < SMALL && (!self.tail.is_empty() || !self.chunks.is_empty()) {
            self.tail.extend_from_slice(&chunk);
            return;
        }
        self.seal_tail();
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.chunks.push_back(tail);
        }
    }

    /// Removes and returns the next piece of the bytes before the offset `safe` in the body; `None` if there
    /// are none.
    pub(crate) fn pop(&mut self, safe: u64) -> Option<Bytes> {
        let wanted = usize::try_from(safe.saturating_sub(self.start)).unwrap_or(usize::MAX);
        if wanted == 0 {
            return None;
        }
        if self.chunks.is_empty() {
            self.seal_tail();
        }
        let first = self.chunks.front_mut()?;
        let piece = if wanted < first.len() {
            let piece = first.split_to(wanted);
            if first.len() <= REMAINDER {
                *first = Bytes::copy_from_slice(first);
            }
            piece
        } else {
            self.chunks.pop_front()?
        };
        self.start += piece.len() as u64;
        self.len -= piece.len();
        Some(piece)
    }

    /// Returns all bytes that are held back, in order, and keeps them in the queue.
    pub(crate) fn copy(&mut self) -> Vec<Bytes> {
        self.seal_tail();
        self.chunks.iter().cloned().collect()
    }

    /// Removes all bytes that are held back, and returns them in order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Bytes> {
        self.seal_tail();
        self.start += self.len as u64;
        self.len = 0;
        std::mem::take(&mut self.chunks).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order_and_never_early(
            sizes in prop::collection::vec(0usize..3000, 0..20),
            safes in prop::collection::vec(0u64..30_000, 0..20),
        ) {
            let mut holdback = Holdback::default();
            let (mut input, mut output) = (Vec::new(), Vec::new());
            let mut safes = safes.into_iter();
            for size in sizes {
                let chunk: Vec<u8> = (0..size).map(|i| (input.len() + i) as u8).collect();
                input.extend_from_slice(&chunk);
                holdback.push(chunk.into());
                let safe = safes.next().unwrap_or(0).min(input.len() as u64);
                while let Some(piece) = holdback.pop(safe) {
                    prop_assert!(!piece.is_empty());
                    output.extend_from_slice(&piece);
                    prop_assert!(output.len() as u64 <= safe);
                }
                prop_assert!(output.len() as u64 >= safe);
                prop_assert_eq!(holdback.len(), input.len() - output.len());
            }
            for piece in holdback.take() {
                output.extend_from_slice(&piece);
            }
            prop_assert_eq!(holdback.len(), 0);
            prop_assert_eq!(output, input);
        }
    }

    #[test]
    fn tiny_chunks_are_joined() {
        let mut holdback = Holdback::default();
        for _ in 0..4096 {
            holdback.push(Bytes::from_static(b"x"));
        }
        assert_eq!(holdback.len(), 4096);
        assert!(holdback.take().count() <= 2);
    }

    #[test]
    fn a_small_remainder_lets_go_of_the_large_chunk() {
        let chunk = Bytes::from(vec![0; 65536]);
        let mut holdback = Holdback::default();
        holdback.push(chunk.clone());
        let piece = holdback.pop(65500).unwrap();
        assert_eq!(piece.len(), 65500);
        drop(piece);
        assert!(chunk.is_unique());
        assert_eq!(holdback.len(), 36);
    }
}
