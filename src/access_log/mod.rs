//! The access log: one line for each request, with what is known about it and nothing secret.
//!
//! Lines go through the crate `log`, at the level `info` and under the target [`TARGET`], with their values
//! as key-value pairs, so that a host that embeds the gate passes them to its own logger. The binary writes
//! them itself, as JSON or as text. No line contains text that a client wrote, except for a request id and a
//! trace id of a harmless form.

mod client_address;
mod line;
mod options;
mod request_id;
mod trace;
mod under_way;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::HeaderValue;

pub use client_address::{Network, ParseNetworkError, client_address};
pub(crate) use line::{Ended, Line};
#[cfg(feature = "cli")]
pub(crate) use line::{Name, Values, set_writer};
pub use options::{LogFormat, LogOptions, LoggedRequests};
pub(crate) use request_id::REQUEST_ID;
use request_id::RequestId;
pub(crate) use under_way::UnderWay;

use crate::ledger::ReservationId;
use crate::policy::Timestamp;

/// The log target of the access log's lines.
pub const TARGET: &str = "tollgate::request";

/// The record of one request for the access log, filled while the request is answered.
pub(crate) struct RequestRecord {
    id: RequestId,
    trace: Option<Box<str>>,
    client: Option<IpAddr>,
    began: Instant,
    facts: Mutex<Facts>,
}

/// The facts that become known about a request while it is answered.
#[derive(Default)]
struct Facts {
    route: Option<&'static str>,
    key: Option<Arc<str>>,
    code: Option<&'static str>,
    is_replayed: bool,
    model: Option<Arc<str>>,
    size: Option<Arc<str>>,
    seconds: Option<u32>,
    reservation: Option<ReservationId>,
    job: Option<Arc<str>>,
    source: Option<Arc<str>>,
    channel: Option<Arc<str>>,
    upload: Option<Duration>,
    reserve: Option<Duration>,
    answer: Option<Duration>,
}

impl RequestRecord {
    /// Begins the record of a request with these headers, which came from `client` at `at`. `is_key`
    /// returns whether a text is some client's key, which is not accepted as a request id.
    pub(crate) fn new(
        headers: &HeaderMap,
        client: Option<IpAddr>,
        at: Timestamp,
        is_key: impl Fn(&str) -> bool,
    ) -> Self {
        Self {
            id: RequestId::of(headers, at, is_key),
            trace: trace::trace_id(headers).map(Box::from),
            client,
            began: Instant::now(),
            facts: Mutex::default(),
        }
    }

    /// Returns the id of the request as the value of a header.
    pub(crate) fn id_header(&self) -> HeaderValue {
        self.id.header()
    }

    /// Returns the id of the request.
    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Returns the reservation id that the gate made the request id from; `None` if the client has given
    /// the request id.
    pub(crate) fn named_reservation(&self) -> Option<ReservationId> {
        self.id.reservation()
    }

    /// Describes the request, which has not ended, in a line of text.
    fn description(&self) -> String {
        let facts = self.facts();
        let mut text = format!("request {}, since {:.1?}", self.id(), self.began.elapsed());
        for (name, value) in [
            ("route", facts.route.map(str::to_owned)),
            ("key", facts.key.as_deref().map(str::to_owned)),
            ("channel", facts.channel.as_deref().map(str::to_owned)),
            ("reservation", facts.reservation.map(|id| id.to_string())),
            ("job", facts.job.as_deref().map(str::to_owned)),
        ] {
            if let Some(value) = value {
                text.push_str(&format!(", {name} {value}"));
            }
        }
        text
    }

    /// Records the route and the key of the request.
    pub(crate) fn set_key(&self, route: &'static str, key: &Arc<str>) {
        let mut facts = self.facts();
        (facts.route, facts.key) = (Some(route), Some(key.clone()));
    }

    /// Records that the response repeats the answer to an earlier request.
    pub(crate) fn set_replayed(&self) {
        self.facts().is_replayed = true;
    }

    /// Records the error code with which the request is refused.
    pub(crate) fn set_code(&self, code: &'static str) {
        self.facts().code = Some(code);
    }

    /// Records the model, size and seconds that the request asks for, as the catalog names them; `None` for
    /// what is not known. A value that was recorded before stays.
    pub(crate) fn set_requested(
        &self,
        model: Option<&Arc<str>>,
        size: Option<&Arc<str>>,
        seconds: Option<u32>,
    ) {
        let mut facts = self.facts();
        facts.model = facts.model.take().or_else(|| model.cloned());
        facts.size = facts.size.take().or_else(|| size.cloned());
        facts.seconds = facts.seconds.or(seconds);
    }

    /// Returns whether the model, the size and the seconds are recorded.
    pub(crate) fn has_requested(&self) -> bool {
        let facts = self.facts();
        facts.model.is_some() && facts.size.is_some() && facts.seconds.is_some()
    }

    /// Records the reservation that the request has made.
    pub(crate) fn set_reservation(&self, reservation: ReservationId) {
        self.facts().reservation = Some(reservation);
    }

    /// Records the channel that the request goes to.
    pub(crate) fn set_channel(&self, channel: &Arc<str>) {
        self.facts().channel = Some(channel.clone());
    }

    /// Records the job that the request has made.
    pub(crate) fn set_job(&self, job: &Arc<str>) {
        self.facts().job = Some(job.clone());
    }

    /// Records the earlier job that the request or its replayed answer names, with its channel and
    /// reservation.
    pub(crate) fn set_known_job(
        &self,
        job: &Arc<str>,
        channel: &Arc<str>,
        reservation: ReservationId,
    ) {
        let mut facts = self.facts();
        facts.job = Some(job.clone());
        facts.channel = Some(channel.clone());
        facts.reservation = Some(reservation);
    }

    /// Records `job`, the job that a remix is made from.
    pub(crate) fn set_source(&self, job: &Arc<str>) {
        self.facts().source = Some(job.clone());
    }

    /// Records the time from the beginning of the request to `at`, when the whole body had arrived.
    pub(crate) fn set_arrival(&self, at: Instant) {
        self.facts().upload = Some(at.saturating_duration_since(self.began));
    }

    /// Adds the time that the ledger took for one decision about the request.
    pub(crate) fn add_ledger_time(&self, took: Duration) {
        let mut facts = self.facts();
        facts.reserve = Some(facts.reserve.unwrap_or_default() + took);
    }

    /// Records the time that the channel took for its answer, from the request's last byte on.
    pub(crate) fn set_channel_time(&self, took: Duration) {
        self.facts().answer = Some(took);
    }

    /// Writes the line of the request, if `wanted` includes it.
    pub(crate) fn write(&self, ended: &Ended<'_>, wanted: LoggedRequests) {
        if wanted.includes(ended.status) {
            self.with_line(ended, self.began.elapsed(), |line| line.write());
        }
    }

    /// Passes the line of the request, which took `total`, to `write`.
    pub(crate) fn with_line(
        &self,
        ended: &Ended<'_>,
        total: Duration,
        write: impl FnOnce(&Line<'_>),
    ) {
        write(&Line {
            record: self,
            facts: &self.facts(),
            ended,
            total,
        });
    }

    /// Locks the facts. No panic can leave them half-written, so the facts of a poisoned lock are used
    /// unchanged.
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
