//! Formats lines of the log, as text or as JSON.
//!
//! A line is written into one buffer, without a string for each of its values. The lines of requests are
//! formatted by [`super::log_request`].

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};

use super::beside;
use crate::access_log::LogFormat;
use crate::policy::Timestamp;

/// Whether log lines are JSON; before the configuration is read they are text.
static JSON: AtomicBool = AtomicBool::new(false);

/// Returns whether log lines are JSON.
pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Sets the format of the log lines from now on. With JSON, a panic is a log line too, because a program that
/// reads JSON lines could not read the plain message of a panic.
pub(super) fn set(format: LogFormat) {
    let is_json = format == LogFormat::Json;
    if JSON.swap(is_json, Ordering::Relaxed) == is_json {
        return;
    }
    if !is_json {
        drop(std::panic::take_hook());
        return;
    }
    // Written at once: the process may end before its log is written.
    std::panic::set_hook(Box::new(|panic| {
        let line = format!("{}\n", last_words(&panic.to_string()));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }));
}

/// Formats the message of a panic, or the reason why the process ends: as text, or as a log line if the log
/// is JSON. The log's level cannot suppress it.
pub(super) fn last_words(problem: &str) -> String {
    if !is_json() {
        return problem.to_owned();
    }
    let mut record = Record::builder();
    record.level(Level::Error).target("tollgate");
    let mut line = Vec::new();
    let args = format_args!("{problem}");
    match json(&mut line, beside::now(), &record.args(args).build()) {
        Ok(()) => String::from_utf8_lossy(&line).into_owned(),
        Err(_) => problem.to_owned(),
    }
}

/// Appends the line of `record`, with its line feed, to an empty buffer.
///
/// # Errors
/// If a value of the record cannot be formatted.
pub(super) fn append(line: &mut Vec<u8>, record: &Record<'_>) -> Result<(), kv::Error> {
    match is_json() {
        true => json(line, beside::now(), record)?,
        false => text(line, beside::now(), record)?,
    }
    line.push(b'\n');
    Ok(())
}

/// Formats a line as text.
pub(super) fn text(
    line: &mut Vec<u8>,
    time: Timestamp,
    record: &Record<'_>,
) -> Result<(), kv::Error> {
    begin_text(line, time, record.level(), record.target());
    write!(PlainText(line), "{}", record.args())?;
    record.key_values().visit(&mut TextPairs(line))
}

/// Formats a line as a JSON object with the time first. The record's key-value pairs follow the message.
pub(super) fn json(
    line: &mut Vec<u8>,
    time: Timestamp,
    record: &Record<'_>,
) -> Result<(), kv::Error> {
    begin_json(line, time, record.level(), record.target());
    append_displayed(line, record.args())?;
    record.key_values().visit(&mut JsonPairs(line))?;
    line.push(b'}');
    Ok(())
}

/// Appends a line of text up to the message.
fn begin_text(line: &mut Vec<u8>, time: Timestamp, level: Level, target: &str) {
    line.push(b'[');
    append_time(line, time);
    line.push(b' ');
    line.extend_from_slice(level.as_str().as_bytes());
    // The levels have four letters or five.
    line.extend_from_slice(if level.as_str().len() < 5 {
        b"  "
    } else {
        b" "
    });
    line.extend_from_slice(target.as_bytes());
    line.extend_from_slice(b"] ");
}

/// Appends a line of JSON up to the message.
fn begin_json(line: &mut Vec<u8>, time: Timestamp, level: Level, target: &str) {
    line.extend_from_slice(b"{\"time\":\"");
    append_time(line, time);
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(level.as_str().as_bytes());
    line.extend_from_slice(b"\",\"target\":");
    append_quoted(line, target);
    line.extend_from_slice(b",\"message\":");
}

