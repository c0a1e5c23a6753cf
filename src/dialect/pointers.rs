//! The pointers to the meaningful values of a document, and the collection of those values.

use std::ops::Range;

use super::reader::Events;
use crate::map::Map;
use crate::sha256::Sha256;

/// The meaning of a value in a channel's answer, whatever the value's name and place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Status,
    Size,
    Seconds,
    Model,
    Prompt,
    Created,
    Completed,
    Source,
    Deleted,
    Error,
    ErrorCode,
    ErrorMessage,
    FlatCode,
    FlatMessage,
    Detail,
}

impl Field {
    const COUNT: usize = Self::Detail as usize + 1;
}

/// The maximum length of a text that is kept, in bytes. A longer text counts as unreadable, except an
/// error's message, whose beginning is kept.
pub(super) const MAX_TEXT: usize = 1024;

/// A set of JSON pointers in the style of RFC 6901, each with the meaning of its value. Of several pointers
/// with the same meaning, the first that leads to a value is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointers {
    all: Vec<Pointer>,
    /// For each number of segments, the bit set of the pointers whose paths have that many.
    by_length: Vec<u64>,
    /// For each depth, the bit sets of the pointers by their segment at that depth.
    by_segment: Vec<Map<Box<str>, u64>>,
    /// For each field, the bit set of the pointers to that field.
    by_field: [u64; Field::COUNT],
    /// The pointers to prompts, of which nothing but the digest is kept.
    digested: u64,
    /// The pointers to messages: of a long message the beginning is kept.
    cut: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer {
    field: Field,
    path: Vec<Box<str>>,
}

impl Pointers {
    /// The maximum number of pointers: one for each bit of a set.
    const MAX: usize = u64::BITS as usize;

    pub(super) fn new<'a>(pointers: impl IntoIterator<Item = (Field, &'a str)>) -> Self {
        let pointers = pointers.into_iter().take(Self::MAX);
        let pointer = |(field, text): (Field, &str)| Pointer {
            field,
            // The part before the first slash is empty.
            path: text.split('/').skip(1).map(Box::from).collect(),
        };
        let all: Vec<Pointer> = pointers.map(pointer).collect();
        // The pointers that end at a value are looked up for each value of a document, so tables are made.
        let longest = all.iter().map(|p| p.path.len()).max().unwrap_or(0);
        let of_length = |length| set_of(&all, |pointer| pointer.path.len() == length);
        let mut by_segment = vec![Map::<Box<str>, u64>::default(); longest];
        let mut by_field = [0; Field::COUNT];
        for (bit, pointer) in all.iter().enumerate() {
            for (segment, sets) in pointer.path.iter().zip(&mut by_segment) {
                *sets.entry(segment.clone()).or_default() |= 1 << bit;
            }
            by_field[pointer.field as usize] |= 1 << bit;
        }
        Self {
            by_length: (0..=longest).map(of_length).collect(),
            by_segment,
            by_field,
            digested: set_of(&all, |pointer| pointer.field == Field::Prompt),
            cut: set_of(&all, |pointer| {
                use Field::{Detail, Error, ErrorMessage, FlatMessage};
                matches!(pointer.field, Detail | Error | ErrorMessage | FlatMessage)
            }),
            all,
        }
    }

    /// Returns the pointers of `set` whose segment at `depth` is `segment`.
    fn through(&self, set: u64, depth: usize, segment: &str) -> u64 {
        let sets = self.by_segment.get(depth);
        set & sets.and_then(|sets| sets.get(segment)).unwrap_or(&0)
    }

    /// Returns the pointers of `set` whose paths have `depth` segments.
    fn ending(&self, set: u64, depth: usize) -> u64 {
        set & self.by_length.get(depth).copied().unwrap_or(0)
    }
}

/// Returns the set of the pointers for which `is` holds, as a bit for each.
fn set_of(all: &[Pointer], is: impl Fn(&Pointer) -> bool) -> u64 {
    let bits = all.iter().enumerate();
    bits.fold(0, |set, (bit, pointer)| set | u64::from(is(pointer)) << bit)
}

/// Returns the numbers of the bits that are 1 in a set, in ascending order.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(bit)
    })
}

/// A value that a pointer leads to. Of objects and arrays only the kind is kept, of prompts the digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(Box<str>),
    /// A number, `true`, `false`, `null`, or another word that is not a string.
    Word(Box<str>),
    /// The SHA-256 of a prompt, of which nothing else is kept.
    Digest([u8; 32]),
    Object,
    Array,
    /// A value that cannot be decoded, is too long, or occurs twice with different contents.
    Unreadable,
}

/// A listener for the events of a reader. It collects the values that the pointers lead to.
#[derive(Debug)]
pub(super) struct Selection<'p> {
    pointers: &'p Pointers,
    /// For each open object and array, the pointers that lead into it, and the number of elements that
    /// have begun.
    frames: Vec<(u64, usize)>,
    /// The pointers that lead to the value that is being read.
    current: u64,
    values: Vec<Option<Found>>,
    /// The pointers for which a value was found.
    found: u64,
    text: String,
    cut: bool,
    digest: Option<Hashing>,
}

