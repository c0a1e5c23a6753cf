//! Limits on what a key or a group may ask for, and the windows in which they are counted.
//!
//! Windows are fixed and aligned to UTC: a minute starts at second 0, a day at 00:00, a
//! month on its first day. At the start of a window the whole limit is available again. So in
//! the worst case a client uses twice the limit within one window's length: once before and
//! once after an edge. In return every gate of a fleet agrees on the window without
//! communication, and a ledger has to keep only a few rows per limit.

use std::fmt;
use std::str::FromStr;

use crate::calendar::civil;
use crate::money::Amount;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Returns the milliseconds from `earlier` to this time, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The quantity that a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// The number of creates and remixes.
    Requests,
    /// The number of seconds of video.
    VideoSeconds,
    /// The list cost, in nanos (billionths) of a USD.
    ListCost,
    /// The billed cost, in nanos (billionths) of a unit of the group's currency.
    BilledCost,
    /// The purchase cost of a channel's jobs, in nanos of the channel's purchase currency. No limit of a
    /// key or group counts this measure.
    Cost,
    /// The number of jobs that have not ended. It has no window.
    InFlight,
}

impl Measure {
    /// Returns the name of the measure in the configuration, in messages and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::VideoSeconds => "video_seconds",
            Self::ListCost => "list_cost_usd",
            Self::BilledCost => "billed_cost",
            Self::Cost => "cost",
            Self::InFlight => "in_flight",
        }
    }

    /// Returns whether the measure is a cost that occurs in several currencies, each with a sum of its own.
    pub const fn has_currency(self) -> bool {
        matches!(self, Self::BilledCost | Self::Cost)
    }

    /// Returns whether the measure is an amount of money. A limit of it is a budget, and a retry soon does
    /// not help against a spent budget.
    pub const fn is_budget(self) -> bool {
        matches!(self, Self::ListCost | Self::BilledCost | Self::Cost)
    }
}

/// The span of time in which a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// A minute of the clock.
    Minute,
    /// An hour of the clock.
    Hour,
    /// A day in UTC.
    Day,
    /// A calendar month in UTC.
    Month,
    /// All time.
    Total,
}

impl Window {
    /// Returns the name of the window in the configuration and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "min",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// Returns the beginning of the window that holds `now`, in seconds since the epoch.
    pub fn start(self, now: Timestamp) -> u64 {
        let seconds = now.seconds();
        match self {
            Self::Minute => seconds - seconds % 60,
            Self::Hour => seconds - seconds % 3600,
            Self::Day => seconds - seconds % 86400,
            Self::Month => {
                let day = seconds / 86400;
                (day - u64::from(civil(day).2 - 1)) * 86400
            }
            Self::Total => 0,
        }
    }

    /// Returns the end of the window that holds `now`, in seconds since the epoch; `None` for
    /// [`Window::Total`].
    pub fn end(self, now: Timestamp) -> Option<u64> {
        let start = self.start(now);
        match self {
            Self::Minute => Some(start + 60),
            Self::Hour => Some(start + 3600),
            Self::Day => Some(start + 86400),
            Self::Month => {
                let (year, month, _) = civil(start / 86400);
                Some(start + 86400 * days_in_month(year, month))
            }
            Self::Total => None,
        }
    }
}

const fn days_in_month(year: u64, month: u32) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The maximum of a measure in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The measure that is counted.
    pub measure: Measure,
    /// The window in which the measure is counted; [`Window::Total`] for [`Measure::InFlight`].
    pub window: Window,
    /// The maximum that may be reserved or posted: a count, seconds, or nanos.
    pub max: u64,
}

/// The reason why a text cannot be parsed as a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseLimitError {
    /// The text has no `/window` where one is needed.
    #[error("add a window: 10/min, 600/hour, 100/day, 2000/month or 5000/total")]
    NoWindow,
    /// The text has a window where none is allowed.
    #[error("write the number alone: jobs in flight have no window")]
    HasWindow,
    /// The text behind the slash is not the name of a window, as in `10/week`.
    #[error("`{0}` is no window: write min, hour, day, month or total")]
    UnknownWindow(String),
    /// The number is not a plain decimal number, or is too large or too precise to be kept exactly.
    #[error("`{0}` is no number that can be kept exactly")]
    BadNumber(String),
}

