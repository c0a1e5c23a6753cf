//! What a channel says of a job. Many channels leave fields out and some write numbers
//! where others write texts: what cannot be read is taken as not said.

use serde::Deserialize;
use serde_json::Value;

use crate::catalog::MAX_SECONDS;

/// A job as a channel describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct JobAnswer {
    pub(super) id: Option<String>,
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

#[derive(Deserialize)]
struct Wire {
    id: Option<Value>,
    status: Option<Value>,
    size: Option<Value>,
    seconds: Option<Value>,
}

impl JobAnswer {
    /// Reads a job; `None` where the body is no JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self::from_wire)
    }

    /// Reads a job out of a larger answer; `None` where it is no object.
    pub(super) fn of(json: &Value) -> Option<Self> {
        Wire::deserialize(json).ok().map(Self::from_wire)
    }

    fn from_wire(wire: Wire) -> Self {
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let seconds = match wire.seconds {
            Some(Value::String(text)) => text.parse().ok(),
            Some(Value::Number(number)) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        Self {
            id: text(wire.id),
            status: text(wire.status).and_then(|name| Status::from_name(&name)),
            size: text(wire.size),
            // What no catalog can offer is not believed: it would spend a budget at once.
            seconds: seconds.filter(|n| (1..=MAX_SECONDS).contains(n)),
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
        assert_eq!(JobAnswer::read(b"<html>"), None);
        assert_eq!(JobAnswer::read(b"[]"), None);
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
