//! Declares metric families in a registry, by their kind.

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::family::Family;
use super::money::MoneyCounter;

/// The buckets of the gate's own latencies, in seconds: from 10 µs to 10 s.
const LATENCIES: &[f64] = &[
    0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// The buckets of channels' answers, in seconds: from 5 ms to 10 min, since channels answer some creates
/// only when the video is rendered.
pub(super) const RESPONSES: &[f64] = &[
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0,
];
/// The buckets of job durations, in seconds: from a second to an hour.
pub(super) const DURATIONS: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0,
];

/// A helper that declares metric families in a registry.
pub(super) struct Declare<'a>(pub(super) &'a Registry);

impl Declare<'_> {
    pub(super) fn add<C: Collector + Clone + 'static>(
        &self,
        collector: C,
    ) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Declares the family that shows the running version.
    pub(super) fn build_info(&self) -> prometheus::Result<()> {
        let build = self.gauge("build_info", "The version that runs.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(())
    }

    pub(super) fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<Family<IntCounter>> {
        // A member's own name is never exposed.
        let make = || IntCounter::new("n", "n");
        self.add(Family::new(MetricType::COUNTER, name, help, labels, make)?)
    }

    pub(super) fn money(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<Family<MoneyCounter>> {
        let make = || Ok(MoneyCounter::default());
        self.add(Family::new(MetricType::COUNTER, name, help, labels, make)?)
    }

    pub(super) fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn ratio(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Declares a gauge family that keeps apart all combinations of label values: see [`super::family`].
    pub(super) fn sums(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<Family<Gauge>> {
        let make = || Gauge::new("n", "n");
        self.add(Family::new(MetricType::GAUGE, name, help, labels, make)?)
    }

    pub(super) fn single(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    pub(super) fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).buckets(LATENCIES.to_vec());
        self.add(Histogram::with_opts(opts)?)
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &'static [f64],
        labels: &[&str],
    ) -> prometheus::Result<Family<Histogram>> {
        let make = || Histogram::with_opts(HistogramOpts::new("n", "n").buckets(buckets.to_vec()));
        self.add(Family::new(
            MetricType::HISTOGRAM,
            name,
            help,
            labels,
            make,
        )?)
    }
}
