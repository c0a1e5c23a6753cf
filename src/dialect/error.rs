//! Reads the errors of channels, and decides what they prove.

use std::ops::RangeInclusive;

use super::pointers::{Field, Value};
use super::{Dialect, JobAnswer, job};

/// The JSON shape of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// OpenAI's shape: `{"error": {"message": ..., "code": ...}}`.
    Envelope,
    /// An object whose `error` is the message itself: `{"error": "text"}`.
    Text,
    /// An object with the members of the error: `{"code": ..., "message": ...}`.
    Flat,
    /// FastAPI's shape: `{"detail": ...}`.
    Detail,
}

/// An error in one of the JSON shapes of APIs, as opposed to a gateway's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The shape of the error.
    pub shape: ErrorShape,
    /// The error's code; a code that is a number is kept as its digits. `None` if there is no code.
    pub code: Option<Box<str>>,
    /// The error's message, or the beginning of a long one; `None` if there is none.
    pub message: Option<Box<str>>,
}

/// The pointers to the members of an error that are read.
pub(super) const ERROR: &[(Field, &str)] = &[
    (Field::Error, "/error"),
    (Field::ErrorCode, "/error/code"),
    (Field::ErrorMessage, "/error/message"),
    (Field::FlatCode, "/code"),
    (Field::FlatMessage, "/message"),
    (Field::Detail, "/detail"),
];

/// The code with which relays of the new-api family say, with status 400, that there is no such job.
const TASK_NOT_EXIST: &str = "task_not_exist";
/// The code with which OpenAI says that the account's quota is spent.
const INSUFFICIENT_QUOTA: &str = "insufficient_quota";

impl ApiError {
    /// Reads an error; `None` if the body has none of the known shapes.
    pub fn read(body: &[u8], dialect: &Dialect) -> Option<Self> {
        let selection = job::select(body, &dialect.error)?;
        let boxed = |field| match selection.value(field) {
            Some(Value::Text(text) | Value::Word(text)) => Some(text.clone()),
            _ => None,
        };
        let (shape, code, message) = match selection.value(Field::Error) {
            Some(Value::Object) => (
                ErrorShape::Envelope,
                boxed(Field::ErrorCode),
                boxed(Field::ErrorMessage),
            ),
            Some(Value::Text(text)) if !text.is_empty() => {
                (ErrorShape::Text, boxed(Field::FlatCode), Some(text.clone()))
            }
            _ => match (boxed(Field::FlatCode), selection.value(Field::FlatMessage)) {
                (Some(code), Some(Value::Text(message))) => {
                    (ErrorShape::Flat, Some(code), Some(message.clone()))
                }
                _ => match selection.value(Field::Detail) {
                    Some(Value::Text(_) | Value::Array | Value::Object) => {
                        (ErrorShape::Detail, None, boxed(Field::Detail))
                    }
                    _ => return None,
                },
            },
        };
        Some(Self {
            shape,
            code,
            message,
        })
    }

    /// Returns whether the error's code says that the quota of the operator's account at the channel is
    /// spent.
    pub fn is_spent_account(&self) -> bool {
        self.code.as_deref() == Some(INSUFFICIENT_QUOTA)
    }
}

/// The result of asking a channel for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each answer: a box would cost more than what it saves"
)]
pub enum JobStatus {
    /// The job, with its status.
    Job(JobAnswer),
    /// The channel says that it has no such job.
    Absent,
    /// The answer proves neither the job's status nor its absence.
    Unclear,
}

impl Dialect {
    /// Reads a channel's answer to a request for the job `id`, whatever its HTTP status is.
    ///
    /// A channel may answer a request for a failed job with the status of the failure, 4xx or 5xx. Such an
    /// answer counts as the job only if it contains the job's id and how the job ended, because a gateway's
    /// error may contain a status word, too.
    pub fn job_status(&self, status: u16, body: &[u8], id: &str) -> JobStatus {
        let job = JobAnswer::read(body, self).filter(|job| job.has_status() && job.is_about(id));
        match (status, job) {
            (200..=299, Some(job)) => JobStatus::Job(job),
            // These statuses are about the gate's request, not about the job.
            (401..=403 | 407 | 429, _) => JobStatus::Unclear,
            (400..=599, Some(job)) if job.id.is_some() && job.is_unsuccessful() => {
                JobStatus::Job(job)
            }
            _ if self.is_absent(status, body) => JobStatus::Absent,
            _ => JobStatus::Unclear,
        }
    }

    /// Returns whether an answer says that there is no such job. A gateway's page for a path that it cannot
    /// route is not such an answer.
    fn is_absent(&self, status: u16, body: &[u8]) -> bool {
        match status {
            404 | 410 => body.trim_ascii().is_empty() || ApiError::read(body, self).is_some(),
            400 => ApiError::read(body, self)
                .is_some_and(|error| error.code.as_deref() == Some(TASK_NOT_EXIST)),
            _ => false,
        }
    }

