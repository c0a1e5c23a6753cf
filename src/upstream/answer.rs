//! Holds the answer of a channel.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// A complete answer, or as much of one as may be kept.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Those of its headers that pass.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body is longer than what was kept.
    pub(crate) cut: bool,
}

impl Answer {
    /// Whether its body is compressed, though `identity` was asked for: the gate reads
    /// nothing in it.
    pub(super) fn is_encoded(&self) -> bool {
        let codings = self.headers.get_all(header::CONTENT_ENCODING);
        let plain = |value: &HeaderValue| {
            let value = value.as_bytes().trim_ascii();
            value.is_empty() || value.eq_ignore_ascii_case(b"identity")
        };
        !codings.iter().all(plain)
    }
}

/// Joins the chunks of an answer's body. One that comes in a single chunk, as most
/// do, is not copied.
#[derive(Default)]
pub(crate) struct BodyBuffer {
    first: Bytes,
    /// All chunks, where there are several.
    joined: BytesMut,
}

impl BodyBuffer {
    pub(crate) fn len(&self) -> usize {
        self.first.len().max(self.joined.len())
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() {
            self.first = chunk;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&chunk);
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self.joined.is_empty() {
            true => self.first,
            false => self.joined.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        let joined_body = |chunks: &[&'static str]| {
            let mut joined_body = BodyBuffer::default();
            let (mut sum, chunks) = (0, chunks.iter().map(|c| Bytes::from_static(c.as_bytes())));
            for chunk in chunks {
                sum += chunk.len();
                joined_body.push(chunk);
                assert_eq!(joined_body.len(), sum);
            }
            joined_body.into_bytes()
        };
        assert_eq!(joined_body(&[]), "");
        assert_eq!(joined_body(&["", "a", ""]), "a");
        assert_eq!(joined_body(&["ab", "c", "", "d"]), "abcd");
    }
}
