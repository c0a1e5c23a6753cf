//! The errors of JSON bodies.

use std::fmt;

/// The reason why a JSON body is refused.
///
/// Offsets count bytes from the start of the body, from 0. The reason and its offset do not
/// depend on how the body was cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body starts with a byte order mark. RFC 8259 section 8.1 forbids writing one, and
    /// parsers are free to ignore it or to fail.
    #[error("The JSON body starts with a byte order mark; send UTF-8 without one.")]
    ByteOrderMark,
    /// The body's first token is not the opening brace of an object.
    #[error("The JSON body must be one object, starting with an opening brace.")]
    NotAnObject,
    /// A byte is not allowed at its place.
    #[error("Invalid JSON at byte {at}: expected {expected}.")]
    Unexpected {
        /// The byte's offset.
        at: u64,
        /// The token that was expected in place of the byte.
        expected: Expected,
    },
    /// No member or element follows a comma.
    #[error(
        "Invalid JSON at byte {at}: a comma must be followed by another member or element; remove the trailing comma."
    )]
    TrailingComma {
        /// The offset of the closing bracket or brace that follows the comma.
        at: u64,
    },
    /// Bytes other than whitespace follow the object.
    #[error("Invalid JSON at byte {at}: nothing may follow the object; send one object only.")]
    AfterDocument {
        /// The offset of the first of these bytes.
        at: u64,
    },
    /// The body ended before its object was complete.
    #[error("The JSON body ended before its object was complete; send the whole body.")]
    Incomplete,
    /// There is more whitespace than the limit allows before the first scalar value, between two of them, or
    /// after the last.
    #[error(
        "The JSON body has more than {limit} bytes of whitespace in one place; send it without padding."
    )]
    WhitespaceTooLong {
        /// The limit: [`Limits::whitespace_bytes`](super::Limits::whitespace_bytes).
        limit: usize,
    },
    /// Objects and arrays are nested deeper than the limit allows.
    #[error("'{field}' makes the JSON body nest deeper than {limit} levels; send a flatter value.")]
    TooDeep {
        /// The field that holds the objects and arrays.
        field: String,
        /// The limit: [`Limits::depth`](super::Limits::depth).
        limit: usize,
    },
    /// The objects that are open at one time have more members than the limit allows.
    #[error(
        "The JSON body has more than {limit} object members; send only the documented parameters."
    )]
    TooManyMembers {
        /// The limit: [`Limits::members`](super::Limits::members).
        limit: usize,
    },
    /// An object key is empty.
    #[error("Invalid key at byte {at} of the JSON body: it is empty; every member needs a name.")]
    KeyEmpty {
        /// The offset of the key's closing quote.
        at: u64,
    },
    /// An object key has a backslash escape.
    #[error(
        "Invalid key at byte {at} of the JSON body: escapes are not allowed in keys; write the name in plain characters."
    )]
    KeyEscape {
        /// The offset of the backslash.
        at: u64,
    },
    /// An object key has a byte that is no printable ASCII character, or is a square bracket.
    #[error(
        "Invalid key at byte {at} of the JSON body: use printable ASCII characters other than square brackets."
    )]
    KeyByte {
        /// The byte's offset.
        at: u64,
    },
    /// An object key is longer than the limit allows.
    #[error(
        "A key in the JSON body is longer than {limit} bytes; send only the documented parameters."
    )]
    KeyTooLong {
        /// The limit: [`Limits::key_bytes`](super::Limits::key_bytes).
        limit: usize,
    },
    /// An object has the same key twice, letter case aside.
    #[error(
        "'{field}' appears more than once in the JSON body (letter case does not tell keys apart); send it once."
    )]
    DuplicateKey {
        /// The name of the field that comes twice, or of the raw field that holds the object.
        field: String,
    },
    /// A string has a raw control character.
    #[error("'{field}' has a raw control character in a string; escape it, a line break as \\n.")]
    ControlCharacter {
        /// The field that holds the string.
        field: String,
    },
    /// A string is not UTF-8.
    #[error("'{field}' has a string that is not valid UTF-8; encode the body as UTF-8.")]
    InvalidUtf8 {
        /// The field that holds the string.
        field: String,
    },
    /// A string has a backslash that begins no escape of RFC 8259.
    #[error("'{field}' has a string with an invalid escape; write a backslash itself as two.")]
    BadEscape {
        /// The field that holds the string.
        field: String,
    },
    /// A string has an escaped surrogate without its other half.
    #[error("'{field}' has a string with half of a surrogate pair; send whole characters.")]
    LoneSurrogate {
        /// The field that holds the string.
        field: String,
    },
    /// A string has an escaped U+0000, where some parsers would end the string.
    #[error("'{field}' has a string with the character U+0000; remove it.")]
    NulEscape {
        /// The field that holds the string.
        field: String,
    },
    /// A number is not written as RFC 8259 section 6 says.
    #[error(
        "'{field}' has an invalid number; write it without a leading zero or plus sign, with a digit on both sides of a decimal point."
    )]
    BadNumber {
        /// The field that holds the number.
        field: String,
    },
    /// A number has more bytes than the limit allows, or an exponent of more than two digits.
    #[error(
        "'{field}' has a number of more than {limit} characters or with an exponent of more than two digits; send a shorter one."
    )]
    NumberTooLong {
        /// The field that holds the number.
        field: String,
        /// The limit: [`Limits::number_bytes`](super::Limits::number_bytes).
        limit: usize,
    },
    /// The sink refused the body in an earlier call; nothing more is read.
    #[error("The body was refused already; send a new request.")]
    Stopped,
}

/// The token that was expected in place of an unexpected byte.
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
    /// Returns the name of the field in which the body broke a rule; `None` if the error names no field.
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
