//! Decides whether the limits allow the correction of a charge.

use std::sync::Arc;

use super::super::charge::Charge;
use super::{BindingLimits, Counters, LimitReached};
use crate::policy::Timestamp;

/// Decides whether the charge `before` is replaced by `corrected`. `taken` is the time of the reservation.
///
/// Returns the charge that is valid from now on, and the limit that forbids the correction, if there is one.
/// In that case the returned charge is `before`, and otherwise it is `corrected`.
pub(in crate::ledger) fn decide_correction(
    counters: &Counters,
    before: &Arc<Charge>,
    corrected: &Arc<Charge>,
    taken: Timestamp,
    limits: &BindingLimits,
    now: Timestamp,
) -> (Arc<Charge>, Option<LimitReached>) {
    let exceeded = correction_exceeds(counters, before, corrected, taken, limits, now);
    let charge = match exceeded {
        Some(_) => before,
        None => corrected,
    };
    (charge.clone(), exceeded)
}

/// Finds the first limit that the correction of a charge from `before` to `after` would exceed. Only the
/// amount that the correction adds is checked. A limit refuses nothing if its window at `taken` has ended.
fn correction_exceeds(
    counters: &Counters,
    before: &Charge,
    after: &Charge,
    taken: Timestamp,
    limits: &BindingLimits,
    now: Timestamp,
) -> Option<LimitReached> {
    limits.of(&before.payer).find_map(|scoped| {
        let limit = scoped.limit;
        let adds = after.takes(limit.measure);
        let adds = adds.saturating_sub(before.takes(limit.measure));
        let has_passed = limit.window.start(taken) < limit.window.start(now);
        if adds == 0 || has_passed {
            return None;
        }
        let used = counters.used(&scoped, taken).unwrap_or(0);
        let fits = used.checked_add(adds).is_some_and(|sum| sum <= limit.max);
        (!fits).then(|| scoped.reached(adds, used, now))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TAKEN, charge};
    use super::*;
    use crate::policy::{Limit, Measure, Window};

    #[test]
    fn a_correction_is_left_out_where_it_would_exceed_a_limit() {
        let minute_later = Timestamp(TAKEN.0 + 60_000);
        let (minute, total) = (Window::Minute, Window::Total);
        // Corrections of a charge of 4 seconds, with `used` seconds taken in all.
        for (to, used, window, max, now, fits) in [
            (8, 16, total, 20, TAKEN, true),
            (9, 16, total, 20, TAKEN, false),
            // A correction that adds nothing is never refused, though the limit is exceeded already.
            (2, 16, total, 10, TAKEN, true),
            (9, 16, minute, 20, TAKEN, false),
            // A window that has passed refuses nothing.
            (9, 16, minute, 20, minute_later, true),
            (9, 16, total, 20, minute_later, false),
        ] {
            let measure = Measure::VideoSeconds;
            let limit = Limit {
                measure,
                window,
                max,
            };
            let limits = BindingLimits {
                key: vec![limit],
                group: vec![],
            };
            let (before, after) = (charge(4), charge(to));
            let mut counters = Counters::default();
            for scoped in limits.of(&before.payer) {
                let start = window.start(TAKEN);
                counters.track(&scoped, start, [(start, used)]);
            }
            let (decided, exceeded) =
                decide_correction(&counters, &before, &after, TAKEN, &limits, now);
            let expected = if fits { &after } else { &before };
            assert_eq!((&decided, exceeded.is_none()), (expected, fits), "to {to}");
        }
    }
}
