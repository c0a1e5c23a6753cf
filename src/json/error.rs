//! Why a JSON body is refused.

use std::fmt;

/// Why a JSON body is refused.
///
/// Offsets count bytes from the start of the body, from 0. The reason and its offset do not
/// depend on how the body was cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The body starts with a byte order mark. RFC 8259 section 8.1 forbids writing one, and
    /// parsers are free to ignore it or to fail.
    ByteOrderMark,
    /// The body's first token is not the opening brace of an object.
    NotAnObject,
    /// A byte that cannot stand where it stands.
    Unexpected {
        /// The byte's offset.
        at: u64,
        /// What could have stood there.
        expected: Expected,
    },
    /// A comma with no member or element behind it.
    TrailingComma {
        /// The offset of the bracket that follows the comma.
        at: u64,
    },
    /// Something other than whitespace behind the object.
    AfterDocument {
        /// The offset of its first byte.
        at: u64,
    },
    /// The body ended before its object was complete.
    Incomplete,
    /// More whitespace between two values than the limit allows.
    WhitespaceTooLong {
        /// [`Limits::whitespace_bytes`](super::Limits::whitespace_bytes).
        limit: usize,
    },
    /// Objects and arrays nested deeper than the limit allows.
    TooDeep {
        /// The field that holds them.
        field: String,
        /// [`Limits::depth`](super::Limits::depth).
        limit: usize,
    },
    /// More members in the objects open at one time than the limit allows.
    TooManyMembers {
        /// [`Limits::members`](super::Limits::members).
        limit: usize,
    },
    /// An object key of no characters.
    KeyEmpty {
        /// The offset of its closing quote.
        at: u64,
    },
    /// A backslash escape in an object key.
    KeyEscape {
        /// The offset of the backslash.
        at: u64,
    },
    /// A byte in an object key that is no printable ASCII character, or a square bracket.
    KeyByte {
        /// The byte's offset.
        at: u64,
    },
    /// An object key longer than the limit allows.
    KeyTooLong {
        /// [`Limits::key_bytes`](super::Limits::key_bytes).
        limit: usize,
    },
    /// An object has the same key twice, letter case aside.
    DuplicateKey {
        /// The field's name, or that of the raw field that holds the object.
        field: String,
    },
    /// A raw control character in a string.
    ControlCharacter {
        /// The field that holds the string.
        field: String,
    },
    /// A string is not UTF-8.
    InvalidUtf8 {
        /// The field that holds the string.
        field: String,
    },
    /// A backslash in a string that begins no escape of RFC 8259.
    BadEscape {
        /// The field that holds the string.
        field: String,
    },
    /// An escaped surrogate without its other half.
    LoneSurrogate {
        /// The field that holds the string.
        field: String,
    },
    /// An escaped U+0000, where some parsers would end the string.
    NulEscape {
        /// The field that holds the string.
        field: String,
    },
    /// A number that is not written as RFC 8259 section 6 says.
    BadNumber {
        /// The field that holds the number.
        field: String,
    },
    /// A number of more bytes than the limit allows, or with an exponent of more than two digits.
    NumberTooLong {
        /// The field that holds the number.
        field: String,
        /// [`Limits::number_bytes`](super::Limits::number_bytes).
        limit: usize,
    },
    /// The sink refused the body in an earlier call; nothing more is read.
    Stopped,
}

/// What could have stood in the place of an unexpected byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// An object key in double quotes, or the closing brace.
    KeyOrEnd,
    /// An object key in double quotes.
    Key,
    /// The colon behind a key.
    Colon,
    /// A value.
    Value,
    /// A comma or the closing brace of an object.
    CommaOrBrace,
    /// A comma or the closing bracket of an array.
    CommaOrBracket,
}

impl Error {
    /// The name of the field in which the body broke a rule, if one was being read.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::TooDeep { field, .. }
            | Self::DuplicateKey { field }
            | Self::ControlCharacter { field }
            | Self::InvalidUtf8 { field }
            | Self::BadEscape { field }
            | Self::LoneSurrogate { field }
            | Self::NulEscape { field }
            | Self::BadNumber { field }
            | Self::NumberTooLong { field, .. } => Some(field),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByteOrderMark => {
                f.write_str("The JSON body starts with a byte order mark; send UTF-8 without one.")
            }
            Self::NotAnObject => {
                f.write_str("The JSON body must be one object, starting with an opening brace.")
            }
            Self::Unexpected { at, expected } => {
                write!(f, "Invalid JSON at byte {at}: expected {expected}.")
            }
            Self::TrailingComma { at } => write!(
                f,
                "Invalid JSON at byte {at}: a comma must be followed by another member or element; remove the trailing comma."
            ),
            Self::AfterDocument { at } => write!(
                f,
                "Invalid JSON at byte {at}: nothing may follow the object; send one object only."
            ),
            Self::Incomplete => f.write_str(
                "The JSON body ended before its object was complete; send the whole body.",
            ),
            Self::WhitespaceTooLong { limit } => write!(
                f,
                "The JSON body has more than {limit} bytes of whitespace in one place; send it without padding."
            ),
            Self::TooDeep { field, limit } => write!(
                f,
                "'{field}' makes the JSON body nest deeper than {limit} levels; send a flatter value."
            ),
            Self::TooManyMembers { limit } => write!(
                f,
                "The JSON body has more than {limit} object members; send only the documented parameters."
            ),
            Self::KeyEmpty { at } => write!(
                f,
                "Invalid key at byte {at} of the JSON body: it is empty; every member needs a name."
            ),
            Self::KeyEscape { at } => write!(
                f,
                "Invalid key at byte {at} of the JSON body: escapes are not allowed in keys; write the name in plain characters."
            ),
            Self::KeyByte { at } => write!(
                f,
                "Invalid key at byte {at} of the JSON body: use printable ASCII characters other than square brackets."
            ),
            Self::KeyTooLong { limit } => write!(
                f,
                "A key in the JSON body is longer than {limit} bytes; send only the documented parameters."
            ),
            Self::DuplicateKey { field } => write!(
                f,
                "'{field}' appears more than once in the JSON body (letter case does not tell keys apart); send it once."
            ),
            Self::ControlCharacter { field } => write!(
                f,
                "'{field}' has a raw control character in a string; escape it, a line break as \\n."
            ),
            Self::InvalidUtf8 { field } => write!(
                f,
                "'{field}' has a string that is not valid UTF-8; encode the body as UTF-8."
            ),
            Self::BadEscape { field } => write!(
                f,
                "'{field}' has a string with an invalid escape; write a backslash itself as two."
            ),
            Self::LoneSurrogate { field } => write!(
                f,
                "'{field}' has a string with half of a surrogate pair; send whole characters."
            ),
            Self::NulEscape { field } => write!(
                f,
                "'{field}' has a string with the character U+0000; remove it."
            ),
            Self::BadNumber { field } => write!(
                f,
                "'{field}' has an invalid number; write it without a leading zero or plus sign, with a digit on both sides of a decimal point."
            ),
            Self::NumberTooLong { field, limit } => write!(
                f,
                "'{field}' has a number of more than {limit} characters or with an exponent of more than two digits; send a shorter one."
            ),
            Self::Stopped => f.write_str("The body was refused already; send a new request."),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyOrEnd => "a key in double quotes or a closing brace",
            Self::Key => "a key in double quotes",
            Self::Colon => "a colon behind the key",
            Self::Value => {
                "a value (a string in double quotes, a number, true, false, null, an object or an array)"
            }
            Self::CommaOrBrace => "a comma or a closing brace",
            Self::CommaOrBracket => "a comma or a closing bracket",
        })
    }
}
