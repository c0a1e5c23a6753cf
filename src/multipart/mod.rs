//! A strict, incremental scanner for `multipart/form-data` request bodies.
//!
//! If a gate reads a body more leniently than the server behind it, a client can make the two
//! read different values. So this scanner accepts a subset of RFC 7578 on which parsers do not
//! differ, and refuses the rest instead of repairing it.
//!
//! # What a body looks like
//!
//! ```text
//! body        = [ CRLF ] "--" boundary CRLF part
//!               *( CRLF "--" boundary CRLF part )
//!               CRLF "--" boundary "--" [ CRLF [ CRLF ] ]
//! part        = 1*header CRLF *OCTET
//! header      = name ": " value CRLF
//! name        = "Content-Disposition" / "Content-Type"
//!             / "Content-Transfer-Encoding" / "Content-Length"
//!               ; once each, spelt so or all in lower case
//! disposition = "form-data; name=" field
//!               [ "; filename=" file [ "; filename*=utf-8''" 1*( attr-char / pct ) ] ]
//! ```
//!
//! Further rules, which the grammar does not express:
//!
//! * The boundary's bytes occur in delimiters only, not in values and not in part headers,
//!   not even without the CRLF or the dashes before them, and not with CR or LF between
//!   them.
//! * A part's header block is bounded by [`Limits`]; its lines end in CRLF and hold no
//!   control character, no folding (RFC 9112, section 5.2) and no space at either end of a
//!   value.
//! * A part without a filename is text: no `Content-Type`, or `text/plain` in UTF-8, US-ASCII
//!   or ISO-8859-1. A part with a filename is `image/*`, `application/octet-stream` or
//!   untyped. `Content-Transfer-Encoding` is 7bit, 8bit or binary, which alter no bytes
//!   (RFC 7578, section 4.7), and `Content-Length` is the length of the value.
//! * The members `input_reference[image_url]` and `[file_id]` may be text typed
//!   `application/octet-stream`, as the official Java SDK sends them.
//! * Something is left of a filename after a server has cleaned it.
//! * A part with `filename=""` is a browser's empty file input and has no bytes.
//!
//! The scanner does not interpret the fields. The [`Sink`](crate::form::Sink) judges names that
//! are unknown or repeated, and the lengths and bytes of values.
//!
//! # Invariants
//!
//! 1. The events that the sink gets, the error and the value of [`Scanner::safe`] depend on the
//!    bytes pushed so far, never on how they were cut into pieces. (One exception: `safe` does not
//!    include a slice of data that the sink has refused, and where it begins depends on the cuts.)
//! 2. Memory is bounded by [`MAX_HEADER_BYTES`] and the length of a delimiter, whatever
//!    the body's length.
//! 3. The close delimiter is never safe to release.

mod boundary;
mod error;
mod filename;
mod header;
mod scanner;
mod search;
#[cfg(test)]
mod tests;

pub use boundary::Boundary;
pub use error::Error;
pub use scanner::Scanner;

/// The maximum length of a part's header block in bytes, its line ends and the empty line included.
///
/// Django 4.2 and 5.0 look for the empty line in 1,024 bytes, two of which are the CRLF that ends the
/// delimiter line. If the line is not there, they skip the part without reading it, and go on to read
/// part headers in the middle of its value.
pub const MAX_HEADER_BYTES: usize = 1022;

/// The limits of one body. A body that exceeds one of them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of parts in a body.
    pub parts: usize,
    /// The maximum number of bytes in the header block of one part, its line ends and the empty line
    /// included. More than [`MAX_HEADER_BYTES`] counts as [`MAX_HEADER_BYTES`].
    pub header_bytes: usize,
    /// The maximum number of header lines of one part, the empty line not counted.
    pub header_lines: usize,
    /// The maximum length in bytes of `filename`, and of `filename*`, each without escapes.
    pub filename_bytes: usize,
}

impl Default for Limits {
    /// Returns 32 parts, 1022 header bytes and 8 header lines for each part, and 1022 filename bytes.
    fn default() -> Self {
        Self {
            parts: 32,
            header_bytes: MAX_HEADER_BYTES,
            header_lines: 8,
            filename_bytes: MAX_HEADER_BYTES,
        }
    }
}
