//! Describes for a client the limit that its request exceeds: what remains, what the request uses, and when
//! the whole limit is available again, in the client's currency.

use std::fmt::{self, Display as _};
use std::sync::Arc;

use super::{Group, Limit, Measure, Timestamp, Window};
use crate::calendar::format_rfc3339;
use crate::money::{Amount, Multiplier};
use crate::plural::Counted;

/// A limit that a request exceeds, with the figures for the client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit that the request exceeds.
    pub limit: Limit,
    /// Whether the limit is that of the key's group, which other keys share.
    pub is_shared: bool,
    /// The amount that is reserved or posted already in the window, in the unit of the limit's measure.
    pub used: u64,
    /// The amount that the request would use, in the same unit; `None` while the amount is not known.
    pub takes: Option<u64>,
    /// The end of the window, in seconds since the epoch; `None` if waiting for it does not help.
    pub resets: Option<u64>,
    /// The time at which the limit was found to be exceeded.
    pub at: Timestamp,
    /// The currency and the multiplier of what the client pays.
    pub terms: Terms,
}

/// The price of one USD of list price for a client, and its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The currency's name.
    pub currency: Arc<str>,
    /// The multiplier of the list price.
    pub multiplier: Multiplier,
}

impl From<&Group> for Terms {
    fn from(group: &Group) -> Self {
        Self {
            currency: group.currency.clone(),
            multiplier: group.multiplier,
        }
    }
}

impl Terms {
    /// Converts a list cost in nanos of USD to the amount that the client pays; `None` if that amount is the
    /// same, or cannot be expressed exactly.
    pub fn billed(&self, list: u64) -> Option<Amount> {
        let is_list = &*self.currency == "USD" && self.multiplier.thousandths() == 1000;
        let billed = self.multiplier.apply(Amount::from_nanos(list)?);
        billed.filter(|_| !is_list)
    }
}

impl Exceeded {
    /// Returns the amount of the limit that is left in the window.
    pub fn remaining(&self) -> u64 {
        self.limit.remaining(self.used)
    }

    /// Returns the number of seconds until the whole limit is available again, at least one; `None` if
    /// waiting does not help.
    pub fn wait(&self) -> Option<u64> {
        let resets = self.resets?;
        Some(resets.saturating_sub(self.at.seconds()).max(1))
    }

    /// Writes an amount of the limit's measure, with its unit.
    fn write(&self, f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
        let amount = Amount::from_nanos(value).unwrap_or(Amount::MAX);
        match self.limit.measure {
            Measure::Requests => Counted(value, "request").fmt(f),
            Measure::InFlight => Counted(value, "video").fmt(f),
            Measure::VideoSeconds => Counted(value, "second").fmt(f),
            Measure::BilledCost => write!(f, "{amount} {}", self.terms.currency),
            Measure::ListCost => {
                write!(f, "{amount} USD")?;
                match self.terms.billed(value) {
                    Some(billed) => write!(f, " ({billed} {} billed)", self.terms.currency),
                    None => Ok(()),
                }
            }
            Measure::Cost => write!(f, "{amount}"),
        }
    }
}

/// Writes the message for the client.
impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit {
            measure, window, ..
        } = self.limit;
        let whose = match self.is_shared {
            true => "this key's group",
            false => "this key",
        };
        f.write_str(match measure.is_budget() {
            true => "You exceeded your current quota: ",
            false => "Rate limit reached: ",
        })?;
        if measure == Measure::InFlight {
            write!(f, "{whose} may have ")?;
            self.write(f, self.limit.max)?;
            return f.write_str(" under way at a time. Try again when one has ended.");
        }
        let may = match measure {
            Measure::Requests => "make",
            Measure::VideoSeconds => "ask for",
            _ => "spend",
        };
        write!(f, "{whose} may {may} ")?;
        self.write(f, self.limit.max)?;
        f.write_str(match measure {
            Measure::VideoSeconds => " of video",
            Measure::ListCost => " of list price",
            _ => "",
        })?;
        f.write_str(match window {
            Window::Minute => " a minute",
            Window::Hour => " an hour",
            Window::Day => " a day (UTC)",
            Window::Month => " a month (UTC)",
            Window::Total => " in all",
        })?;
        f.write_str(", with ")?;
        self.write(f, self.remaining())?;
        f.write_str(" remaining.")?;
        if let Some(takes) = self.takes.filter(|_| measure != Measure::Requests) {
            let costs = if measure.is_budget() {
                "costs"
            } else {
                "takes"
            };
            write!(f, " This request {costs} ")?;
            self.write(f, takes)?;
            f.write_str(".")?;
        }
        match (self.resets, window) {
            (Some(resets), _) => {
                write!(f, " All of it is there again at {}", format_rfc3339(resets))?;
                write!(f, ", in {}.", wait_in_words(self.wait().unwrap_or(1)))
            }
            (None, Window::Total) => {
                f.write_str(" It is not renewed: ask whoever runs this service for more.")
            }
            (None, _) => f.write_str(
                " That is more than the whole limit, so that waiting does not help: ask for less, \
                 or ask whoever runs this service for more.",
            ),
        }
    }
}

