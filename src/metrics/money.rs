//! Counters of money that stay exact: kept in nanos, turned into the float that the
//! exposition format wants only when they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::Metric;
use prometheus::proto;

use crate::money::Amount;

/// A counter in a currency unit. Clones share what they count.
#[derive(Clone, Default)]
pub(super) struct MoneyCounter {
    nanos: Arc<AtomicU64>,
}

impl MoneyCounter {
    /// Adds to it.
    pub(super) fn add(&self, amount: Amount) {
        self.nanos.fetch_add(amount.nanos(), Ordering::Relaxed);
    }
}

/// The nearest float to an amount: both numbers are read exactly, so one rounding is all.
#[expect(
    clippy::cast_precision_loss,
    reason = "the exposition format knows floats only"
)]
fn exposed(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl Metric for MoneyCounter {
    fn metric(&self) -> proto::Metric {
        let mut value = proto::Counter::default();
        value.set_value(exposed(self.nanos.load(Ordering::Relaxed)));
        let mut metric = proto::Metric::default();
        metric.set_counter(value);
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_dimes_are_a_thousand() {
        let counter = MoneyCounter::default();
        let dime: Amount = "0.1".parse().unwrap();
        for _ in 0..10_000 {
            counter.add(dime);
        }
        let metric = counter.metric();
        assert!(metric.get_counter().get_value().total_cmp(&1000.0).is_eq());
    }
}
