//! Parses the numbers of bytes, durations, counts, times, names and addresses of the file.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Problems, Reported};
use super::file::Text;
use crate::calendar::parse_rfc3339;
use crate::policy::Timestamp;

const MAX_BYTES: u64 = 1 << 40;
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The reason why a text is not a value of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScalarError {
    /// The text is not a number of bytes from 1 to 1 TiB.
    #[error("this is no size: write bytes up to 1 TiB, such as 65536, 4 KiB, 64 MiB or 1 GiB")]
    Bytes,
    /// The text is not a duration from 1 ms to 24 h.
    #[error(
        "this is no duration: write a whole number and ms, s, min or h, up to 24h, \
         such as 500ms or 30s"
    )]
    Duration,
    /// The text is not a whole number from 1 to 4,294,967,295.
    #[error("this is no count: write a whole number from 1 to 4294967295")]
    Count,
    /// The text is not a whole number from the first value to the second, both included.
    #[error("write a whole number from {0} to {1}")]
    Range(u32, u32),
    /// The number is zero, which is not a valid number of bytes, duration or count.
    #[error("zero would let nothing through: write at least 1")]
    Zero,
    /// The text is not an address `IP:PORT`.
    #[error(
        "this is no address: write IP:PORT, such as 127.0.0.1:8080, 0.0.0.0:8080 or \
         [::]:8080"
    )]
    Address,
    /// The text is not an RFC 3339 time: a date with a time of day and a zone.
    #[error("this is no time: write date, time and zone, such as 2026-12-31T18:00:00Z")]
    Time,
    /// The text is not a name that can be a metric's label: 1 to 64 letters, digits and `.-_`.
    #[error("this is no name: write 1 to 64 letters, digits, dots, dashes and underscores")]
    Name,
}

/// Parses a text with `parse`, such as one of the functions below, or reports its error as a problem.
pub(super) fn parsed<T, E: fmt::Display>(
    text: &Text,
    parse: impl Fn(&str) -> Result<T, E>,
    problems: &mut Problems,
) -> Result<T, Reported> {
    parse(&text.value).map_err(|error| problems.report(text.referenced, error.to_string()))
}

/// Parses a setting like [`parsed`], or returns `default` if the file leaves it out.
pub(super) fn parsed_or<T, E: fmt::Display>(
    text: &Option<Text>,
    parse: impl Fn(&str) -> Result<T, E>,
    default: T,
    problems: &mut Problems,
) -> Result<T, Reported> {
    match text {
        Some(text) => parsed(text, parse, problems),
        None => Ok(default),
    }
}

/// Parses a number of bytes from 1 to 1 TiB: `65536`, `4 KiB`, `64 MiB`, `1 GiB`.
pub(super) fn bytes<T: TryFrom<u64>>(text: &str) -> Result<T, ScalarError> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(ScalarError::Bytes),
    };
    let number = whole(number).ok_or(ScalarError::Bytes)?;
    let bytes = number.checked_mul(factor).filter(|n| *n <= MAX_BYTES);
    match bytes {
        Some(0) => Err(ScalarError::Zero),
        Some(bytes) => T::try_from(bytes).map_err(|_| ScalarError::Bytes),
        None => Err(ScalarError::Bytes),
    }
}

/// Parses a duration from 1 ms to 24 h: `500ms`, `30s`, `10min`, `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, ScalarError> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(ScalarError::Duration),
    };
    let number = whole(number).ok_or(ScalarError::Duration)?;
    let millis = number.checked_mul(factor).map(Duration::from_millis);
    match millis.filter(|d| *d <= MAX_DURATION) {
        Some(Duration::ZERO) => Err(ScalarError::Zero),
        Some(duration) => Ok(duration),
        None => Err(ScalarError::Duration),
    }
}

/// Parses a whole number from 1 to 4,294,967,295.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, ScalarError> {
    let number = whole(text).filter(|n| *n <= u64::from(u32::MAX));
    match number {
        Some(0) => Err(ScalarError::Zero),
        Some(number) => T::try_from(number).map_err(|_| ScalarError::Count),
        None => Err(ScalarError::Count),
    }
}

/// Returns a function that parses whole numbers from `min` to `max`, both included.
pub(super) fn within(min: u32, max: u32) -> impl Fn(&str) -> Result<u32, ScalarError> {
    move |text| {
        let number = whole(text).and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (min..=max).contains(number));
        number.ok_or(ScalarError::Range(min, max))
    }
}

/// Parses an IP address with a port: `IP:PORT`.
pub(super) fn address(text: &str) -> Result<SocketAddr, ScalarError> {
    text.parse().map_err(|_| ScalarError::Address)
}

/// Parses a time in RFC 3339: `2026-12-31T18:00:00Z`, `2026-12-31T18:00:00+08:00`.
pub(super) fn time(text: &str) -> Result<Timestamp, ScalarError> {
    let seconds = parse_rfc3339(text).and_then(|seconds| seconds.checked_mul(1000));
    seconds.map(Timestamp).ok_or(ScalarError::Time)
}

/// Parses the name of a key, a group, a channel or a currency: 1 to 64 letters, digits and `.-_`. Such names
/// become labels of metrics.
pub(super) fn name(text: &str) -> Result<Arc<str>, ScalarError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.into())
    } else {
        Err(ScalarError::Name)
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(end);
    (number, unit.strip_prefix(' ').unwrap_or(unit))
}

/// Parses a whole number that is written in digits only, without sign, separators or exponent.
fn whole(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}
