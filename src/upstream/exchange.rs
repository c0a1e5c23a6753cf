//! Exchanges one request and its answer with a channel, over Pingora's connectors.
//!
//! No request goes through Pingora's proxy loop, which does not fit creates for three reasons. It
//! ends the upstream exchange when the client goes away, so that the answer for a job that is
//! being paid for is lost. It chooses the upstream before a byte of the body is known. And the
//! shape of each filter call decides whether a request is complete, which here decides about
//! money. This module does all of that explicitly, in one place. For requests other than creates
//! it costs less than the loop.
//!
//! Measured with Pingora 0.9.1: `read_response_header` and `read_request_body` lose nothing
//! when their futures are dropped, on HTTP/1.1 and HTTP/2, so they can be used in a `select!`.
//! After [`Exchange::abort`], an HTTP/1.1 channel has a body that is shorter than its
//! Content-Length or has no last chunk, and an HTTP/2 channel has received RST_STREAM.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{ConnectTimedout, ConnectionClosed, Error, H2Error, ReadError, WriteTimedout};

use super::answer::{Answer, BodyBuffer, request_id, retry_after};
use super::channel::LiveChannel;
use super::cork::{cork, uncork};
use super::error::{ConnectError, UpstreamError, is_client_refused};
use super::framing::Framing;
use super::headers::{into_http2, passing_down};
use super::load::InFlight;
use super::min_rate::MinRate;
use super::pool::Pool;
use super::timeout::{in_time, within};
use crate::channel::EARLY_RESPONSE_TIMEOUT;
use crate::policy::Timestamp;

/// The maximum number of bytes of an unneeded answer that are read so that its connection can be reused.
const DISCARDED: usize = 64 * 1024;

/// The body that follows the head of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sending {
    /// No body.
    Nothing,
    /// A body that is sent piece by piece, as it comes.
    Piecemeal(Framing),
    /// A body whose first bytes are at hand: the head is held back and sent together with them.
    AtOnce(Framing),
}

/// A request to a channel that is under way, with its answer.
pub(crate) struct Exchange {
    /// Pingora's session. Boxed, since it is large and an exchange is moved often.
    session: Box<HttpSession>,
    was_pooled: bool,
    pool: Arc<Pool>,
    peer: Arc<HttpPeer>,
    channel: Arc<LiveChannel>,
    _in_flight: InFlight,
    finished: Option<Instant>,
    /// Whether writing the last bytes of the body to the channel has timed out.
    is_too_slow: bool,
    /// Whether reading the head of the answer has failed. The head must not be read again: Pingora's
    /// sessions would panic, on HTTP/2 and over half-read HTTP/1.1 heads.
    headless: bool,
    /// Whether reading the head of the answer failed because the channel refuses the gate's client
    /// certificate, or wants one that the gate does not have.
    is_refused_client: bool,
    min_rate: MinRate,
    /// The time of day at which the exchange was opened.
    began: Timestamp,
    /// The time when the head was written; `None` for a request with a body on a pooled connection.
    opened: Option<Instant>,
}

impl Exchange {
    /// Connects to `channel` and writes the head; with `Sending::AtOnce` the head is held back until the
    /// first bytes of the body are sent. On an error no byte of the body has left, so another channel may be
    /// tried. With `Sending::Nothing` the request is complete when this returns.
    pub(crate) async fn open(
        pool: &Arc<Pool>,
        channel: &Arc<LiveChannel>,
        mut head: Box<RequestHeader>,
        body: Sending,
        now: Timestamp,
    ) -> Result<Self, ConnectError> {
        let peer = channel.peer(now).await;
        let peer = peer.map_err(|error| ConnectError::unresolved(error.reason))?;
        // Pingora bounds TCP and TLS, but not the start of HTTP/2.
        let patience = channel.spec().connect_timeout * 2;
        let session = within(|| patience, pool.session(&peer)).await;
        let session = session.unwrap_or_else(|_| Err(Error::new_up(ConnectTimedout)));
        let (session, was_pooled) = session?;
        let mut session = Box::new(match body {
            Sending::AtOnce(_) => cork(session, &peer),
            Sending::Nothing | Sending::Piecemeal(_) => session,
        });
        let http2 = matches!(*session, HttpSession::H2(_));
        if let Sending::Piecemeal(framing) | Sending::AtOnce(framing) = body {
            framing.write(&mut head, http2)?;
        }
        if http2 {
            into_http2(&mut head, peer.is_tls())?;
        }
        // The exchange bounds its waits by itself: see `timeout.rs`.
        session.set_write_timeout(None);
        session.set_read_timeout(None);
        let finished = matches!(body, Sending::Nothing);
        let patience = channel.spec().read_timeout;
        match &mut *session {
            HttpSession::H2(session) if finished => session.write_request_header(head, true),
            session => in_time(patience, session.write_request_header(head)).await,
        }
        .map_err(|error: Box<Error>| {
            if was_pooled {
                pool.evict(&peer);
            }
            ConnectError {
                was_pooled,
                ..error.into()
            }
        })?;
        channel.succeeded(now);
        let opened = (finished || !was_pooled).then(Instant::now);
        Ok(Self {
            session,
            was_pooled,
            pool: pool.clone(),
            peer,
            _in_flight: channel.enter(),
            channel: channel.clone(),
            finished: opened.filter(|_| finished),
            is_too_slow: false,
            headless: false,
            is_refused_client: false,
            min_rate: MinRate::new(channel.spec().min_download_rate, patience),
            began: now,
            opened,
        })
    }

