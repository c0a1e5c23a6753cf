//! Counters of money that stay exact: kept in nanos, turned into the float that the
//! exposition format wants only when they are read.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::map::Map;
use crate::money::Amount;

/// A family of counters in a currency unit.
#[derive(Clone)]
pub(super) struct MoneyCounterVec {
    inner: Arc<Inner>,
}

struct Inner {
    desc: Desc,
    /// By the hash of their labels; those that share one stand beside each other.
    counters: RwLock<Map<u64, Vec<Counter>>>,
    hash: foldhash::fast::RandomState,
}

struct Counter {
    labels: Box<[Arc<str>]>,
    nanos: AtomicU64,
}

impl Counter {
    fn is_of(&self, labels: &[&Arc<str>]) -> bool {
        self.labels.iter().eq(labels.iter().copied())
    }
}

impl MoneyCounterVec {
    pub(super) fn new(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.into(), help.into(), labels, HashMap::new())?;
        Ok(Self {
            inner: Arc::new(Inner {
                desc,
                counters: RwLock::default(),
                hash: Default::default(),
            }),
        })
    }

    /// Adds to the counter with these label values, as many as there are labels.
    pub(super) fn add(&self, labels: &[&Arc<str>], amount: Amount) {
        let hash = self.inner.hash.hash_one(labels);
        let counters = self.inner.counters.read();
        let counters = counters.unwrap_or_else(PoisonError::into_inner);
        let found = counters.get(&hash).into_iter().flatten();
        if let Some(counter) = found.into_iter().find(|counter| counter.is_of(labels)) {
            counter.nanos.fetch_add(amount.nanos(), Ordering::Relaxed);
            return;
        }
        drop(counters);
        let counters = self.inner.counters.write();
        let mut counters = counters.unwrap_or_else(PoisonError::into_inner);
        let counters = counters.entry(hash).or_default();
        // Another thread may have been faster.
        match counters.iter().find(|counter| counter.is_of(labels)) {
            Some(counter) => {
                counter.nanos.fetch_add(amount.nanos(), Ordering::Relaxed);
            }
            None => counters.push(Counter {
                labels: labels.iter().map(|label| Arc::clone(label)).collect(),
                nanos: AtomicU64::new(amount.nanos()),
            }),
        }
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
        let counters = self.inner.counters.read();
        let counters = counters.unwrap_or_else(PoisonError::into_inner);
        let metrics = counters.values().flatten().map(|counter| {
            let pairs = desc.variable_labels.iter().zip(&counter.labels);
            let pairs = pairs.map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name(name.clone());
                pair.set_value(value.to_string());
                pair
            });
            let mut pairs: Vec<_> = pairs.collect();
            pairs.sort_by(|a, b| a.name().cmp(b.name()));
            let mut value = proto::Counter::default();
            value.set_value(exposed(counter.nanos.load(Ordering::Relaxed)));
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
