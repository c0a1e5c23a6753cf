//! Looking for the boundary.

use std::ops::Range;

use memchr::memmem::Finder;

use super::Boundary;
use super::boundary::LEAD;

/// How many bytes are looked through without preparation: a small form is through by then.
const UNPREPARED: usize = 4 * 1024;

/// A search for one body's boundary, prepared when the body turns out to be long.
///
/// It looks for the boundary by itself, since some parsers split where it stands without
/// the CRLF and the dashes of a delimiter: such a place must not pass for data.
#[derive(Debug)]
pub(super) struct Search {
    boundary: Boundary,
    finder: Option<Finder<'static>>,
    /// Bytes looked through so far, while there is no finder.
    looked_through: usize,
    /// See [`borders`]; a boundary is shorter than 256 bytes. Made when it is first needed.
    borders: Option<Vec<u8>>,
}

/// What a window of data holds.
pub(super) struct Found {
    /// Bytes at its beginning that are data for certain.
    pub(super) data: usize,
    pub(super) kind: FoundKind,
    /// Where there is no boundary: what the window ends with and a boundary may begin with,
    /// as a range of the delimiter. It begins at 0 if the delimiter may have begun, and
    /// behind the dashes if only the bare boundary may.
    pub(super) held: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundKind {
    /// No boundary.
    Nothing,
    /// A delimiter whose boundary ends here.
    Delimiter { end: usize },
    /// The boundary, but no delimiter.
    Stray,
}

impl Search {
    pub(super) fn new(boundary: Boundary) -> Self {
        Self {
            finder: None,
            looked_through: 0,
            borders: None,
            boundary,
        }
    }

    /// `CRLF "--" boundary`.
    pub(super) fn delimiter(&self) -> &[u8] {
        self.boundary.delimiter()
    }

    /// Whether the boundary is anywhere in these bytes.
    pub(super) fn occurs_in(&mut self, bytes: &[u8]) -> bool {
        self.find(bytes).is_some()
    }

    /// Where the boundary is first.
    ///
    /// To prepare a search that takes time in proportion to the bytes, whatever they are,
    /// costs more than to look through a small form by the boundary's first byte.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let boundary = self.boundary.as_bytes();
        if self.finder.is_none() {
            self.looked_through = self.looked_through.saturating_add(bytes.len());
            if self.looked_through <= UNPREPARED {
                let mut first = memchr::memchr_iter(boundary[0], bytes);
                return first.find(|at| bytes[*at..].starts_with(boundary));
            }
        }
        let finder = || Finder::new(boundary).into_owned();
        self.finder.get_or_insert_with(finder).find(bytes)
    }

    /// Looks at a window of data, before which nothing stands that could be a part of a
    /// delimiter.
    pub(super) fn look(&mut self, window: &[u8]) -> Found {
        let Some(at) = self.find(window) else {
            let held = self.held(window);
            return Found {
                data: window.len() - held.len(),
                kind: FoundKind::Nothing,
                held,
            };
        };
        let end = at + self.boundary.as_bytes().len();
        if window[..at].ends_with(LEAD) {
            Found {
                data: at - LEAD.len(),
                kind: FoundKind::Delimiter { end },
                held: 0..0,
            }
        } else {
            // The data before the error end where they would if the boundary's last byte
            // came by itself, so that the cut of the input does not show.
            let before = &window[..end - 1];
            Found {
                data: before.len() - self.held(before).len(),
                kind: FoundKind::Stray,
                held: 0..0,
            }
        }
    }

    /// The longest end of a window without a boundary that a delimiter or the boundary may
    /// begin with.
    ///
    /// This runs once for each piece of a body, which a client may cut small: so it takes
    /// time in proportion to the boundary's length and not to its square.
    fn held(&mut self, window: &[u8]) -> Range<usize> {
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
        let borders = self.borders.get_or_insert_with(|| borders(boundary));
        let mut matched = 0;
        for &byte in &tail[at..] {
            // Only what is shorter than the boundary comes here: the window has none.
            while matched > 0 && boundary[matched] != byte {
                matched = usize::from(borders[matched - 1]);
            }
            if boundary[matched] == byte {
                matched += 1;
            }
        }
        if matched == 0 {
            return 0..0;
        }
        LEAD.len()..LEAD.len() + matched
    }
}

/// For each beginning of a boundary, by its length less one: the length of the longest
/// shorter beginning that it ends with (the failure function of Knuth, Morris and Pratt).
fn borders(boundary: &[u8]) -> Vec<u8> {
    let mut borders = vec![0; boundary.len()];
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

    proptest! {
        /// Before the search is prepared and after it, a boundary is found where it is.
        #[test]
        fn it_finds_what_memmem_finds(
            boundary in "[ab]{1,6}",
            windows in prop::collection::vec("[abc]{0,900}", 1..12),
        ) {
            let content_type = format!("multipart/form-data; boundary={boundary}");
            let mut search = Search::new(Boundary::from_content_type(&content_type).unwrap());
            for window in &windows {
                let expected = memchr::memmem::find(window.as_bytes(), boundary.as_bytes());
                prop_assert_eq!(search.find(window.as_bytes()), expected);
            }
            let bytes: usize = windows.iter().map(String::len).sum();
            prop_assert_eq!(search.finder.is_some(), bytes > UNPREPARED);
        }
    }
}