    /// Returns whether the answer to a create proves that nothing was created, by the table `PROOFS`. If not,
    /// and if the answer names no job, the outcome is unknown: the job is looked for in the channel's list.
    pub fn proves_nothing_created(&self, status: u16, body: &[u8]) -> bool {
        let mut rows = PROOFS.iter();
        let row = rows.find(|(statuses, _)| statuses.contains(&status));
        let error = || ApiError::read(body, self);
        match row.map_or(Proof::None, |(_, proof)| *proof) {
            Proof::Status => true,
            Proof::AnyError => error().is_some(),
            Proof::Envelope => error().is_some_and(|error| error.shape == ErrorShape::Envelope),
            Proof::None => false,
        }
    }
}

/// The evidence that an answer with a certain status must contain to prove that the create made no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The status alone suffices: the body may be a gateway's page.
    Status,
    /// The body must contain an error in any shape in which APIs write them.
    AnyError,
    /// The body must contain an error in OpenAI's shape.
    Envelope,
    /// No evidence suffices: an answer with this status proves nothing.
    None,
}

/// The evidence that proves, for each status, that a create made nothing. The first row that contains a
/// status decides; a status in no row proves nothing.
///
/// A row may err in one direction only. If a refusal is not recognised, its charge is held as unknown, and a
/// job is looked for. But if the answer to a create that made a job were taken for a refusal, nobody would
/// pay for the job. So whatever a gateway writes about the server behind it proves nothing: the gateway may
/// have lost an answer, or have sent the request again, after its provider created the job.
const PROOFS: &[(RangeInclusive<u16>, Proof)] = &[
    // Refused for what the request says or who sends it, before it is carried out (RFC 9110, section
    // 15.5): in any words, since servers in front write pages for these.
    (400..=405, Proof::Status),
    // A server may negotiate the form of an answer after it has created the job, and filters of answers use
    // this status, too.
    (406..=406, Proof::AnyError),
    (407..=407, Proof::Status),
    // Gateways answer with it when they give up waiting for the server behind them, in the API's words
    // too.
    (408..=408, Proof::None),
    // The conflict may be with the job that an earlier delivery of the same request created.
    (409..=409, Proof::None),
    // Gone, no length, too long, unsupported type, an expectation that is not met.
    (410..=411, Proof::Status),
    (413..=415, Proof::Status),
    (417..=417, Proof::Status),
    (421..=422, Proof::Status),
    // Another request failed on which this one depended, such as a gateway's request to its provider.
    (424..=424, Proof::None),
    // Wrong protocol, precondition required, too many requests, head too large, legal reasons.
    (426..=426, Proof::Status),
    (428..=429, Proof::Status),
    (431..=431, Proof::Status),
    // The code that nginx logs for a connection that it closed without an answer. A gateway that sends it may
    // have passed the request on.
    (444..=444, Proof::None),
    (451..=451, Proof::Status),
    // The codes of AWS's load balancers (460) and nginx (499) for a client that closed its connection. The
    // request may have been passed on.
    (460..=460, Proof::None),
    (499..=499, Proof::None),
    // All others mean the same as 400 (RFC 9110, section 15), if the API itself says so.
    (400..=499, Proof::AnyError),
    // The method is not implemented. The other shapes prove nothing: relays write them with their provider's
    // status.
    (501..=501, Proof::Envelope),
    // The API accepts no requests at the moment.
    (503..=503, Proof::Envelope),
    // Every other failure may come after the job was created, even a 500 in the API's words: LiteLLM and
    // others write it when they cannot make sense of their provider's answer.
    (500..=599, Proof::None),
];

/// The evidence in a channel's answer to the deletion of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The answer proves that the job is deleted.
    Done,
    /// The channel does not support deletion: it answered 405 or 501.
    Unsupported,
    /// The channel refused the deletion, with a status that is in none of the other variants.
    Refused,
    /// The answer proves nothing: the channel must be asked for the job once more.
    Unproven,
}

impl Dialect {
    /// Reads what the answer to the deletion of the job `id` proves. A 404 proves nothing, since a
    /// channel without that route answers it as well; nor does a success that says nothing about this
    /// job.
    pub fn deletion(&self, status: u16, body: &[u8], id: &str) -> Deletion {
        let job = || JobAnswer::read(body, self).filter(|job| job.is_about(id));
        match status {
            204 | 205 => Deletion::Done,
            200..=299 => match job() {
                Some(job) if job.deleted == Some(true) => Deletion::Done,
                Some(job) if job.deleted.is_none() && job.is_cancelled() => Deletion::Done,
                _ => Deletion::Unproven,
            },
            404 | 410 => Deletion::Unproven,
            405 | 501 => Deletion::Unsupported,
            _ if self.is_absent(status, body) => Deletion::Unproven,
            _ => Deletion::Refused,
        }
    }
}

impl JobAnswer {
    /// Returns whether the job's status is `Cancelled`; a channel's word for a deleted job means this too.
    pub fn is_cancelled(&self) -> bool {
        self.status == Some(super::Status::Cancelled)
    }

    /// Returns whether the job has ended without a video: failed, cancelled or expired.
    pub(crate) fn is_unsuccessful(&self) -> bool {
        use super::Status;
        matches!(
            self.status,
            Some(Status::Failed | Status::Cancelled | Status::Expired)
        )
    }
}
