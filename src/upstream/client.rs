//! The client that all channels share: connections, the log of failures, and the counts of answers.

use std::fmt;
use std::sync::Arc;

use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::answer::Answer;
use super::attempts::Declined;
use super::channel::LiveChannel;
use super::error::{ConnectError, UpstreamError};
use super::exchange::{Exchange, Sending};
use super::failures::FailureLog;
use super::health::Event;
use super::pool::Pool;
use crate::clock::Clock;
use crate::dialect::JobAnswer;
use crate::metrics::Metrics;
use crate::policy::Timestamp;

/// A client that sends requests to all channels, with one connection pool and one log of failures.
pub struct UpstreamClient {
    pub(super) pool: Arc<Pool>,
    pub(super) metrics: Arc<Metrics>,
    failures: FailureLog,
    pub(super) clock: Clock,
}

impl UpstreamClient {
    /// Makes a client without connections.
    pub(crate) fn new(metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            pool: Arc::new(Pool::new()),
            metrics,
            failures: FailureLog::default(),
            clock,
        }
    }

    /// Opens an exchange with a channel, and records a failure to connect. An error in `head` counts as one.
    pub(crate) async fn open(
        &self,
        channel: &Arc<LiveChannel>,
        head: pingora::Result<Box<RequestHeader>>,
        body: Sending,
    ) -> Result<Exchange, ConnectError> {
        let began = self.clock.now();
        let opened = match head {
            Ok(head) => Exchange::open(&self.pool, channel, head, body, began).await,
            Err(error) => Err(error.into()),
        };
        opened.inspect_err(|error| self.unreachable(channel, error, began))
    }

    /// Records that a request that began at `began` could not reach its channel.
    pub(crate) fn unreachable(
        &self,
        channel: &LiveChannel,
        error: &ConnectError,
        began: Timestamp,
    ) {
        self.failed(&channel.spec().name, error.kind, &error.reason);
        if error.kind == ConnectError::REFUSED_CLIENT {
            self.note(channel, Event::Account, began);
        } else if !error.is_local {
            let change = channel.failed(began, self.clock.now());
            self.changed(channel, change);
        }
    }

    /// Counts a failure of the channel `name`, and logs `what` if it is the first failure of this kind since
    /// the channel worked. `kind` is one of `CHANNEL_ERRORS` of the metrics.
    pub(crate) fn failed(&self, name: &str, kind: &'static str, what: impl fmt::Display) {
        self.metrics.channel_error(name, kind);
        if self.failures.failed(name, kind, self.clock.now()) {
            log::warn!(
                "channel {name} fails ({kind}): {what}; until it works again, further failures \
                 are only counted in channel_errors_total"
            );
        }
    }

    /// Counts an unexpected answer of the channel `name` about the job `id` alone. Logs `what` once for
    /// each combination of `id`, `kind` and `status`, which is the HTTP status of the answer.
    pub(crate) fn job_failed(
        &self,
        name: &str,
        (id, status): (&str, StatusCode),
        kind: &'static str,
        what: impl fmt::Display,
    ) {
        self.metrics.channel_error(name, kind);
        if self.failures.job_failed(id, kind, status.as_u16()) {
            log::warn!(
                "job {id} on channel {name} ({kind}): {what}; this is logged once for the job, and \
                 further answers like it are only counted in channel_errors_total"
            );
        }
    }

    /// Counts an answer of the channel `name` by its status, and logs the failures that the answer ends.
    pub(crate) fn answered(&self, name: &str, status: StatusCode) {
        self.metrics.upstream_request(name, status.as_str());
        let fails = status.is_server_error() || matches!(status.as_u16(), 401..=403 | 408 | 429);
        if fails || self.failures.is_empty() {
            return;
        }
        for ended in self.failures.succeeded(name, self.clock.now()) {
            log::info!("channel {name} works again, after {ended}");
        }
    }

    /// Notes the date in the head of an answer for the estimate of the channel's clock. `now` returns the
    /// time at which the answer came, and is called only if the head has a date.
    pub(crate) fn note_head(
        &self,
        channel: &LiveChannel,
        head: &ResponseHeader,
        now: impl FnOnce() -> Timestamp,
    ) {
        if let Some(date) = head.headers.get(header::DATE) {
            channel.clock().note(date, now());
        }
    }

    /// Counts a create that a channel refused though the request was not at fault, and logs the refusal if it
    /// is the first of its kind since the channel worked.
    pub(crate) fn declined(&self, channel: &LiveChannel, why: Declined) {
        let (kind, what) = match why {
            Declined::Account { .. } => ("account", "it refuses the gate's account"),
            Declined::RateLimited { .. } => ("rate_limited", "it takes no more requests"),
            _ => ("status", "it takes nothing at the moment"),
        };
        let what = format_args!("{what}: a create was answered with {why}");
        self.failed(&channel.spec().name, kind, what);
    }

    /// Counts a request that got no answer, or only a part of one, and logs `error` if it is the first of its
    /// kind since the channel worked.
    pub(crate) fn unanswered(&self, channel: &LiveChannel, error: &UpstreamError) {
        let name = &channel.spec().name;
        self.metrics.upstream_request(name, "none");
        self.failed(name, error.kind(), error);
    }

    /// Counts and logs `answer` if its body is compressed, since the gate cannot read it. If it answers a
    /// create, the job is looked for later in the channel's list of jobs.
    pub(crate) fn note_encoding(&self, channel: &LiveChannel, answer: &Answer) {
        if answer.is_encoded() {
            let name = &channel.spec().name;
            let what = "an answer is compressed, though the gate asks for none that is \
                        (Accept-Encoding: identity): it cannot be read; see what compresses it \
                        on the way";
            self.failed(name, "encoded", what);
        }
    }

    /// Counts the status word of `job` if its meaning is not known, and logs each such word once; see
    /// [`LiveChannel::is_new_word`]. The job counts as still running until the configuration maps the word.
    pub(crate) fn note_status_word(&self, channel: &LiveChannel, job: &JobAnswer) {
        let Some(word) = &job.unknown_word else {
            return;
        };
        let name = &channel.spec().name;
        self.metrics.channel_error(name, "status_word");
        if channel.is_new_word(word) {
            log::error!(
                "channel {name}: what the status `{word}` of a job means is not known, and the job \
                 is taken to go on: write it under the channel's `status_words`"
            );
        }
    }
}
