//! What a channel says of a job. Many channels leave fields out and some write numbers
//! where others write texts: what cannot be read is taken as not said.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::catalog::MAX_SECONDS;

/// A job as a channel describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct JobAnswer {
    pub(super) id: Option<Arc<str>>,
    pub(super) status: Option<Status>,
    pub(super) size: Option<String>,
    pub(super) seconds: Option<u32>,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    InProgress,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "queued" => Some(Self::Queued),
            "in_progress" => Some(Self::InProgress),
            "completed" => Some(Self::Completed),
            "failed" => Some(Self::Failed),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// The label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The members that are read, in the order of [`Member`].
struct Wire<'a>([Option<Word<'a>>; 4]);

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Id,
    Status,
    Size,
    Seconds,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Wire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// Reads an object; by hand, since a derived reader takes a list for one.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Wire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Wire<'de>, A::Error> {
        let mut read = [None, None, None, None];
        while let Some(member) = object.next_key::<Member>()? {
            let Some(slot) = read.get_mut(member as usize) else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            // Which of two is meant, nobody can tell.
            if slot.replace(object.next_value()?).is_some() {
                return Err(de::Error::custom("a member that comes twice"));
            }
        }
        Ok(Wire(read))
    }
}

/// A value, as far as one of these members can mean something by it: of every poll's answer
/// four are read, and nothing is built of the rest.
enum Word<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Word<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Word<'de>, E> {
        Ok(Word::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Word<'de>, E> {
        Ok(Word::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Word<'de>, E> {
        Ok(Word::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_unit<E>(self) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Word<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Word::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Word<'de>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Word::Other)
    }
}

impl JobAnswer {
    /// Reads a job; `None` where the body is no JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        // To look once at all of it for what is no UTF-8 is cheaper than at each text in it.
        // Where there is such, it matters only if it stands in what is read.
        let wire: serde_json::Result<Wire<'_>> = match std::str::from_utf8(body) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(body),
        };
        wire.ok().map(Self::from_wire)
    }

    /// Reads a job out of a larger answer; `None` where it is no object.
    pub(super) fn of(json: &Value) -> Option<Self> {
        Wire::deserialize(json).ok().map(Self::from_wire)
    }

    fn from_wire(wire: Wire<'_>) -> Self {
        let Wire([id, status, size, seconds]) = wire;
        let text = |word| match word {
            Some(Word::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let seconds = match seconds {
            Some(Word::Text(text)) => text.parse().ok(),
            Some(Word::Number(number)) => u32::try_from(number).ok(),
            Some(Word::Other) | None => None,
        };
        Self {
            id: text(id).map(Arc::from),
            status: text(status).and_then(|name| Status::from_name(&name)),
            size: text(size).map(Cow::into_owned),
            // What no catalog can offer is not believed: it would spend a budget at once.
            seconds: seconds.filter(|n| (1..=MAX_SECONDS).contains(n)),
        }
    }
}

/// The body of an answer, gathered from its chunks. One that comes in a single chunk, as most
/// do, is not copied.
#[derive(Default)]
pub(super) struct Gathered {
    first: Bytes,
    /// All chunks, where there are several.
    joined: BytesMut,
}

impl Gathered {
    pub(super) fn len(&self) -> usize {
        self.first.len().max(self.joined.len())
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() {
            self.first = chunk;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&chunk);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.joined.is_empty() {
            true => self.first,
            false => self.joined.freeze(),
        }
    }
}

/// Whether an error's body is the API's own: a clear no, rather than a gateway's page.
pub(super) fn is_api_error(body: &[u8]) -> bool {
    error_code(body).is_some()
}

/// Whether a 429 means that the channel's own account is spent, which is none of the
/// client's business.
pub(super) fn is_spent_account(body: &[u8]) -> bool {
    error_code(body).is_some_and(|code| code == "insufficient_quota")
}

/// The `code` of an error in the API's envelope: empty where it has none.
fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        error: serde_json::Map<String, Value>,
    }
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let code = envelope.error.get("code").and_then(Value::as_str);
    Some(code.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_leniently() {
        let whole = br#"{"id":"video_1","object":"video","status":"queued","seconds":"8","size":"1280x720","error":null}"#;
        let expected = JobAnswer {
            id: Some("video_1".into()),
            status: Some(Status::Queued),
            size: Some("1280x720".into()),
            seconds: Some(8),
        };
        assert_eq!(JobAnswer::read(whole), Some(expected));
        let odd = br#"{"id":7,"status":"melting","seconds":8,"size":null}"#;
        let expected = JobAnswer {
            seconds: Some(8),
            ..JobAnswer::default()
        };
        assert_eq!(JobAnswer::read(odd), Some(expected));
        // What a channel adds is passed over, and so is what it writes in another shape.
        let shapes = br#"{"id":{"a":[1]},"x":[{}],"status":[],"size":"a\"b","seconds":-4.5}"#;
        let expected = JobAnswer {
            size: Some("a\"b".into()),
            ..JobAnswer::default()
        };
        assert_eq!(JobAnswer::read(shapes), Some(expected));
        let whole = serde_json::from_slice(whole).unwrap();
        assert_eq!(JobAnswer::of(&whole).unwrap().seconds, Some(8));
        assert_eq!(JobAnswer::read(b"<html>"), None);
        let latin = b"{\"id\":\"a\",\"seconds\":8,\"prompt\":{\"x\":[\"\xe9\"]}}";
        assert_eq!(JobAnswer::read(latin).unwrap().seconds, Some(8));
        assert_eq!(JobAnswer::read(b"{\"id\":\"\xe9\"}"), None);
        assert_eq!(JobAnswer::read(b"[]"), None);
        assert_eq!(JobAnswer::read(br#"{"id":"a","id":"b"}"#), None);
    }

    #[test]
    fn chunks_are_joined() {
        let gathered = |chunks: &[&'static str]| {
            let mut gathered = Gathered::default();
            let (mut sum, chunks) = (0, chunks.iter().map(|c| Bytes::from_static(c.as_bytes())));
            for chunk in chunks {
                sum += chunk.len();
                gathered.push(chunk);
                assert_eq!(gathered.len(), sum);
            }
            gathered.into_bytes()
        };
        assert_eq!(gathered(&[]), "");
        assert_eq!(gathered(&["", "a", ""]), "a");
        assert_eq!(gathered(&["ab", "c", "", "d"]), "abcd");
    }

    #[test]
    fn errors_of_the_api_are_told_from_pages() {
        assert!(is_api_error(br#"{"error":{"message":"m","code":null}}"#));
        assert!(!is_api_error(b"<html>502 Bad Gateway</html>"));
        assert!(!is_api_error(br#"{"error":"text"}"#));
        assert!(is_spent_account(
            br#"{"error":{"code":"insufficient_quota"}}"#
        ));
        assert!(!is_spent_account(
            br#"{"error":{"code":"rate_limit_exceeded"}}"#
        ));
    }
}
