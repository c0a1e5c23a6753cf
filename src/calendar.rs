//! Dates of the Gregorian calendar, and times in RFC 3339.

/// Parses an RFC 3339 time such as `2026-11-28T05:40:33.5+01:00` into whole seconds since 1970, without the
/// fraction of the second. Returns `None` for any other text, and for a time before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let (time, zone) = rest.split_at_checked(rest.find(['Z', 'z', '+', '-'])?)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let is_time = hour < 24 && minute < 60 && second <= 60 && is_number(fraction);
    if !is_time || !(1..=days_in(year, month)?).contains(&day) {
        return None;
    }
    let minutes = (days_before(year, month, day) * 24 + hour) * 60 + minute - offset(zone)?;
    // Only the last minute of a day can be longer by a second.
    if second == 60 && minutes.rem_euclid(24 * 60) != 24 * 60 - 1 {
        return None;
    }
    u64::try_from(minutes * 60 + second).ok()
}

/// Formats seconds since 1970 as a time in UTC, such as `2026-11-28T05:40:33Z`.
pub(crate) fn format_rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86400);
    let second = seconds % 86400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Converts `day`, the number of days since 1970-01-01, to (year, month, day) of the proleptic Gregorian
/// calendar. The computation counts in eras of 400 years that begin on the first of March.
pub(crate) fn civil(day: u64) -> (u64, u32, u32) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month as u32, day_of_month as u32)
}

/// Returns the number of minutes by which the time of `zone` (`Z`, `+hh:mm` or `-hh:mm`) is ahead of UTC;
/// `None` for any other text.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (sign, text) = match zone.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, zone.strip_prefix('+')?),
    };
    let [hours, minutes] = numbers(text, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// Parses a text that consists of `N` numbers with a separator between them. Each number must have exactly
/// the number of digits that `digits` gives for it; `None` otherwise.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        *number = (part.len() == digits && is_number(part)).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(28 + i64::from(is_leap)),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Returns the number of days from 1970-01-01 to a date of the Gregorian calendar, negative for an earlier
/// date. The computation counts each year from March, so that the leap day is the last day of a year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + leap_days + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::{format_rfc3339, parse_rfc3339};

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-28T05:40:33Z", 1_795_844_433),
            ("2026-11-28t05:40:33z", 1_795_844_433),
            ("2026-11-28T05:40:33.999999999Z", 1_795_844_433),
            ("2026-11-28T06:40:33+01:00", 1_795_844_433),
            ("2026-11-27T23:55:33-05:45", 1_795_844_433),
            ("2026-11-28T05:40:33-00:00", 1_795_844_433),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2024-03-01T00:00:00Z", 1_709_251_200),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
            ("2017-01-01T05:29:60+05:30", 1_483_228_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse_rfc3339(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(format_rfc3339(1_795_844_433), "2026-11-28T05:40:33Z");
        // Every day of eight centuries, each with another second.
        for day in 0..800 * 365 {
            let seconds = day * 86_400 + day * 7 % 86_400;
            let text = format_rfc3339(seconds);
            assert_eq!(parse_rfc3339(&text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "T",
            "now",
            "1795844433",
            "2026-11-28",
            "05:40:33Z",
            // Without a zone the moment is not known.
            "2026-11-28T05:40:33",
            "2026-11-28 05:40:33Z",
            "2026-11-28T05:40Z",
            "2026-11-28T05:40:33.Z",
            "2026-11-28T05:40:33,5Z",
            "2026-11-28T05:40:33+0100",
            "2026-11-28T05:40:33+01",
            "2026-11-28T05:40:33+24:00",
            "2026-11-28T05:40:33+01:60",
            "2026-11-28T05:40:33Z ",
            " 2026-11-28T05:40:33Z",
            "2026-11-28T05:40:33ZZ",
            "20261128T054033Z",
            "2026-00-28T05:40:33Z",
            "2026-13-28T05:40:33Z",
            "2026-11-00T05:40:33Z",
            "2026-11-31T05:40:33Z",
            "2025-02-29T05:40:33Z",
            "2100-02-29T05:40:33Z",
            "2026-11-28T24:00:00Z",
            "2026-11-28T05:60:33Z",
            "2026-11-28T05:40:60Z",
            "2026-11-28T05:40:61Z",
            "+026-11-28T05:40:33Z",
            "12026-11-28T05:40:33Z",
            "２０26-11-28T05:40:33Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
