//! Errors as channels write them, and what they prove.

use super::pointers::{Field, Value};
use super::{Dialect, JobAnswer, job};

/// In which shape an error was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"error": {"message": ..., "code": ...}}`, as OpenAI has it.
    Envelope,
    /// `{"error": "text"}`.
    Text,
    /// `{"code": ..., "message": ...}`.
    Flat,
    /// `{"detail": ...}`, as FastAPI has it.
    Detail,
}

/// An error that an API has written, rather than a gateway's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// In which shape.
    pub shape: ErrorShape,
    /// Its code; a number's digits where it is one.
    pub code: Option<Box<str>>,
    /// Its message, or the beginning of a long one.
    pub message: Option<Box<str>>,
}

/// What is read of an error.
pub(super) const ERROR: &[(Field, &str)] = &[
    (Field::Error, "/error"),
    (Field::ErrorCode, "/error/code"),
    (Field::ErrorMessage, "/error/message"),
    (Field::FlatCode, "/code"),
    (Field::FlatMessage, "/message"),
    (Field::Detail, "/detail"),
];

/// The code by which relays of the new-api family say, under status 400, that there is no such
/// job.
const TASK_NOT_EXIST: &str = "task_not_exist";
/// The code by which OpenAI says that the account is spent.
const INSUFFICIENT_QUOTA: &str = "insufficient_quota";

impl ApiError {
    /// Reads an error; `None` where the body has none of the known shapes.
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

    /// Whether it says that the channel's own account is spent, which is none of the client's
    /// business.
    pub fn is_spent_account(&self) -> bool {
        self.code.as_deref() == Some(INSUFFICIENT_QUOTA)
    }
}

/// What a channel answers when it is asked for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each answer: a box would cost more than what it saves"
)]
pub enum JobStatus {
    /// How the job stands.
    Job(JobAnswer),
    /// The channel has no such job.
    Absent,
    /// Neither.
    Unclear,
}

impl Dialect {
    /// What an answer says of the job of that id, under whatever status it came.
    ///
    /// A channel may answer a job that failed under the status of its failure, 4xx or 5xx: that
    /// is a job, not an outage. It has to name the job and how it ended, since a gateway's error
    /// may hold a word for a status as well.
    pub fn job_status(&self, status: u16, body: &[u8], id: &str) -> JobStatus {
        let job = JobAnswer::read(body, self).filter(|job| job.has_status() && job.is_about(id));
        match (status, job) {
            (200..=299, Some(job)) => JobStatus::Job(job),
            // These are about whoever asks.
            (401..=403 | 407 | 429, _) => JobStatus::Unclear,
            (400..=599, Some(job)) if job.id.is_some() && job.is_unsuccessful() => {
                JobStatus::Job(job)
            }
            _ if self.is_absent(status, body) => JobStatus::Absent,
            _ => JobStatus::Unclear,
        }
    }

    /// Whether an answer says that there is no such job: a page that some gateway shows for what
    /// it cannot route does not.
    fn is_absent(&self, status: u16, body: &[u8]) -> bool {
        match status {
            404 | 410 => body.trim_ascii().is_empty() || ApiError::read(body, self).is_some(),
            400 => ApiError::read(body, self)
                .is_some_and(|error| error.code.as_deref() == Some(TASK_NOT_EXIST)),
            _ => false,
        }
    }

    /// Whether the answer to a create proves that nothing was created. Whatever it leaves open
    /// is found out by the channel's list, or held until somebody decides.
    ///
    /// - An error of the API's own under a 4xx does.
    /// - A refusal that every HTTP server may give does, in whatever words: who answers with it
    ///   has not processed the request (RFC 9110, section 15.5).
    /// - OpenAI's error under a 5xx does; the other shapes do not there, since relays write them
    ///   about what went wrong behind them. "Not implemented" does in any.
    /// - What gateways say of an upstream (408, 499, 502, 504, 52x) never does, in the API's
    ///   words neither, and no redirect.
    pub fn proves_nothing_created(&self, status: u16, body: &[u8]) -> bool {
        let error = || ApiError::read(body, self);
        match status {
            408 | 499 | 502 | 504 | 520..=599 => false,
            400..=407 | 410..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 => true,
            400..=499 => error().is_some(),
            501 => error().is_some(),
            500..=519 => error().is_some_and(|error| error.shape == ErrorShape::Envelope),
            _ => false,
        }
    }
}

/// What a channel's answer to the deletion of a job proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is deleted.
    Done,
    /// The channel cannot delete.
    Unsupported,
    /// The channel has refused it, and says so.
    Refused,
    /// Nothing: whether the job is gone has to be looked for.
    Unproven,
}

impl Dialect {
    /// What the answer to the deletion of the job of that id proves. A 404 proves nothing, since
    /// a channel without that route answers it as well; nor does a success that says nothing of
    /// this job.
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
    /// Whether the job was stopped, or is deleted.
    pub fn is_cancelled(&self) -> bool {
        self.status == Some(super::Status::Cancelled)
    }

    /// Whether the job has ended without a video.
    fn is_unsuccessful(&self) -> bool {
        use super::Status;
        matches!(
            self.status,
            Some(Status::Failed | Status::Cancelled | Status::Expired)
        )
    }
}