/// The value that a pointer leads to, and its byte range in the document.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
}

/// The running digest of a text of which nothing else is kept.
struct Hashing(Sha256);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing")
    }
}

impl<'p> Selection<'p> {
    pub(super) fn new(pointers: &'p Pointers) -> Self {
        Self {
            pointers,
            frames: Vec::new(),
            current: u64::MAX,
            values: pointers.all.iter().map(|_| None).collect(),
            found: 0,
            text: String::new(),
            cut: false,
            digest: None,
        }
    }

    /// Returns the first value of a field that is not `null`; `None` if the document has none.
    pub(super) fn found(&self, field: Field) -> Option<&Found> {
        let is_null =
            |found: &&Found| matches!(&found.value, Value::Word(word) if &**word == "null");
        self.all_found(field).find(|found| !is_null(found))
    }

    /// Returns all values that were found for a field.
    fn all_found(&self, field: Field) -> impl Iterator<Item = &Found> {
        let found = bits(self.found & self.pointers.by_field[field as usize]);
        found.filter_map(|bit| self.values.get(bit)?.as_ref())
    }

    /// Returns the byte ranges of the scalar values of a field.
    pub(super) fn spans(&self, field: Field) -> impl Iterator<Item = Range<usize>> {
        let all = self.all_found(field);
        let scalars = all.filter(|found| matches!(found.value, Value::Text(_) | Value::Word(_)));
        scalars.map(|found| found.span.clone())
    }

    /// Returns the value of [`Self::found`], without its range.
    pub(super) fn value(&self, field: Field) -> Option<&Value> {
        self.found(field).map(|found| &found.value)
    }

    /// Returns the text of a field; `None` if the value is missing, empty or not a string.
    pub(super) fn text_of(&self, field: Field) -> Option<&str> {
        match self.value(field) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn ending(&self) -> u64 {
        self.pointers.ending(self.current, self.frames.len())
    }

    /// Records a value for all pointers that end at it.
    fn set(&mut self, mut value: Value, span: &Range<usize>) {
        let ending = self.ending();
        self.found |= ending;
        for bit in bits(ending) {
            let Some(place) = self.values.get_mut(bit) else {
                break;
            };
            let same = place.as_ref().is_none_or(|before| before.value == value);
            let is_last = ending >> bit == 1;
            let value = match (same, is_last) {
                (false, _) => Value::Unreadable,
                (true, false) => value.clone(),
                (true, true) => std::mem::replace(&mut value, Value::Unreadable),
            };
            let span = span.clone();
            *place = Some(Found { value, span });
        }
    }
}

impl Events for Selection<'_> {
    fn key(&mut self, key: Option<&str>) -> bool {
        let (set, _) = self.frames.last().copied().unwrap_or_default();
        let depth = self.frames.len().saturating_sub(1);
        self.current = key.map_or(0, |key| self.pointers.through(set, depth, key));
        self.current != 0
    }

    fn element(&mut self) -> bool {
        let depth = self.frames.len().saturating_sub(1);
        let Some((set, index)) = self.frames.last_mut() else {
            return true;
        };
        let (set, segment) = (*set, index.to_string());
        *index += 1;
        self.current = self.pointers.through(set, depth, &segment);
        self.current != 0
    }

    fn open(&mut self, object: bool) {
        let value = if object { Value::Object } else { Value::Array };
        self.set(value, &(0..0));
        self.frames.push((self.current, 0));
    }

    fn close(&mut self) {
        self.frames.pop();
    }

    fn text(&mut self, piece: &str) {
        if self.ending() & self.pointers.digested != 0 {
            let Hashing(digest) = self
                .digest
                .get_or_insert_with(|| Hashing(Sha256::default()));
            digest.update(piece);
            return;
        }
        if self.cut {
            return;
        }
        let mut fits = MAX_TEXT.saturating_sub(self.text.len()).min(piece.len());
        while !piece.is_char_boundary(fits) {
            fits -= 1;
        }
        self.cut = fits < piece.len();
        self.text.push_str(piece.get(..fits).unwrap_or_default());
    }

    fn text_end(&mut self, readable: bool, span: Range<usize>) {
        let (digest, cut) = (self.digest.take(), std::mem::take(&mut self.cut));
        let ending = self.ending();
        let value = if ending & self.pointers.digested != 0 {
            let Hashing(digest) = digest.unwrap_or(Hashing(Sha256::default()));
            match readable {
                true => Value::Digest(digest.finish()),
                false => Value::Unreadable,
            }
        } else if ending & self.pointers.cut != 0 || (readable && !cut) {
            Value::Text(self.text.as_str().into())
        } else {
            Value::Unreadable
        };
        self.text.clear();
        self.set(value, &span);
    }

    fn word(&mut self, word: Option<&str>, span: Range<usize>) {
        let value = word.map_or(Value::Unreadable, |word| Value::Word(word.into()));
        self.set(value, &span);
    }
}
