//! Holds the answer of a channel.

use std::time::SystemTime;

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
    /// After how many seconds it says that a request may succeed (RFC 9110, section 10.2.3).
    pub(crate) retry_after: Option<u64>,
}

/// Reads how many seconds `Retry-After` says, as a number or as a date; `None` where it says nothing.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    // Some write a fraction.
    if let Some((whole, _)) = text.split_once('.') {
        return whole.parse::<u64>().ok()?.checked_add(1);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(now)
            .map_or(0, |wait| wait.as_secs() + 1),
    )
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
    fn a_retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sat, 28 Nov 2026 05:40:33 GMT").unwrap();
        for (text, seconds) in [
            ("20", Some(20)),
            (" 0 ", Some(0)),
            ("1.5", Some(2)),
            ("Sat, 28 Nov 2026 05:41:33 GMT", Some(61)),
            ("Sat, 28 Nov 2026 05:30:33 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, now), seconds, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

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
