//! Decodes the inside of a JSON string as it streams in, and finds the string's end even if a part of it
//! cannot be decoded.

use std::ops::Range;
use std::str::Utf8Error;

use memchr::memchr2;

/// A piece of a document. Its UTF-8 is validated once: validating each key and text by itself costs
/// several times as much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    bytes: &'a [u8],
    /// The longest valid UTF-8 prefix of `bytes`.
    text: &'a str,
}

impl<'a> Piece<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|error| {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        });
        Self { bytes, text }
    }

    /// Returns the bytes after the first `at` bytes.
    pub(super) fn from(self, at: usize) -> &'a [u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    /// Returns the text between the quote at `from` and the next one; `None` if the piece does not have all
    /// of it, if the text has an escape, or if the piece is not valid UTF-8 up to the text's end.
    pub(super) fn plain_text(self, from: usize) -> Option<&'a str> {
        let rest = self.from(from + 1);
        let length = memchr2(b'"', b'\\', rest)?;
        match rest.get(length) {
            Some(b'"') => self.text.get(from + 1..from + 1 + length),
            _ => None,
        }
    }

    /// Decodes a byte range of the piece. Fails if the range is not valid UTF-8.
    pub(super) fn decode(self, range: Range<usize>) -> Result<&'a str, Utf8Error> {
        match self.text.get(range.clone()) {
            Some(text) => Ok(text),
            None => std::str::from_utf8(self.bytes.get(range).unwrap_or_default()),
        }
    }
}

/// The state of decoding one string. It carries a character or an escape across the edge of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    escape: Escape,
    /// A high surrogate whose low surrogate has not been read yet.
    high: Option<u16>,
    /// The first bytes of a character that the edge of a chunk has cut.
    carry: [u8; 4],
    carried: usize,
    readable: bool,
}

#[derive(Debug, Clone, Copy)]
enum Escape {
    /// Outside of an escape.
    None,
    /// After the backslash.
    Kind,
    /// Within the four digits of a `\u`.
    Hex { digits: u8, value: u16 },
}

impl Default for Text {
    fn default() -> Self {
        Self {
            escape: Escape::None,
            high: None,
            carry: [0; 4],
            carried: 0,
            readable: true,
        }
    }
}

impl Text {
    /// Returns whether the string so far is valid Unicode: no lone surrogate, no broken UTF-8, no unknown
    /// escape.
    pub(super) fn is_readable(self) -> bool {
        self.readable
    }

    /// Decodes the string from the byte `from` of the piece on, after the opening quote, and passes
    /// decoded text to `give` as long as all of it can be decoded. Returns the number of bytes used, and
    /// whether the closing quote was the last of them.
    pub(super) fn read(
        &mut self,
        piece: Piece<'_>,
        from: usize,
        mut give: impl FnMut(&str),
    ) -> (usize, bool) {
        let mut at = from;
        while let Some(&byte) = piece.bytes.get(at) {
            match self.escape {
                Escape::None => {
                    let rest = piece.from(at);
                    let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    self.run(piece, at..at + length, &mut give);
                    at += length;
                    match rest.get(length) {
                        None => break,
                        Some(b'"') => {
                            // No character and no surrogate may be incomplete at the end.
                            self.readable &= self.high.is_none() && self.carried == 0;
                            return (at + 1 - from, true);
                        }
                        Some(_) => {
                            self.readable &= self.carried == 0;
                            self.escape = Escape::Kind;
                            at += 1;
                        }
                    }
                }
                Escape::Kind => {
                    at += 1;
                    self.kind(byte, &mut give);
                }
                Escape::Hex { digits, value } => match char::from(byte).to_digit(16) {
                    Some(digit) => {
                        at += 1;
                        let value = value << 4 | (digit as u16);
                        self.escape = match digits {
                            3 => {
                                self.unit(value, &mut give);
                                Escape::None
                            }
                            _ => Escape::Hex {
                                digits: digits + 1,
                                value,
                            },
                        };
                    }
                    None => {
                        // The byte is not part of the escape: a quote ends the string.
                        self.readable = false;
                        self.escape = Escape::None;
                    }
                },
            }
            debug_assert!(at <= piece.bytes.len());
        }
        (at - from, false)
    }

    /// Decodes a run of bytes without quotes and backslashes.
    fn run(&mut self, piece: Piece<'_>, mut run: Range<usize>, give: &mut impl FnMut(&str)) {
        if run.is_empty() {
            return;
        }
        self.readable &= self.high.is_none();
        while self.readable && self.carried > 0 {
            let next = run.next().and_then(|at| piece.bytes.get(at));
            let Some(&byte) = next else {
                return;
            };
            self.complete(byte, give);
        }
        if !self.readable {
            return;
        }
        match piece.decode(run.clone()) {
            Ok("") => {}
            Ok(text) => give(text),
            Err(error) => {
                let valid = run.start..run.start + error.valid_up_to();
                let rest = piece.bytes.get(valid.end..run.end).unwrap_or_default();
                match piece.decode(valid) {
                    Ok("") | Err(_) => {}
                    Ok(text) => give(text),
                }
                // At the end of the run a character may be cut; in the middle the bytes are invalid.
                match self.carry.get_mut(..rest.len()) {
                    Some(carry) if error.error_len().is_none() => {
                        carry.copy_from_slice(rest);
                        self.carried = rest.len();
                    }
                    _ => self.readable = false,
                }
            }
        }
    }

    /// Adds one more byte to a character that the edge of a chunk has cut.
    fn complete(&mut self, byte: u8, give: &mut impl FnMut(&str)) {
        let Some(place) = self.carry.get_mut(self.carried) else {
            self.readable = false;
            return;
        };
        *place = byte;
        self.carried += 1;
        match std::str::from_utf8(self.carry.get(..self.carried).unwrap_or_default()) {
            Ok(text) => {
                give(text);
                self.carried = 0;
            }
            Err(error) => self.readable &= error.error_len().is_none(),
        }
    }

    fn kind(&mut self, byte: u8, give: &mut impl FnMut(&str)) {
        self.escape = Escape::None;
        let text = match byte {
            b'u' => {
                self.escape = Escape::Hex {
                    digits: 0,
                    value: 0,
                };
                return;
            }
            b'"' => "\"",
            b'\\' => "\\",
            b'/' => "/",
            b'b' => "\u{8}",
            b'f' => "\u{c}",
            b'n' => "\n",
            b'r' => "\r",
            b't' => "\t",
            _ => {
                self.readable = false;
                return;
            }
        };
        self.readable &= self.high.is_none();
        if self.readable {
            give(text);
        }
    }

    /// Decodes one UTF-16 code unit, as a `\u` escape names it.
    fn unit(&mut self, unit: u16, give: &mut impl FnMut(&str)) {
        let code = match (self.high.take(), unit) {
            (None, 0xD800..=0xDBFF) => {
                self.high = Some(unit);
                return;
            }
            (None, _) => u32::from(unit),
            (Some(high), 0xDC00..=0xDFFF) => {
                0x1_0000 + ((u32::from(high) & 0x3FF) << 10 | u32::from(unit) & 0x3FF)
            }
            (Some(_), _) => {
                self.readable = false;
                return;
            }
        };
        match char::from_u32(code) {
            Some(decoded) if self.readable => give(decoded.encode_utf8(&mut [0; 4])),
            Some(_) => {}
            None => self.readable = false,
        }
    }
}
