//! The answer of a channel to a request.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;

use crate::access_log::REQUEST_ID;
use crate::channel::Channel;
use crate::dialect::ApiError;
use crate::ledger::{ChannelAnswer, kept};

/// An answer of a channel, with its whole body or, if that is too long, with the beginning of it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The headers of the answer that pass to the client.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body is longer than what was kept.
    pub(crate) cut: bool,
    /// The number of seconds after which the answer invites another request (RFC 9110, section 10.2.3);
    /// `None` where it names none, and for a success.
    pub(crate) retry_after: Option<u64>,
    /// The channel's own id of the request; `None` where the answer has none, or one that is too long.
    pub(crate) request_id: Option<Arc<str>>,
}

// Static, so that the name is not parsed for each answer.
static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
static RETRY_AFTER: HeaderName = header::RETRY_AFTER;

/// Reads the number of seconds after which an answer with an error invites another request; `None` where
/// the answer names none, and for a success.
pub(super) fn retry_after(head: &ResponseHeader) -> Option<u64> {
    match head.status.is_success() {
        true => None,
        false => wait_told(&head.headers, SystemTime::now()),
    }
}

/// Reads the number of seconds after which an answer invites another request: by `retry-after-ms`, which
/// OpenAI's API sends and its SDKs read first, or by `Retry-After`, as a number or as a date, from which
/// `now` is subtracted. `None` where the answer has neither of them in a readable form.
fn wait_told(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |value: &HeaderValue| Some(value.to_str().ok()?.trim().to_owned());
    let milliseconds = headers.get(&RETRY_AFTER_MS).and_then(text);
    if let Some(milliseconds) = milliseconds.as_deref().and_then(rounded_up) {
        return Some(milliseconds.div_ceil(1000));
    }
    let text = headers.get(&RETRY_AFTER).and_then(text)?;
    if let Some(seconds) = rounded_up(&text) {
        return Some(seconds);
    }
    let date = httpdate::parse_http_date(&text).ok()?;
    Some(
        date.duration_since(now)
            .map_or(0, |wait| wait.as_secs() + 1),
    )
}

/// Parses a whole number that is not negative; `None` where the text is not one. Some channels write a
/// fraction: then the whole number before the decimal point is parsed, and one is added.
fn rounded_up(number: &str) -> Option<u64> {
    match number.split_once('.') {
        Some((whole, _)) => whole.parse::<u64>().ok()?.checked_add(1),
        None => number.parse().ok(),
    }
}

/// The maximum length of a request id that is kept, in characters.
const MAX_REQUEST_ID: usize = 128;

/// Reads the channel's own id of a request from the header `x-request-id`; `None` where the header is
/// missing, empty or too long.
pub(super) fn request_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    (1..=MAX_REQUEST_ID)
        .contains(&text.len())
        .then(|| text.into())
}

impl Answer {
    /// Returns the status, request id and error text of the answer, as the ledger keeps them for disputes.
    pub(crate) fn evidence(&self, channel: &Channel) -> ChannelAnswer {
        ChannelAnswer {
            status: Some(self.status.as_u16()),
            request_id: self
                .request_id
                .as_deref()
                .and_then(|id| kept(&channel.redacted(id))),
            error: match self.status.is_success() {
                true => None,
                false => self.reason(channel),
            },
        }
    }

    /// Returns the error's code and message in the answer, without the channel's credential.
    fn reason(&self, channel: &Channel) -> Option<Arc<str>> {
        let ApiError { code, message, .. } = ApiError::read(&self.body, &channel.dialect)?;
        let parts = [code.as_deref(), message.as_deref()].into_iter().flatten();
        let text = parts.collect::<Vec<_>>().join(": ");
        kept(&channel.redacted(&text))
    }

    /// Returns whether the answer's body is compressed, though `identity` was asked for: the gate cannot
    /// read anything in it.
    pub(super) fn is_encoded(&self) -> bool {
        let codings = self.headers.get_all(header::CONTENT_ENCODING);
        let plain = |value: &HeaderValue| {
            let value = value.as_bytes().trim_ascii();
            value.is_empty() || value.eq_ignore_ascii_case(b"identity")
        };
        !codings.iter().all(plain)
    }
}

/// Joins the chunks of an answer's body. A body that comes in a single chunk, as most do, is not copied.
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
            assert_eq!(wait_told(&headers, now), seconds, "{text}");
        }
        assert_eq!(wait_told(&HeaderMap::new(), now), None);
    }

    #[test]
    fn milliseconds_come_first_and_are_rounded_up() {
        for (milliseconds, seconds, wait) in [
            ("0", None, Some(0)),
            ("1", None, Some(1)),
            ("1000", None, Some(1)),
            ("1001", Some("30"), Some(2)),
            ("1499.5", Some("30"), Some(2)),
            ("soon", Some("30"), Some(30)),
            ("-5", Some("30"), Some(30)),
            ("soon", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after-ms", HeaderValue::from_static(milliseconds));
            if let Some(seconds) = seconds {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
            }
            let found = wait_told(&headers, SystemTime::UNIX_EPOCH);
            assert_eq!(found, wait, "{milliseconds} {seconds:?}");
        }
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
