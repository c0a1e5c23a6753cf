//! The status words of channels, and their meanings.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The status of a job, in the gate's own terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The job waits to be rendered.
    Queued,
    /// The job is being rendered.
    InProgress,
    /// The job has a video.
    Completed,
    /// The job has no video, and will have none.
    Failed,
    /// The job was stopped before it had a video.
    Cancelled,
    /// The channel has given up the job, since it took too long.
    Expired,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Returns the name of the status in the configuration.
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

    /// Returns the status whose name in the configuration is `name`; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Returns the status word that clients get: OpenAI's word, or `cancelled`.
    ///
    /// OpenAI has only `failed` for a job that was cancelled or has expired. An expired job gets that word,
    /// but `cancelled` has always been passed on: a client that waits for any word other than `queued` and
    /// `in_progress` stops at it, too.
    pub const fn public_name(self) -> &'static str {
        match self {
            Self::Expired => Self::Failed.name(),
            other => other.name(),
        }
    }

    /// Returns the name of a job's end in the ledger and in metrics. A job that its channel gave up is
    /// called `timed_out`; `expired` is the name for a job whose end the gate has not seen in time.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Expired => "timed_out",
            other => other.name(),
        }
    }

    /// Returns whether the status is final: completed, failed, cancelled or expired.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// The known status words of channels, in the spelling of [`normal`]. A channel at which a word means
/// something else overrides it in its configuration.
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
            // The word of new-api relays right after a create.
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

/// The maximum length of a status word, in bytes. A longer word counts as unknown.
pub const MAX_WORD: usize = 64;

/// Normalizes the spelling of a status word: `IN_PROGRESS`, `In Progress` and `in-progress` all become
/// `in_progress`.
fn normal(word: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' | b'-' => '_',
        other => char::from(other.to_ascii_lowercase()),
    };
    word.trim().bytes().map(byte).collect()
}

/// The status words of one channel: those added for the channel, and then the known ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusWords {
    own: BTreeMap<Box<str>, Status>,
}

/// The reason why a word cannot be added to a channel's status words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordError {
    /// The word is blank, longer than [`MAX_WORD`] bytes, or not made of visible ASCII and spaces only.
    Unfit,
    /// The word has been added already, perhaps in another spelling.
    Repeated,
}

impl StatusWords {
    /// Adds a word that the channel uses, with its meaning. It overrides a known word.
    ///
    /// # Errors
    /// If `word` is not a valid word, or has been added before.
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

    /// Finds the status that a channel's word means; `None` if the word is not known.
    pub fn find(&self, word: &str) -> Option<Status> {
        // Most channels use exactly these names, and polls are frequent.
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

/// Returns the first [`MAX_WORD`] characters of an unknown word for a log, with `?` for any that is not
/// printable ASCII.
pub(super) fn printable(word: &str) -> Arc<str> {
    let plain = |c: char| match c.is_ascii_graphic() || c == ' ' {
        true => c,
        false => '?',
    };
    let word: String = word.chars().take(MAX_WORD).map(plain).collect();
    word.into()
}
