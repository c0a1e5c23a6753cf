//! A strict, incremental scanner for `multipart/form-data` request bodies.
//!
//! A gate that reads a body more kindly than the server behind it can be told one thing
//! while the server is told another. So this scanner accepts a subset of RFC 7578 on which
//! parsers do not differ, and refuses the rest instead of repairing it.
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
//!               [ "; filename=" file [ "; filename*=utf-8''" *( attr-char / pct ) ] ]
//! ```
//!
//! Beyond what the grammar can say:
//!
//! * The boundary's bytes occur in delimiters only, not in values and not in part headers,
//!   not even without the CRLF or the dashes before them, and not with CR or LF between
//!   them.
//! * A part's header block is bounded by [`Limits`]; its lines end in CRLF and hold no
//!   control character, no folding (RFC 9112, section 5.2) and no space at either end of a
//!   value.
//! * A part without a filename is text: no `Content-Type`, or `text/plain` in a charset
//!   that contains ASCII. A part with a filename is `image/*`, `application/octet-stream`
//!   or untyped. `Content-Transfer-Encoding` names no encoding that alters bytes (RFC 7578,
//!   section 4.7), and `Content-Length` is the true one.
//! * The members `input_reference[image_url]` and `[file_id]` may be text typed
//!   `application/octet-stream`, as the official Java SDK sends them.
//! * A filename leaves a name when a server has cleaned it.
//! * A part with `filename=""` is a browser's empty file input and has no bytes.
//!
//! What the fields mean is not decided here: names that are unknown or repeated, lengths
//! and the bytes of values are judged by the [`Sink`](crate::form::Sink).
//!
//! # Invariants
//!
//! 1. Which events the sink sees, which error comes out and what [`Scanner::safe`] answers
//!    depend on the bytes pushed so far and never on how they were cut. (After the sink has
//!    refused in the midst of its data, `safe` may lag behind by the slice refused.)
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

/// The maximums of one body, beyond which it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of parts in a body.
    pub parts: usize,
    /// The maximum number of bytes in the header block of one part, its line ends and the empty line
    /// included; a larger number than [`MAX_HEADER_BYTES`] counts as that.
    pub header_bytes: usize,
    /// The maximum number of header lines of one part, the empty line not counted.
    pub header_lines: usize,
    /// The maximum number of bytes in a filename, unescaped; `filename` and `filename*` each for itself.
    pub filename_bytes: usize,
}

impl Default for Limits {
    /// Returns 32 parts, 1022 bytes and 8 lines of headers in each, and as long a filename as they hold.
    fn default() -> Self {
        Self {
            parts: 32,
            header_bytes: MAX_HEADER_BYTES,
            header_lines: 8,
            filename_bytes: MAX_HEADER_BYTES,
        }
    }
}
