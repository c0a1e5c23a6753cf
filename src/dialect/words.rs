//! The words by which channels say how a job stands.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The state of a job, in the gate's own terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits.
    Queued,
    /// It is being rendered.
    InProgress,
    /// It has a video.
    Completed,
    /// It has none, and will have none.
    Failed,
    /// It was stopped before it had one.
    Cancelled,
    /// The channel has given it up, since it took too long.
    Expired,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Returns its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Finds the status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Returns OpenAI's word for it, which clients get. There is none for
    /// a job that was cancelled or has expired but `failed`; `cancelled` has always been passed
    /// on, and a client that waits for another word than the two for going on ends there too.
    pub const fn public_name(self) -> &'static str {
        match self {
            Self::Expired => Self::Failed.name(),
            other => other.name(),
        }
    }

    /// Returns the name of the job's end in the ledger and in metrics. A job that the channel
    /// itself gave up is not one whose end the gate has not seen in time, which is called
    /// `expired`.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Expired => "timed_out",
            other => other.name(),
        }
    }

    /// Returns whether nothing more can become of the job.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// What channels are known to say, as [`normal`] writes it. A word that stands here for
/// something else at one channel is overridden in its configuration.
const KNOWN: &[(Status, &[&str])] = &[
    (
        Status::Queued,
        &[
            "queued",
            "queueing",
            "queuing",
            "in_queue",
            "pending",
            "submitted",
            // What relays of the new-api family say right after a create.
            "unknown",
            "not_start",
            "not_started",
            "waiting",
            "created",
            "accepted",
            "scheduled",
            "throttled",
            "starting",
            "preparing",
            "initializing",
        ],
    ),
    (
        Status::InProgress,
        &[
            "in_progress",
            "inprogress",
            "running",
            "processing",
            "generating",
            "rendering",
            "executing",
            "started",
            "working",
            "cancelling",
            "canceling",
        ],
    ),
    (
        Status::Completed,
        &[
            "completed",
            "complete",
            "succeeded",
            "success",
            "succeed",
            "successful",
            "done",
            "finished",
        ],
    ),
    (
        Status::Failed,
        &["failed", "failure", "fail", "error", "errored", "rejected"],
    ),
    (
        Status::Cancelled,
        &["cancelled", "canceled", "deleted", "aborted"],
    ),
    (
        Status::Expired,
        &["expired", "timeout", "timed_out", "timedout", "time_out"],
    ),
];

/// The longest word that is looked up, in bytes.
pub const MAX_WORD: usize = 64;

/// One spelling for words that differ in case and in how they are joined: `IN_PROGRESS`,
/// `In Progress` and `in-progress`.
fn normal(word: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' | b'-' => '_',
        other => char::from(other.to_ascii_lowercase()),
    };
    word.trim().bytes().map(byte).collect()
}

/// The words of one channel: those that are known, and its own before them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusWords {
    own: BTreeMap<Box<str>, Status>,
}

/// Why a word cannot be given a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordError {
    /// It is empty, too long, or holds other characters than visible ASCII and spaces.
    Unfit,
    /// It is there already, in another spelling perhaps.
    Repeated,
}

impl StatusWords {
    /// Gives a word a meaning, whatever it would mean otherwise.
    ///
    /// # Errors
    /// Where it cannot be a word, or has been given one.
    pub fn add(&mut self, word: &str, status: Status) -> Result<(), WordError> {
        let fits = |b: u8| b.is_ascii_graphic() || b == b' ';
        let normal = normal(word);
        if normal.is_empty() || word.len() > MAX_WORD || !word.bytes().all(fits) {
            return Err(WordError::Unfit);
        }
        match self.own.entry(normal.into()) {
            Entry::Vacant(entry) => {
                entry.insert(status);
                Ok(())
            }
            Entry::Occupied(_) => Err(WordError::Repeated),
        }
    }

    /// Finds what a word means, if anything.
    pub fn find(&self, word: &str) -> Option<Status> {
        // Most channels say just this, and polls come often.
        if self.own.is_empty()
            && let Some(status) = Status::from_name(word)
        {
            return Some(status);
        }
        if word.len() > MAX_WORD {
            return None;
        }
        let word = normal(word);
        let known = || {
            let mut known = KNOWN.iter();
            known.find_map(|(status, words)| words.contains(&&*word).then_some(*status))
        };
        self.own.get(&*word).copied().or_else(known)
    }
}

/// A word of which nobody knows the meaning, as it may be shown in a log: printable, and short.
pub(super) fn printable(word: &str) -> Arc<str> {
    let plain = |c: char| match c.is_ascii_graphic() || c == ' ' {
        true => c,
        false => '?',
    };
    let word: String = word.chars().take(MAX_WORD).map(plain).collect();
    word.into()
}
