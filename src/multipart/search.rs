//! The search for the boundary in a body.

use std::ops::Range;

use super::Boundary;
use super::boundary::{LEAD, MAX_BOUNDARY};

/// A search for the boundary of one body.
///
/// The search looks for the boundary alone, because some parsers split even at a boundary without the CRLF
/// and the dashes of a delimiter. Such a place must not be taken for data. The search ignores line breaks
/// in the boundary, because one parser (npm parse-multipart-data 1.5.0) leaves CR and LF out while it
/// compares: it takes `bound LF ary` for a delimiter.
///
/// A boundary of `n` bytes covers at least `n` bytes of the body, each of them one of its own bytes or a
/// line break. So in most data the search reads only two neighbouring bytes in `n - 1`: if one of them has
/// another value, no boundary covers both.
#[derive(Debug)]
pub(super) struct Search {
    boundary: Boundary,
    /// The bytes that may occur in a boundary, by value: the boundary's own, CR and LF.
    members: [bool; 256],
    /// The failure function of the boundary, as Knuth, Morris and Pratt define it: see [`borders`].
    borders: [u8; MAX_BOUNDARY],
    /// The number of the boundary's first bytes with which the data so far end, line breaks left out.
    matched: usize,
}

/// The result of searching a window of data.
pub(super) struct Found {
    /// The number of bytes at the beginning of the window that are certain to be data.
    pub(super) data: usize,
    pub(super) kind: FoundKind,
    /// The last bytes of a window without a boundary, if a delimiter or a boundary may begin with them; else
    /// empty. They are given as the range of the delimiter that has the same bytes. It begins at 0 if they
    /// may begin a delimiter, and behind the dashes if they may begin only a boundary without its dashes.
    pub(super) held: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundKind {
    /// No whole boundary is in the window.
    Nothing,
    /// A delimiter, whose boundary ends at the offset `end` of the window.
    Delimiter { end: usize },
    /// The boundary, outside of a delimiter or interrupted by line breaks.
    Stray,
}

/// The occurrence of the boundary that ends first. `end` is the offset behind its last byte.
struct Hit {
    end: usize,
    /// Whether the boundary is free of line breaks.
    whole: bool,
}

impl Search {
    pub(super) fn new(boundary: Boundary) -> Self {
        let mut members = [false; 256];
        for &byte in boundary.as_bytes().iter().chain(b"\r\n") {
            members[usize::from(byte)] = true;
        }
        Self {
            members,
            borders: borders(boundary.as_bytes()),
            matched: 0,
            boundary,
        }
    }

    /// Returns the delimiter, `CRLF "--" boundary`.
    pub(super) fn delimiter(&self) -> &[u8] {
        self.boundary.delimiter()
    }

    /// Returns whether the boundary occurs in `bytes`, even interrupted by line breaks.
    pub(super) fn occurs_in(&self, bytes: &[u8]) -> bool {
        self.find(bytes, 0).is_some()
    }

    /// Starts the search in the data of a new part. Boundaries that begin before the data are not found.
    pub(super) fn start(&mut self) {
        self.matched = 0;
    }

    /// Skips bytes that are certain to be data. The next window begins behind them.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        // Only the last bytes matter: at most all but one byte of a boundary can be among them.
        let mut missing = self.boundary.as_bytes().len() - 1;
        let mut from = bytes.len();
        for (at, byte) in bytes.iter().enumerate().rev() {
            if missing == 0 || !self.members[usize::from(*byte)] {
                self.matched = 0;
                break;
            }
            missing -= usize::from(!is_line_break(*byte));
            from = at;
        }
        for &byte in &bytes[from..] {
            self.matched = self.advance(self.matched, byte);
        }
    }

    /// Returns how many of the boundary's first bytes the data end with after `byte` is added to them.
    /// Before, they ended with `matched` of them.
    fn advance(&self, mut matched: usize, byte: u8) -> usize {
        if is_line_break(byte) {
            return matched;
        }
        let boundary = self.boundary.as_bytes();
        while matched > 0 && boundary.get(matched) != Some(&byte) {
            matched = usize::from(self.borders[matched - 1]);
        }
        matched + usize::from(boundary.get(matched) == Some(&byte))
    }

    /// Finds the boundary that ends first in `bytes`. The data before `bytes` end with the boundary's first
    /// `matched` bytes.
    fn find(&self, bytes: &[u8], matched: usize) -> Option<Hit> {
        // All boundaries that begin before `from` have been excluded.
        let mut from = 0;
        if matched > 0 {
            match self.find_in_run(bytes, 0, matched) {
                Ok(hit) => return Some(hit),
                Err(end) => from = end,
            }
        }
        let boundary = self.boundary.as_bytes();
        if let [byte] = boundary {
            let at = memchr::memchr(*byte, bytes)?;
            let (end, whole) = (at + 1, true);
            return Some(Hit { end, whole });
        }
        let member = |byte: &u8| self.members[usize::from(*byte)];
        loop {
            // Each boundary that begins at `from` or later covers one of these pairs of neighbouring bytes.
            let mut probe = from + boundary.len() - 2;
            while let [first, second] = bytes.get(probe..probe + 2)?
                && !(member(first) & member(second))
            {
                probe += boundary.len() - 1;
            }
            from = (probe + 2).saturating_sub(boundary.len()).max(from);
            match bytes[from..probe].iter().rposition(|byte| !member(byte)) {
                Some(at) => from += at + 1,
                None => match self.find_in_run(bytes, from, 0) {
                    Ok(hit) => return Some(hit),
                    Err(end) => from = end,
                },
            }
        }
    }

