//! The id of a request: the one that the client sends if it is harmless, otherwise one that the gate makes.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::ledger::ReservationId;
use crate::policy::Timestamp;

/// The header that carries the request id in requests from clients, in responses to them, and in requests to
/// channels.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of a request id that is accepted from a client, in characters.
const MAX_CHARS: usize = 128;

/// The minimum length of a match for which an id is rejected, in characters. An id matches if it is a part of
/// a word of the header `Authorization`, or if such a word is a part of the id. Shorter matches are ignored.
const PART_CHARS: usize = 8;

/// The id of a request in responses, logs, the ledger and requests to its channel.
pub(super) struct RequestId {
    header: HeaderValue,
    /// The reservation id that the request id was made from; `None` if the client has given the id.
    reservation: Option<ReservationId>,
}

impl RequestId {
    /// Returns the id that the client has sent in `headers`, if it is valid and does not show a client's key.
    /// Otherwise makes one from a new reservation id. `is_key` returns whether a text is some client's key.
    pub(super) fn of(headers: &HeaderMap, at: Timestamp, is_key: impl Fn(&str) -> bool) -> Self {
        let mut given = headers.get_all(REQUEST_ID).iter();
        let only = given.next().filter(|_| given.next().is_none());
        let fit = only.filter(|value| {
            let text = value.to_str().unwrap_or_default();
            is_valid(text) && !shows_credential(text, headers) && !is_key(text)
        });
        match fit {
            Some(given) => Self {
                header: given.clone(),
                reservation: None,
            },
            None => {
                let reservation = ReservationId::generate(at);
                // Each request clones the header. A clone of `Bytes` with an owner allocates nothing.
                let id = Bytes::from_owner(reservation.request_id());
                let header = HeaderValue::from_maybe_shared(id);
                Self {
                    header: header.unwrap_or(HeaderValue::from_static("req_")),
                    reservation: Some(reservation),
                }
            }
        }
    }

    /// Returns the reservation id that the request id was made from; `None` if the client has given the
    /// request id.
    pub(super) fn reservation(&self) -> Option<ReservationId> {
        self.reservation
    }

    pub(super) fn as_str(&self) -> &str {
        self.header.to_str().unwrap_or_default()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// Returns whether a text is valid as an id: letters, digits and the marks that UUIDs, Base64 and trace
/// headers have. Texts that start like an API key (`sk-`) are rejected.
fn is_valid(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&b);
    let is_key_like = text
        .get(..3)
        .is_some_and(|start| start.eq_ignore_ascii_case("sk-"));
    (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(fits) && !is_key_like
}

/// Returns whether an id equals a word of the header `Authorization`, contains it, or is a part of it, where
/// the shared text has at least [`PART_CHARS`] characters. Such an id must not be used: ids are logged.
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
        RequestId::of(&headers, Timestamp(1), is_key)
            .as_str()
            .to_owned()
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
            // A credential, or enough characters of one.
            &["sk-tollgate-1"],
            &["id-sk-tollgate-1-id"],
            &["tollgate"],
            &["known-key"],
            &["SK-of-nobody"],
        ] {
            let made = id(given, "Bearer sk-tollgate-1");
            assert_eq!(made.len(), 36, "{given:?}");
            assert!(made.starts_with("req_"), "{given:?}");
        }
        assert_ne!(id(&[], "Bearer x"), id(&[], "Bearer x"));
    }
}
