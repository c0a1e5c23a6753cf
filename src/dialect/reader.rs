//! Reads JSON as it streams in: reports the structure to a listener, keeps no more than the key or word that
//! it is reading, and accepts anything that another program's encoder can have written.
//!
//! The gate reads the bodies of its clients strictly, with [`crate::json`], because it must read them as the
//! channel does. This module reads the answers of channels, and money depends on reading as much of them as
//! possible. One value that no decoder accepts (a lone surrogate in a prompt, `1e400`, `NaN`, a thousand
//! brackets) does not make its neighbours unreadable. So:
//! - Strings that are not valid Unicode are reported as unreadable.
//! - A word outside of quotes is reported as it stands; as unreadable only if too long or not UTF-8.
//! - Unwanted values are skipped by their quotes and brackets, to any depth, in constant memory.
//! - Only broken structure ends the reading: a missing colon, a bracket that closes the other kind, the end
//!   of the input in the middle.

use std::ops::Range;

use memchr::memchr2;

use super::text::{Piece, Text};

/// The maximum length of a key, number or word that is read, in bytes. Keys that matter have at most 21.
const MAX_WORD: usize = 64;
/// The maximum number of levels of objects and arrays that are read; deeper values are skipped.
const MAX_DEPTH: u32 = 32;

/// A listener for the events of a document, in its order.
pub(super) trait Events {
    /// Handles a member's key, `None` if it is too long or unreadable. Returns whether the member's value
    /// is wanted.
    fn key(&mut self, key: Option<&str>) -> bool;
    /// Begins the next element of an array. Returns whether the element is wanted.
    fn element(&mut self) -> bool;
    /// Begins a wanted value that is an object (`object`) or an array.
    fn open(&mut self, object: bool);
    /// Ends the innermost object or array.
    fn close(&mut self);
    /// Handles a decoded piece of a wanted string.
    fn text(&mut self, piece: &str);
    /// Ends a wanted string: `readable` says whether all of it could be decoded, `span` is its byte range
    /// in the input, with its quotes.
    fn text_end(&mut self, readable: bool, span: Range<usize>);
    /// Handles a wanted number, `true`, `false`, `null` or another word, `None` if it is too long or not
    /// UTF-8. `span` is its byte range in the input.
    fn word(&mut self, word: Option<&str>, span: Range<usize>);
}

/// The progress of reading a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The value of the document is not complete yet.
    Open,
    /// One whole value has been read, and only whitespace after it.
    Whole,
    /// The document's structure is broken.
    Broken,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Value,
    /// Before the first element of an array, or the array's end.
    ValueOrEnd,
    /// Before the first key of an object, or the object's end.
    KeyOrEnd,
    Key,
    InKey,
    Colon,
    InText,
    InWord,
    /// In an unwanted value: the number of open brackets, and the position in a string.
    Skipping {
        open: u64,
        text: Skipped,
    },
    /// After a value.
    After,
    End,
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipped {
    /// Outside of a string.
    Outside,
    Inside,
    /// After a backslash in a string.
    Escaped,
}

/// A reader of one document, pushed in pieces of any size.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// The kinds of the open objects and arrays, the innermost in the lowest bit: 1 for an object.
    kinds: u64,
    depth: u32,
    /// The number of bytes of the document that have been read.
    at: usize,
    /// The offset in the document at which the current value began.
    began: usize,
    wanted: bool,
    text: Text,
    /// The part of the current key or word that has been read, at most [`MAX_WORD`] bytes.
    word: String,
    too_long: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Value,
            kinds: 0,
            depth: 0,
            at: 0,
            began: 0,
            wanted: true,
            text: Text::default(),
            word: String::new(),
            too_long: false,
        }
    }
}