    /// Returns whether `error` means that the request got no answer because its pooled connection was
    /// stale. If so, drops the other pooled connections to the channel.
    pub(crate) fn was_stale(&self, error: &UpstreamError) -> bool {
        let before = UpstreamError::Broken {
            answer_begun: false,
        };
        let stale = self.was_pooled && *error == before;
        if stale {
            self.pool.evict(&self.peer);
        }
        stale
    }

    pub(crate) fn channel(&self) -> &Arc<LiveChannel> {
        &self.channel
    }

    /// Sends a piece of the body, and does not complete the body.
    pub(crate) async fn send(&mut self, piece: Bytes) -> pingora::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        uncork(&self.session);
        let patience = self.channel.spec().read_timeout;
        in_time(patience, self.session.write_request_body(piece, false)).await
    }

    /// Sends the rest of a create's body and completes the request; returns the time of the completion.
    /// **The only call that completes a create**: whoever makes it holds a permit and a reservation.
    pub(crate) async fn complete(
        &mut self,
        rest: impl Iterator<Item = Bytes> + Send,
    ) -> pingora::Result<Instant> {
        // The limit is for all pieces together: see `Channel::create_timeout`.
        let patience = self.channel.spec().read_timeout;
        uncork(&self.session);
        let session = &mut self.session;
        let completed = async {
            for piece in rest.filter(|piece| !piece.is_empty()) {
                session.write_request_body(piece, false).await?;
            }
            session.finish_request_body().await
        };
        let completed = in_time(patience, completed).await;
        let failure = completed.as_ref().err();
        self.is_too_slow = failure.is_some_and(|error| *error.etype() == WriteTimedout);
        completed?;
        Ok(*self.finished.insert(Instant::now()))
    }

    /// Waits for the head of the final answer, after any interim answers (1xx). Cancel safe.
    pub(crate) async fn answer_head(&mut self) -> pingora::Result<()> {
        loop {
            let is_first = !self.was_pooled && self.session.response_header().is_none();
            if let Err(error) = self.session.read_response_header().await {
                self.headless = true;
                // An error after the time that a handshake may take has another cause.
                let patience = self.channel.spec().connect_timeout;
                let is_new = self.opened.is_some_and(|at| at.elapsed() <= patience);
                let refused = is_client_refused(&error, self.session.digest());
                self.is_refused_client = is_first && is_new && refused;
                return Err(error);
            }
            let head = self.session.response_header();
            if !head.is_some_and(|head| head.status.is_informational()) {
                return Ok(());
            }
        }
    }

    /// Returns the time at which the exchange was opened, by the gate's clock.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    /// Waits for the head of the answer, for `limit` at most. Returns the time since the request was
    /// complete; zero if the answer came before that.
    pub(crate) async fn head(&mut self, limit: Duration) -> Result<Duration, UpstreamError> {
        match within(|| limit, self.answer_head()).await {
            Ok(Ok(())) => Ok(self.finished.map_or(Duration::ZERO, |at| at.elapsed())),
            Ok(Err(_)) if self.is_refused_client => Err(ConnectError::refused_client().into()),
            Ok(Err(error)) => {
                // The error's text could repeat what the channel sent, which could repeat what it got.
                let kind = error.etype().as_str();
                log::debug!("channel {}: no answer: {kind}", self.channel.spec().name);
                // Any other error is about the channel's answer; a retry would get the same answer.
                let gone = [ConnectionClosed, ReadError, H2Error];
                let answer_begun = !gone.contains(error.etype());
                Err(UpstreamError::Broken { answer_begun })
            }
            Err(_) => Err(UpstreamError::Timeout),
        }
    }

    /// Returns the head of the answer; `None` before [`Self::head`] has read it.
    pub(crate) fn answered(&self) -> Option<&ResponseHeader> {
        self.session.response_header()
    }

    /// Reads the body of the answer, and keeps at most `max_bytes` bytes of it. Puts the connection back into
    /// the pool if the body was read to its end.
    ///
    /// The whole body must come within the channel's `read_timeout`: a channel that sends a few bytes at a
    /// time could otherwise hold up the caller without end. See `Channel::create_timeout`.
    pub(crate) async fn rest(mut self, max_bytes: usize) -> Result<Answer, UpstreamError> {
        let patience = self.channel.spec().read_timeout;
        let read = within(|| patience, self.read_answer(max_bytes)).await;
        match read.unwrap_or(Err(UpstreamError::Timeout)) {
            Ok(answer) if !answer.cut && self.finished.is_some() => {
                self.release().await;
                Ok(answer)
            }
            other => {
                self.abort().await;
                other
            }
        }
    }

    /// Passes the body of the answer to `take` in pieces, until it ends or `take` returns `false`. The time
    /// limit is that of [`Self::rest`]. Returns whether the end of the body was read.
    pub(crate) async fn read_through(
        mut self,
        mut take: impl FnMut(&[u8]) -> bool + Send,
    ) -> Result<bool, UpstreamError> {
        let patience = self.channel.spec().read_timeout;
        let read = async {
            while let Some(piece) = self.next().await? {
                if !take(&piece) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let read = within(|| patience, read).await;
        let read = read.unwrap_or(Err(UpstreamError::Timeout));
        match read {
            Ok(true) => self.release().await,
            _ => self.abort().await,
        }
        read
    }

    /// Discards the body of the answer. Keeps the connection if the body is short and ends within a second.
    pub(crate) async fn discard(self) {
        let mut room = DISCARDED;
        let take = |piece: &[u8]| {
            room = room.saturating_sub(piece.len());
            room > 0
        };
        // Where discarding takes long, the connection is dropped.
        let _ = within(|| EARLY_RESPONSE_TIMEOUT, self.read_through(take)).await;
    }

    /// Reads the next piece of a video; `None` at its end. Fails with `Timeout` if the channel sends nothing
    /// for `read_timeout`, or less than its minimum rate over that time. The time in which the gate waits for
    /// a slow client instead does not count.
    ///
    /// Cancel safe: dropping the future loses no bytes.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let patience = self.channel.spec().read_timeout;
        let mut began = None;
        let limit = || {
            began = Some(Instant::now());
            patience
        };
        let read = within(limit, self.session.read_response_body()).await;
        let waited = began.map_or(Duration::ZERO, |began| began.elapsed());
        let piece = match read {
            Ok(Ok(piece)) => piece,
            Ok(Err(_)) => return Err(UpstreamError::Broken { answer_begun: true }),
            Err(_) => return Err(UpstreamError::Timeout),
        };
        let length = piece.as_ref().map_or(0, Bytes::len);
        match self.min_rate.record_bytes(length as u64, waited) {
            Err(_) if piece.is_some() => Err(UpstreamError::Timeout),
            _ => Ok(piece),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let read = self.session.read_response_body().await;
        read.map_err(|_| UpstreamError::Broken { answer_begun: true })
    }

    /// Puts the connection back into the pool, after the end of the answer.
    pub(crate) async fn release(self) {
        let idle = self.channel.spec().idle_timeout;
        self.pool.release(self.session, &self.peer, idle).await;
    }

    /// Reads an answer that the channel sent before it had the whole request, and closes the connection.
    ///
    /// # Errors
    /// Where the channel sent no answer in time.
    pub(crate) async fn read_early_response(
        mut self,
        max_bytes: usize,
    ) -> Result<Answer, UpstreamError> {
        let answer = within(|| EARLY_RESPONSE_TIMEOUT, self.early_response(max_bytes)).await;
        let none = match self.is_refused_client {
            true => ConnectError::refused_client().into(),
            false if self.is_too_slow => UpstreamError::Timeout,
            false => UpstreamError::Broken {
                answer_begun: false,
            },
        };
        self.abort().await;
        answer.ok().flatten().ok_or(none)
    }

    async fn early_response(&mut self, max_bytes: usize) -> Option<Answer> {
        if self.headless {
            return None;
        }
        let head = self.session.response_header();
        if head.is_none_or(|head| head.status.is_informational()) {
            self.answer_head().await.ok()?;
        }
        self.read_answer(max_bytes).await.ok()
    }

    async fn read_answer(&mut self, max_bytes: usize) -> Result<Answer, UpstreamError> {
        let head = self.session.response_header();
        let head = head.ok_or(UpstreamError::Broken {
            answer_begun: false,
        })?;
        let (status, headers) = (head.status, passing_down(&head.headers));
        let retry_after = retry_after(head);
        let request_id = request_id(&head.headers);
        let mut body = BodyBuffer::default();
        let mut cut = false;
        while let Some(piece) = self.next().await? {
            cut = body.len() + piece.len() > max_bytes;
            if cut {
                break;
            }
            body.push(piece);
        }
        Ok(Answer {
            status,
            headers,
            body: body.into_bytes(),
            cut,
            retry_after,
            request_id,
        })
    }

    /// Breaks off the exchange. If the request was not complete, the channel sees that it never will be.
    ///
    /// The wait is bounded: under TLS the closing alert waits behind bytes that a stalled channel has not
    /// read yet. Dropping the connection then has the same effect.
    pub(crate) async fn abort(mut self) {
        let _ = within(|| EARLY_RESPONSE_TIMEOUT, self.session.shutdown()).await;
    }
}
