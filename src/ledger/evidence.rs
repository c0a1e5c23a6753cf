//! The evidence for disputes: facts on which no decision depends, and the whole record of a charge.

use std::sync::Arc;

use super::adjustment::Adjustment;
use super::charge::{Charge, Uncorrected};
use super::job::State;
use super::reservation_id::ReservationId;
use crate::policy::Timestamp;

/// The answer of a channel to a create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelAnswer {
    /// The HTTP status of the answer; `None` where there was no answer.
    pub status: Option<u16>,
    /// The id that the channel gave the request, from the header `x-request-id` of the answer. The channel's
    /// support asks for this id.
    pub request_id: Option<Arc<str>>,
    /// The reason that the channel gave for a refusal, or why there was no answer.
    pub error: Option<Arc<str>>,
}

/// The reason why a job failed, in its channel's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobError {
    /// The error code, such as `moderation_blocked`, if the channel gave one.
    pub code: Option<Arc<str>>,
    /// The error message, if the channel gave one.
    pub message: Option<Arc<str>>,
}

/// The maximum number of characters that are stored of a text from a channel.
const MAX_TEXT: usize = 500;

/// Truncates a channel's text to 500 characters, replaces control characters by spaces, and trims spaces
/// at both ends. Returns `None` where nothing is left.
pub fn kept(text: &str) -> Option<Arc<str>> {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let kept: String = text.chars().map(shown).take(MAX_TEXT).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.into())
}

/// A fact about a reservation that is kept for disputes. No decision depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The answer of a channel to the create. It is stored only while the reservation is on that channel
    /// and has no job.
    Answer {
        /// The channel's name.
        channel: Arc<str>,
        /// The channel's answer.
        answer: ChannelAnswer,
    },
    /// The reason why the reservation's job failed.
    JobError(JobError),
}

/// A query for the records of charges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordQuery {
    /// The charges with this id: a job's public or upstream id, a request's id or a reservation's id.
    Named(Arc<str>),
    /// The charge whose job has this public id, and the charge whose reservation has this id.
    Exactly(Arc<str>),
    /// The charges of a key that were reserved in a span of time, the oldest first.
    OfKey {
        /// The key's name.
        key: Arc<str>,
        /// The beginning of the span; a charge that was reserved at this moment belongs to the span.
        from: Timestamp,
        /// The end of the span; a charge that was reserved at this moment belongs to the span.
        to: Timestamp,
    },
}

/// The maximum number of records that a query returns.
pub const MAX_RECORDS: u32 = 1000;

/// The record of one charge: all that is known of it, with the time of each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeRecord {
    /// The id of the reservation.
    pub id: ReservationId,
    /// The id of the client's request, as the answer to the client and the log show it.
    pub request_id: Arc<str>,
    /// The charge, with its payer.
    pub charge: Arc<Charge>,
    /// The size, seconds and costs of the charge before it was corrected; `None` where it was not.
    pub uncorrected: Option<Uncorrected>,
    /// The channel's address to which the request was sent, where the channel has several.
    pub address: Option<Arc<str>>,
    /// The state of the reservation.
    pub state: State,
    /// The time of the reservation.
    pub reserved: Timestamp,
    /// The channels that refused the request before it was sent to the reservation's channel, each with the
    /// reason: `a:429, b:connect`.
    pub refused_by: Option<Arc<str>>,
    /// The answer of the reservation's channel to the create.
    pub answer: ChannelAnswer,
    /// The time at which the outcome was found to be unknown: nobody can tell whether there is a job.
    pub unknown: Option<Timestamp>,
    /// The time at which the reservation was tied to its job.
    pub confirmed: Option<Timestamp>,
    /// The job's public id.
    pub job: Option<Arc<str>>,
    /// The job's id at its channel.
    pub upstream_id: Option<Arc<str>>,
    /// The public id of the job that the request asked to remix; `None` where it asked for a new video.
    pub remix_of: Option<Arc<str>>,
    /// The `Idempotency-Key` of the client's request.
    pub idempotency_key: Option<Arc<str>>,
    /// The time at which the reservation was posted or voided.
    pub resolved: Option<Timestamp>,
    /// The outcome of the reservation, such as `completed` or `refused`.
    pub outcome: Option<Arc<str>>,
    /// The reason why the job failed.
    pub job_error: JobError,
    /// Whether the job was deleted at its channel.
    pub deleted: bool,
    /// The adjustment by which an operator voided the charge after it was posted.
    pub voided_by: Option<Adjustment>,
}