/// Returns a wait in words, such as `about 2 days`: in the largest unit that it contains at least twice,
/// rounded to the nearest number.
fn wait_in_words(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let unit = UNITS.iter().find(|(length, _)| seconds >= 2 * length);
    match unit {
        Some((length, name)) => {
            let count = seconds.saturating_add(length / 2) / length;
            format!("about {}", Counted(count, name))
        }
        None => Counted(seconds, "second").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time 2026-11-28T23:59:00Z.
    const AT: Timestamp = Timestamp(1_795_910_340_000);

    fn exceeded(measure: Measure, limit: &str, used: u64, takes: u64) -> Exceeded {
        let limit = Limit::parse(measure, limit).unwrap();
        Exceeded {
            limit,
            is_shared: false,
            used,
            takes: Some(takes),
            resets: limit.window.end(AT).filter(|_| takes <= limit.max),
            at: AT,
            terms: Terms {
                currency: "CNY".into(),
                multiplier: Multiplier::from_thousandths(5000).unwrap(),
            },
        }
    }

    const UNIT: u64 = 1_000_000_000;

    #[test]
    fn a_budget_says_what_remains_what_is_asked_and_when_it_is_whole_again() {
        let day = exceeded(Measure::ListCost, "1/day", 7 * UNIT / 10, 4 * UNIT / 10);
        assert_eq!(
            day.to_string(),
            "You exceeded your current quota: this key may spend 1.00 USD (5.00 CNY billed) of list \
             price a day (UTC), with 0.30 USD (1.50 CNY billed) remaining. This request costs 0.40 USD \
             (2.00 CNY billed). All of it is there again at 2026-11-29T00:00:00Z, in 60 seconds."
        );
        let mut month = exceeded(Measure::BilledCost, "9/month", 8 * UNIT, 2 * UNIT);
        month.is_shared = true;
        assert_eq!(
            month.to_string(),
            "You exceeded your current quota: this key's group may spend 9.00 CNY a month (UTC), with \
             1.00 CNY remaining. This request costs 2.00 CNY. All of it is there again at \
             2026-12-01T00:00:00Z, in about 2 days."
        );
    }

    #[test]
    fn waits_are_told_in_units_that_can_be_read() {
        for (seconds, text) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "about 2 minutes"),
            (7199, "about 120 minutes"),
            (43_240, "about 12 hours"),
            (172_799, "about 48 hours"),
            (2_678_400, "about 31 days"),
        ] {
            assert_eq!(wait_in_words(seconds), text);
        }
    }

    #[test]
    fn where_waiting_does_not_help_nothing_is_promised() {
        let total = exceeded(Measure::BilledCost, "9/total", 9 * UNIT, 2 * UNIT);
        assert_eq!(
            total.to_string(),
            "You exceeded your current quota: this key may spend 9.00 CNY in all, with 0.00 CNY \
             remaining. This request costs 2.00 CNY. It is not renewed: ask whoever runs this service \
             for more."
        );
        let large = exceeded(Measure::VideoSeconds, "8/hour", 0, 12);
        assert_eq!(
            large.to_string(),
            "Rate limit reached: this key may ask for 8 seconds of video an hour, with 8 seconds \
             remaining. This request takes 12 seconds. That is more than the whole limit, so that waiting \
             does not help: ask for less, or ask whoever runs this service for more."
        );
    }

    #[test]
    fn rates_are_told_in_words() {
        let requests = exceeded(Measure::Requests, "1/min", 1, 1);
        assert_eq!(
            requests.to_string(),
            "Rate limit reached: this key may make 1 request a minute, with 0 requests remaining. \
             All of it is there again at 2026-11-29T00:00:00Z, in 60 seconds."
        );
        let seconds = exceeded(Measure::VideoSeconds, "9/min", 8, 4).to_string();
        assert!(seconds.contains(", with 1 second remaining. "), "{seconds}");
        let in_flight = exceeded(Measure::InFlight, "4", 4, 1);
        assert_eq!(
            in_flight.to_string(),
            "Rate limit reached: this key may have 4 videos under way at a time. Try again when one \
             has ended."
        );
    }

    #[test]
    fn what_is_not_known_is_not_told_and_dollars_are_told_once() {
        let mut unknown = exceeded(Measure::ListCost, "1/total", UNIT, 1);
        unknown.takes = None;
        unknown.terms = Terms {
            currency: "USD".into(),
            multiplier: Multiplier::from_thousandths(1000).unwrap(),
        };
        assert_eq!(
            unknown.to_string(),
            "You exceeded your current quota: this key may spend 1.00 USD of list price in all, with \
             0.00 USD remaining. It is not renewed: ask whoever runs this service for more."
        );
        // Dollars that are billed are told apart from dollars of list price.
        unknown.terms.multiplier = Multiplier::from_thousandths(1500).unwrap();
        let text = unknown.to_string();
        assert!(text.contains("1.00 USD (1.50 USD billed)"), "{text}");
        // A limit that was lowered below what is used has nothing left, rather than less than nothing.
        unknown.used = 3 * UNIT;
        assert_eq!(unknown.remaining(), 0);
    }
}
