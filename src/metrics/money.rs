//! Counters of money that stay exact: kept in nanos, turned into the float that the
//! exposition format wants only when they are read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::money::Amount;

/// A family of counters in a currency unit.
#[derive(Clone)]
pub(super) struct MoneyCounterVec {
    inner: Arc<Inner>,
}

struct Inner {
    desc: Desc,
    nanos: RwLock<HashMap<Box<[Arc<str>]>, AtomicU64>>,
}

impl MoneyCounterVec {
    pub(super) fn new(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.into(), help.into(), labels, HashMap::new())?;
        let nanos = RwLock::default();
        Ok(Self {
            inner: Arc::new(Inner { desc, nanos }),
        })
    }

    /// Adds to the counter with these label values, as many as there are labels.
    pub(super) fn add(&self, labels: &[&Arc<str>], amount: Amount) {
        let key: Box<[Arc<str>]> = labels.iter().map(|label| Arc::clone(label)).collect();
        let nanos = self.inner.nanos.read();
        let nanos = nanos.unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = nanos.get(&key) {
            counter.fetch_add(amount.nanos(), Ordering::Relaxed);
            return;
        }
        drop(nanos);
        let nanos = self.inner.nanos.write();
        let mut nanos = nanos.unwrap_or_else(PoisonError::into_inner);
        let counter = nanos.entry(key).or_default();
        counter.fetch_add(amount.nanos(), Ordering::Relaxed);
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

impl Collector for MoneyCounterVec {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.inner.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let desc = &self.inner.desc;
        let nanos = self.inner.nanos.read();
        let nanos = nanos.unwrap_or_else(PoisonError::into_inner);
        let metrics = nanos.iter().map(|(labels, counter)| {
            let pairs = desc.variable_labels.iter().zip(labels);
            let pairs = pairs.map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name(name.clone());
                pair.set_value(value.to_string());
                pair
            });
            let mut pairs: Vec<_> = pairs.collect();
            pairs.sort_by(|a, b| a.name().cmp(b.name()));
            let mut value = proto::Counter::default();
            value.set_value(exposed(counter.load(Ordering::Relaxed)));
            let mut metric = proto::Metric::from_label(pairs);
            metric.set_counter(value);
            metric
        });
        let metrics: Vec<_> = metrics.collect();
        if metrics.is_empty() {
            return vec![];
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(proto::MetricType::COUNTER);
        family.set_metric(metrics);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_dimes_are_a_thousand() {
        let family = MoneyCounterVec::new("cost_total", "Cost.", &["key"]).unwrap();
        let key: Arc<str> = "k".into();
        let dime: Amount = "0.1".parse().unwrap();
        for _ in 0..10_000 {
            family.add(&[&key], dime);
        }
        let registry = prometheus::Registry::new();
        registry.register(Box::new(family)).unwrap();
        let text = prometheus::TextEncoder::new();
        let text = text.encode_to_string(&registry.gather()).unwrap();
        assert!(text.ends_with("cost_total{key=\"k\"} 1000\n"), "{text}");
    }
}
