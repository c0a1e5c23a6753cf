//! Reads a body within bounds, inspects it, and holds back the bytes that may not be forwarded yet.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;

use super::client::in_time;
use super::refusal::{HeadFault, Refusal, RequestError};
use super::upload_slots::UploadSlot;
use crate::config::Bounds;
use crate::inspect::{Holdback, Inspector};
use crate::upstream::timeout::within;
use crate::upstream::{Framing, MinRate};

/// A request body while it is read from the client and inspected.
pub(super) struct Upload<'s> {
    session: &'s mut ServerSession,
    pub(super) inspector: Box<Inspector>,
    pub(super) holdback: Holdback,
    /// The offset of the last byte of a body with a declared length; `u64::MAX` without one.
    last: u64,
    received: u64,
    max_bytes: u64,
    read_timeout: Duration,
    min_rate: MinRate,
    /// The start of the present wait for the client, if there is one.
    waits: Option<Instant>,
    /// The upload slot, freed at the end of the body; `None` before it is taken, and for a body that needs
    /// none because it has arrived whole.
    pub(super) slot: Option<UploadSlot>,
    /// The time by which the whole body must have arrived, set at the first wait or the first bytes.
    deadline: Option<Instant>,
    upload_timeout: Duration,
    /// The time when the latest bytes, or the end of the body, were read.
    arrived: Option<Instant>,
    inspecting: Duration,
    ended: bool,
    /// Whether the body is only read to be compared with that of an earlier request: its policy
    /// violations do not stop the reading, and nothing is forwarded.
    compares: bool,
}

/// The reason why streaming to a channel stopped before the body's end.
pub(super) enum StreamEnd {
    /// The client is gone, or the gate refused the request.
    Client(RequestError),
    /// The channel's connection broke.
    Upstream(Box<pingora::Error>),
    /// The channel answered before the body's end.
    Answered,
}

impl<'s> Upload<'s> {
    pub(super) fn new(
        session: &'s mut ServerSession,
        inspector: Box<Inspector>,
        framing: Framing,
        bounds: &Bounds,
    ) -> Self {
        Self {
            session,
            inspector,
            holdback: Holdback::default(),
            last: match framing {
                Framing::Length(length) => length.saturating_sub(1),
                Framing::Open => u64::MAX,
            },
            received: 0,
            max_bytes: bounds.body_bytes,
            read_timeout: bounds.read_timeout,
            min_rate: MinRate::new(bounds.upload_rate, bounds.upload_rate_window),
            waits: None,
            slot: None,
            deadline: None,
            upload_timeout: bounds.upload_timeout,
            arrived: None,
            inspecting: Duration::ZERO,
            ended: false,
            compares: false,
        }
    }

    /// Returns whether the body is complete.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether any byte of the body has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// Sends `100 Continue` to a client that waits for it.
    pub(super) async fn invite(&mut self) -> Result<(), RequestError> {
        let written = self.session.write_continue_response();
        in_time(self.read_timeout, written)
            .await
            .map_err(RequestError::Disconnected)
    }

    /// Returns the time when the latest bytes, or the end of the body, were read; the present time if nothing
    /// was read yet.
    pub(super) fn arrived(&self) -> Instant {
        self.arrived.unwrap_or_else(Instant::now)
    }

    /// Returns the total time spent in the inspector so far.
    pub(super) fn inspecting(&self) -> Duration {
        self.inspecting
    }

    /// Returns the next piece that may be forwarded: bytes that the inspector calls safe, but never the
    /// last byte of a declared length. Several real parsers accept a body that stops in the middle of a
    /// file, so a channel that got the declared length would take such a body as complete.
    pub(super) fn next_safe(&mut self) -> Option<Bytes> {
        self.holdback.pop(self.inspector.safe().min(self.last))
    }

