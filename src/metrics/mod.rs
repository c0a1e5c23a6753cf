//! All metric families, declared once, with their help texts. Label values come from the
//! configuration and from closed sets: a key's name, never the key; a route's name, never
//! a path.

mod cost_labels;
mod family;
mod money;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::ledger::{Charge, Payer};
use crate::policy::Timestamp;
pub use cost_labels::CostLabels;
use family::Family;
use money::MoneyCounter;

/// What happened to a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It became pending.
    Reserved,
    /// It is owed for good.
    Posted,
    /// It is not owed any more.
    Voided,
}

impl Event {
    /// The label.
    const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Posted => "posted",
            Self::Voided => "voided",
        }
    }
}

/// Every family of the gate, in a registry of its own.
pub struct Metrics {
    registry: Registry,
    requests: Family<IntCounter>,
    refusals: Family<IntCounter>,
    list_cost: Family<MoneyCounter>,
    billed_cost: Family<MoneyCounter>,
    video_seconds: Family<IntCounter>,
    /// The part of a budget that is reserved or posted, by key, limit and window. Of the names
    /// of limits and windows none is the end of another, so that the library's families,
    /// which see label values joined, tell all keys apart.
    pub budget_spent: GaugeVec,
    /// The same of a group's budgets.
    pub group_budget_spent: GaugeVec,
    /// 1 where a load balancer may send requests here.
    pub ready: IntGauge,
    /// 1 where the ledger can be used.
    pub ledger_up: IntGauge,
    /// 1 where a channel for the model could be reached, by model.
    pub model_available: IntGaugeVec,
    /// Reservations that are not resolved, by key.
    pub jobs_in_flight: IntGaugeVec,
    jobs: Family<IntCounter>,
    job_duration: Family<Histogram>,
    /// Reservations of which nobody can tell whether there is a job, by channel.
    pub unresolved: IntGaugeVec,
    /// Create bodies that are awaited, by size, and how many may be.
    pub uploads_in_flight: IntGaugeVec,
    /// See above.
    pub uploads_limit: IntGaugeVec,
    /// Client connections of the gate's own server, and how many may be open.
    pub connections_open: IntGauge,
    /// See above.
    pub connections_limit: IntGauge,
    request_body: Family<IntCounter>,
    response_body: Family<IntCounter>,
    /// Time spent in the inspector for one body.
    pub inspection: Histogram,
    /// Time that the gate itself added to a create.
    pub overhead: Histogram,
    upstream_requests: Family<IntCounter>,
    upstream_response: Family<Histogram>,
    /// One atomic decision of the ledger.
    pub ledger_commit: Histogram,
    /// How long the write-ahead log of SQLite's file is.
    pub ledger_wal_bytes: IntGauge,
    /// 1 where the channel could be reached when it was last tried, by channel.
    pub channel_up: IntGaugeVec,
    channel_errors: Family<IntCounter>,
    corrections_left_out: Family<IntCounter>,
    config_successful: IntGauge,
    config_success_time: Gauge,
    cost_labels: ArcSwap<CostLabels>,
}

/// The ways in which a channel fails.
pub const CHANNEL_ERRORS: [&str; 14] = [
    "resolve",
    "connect",
    "timeout",
    "broken",
    "account",
    "rate_limited",
    "status",
    "status_word",
    "encoded",
    "no_job",
    "no_list",
    "job_taken",
    "redirect",
    "too_late",
];

/// From 10 µs to 10 s.
const LATENCIES: &[f64] = &[
    0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// From 5 ms to 10 min: channels answer some creates only when the video is rendered.
const RESPONSES: &[f64] = &[
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0,
];
/// From a second to an hour.
const DURATIONS: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0,
];

/// Declares families in a registry.
struct Declare<'a>(&'a Registry);

