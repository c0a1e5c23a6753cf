//! The access log: one line for each request, with what is known about it and nothing secret.
//!
//! Lines go through the crate `log`, at the level `info` and under the target [`TARGET`], with their values
//! as key-value pairs. The binary writes them as JSON or as text, and a host that embeds the gate passes them
//! to its own logger. No line contains text that a client wrote, except for a request id and a trace id of a
//! harmless form.

mod client_address;
mod options;
mod request_id;
mod trace;
mod under_way;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::HeaderValue;
use log::kv::{self, Key, Value, VisitSource};

pub use client_address::{Network, ParseNetworkError, client_address};
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

/// The facts that complete a request's line at its end: route, key, status, bytes of both bodies.
pub(crate) struct Ended<'a> {
    pub(crate) route: &'static str,
    /// The name of the key; empty if it is not known.
    pub(crate) key: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
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

    /// Records the reservation that the request has made, or is about.
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

    /// Records an earlier job that the request is about, with its channel and reservation.
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
        if !wanted.includes(ended.status) || !log::log_enabled!(target: TARGET, log::Level::Info) {
            return;
        }
        let line = Line {
            record: self,
            facts: &self.facts(),
            ended,
            total: self.began.elapsed(),
        };
        let mut record = log::Record::builder();
        record
            .level(log::Level::Info)
            .target(TARGET)
            .key_values(&line);
        let message = format_args!("{} {}", ended.route, ended.status);
        log::logger().log(&record.args(message).build());
    }

    /// Locks the facts. No panic can leave them half-written, so the facts of a poisoned lock are used
    /// unchanged.
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line of a request, as a source of key-value pairs.
struct Line<'a> {
    record: &'a RequestRecord,
    facts: &'a Facts,
    ended: &'a Ended<'a>,
    total: Duration,
}

impl kv::Source for Line<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let Self {
            record,
            facts,
            ended,
            total,
        } = self;
        let mut pair = |key: &'static str, value: Option<Value<'kvs>>| match value {
            Some(value) => visitor.visit_pair(Key::from_str(key), value),
            None => Ok(()),
        };
        pair("id", Some(record.id.as_str().into()))?;
        pair("route", Some(ended.route.into()))?;
        pair("status", Some(ended.status.into()))?;
        pair("code", facts.code.map(Value::from))?;
        pair("replayed", facts.is_replayed.then(|| Value::from(true)))?;
        pair("key", text((!ended.key.is_empty()).then_some(ended.key)))?;
        pair("client", record.client.as_ref().map(Value::from_display))?;
        pair("model", text(facts.model.as_deref()))?;
        pair("size", text(facts.size.as_deref()))?;
        pair("seconds", facts.seconds.map(Value::from))?;
        let reservation = facts.reservation.as_ref();
        pair("reservation", reservation.map(Value::from_display))?;
        pair("job", text(facts.job.as_deref()))?;
        pair("source", text(facts.source.as_deref()))?;
        pair("channel", text(facts.channel.as_deref()))?;
        pair("bytes_in", Some(ended.bytes_in.into()))?;
        pair("bytes_out", Some(ended.bytes_out.into()))?;
        pair("upload_ms", facts.upload.map(milliseconds))?;
        pair("reserve_ms", facts.reserve.map(milliseconds))?;
        pair("channel_ms", facts.answer.map(milliseconds))?;
        pair("total_ms", Some(milliseconds(*total)))?;
        pair("trace", text(record.trace.as_deref()))
    }
}

fn text(text: Option<&str>) -> Option<Value<'_>> {
    text.map(Value::from)
}

/// Returns a duration in milliseconds with three decimals: microseconds / 1000, with the microseconds capped
/// at `u32::MAX`, which `f64` holds exactly.
fn milliseconds(span: Duration) -> Value<'static> {
    let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    Value::from(f64::from(micros) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects the pairs of a line.
    struct Pairs(Vec<(String, String)>);

    impl<'kvs> VisitSource<'kvs> for Pairs {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            self.0.push((key.to_string(), value.to_string()));
            Ok(())
        }
    }

    #[test]
    fn a_line_has_what_is_known_and_no_more() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("mine-1"));
        let record =
            RequestRecord::new(&headers, Some([192, 0, 2, 7].into()), Timestamp(1), |_| {
                false
            });
        let pairs = |status, key| {
            let ended = Ended {
                route: "create",
                key,
                status,
                bytes_in: 10,
                bytes_out: 20,
            };
            let line = Line {
                record: &record,
                facts: &record.facts(),
                ended: &ended,
                total: Duration::from_micros(1500),
            };
            let mut pairs = Pairs(Vec::new());
            kv::Source::visit(&line, &mut pairs).unwrap();
            let pairs = pairs.0.into_iter();
            let pairs = pairs.map(|(key, value)| format!("{key}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            pairs(401, ""),
            "id=mine-1 route=create status=401 client=192.0.2.7 bytes_in=10 bytes_out=20 \
             total_ms=1.5"
        );
        record.set_code("rate_limit_exceeded");
        record.set_requested(Some(&"sora-2".into()), None, Some(8));
        record.set_requested(Some(&"other".into()), Some(&"1280x720".into()), None);
        record.set_reservation(ReservationId(1));
        record.set_channel(&"east".into());
        record.set_job(&"video_1".into());
        record.add_ledger_time(Duration::from_millis(1));
        record.add_ledger_time(Duration::from_millis(2));
        record.set_channel_time(Duration::from_millis(40));
        assert_eq!(
            pairs(429, "studio"),
            "id=mine-1 route=create status=429 code=rate_limit_exceeded key=studio \
             client=192.0.2.7 model=sora-2 size=1280x720 seconds=8 \
             reservation=00000000000000000000000000000001 job=video_1 channel=east bytes_in=10 \
             bytes_out=20 reserve_ms=3 channel_ms=40 total_ms=1.5"
        );
    }
}
