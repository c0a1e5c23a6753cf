//! Jobs, and the reservations that are not resolved yet.

use std::sync::Arc;

use super::charge::{Charge, PromptDigest, ReservationId, Resolution, Uncorrected};
use crate::policy::Timestamp;

/// A job that a key owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its public id, by which clients know it.
    pub id: Arc<str>,
    /// Its id at its channel.
    pub upstream_id: Arc<str>,
    /// The reservation that pays for it.
    pub reservation: ReservationId,
    /// What it costs and whom; whose it is.
    pub charge: Arc<Charge>,
    /// Which of its channel's addresses made it, where there are several.
    pub address: Option<Arc<str>>,
    /// When its create was reserved.
    pub created: Timestamp,
    /// The job that it is a remix of.
    pub remix_of: Option<Arc<str>>,
    /// How its charge was resolved, if it has been.
    pub resolution: Option<Resolution>,
    /// How it ended, such as `completed`, if that is known.
    pub end: Option<Arc<str>>,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// Which page of a key's jobs is wanted.
#[derive(Debug, Clone, Copy)]
pub struct JobsAfter<'a> {
    /// The job that the page comes after; `None` for the first page.
    pub after: Option<&'a str>,
    /// From the oldest to the newest, rather than the other way.
    pub ascending: bool,
    /// The maximum number of jobs on it.
    pub limit: u32,
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Reserved; the channel has not answered.
    Pending,
    /// Nobody can tell whether there is a job.
    Unknown,
    /// There is a job, which has not ended.
    Confirmed,
    /// Resolved: owed.
    Posted,
    /// Resolved: not owed.
    Voided,
}

impl State {
    /// Returns the name in tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unknown => "unknown",
            Self::Confirmed => "confirmed",
            Self::Posted => "posted",
            Self::Voided => "voided",
        }
    }

    /// Finds the state of that name.
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

    /// Returns how the charge is resolved, if it is.
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

/// How many reservations of one key, channel and state are not resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnresolvedCount {
    /// The key's name.
    pub key: Arc<str>,
    /// The channel's name.
    pub channel: Arc<str>,
    /// Pending, unknown or confirmed.
    pub state: State,
    /// How many.
    pub count: u64,
    /// When the oldest of them was reserved.
    pub oldest: Timestamp,
}

/// The outcome of a reservation that was voided because its job was not on the channel's list,
/// although nothing proves that the channel created none.
pub const NOT_CREATED: &str = "not created";
/// The outcome of a reservation that was voided because its outcome was not found out for as long
/// as jobs are followed.
pub const NOT_FOUND_OUT: &str = "not found out";

/// Describes a reservation that is not matched with a job, by what its job would be recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// Its name.
    pub id: ReservationId,
    /// What it charges.
    pub charge: Arc<Charge>,
    /// What it charged before it was corrected to its job, where that is something else.
    pub uncorrected: Option<Uncorrected>,
    /// The SHA-256 of the prompt.
    pub prompt: PromptDigest,
    /// The job that it was to be a remix of.
    pub remix_of: Option<Arc<str>>,
    /// The fingerprint of its request, if an idempotency key stands for it.
    pub fingerprint: Option<[u8; 32]>,
    /// Pending or unknown; voided, where that was done without a proof; confirmed or resolved, where
    /// reconciliation has matched it with a job.
    pub state: State,
    /// When it was reserved.
    pub created: Timestamp,
    /// When it was found to be unknown; when it was reserved, while it is pending.
    pub since: Timestamp,
    /// What its channel's clock showed when it was reserved, if that was known.
    pub channel_clock: Option<Timestamp>,
    /// Which of its channel's addresses got the request, where there are several.
    pub address: Option<Arc<str>>,
}

impl Unmatched {
    /// Returns the size and the seconds that its request asked for.
    pub fn asked_for(&self) -> (&Arc<str>, u32) {
        match &self.uncorrected {
            Some(before) => (&before.size, before.seconds),
            None => (&self.charge.size, self.charge.seconds),
        }
    }
}