/// Appends a time as RFC 3339 in UTC, with milliseconds.
pub(super) fn append_time(line: &mut Vec<u8>, time: Timestamp) {
    thread_local! {
        /// The last second that this thread has formatted, and its text, with zeros for the milliseconds.
        /// Formatting a date takes as long as the rest of a line. The cell has no destructor, so a thread can
        /// use it even for lines that it logs while it ends.
        static SECOND: Cell<(u64, [u8; 24])> = const { Cell::new((u64::MAX, [0; 24])) };
    }
    let (mut second, mut text) = SECOND.get();
    if second != time.seconds() {
        second = time.seconds();
        let shown = beside::shown(Timestamp(second.saturating_mul(1000)));
        let Ok(shown) = shown.as_bytes().try_into() else {
            // The time is out of the calendar's range, and its text is `?`.
            return line.extend_from_slice(shown.as_bytes());
        };
        text = shown;
        SECOND.set((second, text));
    }
    let millis = time.0 % 1000;
    let digit = |value: u64| b'0' + (value % 10) as u8;
    text[20..23].copy_from_slice(&[millis / 100, millis / 10, millis].map(digit));
    line.extend_from_slice(&text);
}

/// Appends a text as a JSON string.
pub(super) fn append_quoted(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    append_escaped(line, text);
    line.push(b'"');
}

/// Appends the text that a value's `Display` writes, as a JSON string.
fn append_displayed(line: &mut Vec<u8>, value: impl fmt::Display) -> fmt::Result {
    line.push(b'"');
    write!(JsonText(line), "{value}")?;
    line.push(b'"');
    Ok(())
}

/// A writer that appends text unchanged. (`write!` to a vector panics if a value cannot be formatted.)
struct PlainText<'a>(&'a mut Vec<u8>);

impl fmt::Write for PlainText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// A writer that appends text with the escapes of a JSON string, without quotation marks.
struct JsonText<'a>(&'a mut Vec<u8>);

impl fmt::Write for JsonText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        append_escaped(self.0, text);
        Ok(())
    }
}

/// Appends a text with the escapes of a JSON string, without quotation marks.
fn append_escaped(line: &mut Vec<u8>, text: &str) {
    // The loop has no early exit, so that the compiler can check many bytes at once.
    let escaped = |is: bool, b: u8| is | (b < b' ') | (b == b'"') | (b == b'\\');
    match text.bytes().fold(false, escaped) {
        false => line.extend_from_slice(text.as_bytes()),
        true => append_with_escapes(line, text),
    }
}

/// Appends a text that needs escapes within a JSON string. A separate function, because few texts need it.
#[cold]
fn append_with_escapes(line: &mut Vec<u8>, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    line.extend_from_slice(inner.as_bytes());
}

/// A visitor that writes ` key=value` for each pair. A value is quoted if it is empty or contains a quote,
/// `=`, a backslash, or anything but visible ASCII.
struct TextPairs<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for TextPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_str().as_bytes());
        self.0.push(b'=');
        let start = self.0.len();
        write!(PlainText(self.0), "{value}")?;
        quote_from(self.0, start);
        Ok(())
    }
}

/// Quotes the value that was written from `start` on, if it needs quotes (see [`TextPairs`]).
pub(super) fn quote_from(line: &mut Vec<u8>, start: usize) {
    // The loop has no early exit, so that the compiler can check many bytes at once.
    let odd = |is: bool, b: &u8| {
        is | (*b <= b' ') | (*b > b'~') | (*b == b'"') | (*b == b'=') | (*b == b'\\')
    };
    let written = line.get(start..).unwrap_or_default();
    if written.is_empty() || written.iter().fold(false, odd) {
        replace_by_quoted(line, start);
    }
}

/// Replaces what was written from `start` on by the same text in quotes. A separate function, because few
/// values need it.
#[cold]
fn replace_by_quoted(line: &mut Vec<u8>, start: usize) {
    let written = line.get(start..).unwrap_or_default();
    let quoted = format!("{:?}", String::from_utf8_lossy(written));
    line.truncate(start);
    line.extend_from_slice(quoted.as_bytes());
}

/// A visitor that writes `,"key":value` for each pair.
struct JsonPairs<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for JsonPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push(b',');
        append_quoted(self.0, key.as_str());
        self.0.push(b':');
        value.visit(JsonValue(self.0))
    }
}