impl Declare<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<Family<IntCounter>> {
        // A member's own name is never shown.
        let make = || IntCounter::new("n", "n");
        self.add(Family::new(MetricType::COUNTER, name, help, labels, make)?)
    }

    fn money(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<Family<MoneyCounter>> {
        let make = || Ok(MoneyCounter::default());
        self.add(Family::new(MetricType::COUNTER, name, help, labels, make)?)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn single(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).buckets(LATENCIES.to_vec());
        self.add(Histogram::with_opts(opts)?)
    }

    fn histograms(
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

impl Metrics {
    /// Declares all families.
    ///
    /// # Errors
    /// Never, unless two families share a name or a label: a mistake in this file, which
    /// its test finds.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("tollgate".into()), None)?;
        let d = Declare(&registry);
        let charge = ["key", "model", "size", "channel", "event"];
        let build = d.gauge("build_info", "The version that runs.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);

        let metrics = Self {
            requests: d.counter("requests_total", "Requests answered.", &["route", "key", "code"])?,
            refusals: d.counter("refusals_total", "Requests refused by the gate.", &["key", "reason"])?,
            list_cost: d.money("list_cost_usd_total", "List cost in USD, by what became of the charge.", &charge)?,
            billed_cost: d.money(
                "billed_cost_total",
                "Billed cost in the group's currency, by what became of the charge.",
                &["key", "model", "size", "channel", "event", "group", "currency"],
            )?,
            video_seconds: d.counter("video_seconds_total", "Seconds of video, by what became of the charge.", &charge)?,
            budget_spent: d.add(GaugeVec::new(
                Opts::new("budget_spent_ratio", "The part of a budget that is reserved or posted."),
                &["key", "limit", "window"],
            )?)?,
            group_budget_spent: d.add(GaugeVec::new(
                Opts::new(
                    "group_budget_spent_ratio",
                    "The part of a group's budget that is reserved or posted.",
                ),
                &["group", "limit", "window"],
            )?)?,
            ready: d.single("ready", "1 where anything can be served, and the gate does not stop.")?,
            ledger_up: d.single("ledger_up", "1 where the ledger can be used.")?,
            model_available: d.gauge(
                "model_available",
                "1 where a channel for the model could be reached when it was last tried.",
                &["model"],
            )?,
            jobs_in_flight: d.gauge("jobs_in_flight", "Reservations that are not resolved yet.", &["key"])?,
            jobs: d.counter("jobs_total", "Jobs that have ended.", &["channel", "model", "status"])?,
            job_duration: d.histograms(
                "job_duration_seconds",
                "From a job's creation to its completion as its channel tells, or to the end that was seen.",
                DURATIONS,
                &["channel", "model", "status"],
            )?,
            unresolved: d.gauge(
                "unresolved_reservations",
                "Reservations of which nobody can tell yet whether there is a job.",
                &["channel"],
            )?,
            uploads_in_flight: d.gauge(
                "uploads_in_flight",
                "Create bodies that are awaited, small or large by their heads.",
                &["size"],
            )?,
            uploads_limit: d.gauge("uploads_limit", "How many create bodies may be awaited.", &["size"])?,
            connections_open: d.single("connections_open", "Client connections of the gate's own server.")?,
            connections_limit: d.single(
                "connections_limit",
                "How many client connections of the gate's own server may be open.",
            )?,
            request_body: d.counter("request_body_bytes_total", "Bytes of request bodies received.", &["route"])?,
            response_body: d.counter("response_body_bytes_total", "Bytes of response bodies sent.", &["route"])?,
            inspection: d.histogram("inspection_seconds", "Time in the inspector for one body.")?,
            overhead: d.histogram(
                "gate_overhead_seconds",
                "From the arrival of a create's last byte to its departure, and from the arrival of the answer to its departure.",
            )?,
            upstream_requests: d.counter(
                "upstream_requests_total",
                "Requests to a channel, by the status of its answer, or none.",
                &["channel", "code"],
            )?,
            upstream_response: d.histograms(
                "upstream_response_seconds",
                "From the last byte of a request to the head of the channel's answer.",
                RESPONSES,
                &["channel", "route"],
            )?,
            ledger_commit: d.histogram("ledger_commit_seconds", "The ledger's decision on a reservation.")?,
            ledger_wal_bytes: d.add(IntGauge::new(
                "ledger_wal_bytes",
                "Length of the write-ahead log of the ledger in SQLite; 0 for other ledgers.",
            )?)?,
            channel_up: d.gauge("channel_up", "1 where the channel could be reached when it was last tried.", &["channel"])?,
            channel_errors: d.counter("channel_errors_total", "Failures of a channel.", &["channel", "kind"])?,
            corrections_left_out: d.counter(
                "corrections_left_out_total",
                "Jobs that are charged for less than their channel renders, since more would exceed a limit.",
                &["key", "channel"],
            )?,
            config_successful: d.add(IntGauge::new(
                "config_last_reload_successful",
                "1 where the last attempt to load the configuration succeeded.",
            )?)?,
            config_success_time: d.add(Gauge::new(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded.",
            )?)?,
            cost_labels: ArcSwap::default(),
            registry: registry.clone(),
        };
        Ok(metrics)
    }

    /// A request was answered, with that status.
    pub fn request(&self, route: &str, key: &str, code: http::StatusCode) {
        let labels = [route, key, code.as_str()];
        self.requests.with(&labels, |n| n.inc());
    }

    /// The gate refused a request.
    pub fn refusal(&self, key: &str, reason: &str) {
        self.refusals.with(&[key, reason], |n| n.inc());
    }

    /// Bytes of bodies that a request and its response had.
    pub fn bodies(&self, route: &str, request: u64, response: u64) {
        if request > 0 {
            self.request_body.with(&[route], |n| n.inc_by(request));
        }
        if response > 0 {
            self.response_body.with(&[route], |n| n.inc_by(response));
        }
    }

    /// Something happened to a charge.
    pub fn charge(&self, event: Event, charge: &Charge) {
        let event = event.name();
        let Payer {
            key,
            group,
            currency,
            ..
        } = &charge.payer;
        let Charge {
            model,
            size,
            channel,
            ..
        } = charge;
        let labels = [key, model, size, channel, event, group, currency];
        let labels = &self.cost_labels.load().shown(labels);
        let (seconds, labels_of_all) = (u64::from(charge.seconds), &labels[..5]);
        self.list_cost.with(labels_of_all, |n| n.add(charge.list));
        self.video_seconds
            .with(labels_of_all, |n| n.inc_by(seconds));
        self.billed_cost.with(labels, |n| n.add(charge.billed));
    }

    /// From now on the families of costs have these labels alone, besides the event and the
    /// currency. What was counted before stays where it was counted.
    pub fn show_cost_labels(&self, labels: CostLabels) {
        self.cost_labels.store(Arc::new(labels));
    }

    /// A channel's answer began, so long after the request was complete.
    pub fn answered(&self, channel: &str, route: &str, waited: Duration) {
        self.upstream_response
            .with(&[channel, route], |times| times.observe(seconds(waited)));
    }

    /// A channel answered a request with that status, or `none`.
    pub fn upstream_request(&self, channel: &str, code: &str) {
        self.upstream_requests.with(&[channel, code], |n| n.inc());
    }

    /// A job has ended, so long after its reservation.
    pub fn ended(&self, charge: &Charge, status: &str, lasted: Duration) {
        let labels = [&charge.channel, &charge.model, status];
        self.jobs.with(&labels, |n| n.inc());
        self.job_duration
            .with(&labels, |times| times.observe(seconds(lasted)));
    }

    /// A channel failed, in one of a closed set of ways.
    pub fn channel_error(&self, channel: &str, kind: &'static str) {
        self.channel_errors.with(&[channel, kind], |n| n.inc());
    }

    /// A charge was not corrected for the sake of a limit.
    pub fn correction_left_out(&self, charge: &Charge) {
        let labels = [&*charge.payer.key, &charge.channel];
        self.corrections_left_out.with(&labels, |n| n.inc());
    }

    // What follows starts series at zero. See `gate/zero_series.rs`.

    /// How many series [`start_charge`](Self::start_charge) starts: three families of three
    /// events.
    pub const CHARGE_SERIES: usize = 9;
    /// How many [`start_answered`](Self::start_answered): buckets, one for infinity, sum and count.
    pub const RESPONSE_SERIES: usize = RESPONSES.len() + 3;
    /// How many [`start_ended`](Self::start_ended): those of a histogram, and a counter.
    pub const ENDED_SERIES: usize = DURATIONS.len() + 4;

    /// Starts what counts the charges of a key for a model in a size on a channel.
    pub fn start_charge(&self, payer: &Payer, model: &str, size: &str, channel: &str) {
        for event in [Event::Reserved, Event::Posted, Event::Voided] {
            let (
                event,
                Payer {
                    key,
                    group,
                    currency,
                    ..
                },
            ) = (event.name(), payer);
            let labels = [key, model, size, channel, event, group, currency];
            let labels = &self.cost_labels.load().shown(labels);
            self.list_cost.with(&labels[..5], |_| ());
            self.video_seconds.with(&labels[..5], |_| ());
            self.billed_cost.with(labels, |_| ());
        }
    }

    /// Starts what counts requests.
    pub fn start_request(&self, route: &str, key: &str, code: http::StatusCode) {
        self.requests.with(&[route, key, code.as_str()], |_| ());
    }

    /// Starts what counts refusals.
    pub fn start_refusal(&self, key: &str, reason: &str) {
        self.refusals.with(&[key, reason], |_| ());
    }

    /// Starts what counts a channel's failures.
    pub fn start_channel_error(&self, channel: &str, kind: &'static str) {
        self.channel_errors.with(&[channel, kind], |_| ());
    }

    /// Starts what counts requests to a channel.
    pub fn start_upstream_request(&self, channel: &str, code: &str) {
        self.upstream_requests.with(&[channel, code], |_| ());
    }

    /// Starts what counts a channel's answers.
    pub fn start_answered(&self, channel: &str, route: &str) {
        self.upstream_response.with(&[channel, route], |_| ());
    }

    /// Starts what counts jobs that end.
    pub fn start_ended(&self, channel: &str, model: &str, status: &str) {
        let labels = [channel, model, status];
        self.jobs.with(&labels, |_| ());
        self.job_duration.with(&labels, |_| ());
    }

    /// An attempt to load the configuration ended.
    pub fn config_loaded(&self, success: bool, now: Timestamp) {
        self.config_successful.set(i64::from(success));
        if success {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a float")]
            self.config_success_time.set(now.seconds() as f64);
        }
    }

    /// Everything in the text format, the process's own families included.
    ///
    /// # Errors
    /// Where a family cannot be written down, which is a mistake in this module.
    pub fn exposition(&self) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            families.extend(process.collect());
        }
        TextEncoder::new().encode_to_string(&families)
    }
}

/// Seconds of a span, as histograms want them.
pub fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_declared_and_counted() {
        let metrics = Metrics::new().unwrap();
        metrics.request("create", "studio", http::StatusCode::OK);
        metrics.bodies("create", 10, 0);
        metrics.channel_error("official", "connect");
        metrics.config_loaded(true, Timestamp(1_700_000_000_000));
        let text = metrics.exposition().unwrap();
        for line in [
            "tollgate_requests_total{code=\"200\",key=\"studio\",route=\"create\"} 1",
            "tollgate_request_body_bytes_total{route=\"create\"} 10",
            "tollgate_config_last_reload_success_timestamp_seconds 1700000000",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
