//! The gauges of reservations with an unknown outcome, of adjustments of bills, and of background tasks.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{Gauge, IntGaugeVec};

use super::declare::Declare;
use super::family::Family;
use crate::ledger::AdjustmentSum;
use crate::policy::Timestamp;

/// A background task for a channel, as metrics label it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundTask {
    /// The task that polls jobs that have not ended.
    Poll,
    /// The task that reconciles creates whose outcome is unknown.
    Reconcile,
}

impl RoundTask {
    /// All background tasks.
    pub const ALL: [Self; 2] = [Self::Poll, Self::Reconcile];

    /// Returns the task's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Reconcile => "reconcile",
        }
    }
}

/// The gauges of reservations with an unknown outcome, adjustments of bills, and rounds of background tasks.
pub struct LedgerGauges {
    unresolved_age: IntGaugeVec,
    last_round: IntGaugeVec,
    adjustments: Family<Gauge>,
    adjusted: Family<Gauge>,
    /// The names of the configured channels: only rounds of these are shown.
    shown: Mutex<HashSet<String>>,
}

impl LedgerGauges {
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<Self> {
        let of_adjustments = ["key", "currency", "kind"];
        Ok(Self {
            unresolved_age: d.gauge(
                "unresolved_reservation_age_seconds",
                "The age of the oldest reservation of which nobody can tell yet whether there is a \
                 job; 0 where there is none.",
                &["channel"],
            )?,
            last_round: d.gauge(
                "last_round_timestamp_seconds",
                "When this gate last polled all jobs of a channel that were due, or last found out \
                 what its list tells of all unknown outcomes; of gates that share a ledger, one does.",
                &["channel", "task"],
            )?,
            adjustments: d.sums(
                "adjustments",
                "Adjustments of the bill that the ledger has.",
                &of_adjustments,
            )?,
            adjusted: d.sums(
                "adjustment_amount",
                "By how much a key owes less for its adjustments, or more for debits.",
                &of_adjustments,
            )?,
            shown: Mutex::default(),
        })
    }

    /// Shows the age of each channel's oldest reservation for which it is not known whether there is a job.
    /// `ages` are in milliseconds. Replaces all ages that were shown before.
    pub fn show_unresolved_ages<'a>(&self, ages: impl Iterator<Item = (&'a str, u64)>) {
        self.unresolved_age.reset();
        for (channel, age) in ages {
            let seconds = i64::try_from(age / 1000).unwrap_or(i64::MAX);
            self.unresolved_age
                .with_label_values(&[channel])
                .set(seconds);
        }
    }

    /// Shows the number and the amount of the adjustments of bills. Replaces all that were shown before.
    pub fn show_adjustments(&self, sums: &[AdjustmentSum]) {
        self.adjustments.clear();
        self.adjusted.clear();
        for sum in sums {
            let labels = [&*sum.key, &*sum.currency, &*sum.kind];
            #[expect(
                clippy::cast_precision_loss,
                reason = "the exposition format knows floats"
            )]
            let (count, amount) = (sum.count as f64, sum.amount.nanos() as f64 / 1e9);
            self.adjustments.with(&labels, |shown| shown.set(count));
            self.adjusted.with(&labels, |shown| shown.set(amount));
        }
    }

    /// Starts to show the time at which each background task last completed a round for a channel. Until the
    /// first round the time is `at`, so that a gate that never completes a round is noticed.
    pub fn start_rounds(&self, channel: &str, at: Timestamp) {
        let mut shown = self.shown();
        shown.insert(channel.to_owned());
        for task in RoundTask::ALL {
            let gauge = self.last_round.with_label_values(&[channel, task.name()]);
            if gauge.get() == 0 {
                gauge.set(whole_seconds(at));
            }
        }
    }

    /// Shows `at` as the time at which `task` last completed a round for a channel. Does nothing for a
    /// channel that has been removed: a round that was under way then must not bring back the series, since
    /// an alert would report that the next round is late.
    pub fn round_done(&self, channel: &str, task: RoundTask, at: Timestamp) {
        let shown = self.shown();
        if !shown.contains(channel) {
            return;
        }
        let gauge = self.last_round.with_label_values(&[channel, task.name()]);
        gauge.set(whole_seconds(at));
    }

    /// Stops showing the rounds of a channel that is not configured any more. See
    /// [`LedgerGauges::start_rounds`].
    pub fn end_rounds(&self, channel: &str) {
        let mut shown = self.shown();
        shown.remove(channel);
        for task in RoundTask::ALL {
            // An error means that the series has been removed before.
            let _ = self.last_round.remove_label_values(&[channel, task.name()]);
        }
    }

    /// Locks the set of channels whose rounds are shown. No panic can leave the set half-written.
    fn shown(&self) -> MutexGuard<'_, HashSet<String>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_seconds(at: Timestamp) -> i64 {
    i64::try_from(at.seconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::SignedAmount;

    /// Shows two sums whose key and currency, joined, are the same text; and then none.
    #[test]
    fn adjustments_of_each_key_and_currency_are_shown() {
        let metrics = crate::metrics::Metrics::new().unwrap();
        let sum = |key: &str, currency: &str, count| AdjustmentSum {
            key: key.into(),
            currency: currency.into(),
            kind: "credit".into(),
            count,
            amount: SignedAmount::from_nanos(1_500_000_000),
        };
        let shown = || {
            let text = metrics.exposition().unwrap();
            let lines = text.lines().filter(|l| l.starts_with("tollgate_adjust"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let sums = [sum("a", "bUSD", 1), sum("ab", "USD", 2)];
        metrics.ledger.show_adjustments(&sums);
        assert_eq!(
            shown(),
            [
                "tollgate_adjustment_amount{currency=\"USD\",key=\"ab\",kind=\"credit\"} 1.5",
                "tollgate_adjustment_amount{currency=\"bUSD\",key=\"a\",kind=\"credit\"} 1.5",
                "tollgate_adjustments{currency=\"USD\",key=\"ab\",kind=\"credit\"} 2",
                "tollgate_adjustments{currency=\"bUSD\",key=\"a\",kind=\"credit\"} 1",
            ]
        );
        metrics.ledger.show_adjustments(&[]);
        assert_eq!(shown(), [""; 0]);
    }

    #[test]
    fn a_reload_does_not_hide_that_rounds_are_late() {
        let metrics = crate::metrics::Metrics::new().unwrap();
        let gauges = &metrics.ledger;
        let of = |channel: &str, task: RoundTask| {
            let labels = [channel, task.name()];
            gauges.last_round.with_label_values(&labels).get()
        };
        gauges.start_rounds("official", Timestamp(5_000));
        gauges.round_done("official", RoundTask::Poll, Timestamp(7_900));
        gauges.start_rounds("official", Timestamp(60_000));
        assert_eq!(of("official", RoundTask::Poll), 7);
        assert_eq!(of("official", RoundTask::Reconcile), 5);
        gauges.end_rounds("official");
        gauges.end_rounds("official");
        // This round was under way when the channel was removed.
        gauges.round_done("official", RoundTask::Poll, Timestamp(80_000));
        gauges.start_rounds("official", Timestamp(90_000));
        assert_eq!(of("official", RoundTask::Poll), 90);
    }
}
