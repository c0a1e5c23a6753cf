//! The rate limits that clients are told of in answers to creates.

use super::{Key, Limit, Measure, Timestamp};

/// The measures whose limits are sent in `x-ratelimit-*` headers. Budgets are shown by `/v1/usage`.
const TOLD: [Measure; 3] = [Measure::Requests, Measure::VideoSeconds, Measure::InFlight];

/// The state of a limit, as it is sent to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The limit whose state this is.
    pub limit: Limit,
    /// The amount of the limit that is left; `None` if the ledger does not return it with its decision.
    pub remaining: Option<u64>,
    /// The number of seconds until the whole limit is available again, at least one; `None` if its window has
    /// no end.
    pub resets_in: Option<u64>,
}

impl RateLimit {
    /// Describes the state of `limit` at `now`. `used` is the amount that is used, `None` where it is not
    /// known.
    pub fn new(limit: Limit, used: Option<u64>, now: Timestamp) -> Self {
        let end = limit.window.end(now);
        Self {
            limit,
            remaining: used.map(|used| limit.remaining(used)),
            resets_in: end.map(|end| end.saturating_sub(now.seconds()).max(1)),
        }
    }

    /// Returns a sort value: of limits of one measure, the one that stops a client first has the least.
    ///
    /// The limit with the least left comes first; of two with as much left, the one whose window ends later.
    /// If what is left is not known, the limit whose window ends sooner comes first.
    fn urgency(&self) -> (u64, std::cmp::Reverse<u64>) {
        let wait = self.resets_in.unwrap_or(u64::MAX);
        match self.remaining {
            Some(remaining) => (remaining, std::cmp::Reverse(wait)),
            None => (wait, std::cmp::Reverse(0)),
        }
    }
}

/// Returns, for each measure in `x-ratelimit-*`, the limit of `key` or its group that stops a client first.
///
/// `used` is the used amount of each limit of the key and then of its group; empty if that is not known.
pub fn rate_limits(key: &Key, used: &[u64], now: Timestamp) -> impl Iterator<Item = RateLimit> {
    TOLD.into_iter().filter_map(move |measure| {
        let limits = key.limits.iter().chain(&key.group.limits).enumerate();
        let limits = limits.filter(|(_, limit)| limit.measure == measure);
        let limits =
            limits.map(|(place, limit)| RateLimit::new(*limit, used.get(place).copied(), now));
        limits.min_by_key(RateLimit::urgency)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Multiplier;
    use crate::policy::{Allow, Group};

    /// A time 20 s before the end of a minute, and 1220 s before that of an hour.
    const NOW: Timestamp = Timestamp(1_700_001_580_000 - 40_000 + 20_000);

    fn key(own: &[(Measure, &str)], shared: &[(Measure, &str)]) -> Key {
        let limits = |limits: &[(Measure, &str)]| {
            let limits = limits.iter();
            let limits = limits.map(|(measure, text)| Limit::parse(*measure, text).unwrap());
            limits.collect::<Vec<_>>()
        };
        Key {
            name: "studio".into(),
            group: std::sync::Arc::new(Group {
                name: "video".into(),
                multiplier: Multiplier::from_thousandths(1000).unwrap(),
                currency: "CNY".into(),
                limits: limits(shared),
                channels: None,
            }),
            allow: Allow::default(),
            limits: limits(own),
            channels: None,
        }
    }

    #[test]
    fn the_limit_that_stops_a_client_first_is_told() {
        use Measure::{BilledCost, InFlight, Requests, VideoSeconds};
        let key = key(
            &[
                (Requests, "10/min"),
                (Requests, "100/hour"),
                (InFlight, "4"),
                (BilledCost, "9/day"),
            ],
            &[(Requests, "50/min"), (VideoSeconds, "60/hour")],
        );
        let to_minute = 60 - NOW.seconds() % 60;
        let to_hour = 3600 - NOW.seconds() % 3600;
        for (used, expected) in [
            // The key's own minute has the least left.
            (
                &[7, 20, 1, 0, 30, 20][..],
                [
                    ("10/min", Some(3), Some(to_minute)),
                    ("60/hour", Some(40), Some(to_hour)),
                    ("4", Some(3), None),
                ],
            ),
            // The group's minute has the least left; and a limit was lowered below what is used.
            (
                &[7, 20, 9, 0, 49, 20],
                [
                    ("50/min", Some(1), Some(to_minute)),
                    ("60/hour", Some(40), Some(to_hour)),
                    ("4", Some(0), None),
                ],
            ),
            // Two limits have as much left: the one that ends later is returned.
            (
                &[8, 98, 1, 0, 30, 60],
                [
                    ("100/hour", Some(2), Some(to_hour)),
                    ("60/hour", Some(0), Some(to_hour)),
                    ("4", Some(3), None),
                ],
            ),
            // The used amounts are not known.
            (
                &[],
                [
                    ("10/min", None, Some(to_minute)),
                    ("60/hour", None, Some(to_hour)),
                    ("4", None, None),
                ],
            ),
        ] {
            let told: Vec<_> = rate_limits(&key, used, NOW).collect();
            let told: Vec<_> = told
                .iter()
                .map(|told| (told.limit.to_string(), told.remaining, told.resets_in))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(limit, remaining, resets)| ((*limit).to_owned(), *remaining, *resets))
                .collect();
            assert_eq!(told, expected, "{used:?}");
        }
        assert_eq!(
            rate_limits(&super::tests::key(&[], &[]), &[], NOW).count(),
            0
        );
    }
}
