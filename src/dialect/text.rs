//! Decodes the inside of a JSON string as it comes, and goes on where it cannot be decoded.

use memchr::memchr2;

/// How far the reading of one string has come. Carries a character or an escape across the edge
/// of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    escape: Escape,
    /// A high surrogate whose low one has not come yet.
    high: Option<u16>,
    /// The first bytes of a character that a chunk's edge has cut.
    carry: [u8; 4],
    carried: usize,
    readable: bool,
}

#[derive(Debug, Clone, Copy)]
enum Escape {
    /// In none.
    None,
    /// Behind the backslash.
    Kind,
    /// Among the four digits of a `\u`.
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
    /// Returns whether all of it is Unicode: no lone surrogate, no broken UTF-8, no unknown escape.
    pub(super) fn is_readable(self) -> bool {
        self.readable
    }

    /// Reads on behind the opening quote. Gives what is decoded to `piece`, as long as all of it
    /// can be. Returns how many bytes were used, and whether the closing quote was the last.
    pub(super) fn read(&mut self, bytes: &[u8], mut piece: impl FnMut(&str)) -> (usize, bool) {
        let mut at = 0;
        while let Some((&byte, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) {
            match self.escape {
                Escape::None => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    let (run, after) = rest.split_at(length);
                    self.run(run, &mut piece);
                    at += length;
                    match after.first() {
                        None => break,
                        Some(b'"') => {
                            // Nothing may be left of what has begun.
                            self.readable &= self.high.is_none() && self.carried == 0;
                            return (at + 1, true);
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
                    self.kind(byte, &mut piece);
                }
                Escape::Hex { digits, value } => match char::from(byte).to_digit(16) {
                    Some(digit) => {
                        at += 1;
                        let value = value << 4 | (digit as u16);
                        self.escape = match digits {
                            3 => {
                                self.unit(value, &mut piece);
                                Escape::None
                            }
                            _ => Escape::Hex {
                                digits: digits + 1,
                                value,
                            },
                        };
                    }
                    None => {
                        // The byte is no part of the escape: a quote ends the string.
                        self.readable = false;
                        self.escape = Escape::None;
                    }
                },
            }
            debug_assert!(at <= bytes.len() && rest.len() < bytes.len());
        }
        (at, false)
    }

    /// A run of bytes without quotes and backslashes.
    fn run(&mut self, mut run: &[u8], piece: &mut impl FnMut(&str)) {
        if run.is_empty() {
            return;
        }
        self.readable &= self.high.is_none();
        while self.readable && self.carried > 0 {
            let Some((&byte, rest)) = run.split_first() else {
                return;
            };
            run = rest;
            self.complete(byte, piece);
        }
        if !self.readable {
            return;
        }
        match std::str::from_utf8(run) {
            Ok(text) => give(text, piece),
            Err(error) => {
                let (valid, rest) = run.split_at(error.valid_up_to());
                give(std::str::from_utf8(valid).unwrap_or_default(), piece);
                // At the end a character may be cut; in the middle it is none.
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

    /// One more byte of a character that a chunk's edge has cut.
    fn complete(&mut self, byte: u8, piece: &mut impl FnMut(&str)) {
        let Some(place) = self.carry.get_mut(self.carried) else {
            self.readable = false;
            return;
        };
        *place = byte;
        self.carried += 1;
        match std::str::from_utf8(self.carry.get(..self.carried).unwrap_or_default()) {
            Ok(text) => {
                piece(text);
                self.carried = 0;
            }
            Err(error) => self.readable &= error.error_len().is_none(),
        }
    }

    fn kind(&mut self, byte: u8, piece: &mut impl FnMut(&str)) {
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
            piece(text);
        }
    }

    /// One UTF-16 code unit, as a `\u` escape names it.
    fn unit(&mut self, unit: u16, piece: &mut impl FnMut(&str)) {
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
            Some(decoded) if self.readable => piece(decoded.encode_utf8(&mut [0; 4])),
            Some(_) => {}
            None => self.readable = false,
        }
    }
}

fn give(text: &str, piece: &mut impl FnMut(&str)) {
    if !text.is_empty() {
        piece(text);
    }
}
