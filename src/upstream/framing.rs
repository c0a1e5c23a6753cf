//! The framing of a request's body.

use http::header;
use pingora::http::RequestHeader;

/// The framing of a body, by which the receiver finds its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A body whose length is in the header `Content-Length`, in bytes.
    Length(u64),
    /// A body whose length is not known in advance: chunked in HTTP/1.1, and without a header in HTTP/2.
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