impl Reader {
    /// Reads the next piece of the document, and passes what it finds to `events`.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut impl Events) {
        let piece = Piece::new(bytes);
        let mut from = 0;
        while let Some(&byte) = bytes.get(from) {
            let used = match self.state {
                State::InKey | State::InText => self.in_text(piece, from, events),
                State::InWord => self.in_word(piece, from, events),
                State::Skipping { open, text } => self.skip(piece.from(from), open, text),
                State::Broken => return,
                // A byte order mark may stand at the beginning.
                State::Value if self.depth == 0 && matches!(byte, 0xEF | 0xBB | 0xBF) => 1,
                _ if is_whitespace(byte) => 1,
                _ => self.structure(piece, from, byte, events),
            };
            self.at += used;
            from += used;
        }
    }

    /// Returns the progress of the document.
    pub(super) fn progress(&self) -> Progress {
        match self.state {
            State::End => Progress::Whole,
            State::Broken => Progress::Broken,
            _ => Progress::Open,
        }
    }

    /// Ends the input, and returns the progress. A word at the very end of the document is complete only now.
    pub(super) fn finish(&mut self, events: &mut impl Events) -> Progress {
        if self.depth == 0 && matches!(self.state, State::InWord) {
            self.end_word(self.at, events);
        }
        self.progress()
    }

    /// Reads a byte between keys and values, or a whole key or value that begins with it. Returns the number
    /// of bytes read.
    fn structure(
        &mut self,
        piece: Piece<'_>,
        from: usize,
        byte: u8,
        events: &mut impl Events,
    ) -> usize {
        let in_object = self.kinds & 1 == 1;
        self.state = match (self.state, byte) {
            (State::ValueOrEnd, b']') | (State::KeyOrEnd, b'}') => return self.close(events),
            (State::After, b']') if !in_object => return self.close(events),
            (State::After, b'}') if in_object => return self.close(events),
            (State::After, b',') if in_object => State::Key,
            (State::After, b',') => State::Value,
            (State::KeyOrEnd | State::Key, b'"') => {
                if let Some(used) = self.plain_key(piece, from, events) {
                    return used;
                }
                (self.text, self.too_long) = (Text::default(), false);
                self.word.clear();
                State::InKey
            }
            (State::Colon, b':') => State::Value,
            (State::Value | State::ValueOrEnd, _) => {
                return self.begin(piece, from, byte, events);
            }
            _ => State::Broken,
        };
        1
    }

    /// Begins a value by its first byte.
    fn begin(
        &mut self,
        piece: Piece<'_>,
        from: usize,
        byte: u8,
        events: &mut impl Events,
    ) -> usize {
        // For a member, the listener has been asked at its key.
        if self.depth > 0 && self.kinds & 1 == 0 {
            self.wanted = events.element();
        }
        self.began = self.at;
        self.state = match byte {
            b'{' | b'[' if !self.wanted || self.depth == MAX_DEPTH => State::Skipping {
                open: 1,
                text: Skipped::Outside,
            },
            b'{' | b'[' => {
                let object = byte == b'{';
                events.open(object);
                self.kinds = self.kinds << 1 | u64::from(object);
                self.depth += 1;
                match object {
                    true => State::KeyOrEnd,
                    false => State::ValueOrEnd,
                }
            }
            b'"' if !self.wanted => State::Skipping {
                open: 0,
                text: Skipped::Inside,
            },
            b'"' => {
                if let Some(text) = piece.plain_text(from) {
                    let used = text.len() + 2;
                    if !text.is_empty() {
                        events.text(text);
                    }
                    events.text_end(true, self.began..self.at + used);
                    self.after();
                    return used;
                }
                self.text = Text::default();
                State::InText
            }
            b']' | b'}' | b',' | b':' => State::Broken,
            _ => return self.begin_word(piece, from, events),
        };
        1
    }

    /// Reads a word if the piece has the byte behind it, and returns its length; else 0, see [`Self::in_word`].
    fn begin_word(&mut self, piece: Piece<'_>, from: usize, events: &mut impl Events) -> usize {
        let mut rest = piece.from(from).iter();
        let Some(length) = rest.position(|byte| ends_word(*byte)) else {
            (self.state, self.too_long) = (State::InWord, false);
            self.word.clear();
            return 0;
        };
        if self.wanted {
            let word = piece.decode(from..from + length).ok();
            let word = word.filter(|word| word.len() <= MAX_WORD);
            events.word(word, self.began..self.at + length);
        }
        self.after();
        length
    }

    /// Reads a key and its colon, from the opening quote on, and returns the number of bytes read; `None` if
    /// the piece does not have all of them, or the key has an escape. Nearly every key can be read in this
    /// way, which is several times as fast as the state machine.
    fn plain_key(
        &mut self,
        piece: Piece<'_>,
        from: usize,
        events: &mut impl Events,
    ) -> Option<usize> {
        let key = piece.plain_text(from)?;
        let mut used = key.len() + 2;
        let rest = piece.from(from + used);
        used += rest.iter().position(|byte| !is_whitespace(*byte))?;
        if piece.from(from + used).first() != Some(&b':') {
            return None;
        }
        self.wanted = events.key((key.len() <= MAX_WORD).then_some(key));
        self.state = State::Value;
        Some(used + 1)
    }

    fn close(&mut self, events: &mut impl Events) -> usize {
        events.close();
        self.kinds >>= 1;
        self.depth -= 1;
        self.after();
        1
    }

    /// Sets the state after the end of a value.
    fn after(&mut self) {
        self.state = match self.depth {
            0 => State::End,
            _ => State::After,
        };
    }

    fn in_text(&mut self, piece: Piece<'_>, from: usize, events: &mut impl Events) -> usize {
        let in_key = matches!(self.state, State::InKey);
        let (word, too_long) = (&mut self.word, &mut self.too_long);
        let (used, ended) = self.text.read(piece, from, |text| match in_key {
            true => keep(word, too_long, text),
            false => events.text(text),
        });
        match (ended, in_key) {
            (false, _) => {}
            (true, true) => {
                let readable = self.text.is_readable() && !self.too_long;
                self.wanted = events.key(readable.then_some(self.word.as_str()));
                self.state = State::Colon;
            }
            (true, false) => {
                events.text_end(self.text.is_readable(), self.began..self.at + used);
                self.after();
            }
        }
        used
    }

    fn in_word(&mut self, piece: Piece<'_>, from: usize, events: &mut impl Events) -> usize {
        let rest = piece.from(from);
        let end = rest.iter().position(|byte| ends_word(*byte));
        let length = end.unwrap_or(rest.len());
        // A number consists of ASCII bytes. So a word is of no use if its bytes are not UTF-8, or if the end
        // of the piece cuts one of its characters.
        match piece.decode(from..from + length) {
            Ok(word) => keep(&mut self.word, &mut self.too_long, word),
            Err(_) => self.too_long = true,
        }
        if end.is_some() {
            self.end_word(self.at + length, events);
        }
        length
    }

    fn end_word(&mut self, end: usize, events: &mut impl Events) {
        if self.wanted {
            let word = (!self.too_long).then_some(self.word.as_str());
            events.word(word, self.began..end);
        }
        self.after();
    }

    /// Skips an unwanted value, by its quotes and brackets.
    fn skip(&mut self, rest: &[u8], mut open: u64, mut text: Skipped) -> usize {
        let mut used = 0;
        while let Some(rest) = rest.get(used..).filter(|rest| !rest.is_empty()) {
            match text {
                Skipped::Escaped => {
                    used += 1;
                    text = Skipped::Inside;
                }
                Skipped::Inside => match memchr2(b'"', b'\\', rest) {
                    Some(length) => {
                        used += length + 1;
                        text = match rest.get(length) {
                            Some(b'"') => Skipped::Outside,
                            _ => Skipped::Escaped,
                        };
                    }
                    None => used += rest.len(),
                },
                Skipped::Outside => {
                    let marks = |byte: &u8| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}');
                    let length = rest.iter().position(marks);
                    used += length.map_or(rest.len(), |length| length + 1);
                    match length.and_then(|length| rest.get(length)) {
                        Some(b'"') => text = Skipped::Inside,
                        Some(b'[' | b'{') => open += 1,
                        Some(_) => open = open.saturating_sub(1),
                        None => {}
                    }
                }
            }
            if open == 0 && text == Skipped::Outside {
                self.after();
                return used;
            }
        }
        self.state = State::Skipping { open, text };
        used
    }
}

/// Appends a piece to a key or a word, or marks it as too long.
fn keep(word: &mut String, too_long: &mut bool, piece: &str) {
    match word.len() + piece.len() <= MAX_WORD {
        true => word.push_str(piece),
        false => *too_long = true,
    }
}

fn ends_word(byte: u8) -> bool {
    is_whitespace(byte) || matches!(byte, b',' | b':' | b']' | b'}' | b'[' | b'{' | b'"')
}

fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
