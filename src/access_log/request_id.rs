//! The id of a request: the client's where it is harmless, else one of the gate's own.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries it, in both directions and towards channels.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client's that is taken, in characters.
const MAX_CHARS: usize = 128;

/// The shortest part of a credential that no id may be.
const PART_CHARS: usize = 8;

/// The id that a request has in answers, logs, the ledger and towards its channel.
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// Takes the id that a client has given, or makes one. `is_key` tells whether a text is the
    /// key of some client.
    pub(super) fn of(headers: &HeaderMap, is_key: impl Fn(&str) -> bool) -> Self {
        let mut given = headers.get_all(REQUEST_ID).iter();
        let only = given.next().filter(|_| given.next().is_none());
        let fit = only.filter(|value| {
            let text = value.to_str().unwrap_or_default();
            is_valid(text) && !shows_credential(text, headers) && !is_key(text)
        });
        Self(fit.cloned().unwrap_or_else(generated))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Tests whether a text is fit for an id: letters, digits and the marks that UUIDs, Base64 and
/// trace headers have. Texts that start like an API key (`sk-`) are rejected.
fn is_valid(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&b);
    let is_key_like = text
        .get(..3)
        .is_some_and(|start| start.eq_ignore_ascii_case("sk-"));
    (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(fits) && !is_key_like
}

/// Tests whether an id is the request's credential, has it in it, or is a part of it: ids are
/// written to logs.
fn shows_credential(id: &str, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.any(|value| {
        let text = value.to_str().unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        words.any(|word| {
            let part = id.len() >= PART_CHARS && word.contains(id);
            part || (word.len() >= PART_CHARS && id.contains(word))
        })
    })
}

/// What the ids of this process begin with: the time of its start and random bits (a UUID of version
/// 7, RFC 9562, without its last digits).
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let mut text = format!("req_{}", Uuid::now_v7().simple());
    text.truncate("req_".len() + 24);
    text
});

/// How many ids this process has made.
static MADE: AtomicU64 = AtomicU64::new(0);

/// Makes an id: no other process begins its own like this one, and here they count up. To ask the
/// system for random bits for each would cost more than the rest of a request's record.
fn generated() -> HeaderValue {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let mut id = Vec::with_capacity(PROCESS.len() + 12);
    id.extend_from_slice(PROCESS.as_bytes());
    for shift in (0..12).rev() {
        let digit = number >> (4 * shift) & 0xf;
        id.extend(char::from_digit(digit as u32, 16).map(|c| c as u8));
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(id))
        .unwrap_or(HeaderValue::from_static("req_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(values: &[&str], credential: &str) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_ID, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(AUTHORIZATION, HeaderValue::from_str(credential).unwrap());
        let is_key = |text: &str| text == "known-key";
        RequestId::of(&headers, is_key).as_str().to_owned()
    }

    #[test]
    fn harmless_ids_of_clients_are_kept() {
        for given in [
            "a",
            "7d444840-9dc0-11d1-b245-5ffdce74fad2",
            "Root=1-67891233-abcdef012345678912345678",
            "YWJj+/==",
            &"x".repeat(MAX_CHARS),
        ] {
            assert_eq!(id(&[given], "Bearer sk-tollgate-1"), given);
        }
    }

    #[test]
    fn others_get_one_of_the_gates_own() {
        let long = "x".repeat(MAX_CHARS + 1);
        for given in [
            &[][..],
            &[""],
            &["two words"],
            &["a\"b"],
            &["a;b"],
            &["one", "two"],
            &[&long],
            // A credential, or enough of one.
            &["sk-tollgate-1"],
            &["id-sk-tollgate-1-id"],
            &["tollgate"],
            &["known-key"],
            &["SK-of-nobody"],
        ] {
            let made = id(given, "Bearer sk-tollgate-1");
            assert_eq!(made.len(), 40, "{given:?}");
            assert!(made.starts_with("req_"), "{given:?}");
        }
        assert_ne!(id(&[], "Bearer x"), id(&[], "Bearer x"));
    }
}
