//! Counters of money that stay exact: kept in nanos (billionths of a currency unit), and converted to the
//! float of the exposition format only when they are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Metric;
use prometheus::proto;

use crate::money::Amount;

/// A counter of money in one currency. Clones share the count.
///
/// The count is behind a lock, since it may have more than 64 bits, for which there is no atomic integer.
#[derive(Clone, Default)]
pub(super) struct MoneyCounter {
    nanos: Arc<Mutex<u128>>,
}

impl MoneyCounter {
    /// Adds an amount to the counter.
    pub(super) fn add(&self, amount: Amount) {
        *self.nanos() += u128::from(amount.nanos());
    }

    /// Locks the count. A poisoned lock is used as it is, since no panic can leave the count half-written.
    fn nanos(&self) -> MutexGuard<'_, u128> {
        self.nanos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Converts nanos to currency units as a float. Both the conversion and the division may round.
#[expect(
    clippy::cast_precision_loss,
    reason = "the exposition format knows floats only"
)]
fn exposed(nanos: u128) -> f64 {
    nanos as f64 / 1e9
}

impl Metric for MoneyCounter {
    fn metric(&self) -> proto::Metric {
        let mut value = proto::Counter::default();
        value.set_value(exposed(*self.nanos()));
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

    #[test]
    fn a_sum_of_large_amounts_does_not_wrap() {
        let counter = MoneyCounter::default();
        let large: Amount = "8000000000".parse().unwrap();
        for _ in 0..10 {
            counter.add(large);
        }
        let value = counter.metric().get_counter().get_value();
        assert!(value.total_cmp(&80_000_000_000.0).is_eq(), "{value}");
    }
}
