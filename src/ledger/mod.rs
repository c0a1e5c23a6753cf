//! The ledger: reservations, the jobs they became, and the limits they count against.
//!
//! A charge is **two-phase**: [`Ledger::reserve`] makes it pending, [`Ledger::post`] or
//! [`Ledger::void`] resolves it, once. Between the two, [`Ledger::confirm`] ties it to the
//! job that the channel created, or [`Ledger::mark_unknown`] says that nobody can tell
//! whether there is one.
//!
//! Rules for every implementation:
//! - `reserve` is **one atomic decision** over all limits, durable when it returns. Never
//!   read, compare, write.
//! - Every call can be repeated: what has been resolved stays resolved, and the answer says
//!   that this call changed nothing.
//! - No clock is read: the caller says what time it is.

mod memory;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use memory::MemoryLedger;

use crate::money::Amount;
use crate::policy::{Key, Limit, Measure, Timestamp};

/// Names one reservation. Random, so that gates need no common counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId(pub u128);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a job costs and whom: the content of a reservation.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Who pays.
    pub key: Arc<Key>,
    /// Where the job is made.
    pub channel: Arc<str>,
    /// What is made.
    pub model: Arc<str>,
    /// In which size.
    pub size: Arc<str>,
    /// How long.
    pub seconds: u32,
    /// List cost, USD.
    pub list: Amount,
    /// Billed cost, in the currency of the key's group.
    pub billed: Amount,
}

impl Charge {
    /// What the charge takes from a limit of that measure.
    pub fn takes(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests | Measure::InFlight => 1,
            Measure::VideoSeconds => u64::from(self.seconds),
            Measure::ListCost => self.list.nanos(),
            Measure::BilledCost => self.billed.nanos(),
        }
    }
}

/// What the channel made of a request, as its answer says.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The channel's name for the job.
    pub job: String,
    /// The charge, corrected where the answer names another size or duration.
    pub charge: Charge,
}

/// A job that a key owns.
#[derive(Debug, Clone)]
pub struct Job {
    /// The reservation that pays for it.
    pub reservation: ReservationId,
    /// What it costs and whom; whose it is.
    pub charge: Charge,
    /// When its create was reserved.
    pub created: Timestamp,
    /// Whether its charge has been posted or voided.
    pub resolved: bool,
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// The limit.
    pub limit: Limit,
    /// Whether it is the group's rather than the key's own.
    pub of_group: bool,
    /// How much is reserved or posted already.
    pub used: u64,
    /// When the window ends, in seconds since the epoch; `None` where waiting for it does
    /// not help.
    pub resets: Option<u64>,
}

/// How far a limit is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// Whether it is the group's rather than the key's own.
    pub of_group: bool,
    /// How much is reserved or posted.
    pub used: u64,
}

/// The outcome of [`Ledger::reserve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// The charge is pending.
    Done,
    /// Nothing was reserved.
    Refused(LimitReached),
}

/// The ledger cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger is unavailable: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Where reservations, jobs and limits are kept.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Whether a request of that key, with a charge as far as it is known, would be refused
    /// now. A hint, read without a decision, to spare an upload that cannot end well.
    async fn check(
        &self,
        key: &Arc<Key>,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable>;

    /// Makes a charge pending, if all limits of the key and its group allow it.
    async fn reserve(
        &self,
        id: ReservationId,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable>;

    /// Ties a reservation to its job and corrects its amounts. Answers the charge as it
    /// was before, or `None` where the reservation was confirmed or resolved already, or the
    /// job's name is another reservation's.
    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        now: Timestamp,
    ) -> Result<Option<Charge>, Unavailable>;

    /// Notes that nobody can tell whether the channel made a job of it: the charge stays
    /// pending until that is found out.
    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable>;

    /// Resolves a reservation: the job was rendered. Answers the charge, or `None` where it
    /// was resolved already.
    async fn post(&self, id: ReservationId, now: Timestamp) -> Result<Option<Charge>, Unavailable>;

    /// Resolves a reservation: nothing is owed, and the limits get back what it took.
    /// Answers the charge, or `None` where it was resolved already.
    async fn void(&self, id: ReservationId, now: Timestamp) -> Result<Option<Charge>, Unavailable>;

    /// The job of that id on whichever channel.
    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable>;

    /// How much of each limit of a key and its group is reserved or posted in the window
    /// that runs.
    async fn usage(&self, key: &Arc<Key>, now: Timestamp) -> Result<Vec<Usage>, Unavailable>;

    /// Whether the ledger can take reservations.
    async fn ready(&self) -> Result<(), Unavailable>;
}