    /// Searches from the offset `from` up to the first byte that can be in no boundary. Returns the boundary
    /// that it finds, or as the error the offset behind that byte.
    fn find_in_run(&self, bytes: &[u8], from: usize, mut matched: usize) -> Result<Hit, usize> {
        let boundary = self.boundary.as_bytes();
        for (at, &byte) in bytes.iter().enumerate().skip(from) {
            if boundary.get(matched) == Some(&byte) {
                matched += 1;
                if matched == boundary.len() {
                    let end = at + 1;
                    let whole = bytes[..end].ends_with(boundary);
                    return Ok(Hit { end, whole });
                }
            } else if !self.members[usize::from(byte)] {
                return Err(at + 1);
            } else {
                matched = self.advance(matched, byte);
            }
        }
        Err(bytes.len())
    }

    /// Searches a window of data. No delimiter may begin before the window and end in it, nor may a boundary,
    /// unless line breaks interrupt the boundary.
    pub(super) fn look(&self, window: &[u8]) -> Found {
        let Some(Hit { end, whole }) = self.find(window, self.matched) else {
            let held = self.held(window);
            return Found {
                data: window.len() - held.len(),
                kind: FoundKind::Nothing,
                held,
            };
        };
        let before = &window[..end.saturating_sub(self.boundary.as_bytes().len())];
        if whole && before.ends_with(LEAD) {
            Found {
                data: before.len() - LEAD.len(),
                kind: FoundKind::Delimiter { end },
                held: 0..0,
            }
        } else {
            // The data end where they would if the boundary's last byte were a piece by itself, so that the
            // result does not depend on the cut of the input.
            let before = &window[..end - 1];
            Found {
                data: before.len() - self.held(before).len(),
                kind: FoundKind::Stray,
                held: 0..0,
            }
        }
    }

    /// Finds the longest suffix of the window that may be the beginning of a delimiter or of the boundary
    /// itself. Returns it as a range of the delimiter, like [`Found::held`]. The window must contain no
    /// boundary.
    ///
    /// This runs once for each piece of a body, and a client may send small pieces. So its time is
    /// proportional to the boundary's length, not to the square of the length.
    fn held(&self, window: &[u8]) -> Range<usize> {
        let delimiter = self.boundary.delimiter();
        let boundary = self.boundary.as_bytes();
        let mut tail = &window[window.len().saturating_sub(delimiter.len() - 1)..];

        // A delimiter has one CR, its first byte, and a boundary has none.
        if let Some(at) = memchr::memrchr(b'\r', tail) {
            let end = &tail[at..];
            if delimiter.starts_with(end) {
                return 0..end.len();
            }
            tail = &end[1..];
        }
        let Some(at) = memchr::memchr(boundary[0], tail) else {
            return 0..0;
        };
        // The window has no boundary, so the end that is sought is shorter than the boundary.
        let mut matched = 0;
        for &byte in &tail[at..] {
            matched = match is_line_break(byte) {
                true => 0,
                false => self.advance(matched, byte),
            };
        }
        if matched == 0 {
            return 0..0;
        }
        LEAD.len()..LEAD.len() + matched
    }
}

fn is_line_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Computes the failure function of Knuth, Morris and Pratt. Entry `i` is the length of the longest proper
/// prefix of the boundary's first `i + 1` bytes that is also a suffix of them.
fn borders(boundary: &[u8]) -> [u8; MAX_BOUNDARY] {
    let mut borders = [0; MAX_BOUNDARY];
    let mut length = 0_u8;
    for at in 1..boundary.len() {
        while length > 0 && boundary[usize::from(length)] != boundary[at] {
            length = borders[usize::from(length) - 1];
        }
        if boundary[usize::from(length)] == boundary[at] {
            length += 1;
        }
        borders[at] = length;
    }
    borders
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(boundary: &str) -> Search {
        let content_type = format!("multipart/form-data; boundary={boundary}");
        Search::new(Boundary::from_content_type(&content_type).unwrap())
    }

    /// Returns the offset behind the first boundary, by trying each offset with the line breaks removed.
    fn first_end(data: &[u8], boundary: &str) -> Option<usize> {
        let text = |end| data[..end].iter().filter(|b| !is_line_break(**b)).copied();
        (1..=data.len()).find(|&end| {
            let text: Vec<u8> = text(end).collect();
            !is_line_break(data[end - 1]) && text.ends_with(boundary.as_bytes())
        })
    }

    proptest! {
        #[test]
        fn boundaries_are_found_past_line_breaks_and_cuts(
            boundary in "[ab]{1,6}|[ab-]{0,9}a",
            data in "([abc]|a|b|-|\r|\n|\r\n){0,60}",
            cut in any::<prop::sample::Index>(),
        ) {
            let data = data.as_bytes();
            let expected = first_end(data, &boundary);
            let mut search = search(&boundary);
            let hit = search.find(data, 0);
            prop_assert_eq!(hit.as_ref().map(|hit| hit.end), expected);
            if let Some(Hit { end, whole }) = hit {
                prop_assert_eq!(whole, data[..end].ends_with(boundary.as_bytes()));
            }
            let cut = cut.index(data.len() + 1);
            if expected.is_none_or(|end| end > cut) {
                let (passed, window) = data.split_at(cut);
                for piece in passed.chunks(1 + cut / 3) {
                    search.pass(piece);
                }
                let end = search.find(window, search.matched).map(|hit| cut + hit.end);
                prop_assert_eq!(end, expected);
            }
        }
    }
}
