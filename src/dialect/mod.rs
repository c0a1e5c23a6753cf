//! The dialects of the Videos API that channels speak: their status words, the places of values in an
//! answer, and the shapes of their errors. Pure: bytes in, values out.
//!
//! A [`Dialect`] is data. Today only its status words can be configured. The places of values and the shapes
//! of errors are the same for all channels: OpenAI's, and those that relays and self-hosted servers were
//! found to write. No code outside of this module depends on a vendor.
//!
//! Answers are read leniently (`reader.rs` says why), as a stream of members of which only the meaningful
//! ones are kept: [`JobAnswer`] of one job, [`ListReader`] of a page of any length, [`ApiError`] of an
//! error. What an answer proves is decided here as well, by [`Dialect::job_status`],
//! [`Dialect::deletion`] and [`Dialect::proves_nothing_created`].
//!
//! Clients see the status words of [`Status::public_name`] and public ids: [`JobAnswer::rewritten`] replaces
//! the channel's word and ids by these, and leaves all other bytes as they are.

mod blame;
mod error;
mod job;
mod list;
mod percent;
mod pointers;
mod reader;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use blame::Blame;
pub use error::{ApiError, Deletion, ErrorShape, JobStatus};
pub use job::{JobAnswer, MAX_ID, UNREADABLE_PROMPT};
pub use list::{ListReader, MAX_ENTRIES, Page};
pub use percent::percent_encoded;
pub use words::{MAX_WORD, Status, StatusWords, WordError};

use pointers::Pointers;

/// A channel's dialect of the Videos API, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    words: StatusWords,
    job: Pointers,
    listed: Pointers,
    error: Pointers,
}

impl Default for Dialect {
    fn default() -> Self {
        Self::new(StatusWords::default())
    }
}

impl Dialect {
    /// Makes the default dialect with a channel's own status words.
    pub fn new(words: StatusWords) -> Self {
        let listed = job::JOB.iter().chain(job::LISTED);
        Self {
            words,
            job: Pointers::new(job::JOB.iter().copied()),
            listed: Pointers::new(listed.copied()),
            error: Pointers::new(error::ERROR.iter().copied()),
        }
    }
}

/// Feeds arbitrary bytes to all readers of answers; the reader of lists gets them in two pieces, cut at
/// `cut`. For fuzzers, which look for panics.
pub fn read_anything(bytes: &[u8], cut: usize) {
    let dialect = Dialect::default();
    let _ = JobAnswer::read(bytes, &dialect).map(|job| job.rewritten(bytes, Some("a"), Some("b")));
    let _ = dialect.proves_nothing_created(500, bytes);
    let _ = dialect.job_status(500, bytes, "a");
    let _ = dialect.blame(403, bytes);
    let (head, tail) = bytes.split_at(cut.min(bytes.len()));
    let mut list = ListReader::new(&dialect);
    if list.push(head) {
        list.push(tail);
    }
    let _ = list.finish();
}
