//! The text between the quotes of a JSON string value.

/// The state of reading one string. It carries a character or an escape across the end of a chunk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Text {
    utf8: Utf8,
    escape: Escape,
}

/// The byte that follows a run of unescaped characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// No byte: the chunk ends within the string.
    More,
    /// The quote that ends the string.
    Quote,
    /// The backslash of an escape.
    Backslash,
    /// A raw byte below 0x20.
    Control,
    /// A byte that makes the string invalid UTF-8.
    NotUtf8,
}

/// The reason why an escape is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EscapeError {
    Bad,
    LoneSurrogate,
    Nul,
}

impl Text {
    /// Returns the length of the unescaped run at the start of `bytes`, and the byte that ends it.
    pub(super) fn run(&mut self, bytes: &[u8]) -> (usize, Next) {
        let mut len = 0;
        loop {
            if !self.utf8.is_inside() {
                len += plain_len(&bytes[len..]);
            }
            // Several characters that are not ASCII, or the rest of one.
            while let Some(&byte) = bytes.get(len)
                && (byte >= 0x80 || self.utf8.is_inside())
            {
                if !self.utf8.step(byte) {
                    return (len, Next::NotUtf8);
                }
                len += 1;
            }
            match bytes.get(len) {
                None => return (len, Next::More),
                Some(b'"') => return (len, Next::Quote),
                Some(b'\\') => return (len, Next::Backslash),
                Some(0x00..=0x1F) => return (len, Next::Control),
                Some(_) => {}
            }
        }
    }

    /// Returns whether the next byte belongs to an escape.
    pub(super) fn in_escape(&self) -> bool {
        !matches!(self.escape, Escape::None)
    }

    /// Starts an escape, whose backslash was read.
    pub(super) fn start_escape(&mut self) {
        self.escape = Escape::Kind;
    }

    /// Reads one byte of an escape. Returns the character that the byte completes, if any.
    pub(super) fn escape(&mut self, byte: u8) -> Result<Option<char>, EscapeError> {
        let (next, done) = self.escape.step(byte)?;
        self.escape = next;
        Ok(done)
    }
}

/// The position of the input within a character of several bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Utf8 {
    /// The number of bytes of the character that are still to come.
    missing: u8,
    /// The range of values that the next byte may have: from `low` to `high`.
    low: u8,
    high: u8,
}

impl Utf8 {
    fn is_inside(self) -> bool {
        self.missing > 0
    }

    /// Reads one byte. Returns false if no character can have it at this place. The ranges are those of
    /// the Unicode Standard, table 3-7: neither overlong forms nor surrogates.
    fn step(&mut self, byte: u8) -> bool {
        if self.missing > 0 {
            let fits = (self.low..=self.high).contains(&byte);
            (self.missing, self.low, self.high) = (self.missing - 1, 0x80, 0xBF);
            return fits;
        }
        (self.missing, self.low, self.high) = match byte {
            0x00..=0x7F => return true,
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return false,
        };
        true
    }
}

/// The position of the input within an escape.
#[derive(Debug, Clone, Copy, Default)]
enum Escape {
    /// The input is outside of an escape.
    #[default]
    None,
    /// The input is behind the backslash of an escape.
    Kind,
    /// The input is among the digits of a `\u` escape.
    Hex {
        /// The high surrogate that came just before, if any.
        high: Option<u16>,
        digits: u8,
        value: u16,
    },
    /// The input is behind a high surrogate: a backslash must follow.
    LowBackslash(u16),
    /// The input is behind the backslash that follows a high surrogate: a `u` must follow.
    LowU(u16),
}

impl Escape {
    fn step(self, byte: u8) -> Result<(Self, Option<char>), EscapeError> {
        match self {
            Self::None => Err(EscapeError::Bad),
            Self::Kind => match byte {
                b'"' | b'\\' | b'/' => Ok((Self::None, Some(char::from(byte)))),
                b'b' => Ok((Self::None, Some('\u{8}'))),
                b'f' => Ok((Self::None, Some('\u{c}'))),
                b'n' => Ok((Self::None, Some('\n'))),
                b'r' => Ok((Self::None, Some('\r'))),
                b't' => Ok((Self::None, Some('\t'))),
                b'u' => Ok((Self::hex(None), None)),
                _ => Err(EscapeError::Bad),
            },
            Self::Hex {
                high,
                digits,
                value,
            } => {
                let digit = char::from(byte).to_digit(16).ok_or(EscapeError::Bad)?;
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    let digits = digits + 1;
                    return Ok((
                        Self::Hex {
                            high,
                            digits,
                            value,
                        },
                        None,
                    ));
                }
                Self::code_unit(high, value)
            }
            Self::LowBackslash(high) if byte == b'\\' => Ok((Self::LowU(high), None)),
            Self::LowU(high) if byte == b'u' => Ok((Self::hex(Some(high)), None)),
            Self::LowBackslash(_) | Self::LowU(_) => Err(EscapeError::LoneSurrogate),
        }
    }

    fn hex(high: Option<u16>) -> Self {
        Self::Hex {
            high,
            digits: 0,
            value: 0,
        }
    }

    fn code_unit(high: Option<u16>, unit: u16) -> Result<(Self, Option<char>), EscapeError> {
        let decoded = match (high, unit) {
            (None, 0) => return Err(EscapeError::Nul),
            (None, 0xD800..=0xDBFF) => return Ok((Self::LowBackslash(unit), None)),
            (None, _) => char::from_u32(u32::from(unit)),
            (Some(high), 0xDC00..=0xDFFF) => char::from_u32(
                0x1_0000 + ((u32::from(high) & 0x3FF) << 10 | u32::from(unit) & 0x3FF),
            ),
            (Some(_), _) => None,
        };
        match decoded {
            Some(_) => Ok((Self::None, decoded)),
            None => Err(EscapeError::LoneSurrogate),
        }
    }
}

/// Returns the number of bytes before the first that is a quote, a backslash, a control character or not
/// ASCII.
fn plain_len(bytes: &[u8]) -> usize {
    // Blocks of a fixed size without an early exit are what the compiler turns into
    // vector instructions.
    const BLOCK: usize = 64;
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let whole = blocks
        .iter()
        .take_while(|block| !block.iter().fold(false, |found, &b| found | is_special(b)))
        .count()
        * BLOCK;
    let rest = &bytes[whole..];
    whole
        + rest
            .iter()
            .position(|&b| is_special(b))
            .unwrap_or(rest.len())
}

fn is_special(byte: u8) -> bool {
    // Seen as signed, bytes from 0x80 on are negative: one comparison finds them and the controls.
    byte.cast_signed() < 0x20 || byte == b'"' || byte == b'\\'
}
