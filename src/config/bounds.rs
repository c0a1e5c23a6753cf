//! How much of everything: what one request, one connection and the whole process may take.

use std::time::Duration;

use super::error::{Problems, Reported};
use super::file;
use super::scalar::{bytes, count, duration, parsed_or};
use crate::multipart::MAX_HEADER_BYTES;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The bounds. None is zero; sizes are at most 1 TiB, durations at most 24 hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The longest create body, in bytes.
    pub body_bytes: u64,
    /// The longest head of a request, in bytes. Its target is at most 32 KiB in any case.
    pub head_bytes: usize,
    /// The most header fields of a request.
    pub headers: usize,
    /// The most parts of a form.
    pub parts: usize,
    /// The longest header block of one part, in bytes; at most [`MAX_HEADER_BYTES`].
    pub part_header_bytes: usize,
    /// The longest prompt, in characters.
    pub prompt_chars: usize,
    /// How long a client may send nothing of a request that it has begun, or take nothing of
    /// its answer.
    pub read_timeout: Duration,
    /// How long a whole upload may take.
    pub upload_timeout: Duration,
    /// How long a client's idle connection stays open.
    pub keepalive_timeout: Duration,
    /// How many requests one client connection of HTTP/1.1 serves.
    pub keepalive_requests: u32,
    /// How many create bodies may be under way at once: this many large ones, and as many again
    /// that are 64 KiB at most by their heads. Those that are at hand with their heads do not count.
    pub concurrent_uploads: usize,
    /// How many of them may be one key's.
    pub uploads_per_key: usize,
    /// How many bytes a second a client must send of a create body, at least.
    pub upload_rate: u64,
    /// For how long a client is waited for before that is judged, again and again.
    pub upload_rate_window: Duration,
    /// How many client connections may be open at once.
    pub connections: usize,
    /// How much is read on after a refusal in mid-upload, in bytes.
    pub drain_bytes: u64,
    /// For how long is read on after a refusal in mid-upload.
    pub drain_timeout: Duration,
    /// How much of a channel's answer to a create or poll is read for the job, in bytes; of
    /// a page of its list, 64 times that, without keeping it.
    pub answer_bytes: usize,
    /// How long requests may go on after the program was asked to stop.
    pub shutdown_timeout: Duration,
}

/// Returns the part of the uploads that one key may have where the file does not say: four keys
/// together fill the gate, and none alone does.
fn share(concurrent_uploads: usize) -> usize {
    (concurrent_uploads / 4).max(1)
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            body_bytes: 64 * MIB as u64,
            head_bytes: 32 * KIB,
            headers: 100,
            parts: 32,
            part_header_bytes: MAX_HEADER_BYTES,
            prompt_chars: 32_000,
            read_timeout: Duration::from_secs(30),
            upload_timeout: Duration::from_secs(600),
            keepalive_timeout: Duration::from_secs(75),
            keepalive_requests: 1000,
            concurrent_uploads: 1024,
            uploads_per_key: share(1024),
            upload_rate: KIB as u64,
            upload_rate_window: Duration::from_secs(30),
            connections: 10_000,
            drain_bytes: 64 * MIB as u64,
            drain_timeout: Duration::from_secs(10),
            answer_bytes: MIB,
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

impl Bounds {
    /// Returns what the file says, and the defaults for the rest.
    pub(super) fn build(
        file: Option<file::Bounds>,
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let file = file.unwrap_or_default();
        let or = Self::default();
        let p = problems;
        let body_bytes = parsed_or(&file.body_bytes, bytes, or.body_bytes, p);
        let head_bytes = parsed_or(&file.head_bytes, bytes, or.head_bytes, p);
        let headers = parsed_or(&file.headers, count, or.headers, p);
        let parts = parsed_or(&file.parts, count, or.parts, p);
        let part_header_bytes = parsed_or(&file.part_header_bytes, bytes, or.part_header_bytes, p);
        let prompt_chars = parsed_or(&file.prompt_chars, count, or.prompt_chars, p);
        let read_timeout = parsed_or(&file.read_timeout, duration, or.read_timeout, p);
        let upload_timeout = parsed_or(&file.upload_timeout, duration, or.upload_timeout, p);
        let keepalive_timeout =
            parsed_or(&file.keepalive_timeout, duration, or.keepalive_timeout, p);
        let keepalive_requests =
            parsed_or(&file.keepalive_requests, count, or.keepalive_requests, p);
        let concurrent_uploads =
            parsed_or(&file.concurrent_uploads, count, or.concurrent_uploads, p);
        let share = concurrent_uploads
            .as_ref()
            .map_or(or.uploads_per_key, |n| share(*n));
        let uploads_per_key = parsed_or(&file.uploads_per_key, count, share, p);
        let upload_rate = parsed_or(&file.upload_rate, bytes, or.upload_rate, p);
        let window = &file.upload_rate_window;
        let upload_rate_window = parsed_or(window, duration, or.upload_rate_window, p);
        let connections = parsed_or(&file.connections, count, or.connections, p);
        let drain_bytes = parsed_or(&file.drain_bytes, bytes, or.drain_bytes, p);
        let drain_timeout = parsed_or(&file.drain_timeout, duration, or.drain_timeout, p);
        let answer_bytes = parsed_or(&file.answer_bytes, bytes, or.answer_bytes, p);
        let shutdown_timeout = parsed_or(&file.shutdown_timeout, duration, or.shutdown_timeout, p);
        Ok(Self {
            body_bytes: body_bytes?,
            head_bytes: head_bytes?,
            headers: headers?,
            parts: parts?,
            // Files that were written when more was allowed still load.
            part_header_bytes: part_header_bytes?.min(MAX_HEADER_BYTES),
            prompt_chars: prompt_chars?,
            read_timeout: read_timeout?,
            upload_timeout: upload_timeout?,
            keepalive_timeout: keepalive_timeout?,
            keepalive_requests: keepalive_requests?,
            concurrent_uploads: concurrent_uploads?,
            uploads_per_key: uploads_per_key?,
            upload_rate: upload_rate?,
            upload_rate_window: upload_rate_window?,
            connections: connections?,
            drain_bytes: drain_bytes?,
            drain_timeout: drain_timeout?,
            answer_bytes: answer_bytes?,
            shutdown_timeout: shutdown_timeout?,
        })
    }
}
