//! Counts the characters of values that are not stored, and checks that the values are UTF-8.

/// A counter of the characters of a text that comes in pieces, which also checks that the text is UTF-8.
#[derive(Debug, Default)]
pub(super) struct Counter {
    chars: u64,
    /// The beginning of a character that the end of a piece cut off, at most three bytes.
    partial: [u8; 4],
    partial_len: usize,
}

/// The error of a text that is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Counter {
    /// Returns the number of characters so far.
    pub(super) fn chars(&self) -> u64 {
        self.chars
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while self.partial_len > 0 {
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.partial[self.partial_len] = *first;
            self.partial_len += 1;
            match std::str::from_utf8(&self.partial[..self.partial_len]) {
                Ok(_) => {
                    self.chars += 1;
                    self.partial_len = 0;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.chars += starts(text.as_bytes()),
            Err(error) if error.error_len().is_none() => {
                let (whole, partial) = bytes.split_at(error.valid_up_to());
                self.chars += starts(whole);
                self.partial[..partial.len()].copy_from_slice(partial);
                self.partial_len = partial.len();
            }
            Err(error) => {
                // Counted up to the fault, so that the verdict on the length does not
                // depend on where the text is cut.
                self.chars += starts(&bytes[..error.valid_up_to()]);
                return Err(NotUtf8);
            }
        }
        Ok(())
    }

    /// Ends the text, and returns the number of its characters. A character that is cut off is an error.
    pub(super) fn finish(&self) -> Result<u64, NotUtf8> {
        if self.partial_len > 0 {
            return Err(NotUtf8);
        }
        Ok(self.chars)
    }
}

/// Returns the number of characters of valid UTF-8 that start in `bytes`: continuation bytes start none.
fn starts(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b & 0xc0 != 0x80).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pieces: &[&[u8]]) -> Result<u64, NotUtf8> {
        let mut counter = Counter::default();
        for piece in pieces {
            counter.push(piece)?;
        }
        counter.finish()
    }

    proptest::proptest! {
        #[test]
        fn counts_as_the_standard_library_does_however_cut(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::any::<char>().prop_map(|c| c.to_string().into_bytes()),
                    proptest::prelude::Just(vec![0xff]),
                    proptest::prelude::Just(vec![0xe2, 0x82]),
                ],
                0..12,
            ),
        ) {
            let bytes = bytes.concat();
            let expected = std::str::from_utf8(&bytes).map(|t| t.chars().count() as u64);
            let expected = expected.map_err(|_| NotUtf8);
            for cut in 0..=bytes.len() {
                let (a, b) = bytes.split_at(cut);
                proptest::prop_assert_eq!(count(&[a, b]), expected.as_ref().map(|n| *n).map_err(|_| NotUtf8));
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            proptest::prop_assert_eq!(count(&single), expected);
        }
    }

    use proptest::strategy::Strategy;
}
