//! Estimates the time on a channel's clock from the `Date` headers of its answers.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::HeaderValue;

use crate::clock::millis;
use crate::policy::Timestamp;

/// The time for which the last date is used, in milliseconds by the gate's clock. If that clock is set
/// forward by more than this, the jump is not mistaken for elapsed time.
const COUNTS_FOR: u64 = 60_000;

/// The maximum time, in milliseconds, by which the last date may have come after `now`: the answer to another
/// request can come just after `now` was read.
const RACE: u64 = 1000;

/// An estimate of a channel's clock, from the `Date` headers of its answers.
#[derive(Debug, Default)]
pub struct ChannelClock {
    last: Mutex<Option<Shown>>,
}

/// The last date that a channel has sent.
#[derive(Debug)]
struct Shown {
    /// The date as it was written: all answers of one second have the same date, which is parsed once.
    text: Box<[u8]>,
    date: Timestamp,
    /// The time by the gate's clock when the date came.
    seen: Timestamp,
}

impl ChannelClock {
    /// Notes the header `Date` of an answer that comes at `now` by the gate's clock.
    pub(super) fn note(&self, date: &HeaderValue, now: Timestamp) {
        let mut last = self.lock();
        if let Some(last) = last.as_mut().filter(|last| *last.text == *date.as_bytes()) {
            last.seen = now;
            return;
        }
        let parsed = date.to_str().ok();
        let parsed = parsed.and_then(|text| httpdate::parse_http_date(text).ok());
        let since = parsed.and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(since) = since {
            *last = Some(Shown {
                text: date.as_bytes().into(),
                date: Timestamp(millis(since)),
                seen: now,
            });
        }
    }

    /// Returns the channel's time at `now` by the gate's clock; `None` where the channel has sent no date
    /// within the last minute, or `now` lies more than a second before the time at which the last date came.
    pub(crate) fn at(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.lock();
        let Shown { date, seen, .. } = last.as_ref()?;
        let passed = match now.0.checked_sub(seen.0) {
            Some(passed) => passed,
            None => (seen.0 - now.0 <= RACE).then_some(0)?,
        };
        (passed <= COUNTS_FOR).then_some(Timestamp(date.0.saturating_add(passed)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Shown>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_counts_for_a_minute() {
        let clock = ChannelClock::default();
        let seen = Timestamp(5_000_000);
        assert_eq!(clock.at(seen), None);
        clock.note(&HeaderValue::from_static("yesterday"), seen);
        assert_eq!(clock.at(seen), None);
        clock.note(
            &HeaderValue::from_static("Sat, 28 Nov 2026 05:40:33 GMT"),
            seen,
        );
        let date = 1_795_844_433_000;
        // The same second is shown again, a moment later.
        let later = Timestamp(seen.0 + 400);
        let same = HeaderValue::from_static("Sat, 28 Nov 2026 05:40:33 GMT");
        clock.note(&same, later);
        assert_eq!(clock.at(later), Some(Timestamp(date)));
        clock.note(&same, seen);
        for (passed, shows) in [
            (0, Some(date)),
            (60_000, Some(date + 60_000)),
            (60_001, None),
            (-1, Some(date)),
            (-1000, Some(date)),
            (-1001, None),
            (-3_600_000, None),
        ] {
            let now = Timestamp(seen.0.saturating_add_signed(passed));
            assert_eq!(clock.at(now), shows.map(Timestamp), "{passed}");
        }
    }
}
