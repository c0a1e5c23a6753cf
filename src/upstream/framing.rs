//! Says how the length of a request's body is told.

use http::header;
use pingora::http::RequestHeader;

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Content-Length.
    Length(u64),
    /// By its end: chunked, or HTTP/2 without a length.
    Open,
}

impl Framing {
    /// Writes the framing into the head of a request to a channel.
    pub(super) fn write(self, head: &mut RequestHeader, http2: bool) -> pingora::Result<()> {
        match self {
            Self::Length(length) => head.insert_header(header::CONTENT_LENGTH, length),
            Self::Open if http2 => Ok(()),
            Self::Open => head.insert_header(header::TRANSFER_ENCODING, "chunked"),
        }
    }
}
