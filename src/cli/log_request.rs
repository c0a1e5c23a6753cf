//! Formats the log lines of client requests.
//!
//! With `log.requests: all` each request has a line, and writing it takes part of the request's CPU time. So
//! the values do not pass through the interface of the crate `log`. This code is small, because most of it is
//! not in the processor's cache when a request ends.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::log_format::{append_number, append_quoted, append_time, is_json, quote_from};
use crate::access_log::{Line, Name, Values};
use crate::clock;
use crate::ledger::ReservationId;
use crate::policy::Timestamp;

/// What stands between the time and the message of each line of JSON.
const AFTER_TIME_JSON: &[u8] =
    b"\",\"level\":\"INFO\",\"target\":\"tollgate::request\",\"message\":\"";

/// What stands between the time and the message of each line of text.
const AFTER_TIME_TEXT: &[u8] = b" INFO  tollgate::request] ";

/// Appends the log line of a request, with its line feed. The line is the same as the one that
/// [`append`](super::log_format::append) makes of the record of the request in the crate `log`.
pub(super) fn append(text: &mut Vec<u8>, request: &Line<'_>) {
    append_as(is_json(), text, clock::now(), request);
    text.push(b'\n');
}

fn append_as(is_json: bool, text: &mut Vec<u8>, time: Timestamp, request: &Line<'_>) {
    let (before, after): (&[u8], _) = match is_json {
        true => (b"{\"time\":\"", AFTER_TIME_JSON),
        false => (b"[", AFTER_TIME_TEXT),
    };
    text.extend_from_slice(before);
    append_time(text, time);
    text.extend_from_slice(after);
    text.extend_from_slice(request.ended.route.as_bytes());
    text.push(b' ');
    append_number(text, request.ended.status.into());
    let mut writer = LineWriter { text, is_json };
    writer.quote();
    request.visit(&mut writer);
    if is_json {
        text.push(b'}');
    }
}

/// A visitor that writes `,"name":value` or ` name=value` for each value.
struct LineWriter<'a> {
    text: &'a mut Vec<u8>,
    is_json: bool,
}

impl LineWriter<'_> {
    fn name(&mut self, name: &Name) {
        let name = if self.is_json { name.json } else { name.text };
        self.text.extend_from_slice(name.as_bytes());
    }

    /// Appends the decimal digits of an octet of an address.
    fn octet(&mut self, octet: u8) {
        let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
        let zeros = usize::from(octet < 100) + usize::from(octet < 10);
        self.text.extend_from_slice(&digits[zeros..]);
    }

    /// Appends a quotation mark if the line is JSON, for values that a line of text never quotes.
    fn quote(&mut self) {
        if self.is_json {
            self.text.push(b'"');
        }
    }
}

impl<'v> Values<'v> for LineWriter<'_> {
    fn text(&mut self, name: &Name, text: &'v str) {
        self.name(name);
        if self.is_json {
            return append_quoted(self.text, text);
        }
        let start = self.text.len();
        self.text.extend_from_slice(text.as_bytes());
        quote_from(self.text, start);
    }

    fn number(&mut self, name: &Name, number: u64) {
        self.name(name);
        append_number(self.text, number);
    }

    fn yes(&mut self, name: &Name) {
        self.name(name);
        self.text.extend_from_slice(b"true");
    }

    fn span(&mut self, name: &Name, span: Duration) {
        self.name(name);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        append_number(self.text, micros / 1000);
        let fraction = micros % 1000;
        if fraction > 0 {
            let digits = [fraction / 100, fraction / 10 % 10, fraction % 10];
            let zeros = digits.iter().rev().take_while(|digit| **digit == 0).count();
            self.text.push(b'.');
            let digits = digits.map(|digit| b'0' + digit as u8);
            self.text.extend_from_slice(&digits[..digits.len() - zeros]);
        }
    }

    fn address(&mut self, name: &Name, address: &'v IpAddr) {
        self.name(name);
        self.quote();
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                self.octet(first);
                for octet in rest {
                    self.text.push(b'.');
                    self.octet(octet);
                }
            }
            // Writing to a vector does not fail.
            IpAddr::V6(address) => drop(write!(self.text, "{address}")),
        }
        self.quote();
    }

    fn reservation(&mut self, name: &Name, id: &'v ReservationId) {
        self.name(name);
        self.quote();
        id.with_digits(|digits| self.text.extend_from_slice(digits.as_bytes()));
        self.quote();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use log::{Level, Record};

    use super::*;
    use crate::access_log::{Ended, RequestRecord, TARGET};
    use crate::cli::log_format::{json, text};

    const TIME: Timestamp = Timestamp(1_700_000_000_007);

    /// Returns the line in both formats: as it is written, and as the crate `log` would pass it on.
    fn lines(record: &RequestRecord, ended: &Ended<'_>, micros: u64) -> [[String; 2]; 2] {
        let mut lines = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        record.with_line(ended, Duration::from_micros(micros), |request| {
            let message = format_args!("{} {}", ended.route, ended.status);
            let mut passed = Record::builder();
            passed.level(Level::Info).target(TARGET).key_values(request);
            let passed = passed.args(message).build();
            let [[written_json, written_text], [passed_json, passed_text]] = &mut lines;
            append_as(true, written_json, TIME, request);
            append_as(false, written_text, TIME, request);
            json(passed_json, TIME, &passed).unwrap();
            text(passed_text, TIME, &passed).unwrap();
        });
        lines.map(|both| both.map(|line| String::from_utf8(line).unwrap()))
    }

    #[test]
    fn a_line_is_the_one_that_its_record_would_have() {
        let addresses = [
            None,
            Some("127.0.0.1"),
            Some("255.10.9.200"),
            Some("2001:db8::1"),
        ];
        for (place, address) in addresses.into_iter().enumerate() {
            let client = address.map(|address| address.parse().unwrap());
            let record = RequestRecord::new(&HeaderMap::new(), client, TIME, |_| false);
            for micros in [
                0,
                1,
                20,
                300,
                999,
                1000,
                1500,
                60_000_001,
                5_000_000_123_456,
            ] {
                let ended = Ended {
                    route: "create",
                    key: ["", "studio", "a \"key\"\n", "clé"][place],
                    status: 200,
                    bytes_in: micros,
                    bytes_out: u64::MAX,
                };
                let [written, passed] = lines(&record, &ended, micros);
                assert_eq!(written, passed);
                let read: serde_json::Value = serde_json::from_str(&written[0]).unwrap();
                assert_eq!(read["client"].as_str(), address);
                assert_eq!(read["key"].as_str().unwrap_or_default(), ended.key);
            }
            // The further values, which are known from now on.
            record.set_code("rate_limit_exceeded");
            record.set_replayed();
            record.set_requested(Some(&"sora-2".into()), Some(&"".into()), Some(8));
            record.set_reservation(ReservationId(7));
            record.set_channel(&"e=ast".into());
            record.set_job(&"video\\_1".into());
            record.set_source(&"\u{1}".into());
            record.add_ledger_time(Duration::from_micros(7));
            record.set_channel_time(Duration::from_millis(40));
            record.set_arrival(std::time::Instant::now());
            let ended = Ended {
                route: "remix",
                key: "studio",
                status: 429,
                bytes_in: 0,
                bytes_out: 9,
            };
            let [written, passed] = lines(&record, &ended, 5);
            assert_eq!(written, passed);
        }
    }
}
