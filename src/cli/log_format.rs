//! Formats lines of the log, as text or as JSON.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{self, Key, Value, VisitSource, VisitValue};

use super::beside;
use crate::access_log::LogFormat;

/// Whether log lines are JSON; before the configuration is read they are text.
static JSON: AtomicBool = AtomicBool::new(false);

/// Sets the format of the log lines from now on. With JSON, a panic is a log line too, because a reader of
/// JSON could not read its plain message.
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
        let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
    }));
}

/// Formats the reason why the process ends: as text, or as a log line if the log is JSON. It does not
/// depend on the log's level.
pub(super) fn last_words(problem: &str) -> String {
    if !JSON.load(Ordering::Relaxed) {
        return problem.to_owned();
    }
    let time = beside::shown(beside::now());
    let mut record = Record::builder();
    record.level(log::Level::Error).target("tollgate");
    let mut line = String::new();
    match json(
        &mut line,
        &time,
        &record.args(format_args!("{problem}")).build(),
    ) {
        Ok(()) => line,
        Err(_) => problem.to_owned(),
    }
}

/// Formats and writes one line of the log.
pub(super) fn write(buffer: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    use io::Write as _;

    let time = buffer.timestamp_millis();
    let mut line = String::with_capacity(512);
    let written = match JSON.load(Ordering::Relaxed) {
        true => json(&mut line, &time, record),
        false => text(&mut line, &time, record),
    };
    written.map_err(io::Error::other)?;
    line.push('\n');
    buffer.write_all(line.as_bytes())
}

fn text(line: &mut String, time: &dyn fmt::Display, record: &Record<'_>) -> fmt::Result {
    let (level, target) = (record.level(), record.target());
    write!(line, "[{time} {level:<5} {target}] {}", record.args())?;
    let visited = record.key_values().visit(&mut TextPairs(line));
    visited.map_err(|_| fmt::Error)
}

/// Formats a line as a JSON object with the time first. The record's key-value pairs follow the message.
fn json(line: &mut String, time: &dyn fmt::Display, record: &Record<'_>) -> fmt::Result {
    write!(
        line,
        "{{\"time\":\"{time}\",\"level\":\"{}\"",
        record.level()
    )?;
    for (name, value) in [
        ("target", record.target()),
        ("message", &record.args().to_string()),
    ] {
        write!(line, ",\"{name}\":")?;
        json_string(line, value)?;
    }
    let visited = record.key_values().visit(&mut JsonPairs(line));
    visited.map_err(|_| fmt::Error)?;
    line.push('}');
    Ok(())
}

fn json_string(line: &mut String, text: &str) -> fmt::Result {
    let quoted = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    line.write_str(&quoted)
}

/// A visitor that writes ` key=value` for each pair. A value is quoted if it is empty or contains a quote,
/// `=`, a backslash, or anything but visible ASCII.
struct TextPairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for TextPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let start = self.0.len();
        write!(self.0, " {key}={value}")?;
        let value = start + 1 + key.as_str().len() + 1;
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'=' | b'\\');
        let written = self.0.get(value..).unwrap_or_default();
        if written.is_empty() || !written.bytes().all(plain) {
            let quoted = format!("{written:?}");
            self.0.truncate(value);
            self.0.push_str(&quoted);
        }
        Ok(())
    }
}

/// A visitor that writes `,"key":value` for each pair.
struct JsonPairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for JsonPairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push(',');
        json_string(self.0, key.as_str())?;
        self.0.push(':');
        value.visit(JsonValue(self.0))
    }
}

struct JsonValue<'a>(&'a mut String);

impl<'v> VisitValue<'v> for JsonValue<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        Ok(json_string(self.0, &value.to_string())?)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        Ok(json_string(self.0, value)?)
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        match value.is_finite() {
            true => Ok(write!(self.0, "{value}")?),
            false => Ok(self.0.write_str("null")?),
        }
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        Ok(write!(self.0, "{value}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, Value<'static>); 0] = [];

    fn lines(pairs: &[(&str, Value<'_>)]) -> [String; 2] {
        let record = Record::builder()
            .level(log::Level::Info)
            .target("tollgate::request")
            .args(format_args!("say \"a\"\nb"))
            .key_values(&pairs)
            .build();
        let (mut as_text, mut as_json) = (String::new(), String::new());
        text(&mut as_text, &"T", &record).unwrap();
        json(&mut as_json, &"T", &record).unwrap();
        [as_text, as_json]
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
            "[T INFO  tollgate::request] say \"a\"\nb id=req_1 status=200 total_ms=1.25 \
             odd=\"x\\\",\\\"status\\\":1}\\n{\""
        );
        assert!(!json.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["message"], "say \"a\"\nb");
        assert_eq!(read["status"], 200);
        assert_eq!(read["total_ms"], 1.25);
        assert_eq!(read["odd"], hostile);
    }

    #[test]
    fn a_line_without_values_has_none() {
        let [text, json] = lines(&PAIRS);
        assert_eq!(text, "[T INFO  tollgate::request] say \"a\"\nb");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read.as_object().map(|object| object.len()), Some(4));
    }
}
