//! A strict push scanner for the JSON body of a create request.
//!
//! The gate must read a body as the channel reads it, whichever parser the channel has. So the scanner
//! accepts the part of JSON (RFC 8259) on which parsers agree, and refuses the rest:
//!
//! - One object, UTF-8, no byte order mark, nothing but whitespace behind it.
//! - Keys at every depth are printable ASCII without escapes and square brackets, not empty, and
//!   differ within their object by more than letter case. (Parsers keep the first, the last or
//!   both of two equal keys, and some match keys without regard to case.)
//! - Strings are valid UTF-8 without raw control characters, lone surrogates and U+0000.
//! - Numbers stay within the range of a double.
//! - No comments, trailing commas, single quotes, NaN or Infinity.
//! - Depth, members, keys, numbers and whitespace are bounded by [`Limits`].
//!
//! # Fields
//!
//! Members come out under the bracket names that a form would use ([`crate::form`]):
//!
//! | in the body | fields |
//! |---|---|
//! | `"a": "text"` | `a`, [`Kind::Text`](crate::form::Kind::Text), unescaped |
//! | `"a": 1` (a number, `true`, `false`, `null`) | `a`, [`Kind::Json`](crate::form::Kind::Json), raw |
//! | `"a": {"b": v}` | `a[b]`: text if `v` is a string, otherwise raw JSON |
//! | `"a": [v]` | `a[]` for each element: text for a string, raw JSON for another scalar or an array |
//! | `"a": [{"b": v}]` | `a[][b]`: text if `v` is a string, otherwise raw JSON |
//! | `"a": {}`, `"a": []` | `a`, raw JSON: `{}` or `[]`, without whitespace inside |
//! | `"a": [{}]` | `a[]`, raw JSON: `{}` |
//!
//! What nests deeper than the table shows is one raw field as a whole, whitespace included. Since
//! keys hold no brackets, no key looks like the name of a nested field; but the members of several
//! elements of an array follow one another without a mark between the elements.

mod error;
mod keys;
mod number;
mod path;
mod scanner;
mod string;
#[cfg(test)]
mod tests;

pub use error::{Error, Expected};
pub use scanner::Scanner;

/// The limits of a JSON body. They also bound the scanner's memory: about `members` times `key_bytes` bytes
/// for keys, and a few machine words for each open level and each member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of levels of objects and arrays, the outermost included.
    pub depth: usize,
    /// The maximum number of bytes in a key.
    pub key_bytes: usize,
    /// The maximum number of members, counted over all objects that are open at one time.
    pub members: usize,
    /// The maximum number of bytes in a number.
    pub number_bytes: usize,
    /// The maximum number of bytes of whitespace before the first scalar value, between two successive ones,
    /// and behind the last. An empty object or array counts as a scalar value.
    pub whitespace_bytes: usize,
}

impl Limits {
    /// Computes the maximum number of bytes that a scanner withholds outside of values, if the body is
    /// accepted in the end.
    ///
    /// These are the bytes from the end of one field to the value of the next, with one key (or two, if an
    /// object opens), or from the end of the last field to the end of the body. A field under
    /// [`Release::AfterEnd`](crate::form::Release::AfterEnd) adds its own raw length: its quotes, up to six
    /// bytes for each byte of its text, and up to twelve for a character that is not complete yet.
    pub const fn withheld_bytes(&self) -> usize {
        // Up to three closing brackets, a comma, two colons, two opening brackets, the value's
        // first byte, and the quotes of two keys.
        const SYNTAX: usize = 3 + 1 + 2 + 2 + 1 + 2 + 2;
        self.whitespace_bytes + 2 * self.key_bytes + SYNTAX
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 16,
            key_bytes: 256,
            members: 64,
            number_bytes: 64,
            whitespace_bytes: 1024,
        }
    }
}
