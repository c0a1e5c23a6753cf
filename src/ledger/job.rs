//! Jobs, and the reservations that are not resolved yet.

use std::sync::Arc;

use super::charge::{Charge, PromptDigest, ReservationId, Resolution, Uncorrected};
use crate::policy::Timestamp;

/// A job that a key owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The job's public id, by which clients know it.
    pub id: Arc<str>,
    /// The job's id at its channel.
    pub upstream_id: Arc<str>,
    /// The reservation that pays for the job.
    pub reservation: ReservationId,
    /// The charge for the job, whose payer is the key that owns the job.
    pub charge: Arc<Charge>,
    /// The channel's address at which the job was created, where the channel has several.
    pub address: Option<Arc<str>>,
    /// The time of the reservation that pays for the job.
    pub created: Timestamp,
    /// The public id of the job that this job is a remix of.
    pub remix_of: Option<Arc<str>>,
    /// The resolution of the job's charge, if it has been resolved.
    pub resolution: Option<Resolution>,
    /// The outcome of the job, such as `completed`, if it is known.
    pub end: Option<Arc<str>>,
    /// Whether the job was deleted at its channel.
    pub deleted: bool,
}

#[cfg(test)]
impl Job {
    /// Makes a job whose ids and reservation are named after `number`, for tests.
    pub(crate) fn numbered(number: u32) -> Self {
        let id: Arc<str> = format!("video_{number}").into();
        Self {
            upstream_id: id.clone(),
            id,
            reservation: ReservationId(number.into()),
            charge: Charge::of_nothing(),
            address: None,
            created: Timestamp(0),
            remix_of: None,
            resolution: None,
            end: None,
            deleted: false,
        }
    }
}

/// A request for a page of a key's jobs.
#[derive(Debug, Clone, Copy)]
pub struct JobsAfter<'a> {
    /// The public id of the job that the page comes after; `None` for the first page.
    pub after: Option<&'a str>,
    /// `true` to list the oldest job first, `false` to list the newest job first.
    pub ascending: bool,
    /// The maximum number of jobs on the page.
    pub limit: u32,
}

/// The state of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The charge is reserved; the channel has not answered.
    Pending,
    /// The outcome is unknown: nobody can tell whether there is a job.
    Unknown,
    /// The reservation has a job, which has not ended.
    Confirmed,
    /// The charge is resolved: it is owed.
    Posted,
    /// The charge is resolved: it is not owed.
    Voided,
}

impl State {
    /// Returns the name of the state in database tables and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Confirmed => "confirmed",
            Self::Posted => "posted",
            Self::Voided => "voided",
        }
    }

    /// Returns the state with this [`name`](Self::name); `None` where no state has it.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Pending,
            Self::Unknown,
            Self::Confirmed,
            Self::Posted,
            Self::Voided,
        ];
        all.into_iter().find(|state| state.name() == name)
    }

    /// Returns the resolution of a charge in this state, if it is resolved.
    pub const fn resolution(self) -> Option<Resolution> {
        match self {
            Self::Posted => Some(Resolution::Posted),
            Self::Voided => Some(Resolution::Voided),
            _ => None,
        }
    }
}

impl From<Resolution> for State {
    fn from(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Posted => Self::Posted,
            Resolution::Voided => Self::Voided,
        }
    }
}

/// The number of unresolved reservations of one key, channel and state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnresolvedCount {
    /// The key's name.
    pub key: Arc<str>,
    /// The channel's name.
    pub channel: Arc<str>,
    /// The state: pending, unknown or confirmed.
    pub state: State,
    /// The number of reservations.
    pub count: u64,
    /// The time at which the oldest of the reservations was made.
    pub oldest: Timestamp,
}

/// The outcome of a reservation that was voided because the channel's list has no job for it. That does not
/// prove that the channel created none.
pub const NOT_CREATED: &str = "not created";
/// The outcome of a reservation that was voided because it was still unknown when the time for which jobs
/// are followed was over. Nobody has found out whether there is a job.
pub const NOT_FOUND_OUT: &str = "not found out";

/// A reservation whose request has got no answer that names a job, with the facts by which its job is
/// recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The id of the reservation.
    pub id: ReservationId,
    /// The charge that is reserved for the request.
    pub charge: Arc<Charge>,
    /// The size, seconds and costs of the charge before it was corrected; `None` where it was not.
    pub uncorrected: Option<Uncorrected>,
    /// The SHA-256 of the prompt.
    pub prompt: PromptDigest,
    /// The public id of the job that the request asked to remix; `None` where it asked for a new video.
    pub remix_of: Option<Arc<str>>,
    /// The fingerprint of the request, if the reservation has claimed an idempotency key.
    pub fingerprint: Option<[u8; 32]>,
    /// The state: pending or unknown; voided, where the reservation was voided without a proof that no job
    /// was created; confirmed or resolved, where the reservation got a job after it had been unknown.
    pub state: State,
    /// The time of the reservation.
    pub created: Timestamp,
    /// The time at which the outcome was found to be unknown; the time of the reservation, if it never was
    /// unknown.
    pub since: Timestamp,
    /// The time on the channel's clock when the reservation was made, if it was known.
    pub channel_clock: Option<Timestamp>,
    /// The channel's address to which the request was sent, where the channel has several.
    pub address: Option<Arc<str>>,
}

impl Unmatched {
    /// Returns the size and the seconds that the request asked for.
    pub fn asked_for(&self) -> (&Arc<str>, u32) {
        match &self.uncorrected {
            Some(before) => (&before.size, before.seconds),
            None => (&self.charge.size, self.charge.seconds),
        }
    }
}