    /// Waits for the next bytes, at most for the read timeout and until the upload's deadline; `None` is
    /// the end of the body.
    ///
    /// Cancel safe: if the future is dropped, no bytes are lost.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, RequestError> {
        let (deadline, within_all) = (&mut self.deadline, self.upload_timeout);
        let waits = &mut self.waits;
        let limit = || {
            let now = *waits.get_or_insert_with(Instant::now);
            let deadline = deadline.get_or_insert(now + within_all);
            deadline
                .saturating_duration_since(now)
                .min(self.read_timeout)
        };
        let read = within(limit, self.session.read_request_body()).await;
        read.map_err(|_| Refusal::Slow)?.map_err(unread)
    }

    /// Inspects a chunk that was read, and adds it to the bytes that are held back. A `chunk` of `None` is
    /// the end of the body.
    pub(super) fn take(&mut self, chunk: Option<Bytes>) -> Result<(), Refusal> {
        let started = Instant::now();
        self.arrived = Some(started);
        let waited = self.waits.take().map(|since| started - since);
        let Some(chunk) = chunk else {
            self.end();
            return Ok(());
        };
        self.received += chunk.len() as u64;
        if self.received > self.max_bytes {
            return Err(Refusal::TooLarge {
                max: self.max_bytes,
            });
        }
        // Bytes at hand come without a wait, and so without the deadline that a wait checks.
        if started > *self.deadline.get_or_insert(started + self.upload_timeout) {
            return Err(Refusal::Slow);
        }
        let came = chunk.len() as u64;
        let pace = self.min_rate.record_bytes(came, waited.unwrap_or_default());
        let pushed = self.inspector.push(&chunk);
        self.inspecting += started.elapsed();
        pushed?;
        self.holdback.push(chunk);
        // With a Content-Length the end is known without another read.
        if self.session.is_body_done() {
            self.end();
        }
        if !self.compares {
            self.inspector.judged()?;
        }
        if self.ended {
            return Ok(());
        }
        pace.map_err(|_| Refusal::Slow)
    }

    fn end(&mut self) {
        self.ended = true;
        self.slot = None;
    }

    /// Reads the body to its end even if it violates the policy, and forwards nothing.
    pub(super) async fn read_through(&mut self) -> Result<(), RequestError> {
        self.compares = true;
        while !self.ended {
            self.holdback.take().for_each(drop);
            let read = self.read().await?;
            self.take(read)?;
        }
        self.holdback.take().for_each(drop);
        Ok(())
    }

    /// Waits for the first bytes, then does what [`read_at_hand`](Self::read_at_hand) does.
    pub(super) async fn read_ahead(&mut self, max_bytes: usize) -> Result<(), RequestError> {
        let first = self.read().await?;
        self.take(first)?;
        self.read_at_hand(max_bytes)
    }

    /// Reads what has arrived, without waiting, and stops once at least `max_bytes` bytes are held back.
    pub(super) fn read_at_hand(&mut self, max_bytes: usize) -> Result<(), RequestError> {
        while !self.ended && self.holdback.len() < max_bytes {
            let Some(read) = self.session.read_request_body().now_or_never() else {
                break;
            };
            self.take(read.map_err(unread)?)?;
        }
        Ok(())
    }
}

/// Checks that a request has no body, if its head does not show whether it has one. In HTTP/2 only
/// END_STREAM shows the absence of a body, and may come in an empty frame after the head. In HTTP/1.1 a
/// chunked body may consist of the last chunk alone.
pub(super) async fn nothing_follows(
    session: &mut ServerSession,
    expects_continue: bool,
    bounds: &Bounds,
) -> Result<(), RequestError> {
    if session.is_body_done() {
        return Ok(());
    }
    let end = async {
        if expects_continue {
            let written = session.write_continue_response().await;
            written.map_err(RequestError::Disconnected)?;
        }
        while !session.is_body_done() {
            match session.read_request_body().await {
                Ok(None) => break,
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(Some(_)) => return Err(Refusal::Head(HeadFault::Body).into()),
                Err(error) => return Err(unread(error)),
            }
        }
        Ok(())
    };
    let ended = within(|| bounds.read_timeout, end).await;
    ended.unwrap_or_else(|_| Err(Refusal::Slow.into()))
}

/// The names of Pingora's errors for chunks that cannot be read. Pingora exports no constants for them.
const MALFORMED: [ErrorType; 2] = [
    ErrorType::new("InvalidChunk"),
    ErrorType::new("InvalidTrailerEnd"),
];

/// Maps the error of a failed body read to the reason for which the request ends.
fn unread(error: Box<pingora::Error>) -> RequestError {
    if *error.etype() == pingora::ReadTimedout {
        return Refusal::Slow.into();
    }
    if is_malformed(&error) {
        return Refusal::Head(HeadFault::Unreadable("transfer-encoding")).into();
    }
    RequestError::Disconnected(error)
}

/// Returns whether the cause of the error is the client's framing, and not the client's connection.
fn is_malformed(error: &pingora::Error) -> bool {
    MALFORMED.contains(error.etype())
}
