//! The access log line of a request, and how it is written to the log.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use log::kv::{self, Key, Value, VisitSource};

use super::{Facts, RequestRecord, TARGET};
use crate::ledger::ReservationId;

/// The facts that are known when a request has ended: route, key, status, and the bytes of both bodies.
pub(crate) struct Ended<'a> {
    pub(crate) route: &'static str,
    /// The name of the key; empty if it is not known.
    pub(crate) key: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// The line of a request that has ended.
pub(crate) struct Line<'a> {
    pub(super) record: &'a RequestRecord,
    pub(super) facts: &'a Facts,
    /// The facts that complete the line.
    pub(crate) ended: &'a Ended<'a>,
    /// The time from the request's beginning to its end.
    pub(super) total: Duration,
}

/// The name of a value, alone and as the text that precedes the value in each format of the binary's log.
#[cfg_attr(not(feature = "cli"), expect(dead_code))]
pub(crate) struct Name {
    plain: &'static str,
    /// The name as it precedes the value in a line of text: ` name=`.
    pub(crate) text: &'static str,
    /// The name as it precedes the value in a JSON object: `,"name":`.
    pub(crate) json: &'static str,
}

/// Makes the [`Name`] of a literal that is valid in JSON as it is.
macro_rules! name {
    ($name:literal) => {
        &const {
            Name {
                plain: $name,
                text: concat!(" ", $name, "="),
                json: concat!(",\"", $name, "\":"),
            }
        }
    };
}

/// A visitor of the values of a line, in their order.
pub(crate) trait Values<'a> {
    /// Visits a text.
    fn text(&mut self, name: &Name, text: &'a str);
    /// Visits a number.
    fn number(&mut self, name: &Name, number: u64);
    /// Visits a value that is true; one that is false is left out of the line.
    fn yes(&mut self, name: &Name);
    /// Visits a duration, which is shown in milliseconds with at most three decimals.
    fn span(&mut self, name: &Name, span: Duration);
    /// Visits an address.
    fn address(&mut self, name: &Name, address: &'a IpAddr);
    /// Visits the id of a reservation.
    fn reservation(&mut self, name: &Name, id: &'a ReservationId);
}

/// The function that writes the lines; not set where they go through the crate `log`.
static WRITER: OnceLock<fn(&Line<'_>)> = OnceLock::new();

/// Sets the function that writes the lines of this process from now on, in place of the crate `log`: passing
/// each value through that crate's interface takes twice as long as writing it.
#[cfg(feature = "cli")]
pub(crate) fn set_writer(writer: fn(&Line<'_>)) {
    let is_set = WRITER.set(writer).is_ok();
    debug_assert!(is_set, "the log is set up once");
}

impl<'a> Line<'a> {
    /// Writes the line.
    pub(super) fn write(&self) {
        if let Some(writer) = WRITER.get() {
            return writer(self);
        }
        if !log::log_enabled!(target: TARGET, log::Level::Info) {
            return;
        }
        let mut record = log::Record::builder();
        record
            .level(log::Level::Info)
            .target(TARGET)
            .key_values(self);
        let message = format_args!("{} {}", self.ended.route, self.ended.status);
        log::logger().log(&record.args(message).build());
    }

    /// Passes the values that are known to `values`.
    pub(crate) fn visit<'v>(&'v self, values: &mut impl Values<'v>) {
        let Self {
            record,
            facts,
            ended,
            total,
        } = self;
        values.text(name!("id"), record.id.as_str());
        values.text(name!("route"), ended.route);
        values.number(name!("status"), ended.status.into());
        text(values, name!("code"), facts.code);
        if facts.is_replayed {
            values.yes(name!("replayed"));
        }
        text(
            values,
            name!("key"),
            Some(ended.key).filter(|key| !key.is_empty()),
        );
        if let Some(client) = &record.client {
            values.address(name!("client"), client);
        }
        text(values, name!("model"), facts.model.as_deref());
        text(values, name!("size"), facts.size.as_deref());
        if let Some(seconds) = facts.seconds {
            values.number(name!("seconds"), seconds.into());
        }
        if let Some(reservation) = &facts.reservation {
            values.reservation(name!("reservation"), reservation);
        }
        text(values, name!("job"), facts.job.as_deref());
        text(values, name!("source"), facts.source.as_deref());
        text(values, name!("channel"), facts.channel.as_deref());
        values.number(name!("bytes_in"), ended.bytes_in);
        values.number(name!("bytes_out"), ended.bytes_out);
        span(values, name!("upload_ms"), facts.upload);
        span(values, name!("reserve_ms"), facts.reserve);
        span(values, name!("channel_ms"), facts.answer);
        values.span(name!("total_ms"), *total);
        text(values, name!("trace"), record.trace.as_deref());
    }
}

fn text<'v>(values: &mut impl Values<'v>, name: &Name, text: Option<&'v str>) {
    if let Some(text) = text {
        values.text(name, text);
    }
}

fn span<'v>(values: &mut impl Values<'v>, name: &Name, span: Option<Duration>) {
    if let Some(span) = span {
        values.span(name, span);
    }
}

/// The values as key-value pairs of the crate `log`.
impl kv::Source for Line<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let mut pairs = Pairs {
            visitor,
            outcome: Ok(()),
        };
        self.visit(&mut pairs);
        pairs.outcome
    }
}

/// A visitor that passes each value to `visitor` as a pair, until `visitor` returns an error.
struct Pairs<'v, 'kvs> {
    visitor: &'v mut dyn VisitSource<'kvs>,
    outcome: Result<(), kv::Error>,
}

impl<'kvs> Pairs<'_, 'kvs> {
    fn pair(&mut self, name: &Name, value: Value<'kvs>) {
        if self.outcome.is_ok() {
            self.outcome = self.visitor.visit_pair(Key::from_str(name.plain), value);
        }
    }
}

impl<'kvs> Values<'kvs> for Pairs<'_, 'kvs> {
    fn text(&mut self, name: &Name, text: &'kvs str) {
        self.pair(name, text.into());
    }

    fn number(&mut self, name: &Name, number: u64) {
        self.pair(name, number.into());
    }

    fn yes(&mut self, name: &Name) {
        self.pair(name, true.into());
    }

    /// Passes the span in milliseconds. `f64` holds its microseconds exactly up to 285 years.
    fn span(&mut self, name: &Name, span: Duration) {
        self.pair(name, (span.as_micros() as f64 / 1000.0).into());
    }

    fn address(&mut self, name: &Name, address: &'kvs IpAddr) {
        self.pair(name, Value::from_display(address));
    }

    fn reservation(&mut self, name: &Name, id: &'kvs ReservationId) {
        self.pair(name, Value::from_display(id));
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::policy::Timestamp;

    /// Collects the pairs of a line.
    struct Found(Vec<(String, String)>);

    impl<'kvs> VisitSource<'kvs> for Found {
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
            let mut pairs = Found(Vec::new());
            record.with_line(&ended, Duration::from_micros(1500), |line| {
                kv::Source::visit(line, &mut pairs).unwrap();
            });
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
