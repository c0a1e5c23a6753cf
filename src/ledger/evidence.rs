//! What is kept of a charge for disputes, besides what decides about it.

use std::sync::Arc;

use super::adjustment::Adjustment;
use super::charge::{Charge, Uncorrected};
use super::job::State;
use super::reservation_id::ReservationId;
use crate::policy::Timestamp;

/// How a channel answered a create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelAnswer {
    /// The HTTP status of its answer; `None` where there was none.
    pub status: Option<u16>,
    /// The id that it gave the request, by its header `x-request-id`: what its own support asks
    /// for.
    pub request_id: Option<Arc<str>>,
    /// What it gave as the reason of a refusal, or why there was no answer.
    pub error: Option<Arc<str>>,
}

/// Why a job failed, by its channel's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobError {
    /// The code, such as `moderation_blocked`.
    pub code: Option<Arc<str>>,
    /// The message.
    pub message: Option<Arc<str>>,
}

/// The longest text of a channel that is kept, in characters.
const MAX_TEXT: usize = 500;

/// Makes a channel's text fit to be kept: bounded, and without control characters.
pub fn kept(text: &str) -> Option<Arc<str>> {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let kept: String = text.chars().map(shown).take(MAX_TEXT).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.into())
}

/// A fact about a reservation that decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// How a channel answered the create: kept while that is the reservation's channel, and no job
    /// has come of it.
    Answer {
        /// The channel.
        channel: Arc<str>,
        /// Its answer.
        answer: ChannelAnswer,
    },
    /// Why its job failed.
    JobError(JobError),
}

/// Selects the charges of which the records are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordQuery {
    /// Those that a public or upstream job id, a request id or a reservation's id names.
    Named(Arc<str>),
    /// Those that a public job id or a reservation's id names: at most one of each.
    Exactly(Arc<str>),
    /// Those of a key that were reserved in a span of time, the oldest first.
    OfKey {
        /// The key's name.
        key: Arc<str>,
        /// The beginning of the span.
        from: Timestamp,
        /// Its end; what was reserved at this moment belongs to it.
        to: Timestamp,
    },
}

/// The maximum number of records that a query gives.
pub const MAX_RECORDS: u32 = 1000;

/// All that is known of one charge, with the time of each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeRecord {
    /// The reservation.
    pub id: ReservationId,
    /// The id of the client's request, as it stands in the client's answer and in the log.
    pub request_id: Arc<str>,
    /// What is charged and to whom.
    pub charge: Arc<Charge>,
    /// What was reserved, where the charge was corrected to another job.
    pub uncorrected: Option<Uncorrected>,
    /// Which of its channel's addresses got the request, where there are several.
    pub address: Option<Arc<str>>,
    /// Where it stands.
    pub state: State,
    /// When it was reserved.
    pub reserved: Timestamp,
    /// Which channels refused it before, each with the reason.
    pub refused_by: Option<Arc<str>>,
    /// How its channel answered.
    pub answer: ChannelAnswer,
    /// When it was found that nobody can tell whether there is a job.
    pub unknown: Option<Timestamp>,
    /// When it was tied to its job.
    pub confirmed: Option<Timestamp>,
    /// The job's public id.
    pub job: Option<Arc<str>>,
    /// The job's id at its channel.
    pub upstream_id: Option<Arc<str>>,
    /// The job that it is a remix of.
    pub remix_of: Option<Arc<str>>,
    /// The `Idempotency-Key` that stands for it.
    pub idempotency_key: Option<Arc<str>>,
    /// When it was posted or voided.
    pub resolved: Option<Timestamp>,
    /// How it ended, such as `completed` or `refused`.
    pub outcome: Option<Arc<str>>,
    /// Why the job failed.
    pub job_error: JobError,
    /// Whether the job was deleted at its channel.
    pub deleted: bool,
    /// What an operator voided it by after it was posted.
    pub voided_by: Option<Adjustment>,
}
