//! The bounds of the resources that one request, one connection and the whole process may use.

use std::time::Duration;

use super::error::{Problems, Reported};
use super::file;
use super::scalar::{bytes, count, duration, parsed_or};
use crate::multipart::MAX_HEADER_BYTES;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The bounds of requests, connections and the process.
///
/// Each number is at least 1, numbers of bytes are at most 1 TiB, and durations are from 1 ms to 24 hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The maximum length of a create body, in bytes.
    pub body_bytes: u64,
    /// The maximum length of a request's head, in bytes. The path and query are at most 32 KiB in any case.
    pub head_bytes: usize,
    /// The maximum number of header fields of a request.
    pub headers: usize,
    /// The maximum number of parts of a form.
    pub parts: usize,
    /// The maximum length of the header block of one part, in bytes; at most [`MAX_HEADER_BYTES`].
    pub part_header_bytes: usize,
    /// The maximum length of a prompt, in characters.
    pub prompt_chars: usize,
    /// The maximum time for which a client may pause in sending a request that it has begun, or in receiving
    /// the answer.
    pub read_timeout: Duration,
    /// The maximum duration of an upload. It begins with the first bytes, or with the first wait for them.
    pub upload_timeout: Duration,
    /// The time since its last request after which an idle client connection is closed.
    pub keepalive_timeout: Duration,
    /// The maximum number of requests on one HTTP/1.1 client connection.
    pub keepalive_requests: u32,
    /// The maximum number of concurrent uploads of create bodies: this many large ones, and as many again
    /// whose heads declare at most 64 KiB. A body that arrives with its head does not count.
    pub concurrent_uploads: usize,
    /// The maximum number of concurrent uploads of one key: this many large ones, and as many up to 64 KiB.
    pub uploads_per_key: usize,
    /// The minimum rate at which a client must send a create body, in bytes per second.
    pub upload_rate: u64,
    /// The length of a window of the upload rate: the rate is checked each time that the gate has waited this
    /// long in total for the client's bytes.
    pub upload_rate_window: Duration,
    /// The maximum number of open client connections.
    pub connections: usize,
    /// The maximum number of bytes of an upload that the gate still reads after it has refused the request.
    pub drain_bytes: u64,
    /// The maximum time for which the gate still reads an upload after it has refused the request.
    pub drain_timeout: Duration,
    /// The maximum length of a channel's answer to a create or poll that is read to find the job, in bytes. A
    /// page of the channel's list, which is not kept in memory, may have 64 times that.
    pub answer_bytes: usize,
    /// The maximum time for which running requests may continue once a stopping gate accepts no new ones.
    pub shutdown_timeout: Duration,
}

/// Returns the default of `uploads_per_key`: a quarter of `concurrent_uploads`, so that a single key cannot
/// take all uploads, but at least 1.
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
    /// Reads the bounds from the file, with the defaults for those that it leaves out.
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
            // Limited here rather than refused, so that files from a time of larger maximums still load.
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