struct JsonValue<'a>(&'a mut Vec<u8>);

impl<'v> VisitValue<'v> for JsonValue<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        Ok(append_displayed(self.0, value)?)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        append_quoted(self.0, value);
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        append_number(self.0, value);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        Ok(write!(PlainText(self.0), "{value}")?)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        Ok(match value.is_finite() {
            true => write!(PlainText(self.0), "{value}"),
            false => write!(PlainText(self.0), "null"),
        }?)
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.0.extend_from_slice(text);
        Ok(())
    }
}

/// Appends a number in decimal digits.
pub(super) fn append_number(line: &mut Vec<u8>, number: u64) {
    // Writing to a vector does not fail.
    let _ = serde_json::to_writer(line, &number);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14, 22:13:20.007 UTC.
    const TIME: Timestamp = Timestamp(1_700_000_000_007);

    const PAIRS: [(&str, Value<'static>); 0] = [];

    fn lines(pairs: &[(&str, Value<'_>)]) -> [String; 2] {
        let record = Record::builder()
            .level(log::Level::Info)
            .target("tollgate::request")
            .args(format_args!("say \"a\"\nb"))
            .key_values(&pairs)
            .build();
        let (mut as_text, mut as_json) = (Vec::new(), Vec::new());
        text(&mut as_text, TIME, &record).unwrap();
        json(&mut as_json, TIME, &record).unwrap();
        [as_text, as_json].map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_line_of_json_is_one_object_whatever_is_in_it() {
        let hostile = "x\",\"status\":1}\n{";
        let pairs = [
            ("id", Value::from("req_1")),
            ("status", Value::from(200_u16)),
            ("total_ms", Value::from(1.25)),
            ("odd", Value::from(hostile)),
        ];
        let [text, json] = lines(&pairs);
        assert_eq!(
            text,
            "[2023-11-14T22:13:20.007Z INFO  tollgate::request] say \"a\"\nb id=req_1 status=200 total_ms=1.25 \
             odd=\"x\\\",\\\"status\\\":1}\\n{\""
        );
        assert!(!json.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["time"], "2023-11-14T22:13:20.007Z");
        assert_eq!(read["level"], "INFO");
        assert_eq!(read["target"], "tollgate::request");
        assert_eq!(read["message"], "say \"a\"\nb");
        assert_eq!(read["status"], 200);
        assert_eq!(read["total_ms"], 1.25);
        assert_eq!(read["odd"], hostile);
    }

    #[test]
    fn times_are_those_that_the_commands_show() {
        let second = 1_700_000_000_000;
        for ms in [
            0,
            1,
            999,
            1000,
            59_999,
            86_400_000,
            86_400_001,
            0,
            u64::MAX - second,
        ] {
            let time = Timestamp(second + ms);
            let mut line = Vec::new();
            append_time(&mut line, time);
            assert_eq!(String::from_utf8(line).unwrap(), beside::shown(time));
        }
    }

    #[test]
    fn each_kind_of_value_is_one_of_json() {
        let pairs = [
            ("less", Value::from(-7_i64)),
            ("nan", Value::from(f64::NAN)),
            ("yes", Value::from(true)),
            ("displayed", Value::from_display(&"a\t\u{1}\"é")),
            ("key \"", Value::from("")),
        ];
        let [text, json] = lines(&pairs);
        assert!(
            text.ends_with("displayed=\"a\\t\\u{1}\\\"é\" key \"=\"\""),
            "{text}"
        );
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["less"], -7);
        assert!(read["nan"].is_null());
        assert_eq!(read["yes"], true);
        assert_eq!(read["displayed"], "a\t\u{1}\"é");
        assert_eq!(read["key \""], "");
    }

    #[test]
    fn a_line_without_values_has_none() {
        let [text, json] = lines(&PAIRS);
        assert_eq!(
            text,
            "[2023-11-14T22:13:20.007Z INFO  tollgate::request] say \"a\"\nb"
        );
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read.as_object().map(|object| object.len()), Some(4));
    }
}