impl Limit {
    /// Returns the amount of the limit that is left when `used` is used; zero if the limit was lowered below
    /// `used`.
    pub const fn remaining(&self, used: u64) -> u64 {
        self.max.saturating_sub(used)
    }

    /// Parses a limit such as `600/hour`, or a plain number for [`Measure::InFlight`].
    pub fn parse(measure: Measure, text: &str) -> Result<Self, ParseLimitError> {
        let (number, window) = match text.split_once('/') {
            Some(_) if measure == Measure::InFlight => return Err(ParseLimitError::HasWindow),
            Some((number, window)) => (number.trim_end(), Window::from_str(window.trim_start())?),
            None if measure == Measure::InFlight => (text, Window::Total),
            None => return Err(ParseLimitError::NoWindow),
        };
        let max = if measure.is_budget() {
            number.parse::<Amount>().ok().map(Amount::nanos)
        } else {
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let max = number.parse::<u64>().ok().filter(|n| *n <= i64::MAX as u64);
            max.filter(|_| digits)
        };
        match max {
            Some(max) => Ok(Self {
                measure,
                window,
                max,
            }),
            None => Err(ParseLimitError::BadNumber(number.into())),
        }
    }
}

impl FromStr for Window {
    type Err = ParseLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "min" | "minute" => Ok(Self::Minute),
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            "total" => Ok(Self::Total),
            _ => Err(ParseLimitError::UnknownWindow(text.into())),
        }
    }
}

/// Formats a limit as it is written in the configuration, such as `600/hour`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Amount::from_nanos(self.max) {
            Some(amount) if self.measure.is_budget() => write!(f, "{amount}")?,
            _ => write!(f, "{}", self.max)?,
        }
        if self.measure == Measure::InFlight {
            return Ok(());
        }
        write!(f, "/{}", self.window.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn months_are_calendar_months() {
        // 2024-02-29T12:00:00Z: a leap day.
        let leap = at(1_709_208_000);
        assert_eq!(Window::Month.start(leap), 1_706_745_600);
        assert_eq!(Window::Month.end(leap), Some(1_709_251_200));
        // 2100-02-10T00:00:00Z: no leap year, so 28 days.
        let century = at(4_105_900_800);
        let end = Window::Month.end(century).unwrap();
        assert_eq!((end - Window::Month.start(century)) / 86400, 28);
    }

    #[test]
    fn windows_hold_the_moment_and_meet_at_their_edges() {
        for window in [Window::Minute, Window::Hour, Window::Day, Window::Month] {
            let mut now = at(1_700_000_000);
            for _ in 0..1000 {
                let end = window.end(now).unwrap();
                assert!(window.start(now) <= now.seconds() && now.seconds() < end);
                assert_eq!(window.start(at(end)), end, "{window:?}");
                assert_eq!(window.start(at(end - 1)), window.start(now));
                now = at(end);
            }
        }
        assert_eq!(Window::Total.end(at(5)), None);
    }

    #[test]
    fn limits_are_read_and_written_alike() {
        for (measure, text) in [
            (Measure::Requests, "10/min"),
            (Measure::VideoSeconds, "600/hour"),
            (Measure::ListCost, "100.50/day"),
            (Measure::BilledCost, "0.00/total"),
            (Measure::Cost, "80.00/day"),
            (Measure::InFlight, "4"),
        ] {
            assert_eq!(Limit::parse(measure, text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        let parse = |measure, text| Limit::parse(measure, text).unwrap_err();
        assert_eq!(parse(Measure::Requests, "10"), ParseLimitError::NoWindow);
        assert_eq!(
            parse(Measure::InFlight, "4/min"),
            ParseLimitError::HasWindow
        );
        for text in [
            "1.5/min",
            "+1/min",
            "/min",
            "-1/min",
            "99999999999999999999/min",
        ] {
            assert!(
                matches!(
                    parse(Measure::Requests, text),
                    ParseLimitError::BadNumber(_)
                ),
                "{text}"
            );
        }
        assert!(matches!(
            parse(Measure::Requests, "1/week"),
            ParseLimitError::UnknownWindow(_)
        ));
    }
}
