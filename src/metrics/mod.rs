//! All metric families, declared once, with their help texts. Label values come from the configuration
//! and from closed sets: a key's name, never the key; a route's name, never a path.

mod certificates;
mod cost_labels;
mod declare;
mod family;
mod groups;
mod ledger;
mod money;
mod start;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::core::Collector as _;
use prometheus::{GaugeVec, Histogram, IntGauge, IntGaugeVec, Registry, TextEncoder};

use crate::ledger::{Charge, Payer};
use crate::policy::Timestamp;
pub use certificates::Certificates;
pub use cost_labels::CostLabels;
use declare::Declare;
use groups::{Channels, Charges, Reloads, Requests};
pub use ledger::{LedgerGauges, RoundTask};

/// An event in the life of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The charge was reserved: its cost is set aside until the charge is posted or voided.
    Reserved,
    /// The charge was resolved: the key owes its cost.
    Posted,
    /// The charge was resolved: the key owes nothing for it, or another charge replaced it.
    Voided,
}

impl Event {
    /// Returns the label of the event.
    const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Posted => "posted",
            Self::Voided => "voided",
        }
    }
}

/// All metric families of the gate, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    charges: Charges,
    channels: Channels,
    /// The share of a key's budget that is reserved or posted, by key, limit and window. The Prometheus
    /// library compares all label values as one joined text. Even so, no two keys share a gauge: no name of a
    /// limit that can be a key's budget is the end of another one, and no name of a window either.
    pub budget_spent: GaugeVec,
    /// The share of a group's budget that is reserved or posted, by group, limit and window.
    pub group_budget_spent: GaugeVec,
    /// 1 if a load balancer may send requests to this gate, else 0.
    pub ready: IntGauge,
    /// 1 if the ledger can be used, else 0.
    pub ledger_up: IntGauge,
    /// 1 if a channel that takes creates of the model is not ejected or may be tried again, else 0, by model.
    pub model_available: IntGaugeVec,
    /// The number of reservations that are neither posted nor voided, by key.
    pub jobs_in_flight: IntGaugeVec,
    /// The number of reservations for which it is not known whether there is a job, by channel.
    pub unresolved: IntGaugeVec,
    /// The number of create bodies that are being uploaded, by size class (small or large).
    pub uploads_in_flight: IntGaugeVec,
    /// The maximum number of create bodies that may be uploaded at once, by size class (small or large).
    pub uploads_limit: IntGaugeVec,
    /// The number of open client connections of the gate's own server.
    pub connections_open: IntGauge,
    /// The maximum number of open client connections.
    pub connections_limit: IntGauge,
    /// The time, in seconds, that the inspector took for one body.
    pub inspection: Histogram,
    /// The time, in seconds, that the gate itself added to a create.
    pub overhead: Histogram,
    /// The time, in seconds, that the ledger took for its decision on one reservation.
    pub ledger_commit: Histogram,
    /// The length of the SQLite write-ahead log, in bytes.
    pub ledger_wal_bytes: IntGauge,
    /// 1 if the channel is not switched off and does not rest after an ejection, else 0, by channel.
    pub channel_up: IntGaugeVec,
    /// 1 for the state that a channel is in, and 0 for the others, by channel and state.
    pub channel_state: IntGaugeVec,
    /// The validity of the certificates that the gate presents to clients and channels.
    pub certificates: Certificates,
    /// The gauges of reservations with an unknown outcome, of adjustments of bills and of background tasks.
    pub ledger: LedgerGauges,
    reloads: Reloads,
    cost_labels: ArcSwap<CostLabels>,
}

/// The kinds of channel failures, as metrics label them.
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

impl Metrics {
    /// Declares all metric families.
    ///
    /// # Errors
    /// Never, unless two families share a name or one has the same label twice: a mistake in
    /// this module, which its test finds.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("tollgate".into()), None)?;
        let d = Declare(&registry);
        d.build_info()?;
        let (channel_up, channel_state) = groups::channel_gauges(&d)?;
        Ok(Self {
            requests: Requests::declare(&d)?,
            charges: Charges::declare(&d)?,
            channels: Channels::declare(&d)?,
            budget_spent: d.ratio(
                "budget_spent_ratio",
                "The part of a budget that is reserved or posted.",
                &["key", "limit", "window"],
            )?,
            group_budget_spent: d.ratio(
                "group_budget_spent_ratio",
                "The part of a group's budget that is reserved or posted.",
                &["group", "limit", "window"],
            )?,
            ready: d.single(
                "ready",
                "1 where anything can be served, and the gate does not stop.",
            )?,
            ledger_up: d.single("ledger_up", "1 where the ledger can be used.")?,
            model_available: d.gauge(
                "model_available",
                "1 where a channel takes creates of the model and is not ejected, or may be tried again.",
                &["model"],
            )?,
            jobs_in_flight: d.gauge(
                "jobs_in_flight",
                "Reservations that are not resolved yet.",
                &["key"],
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
            uploads_limit: d.gauge(
                "uploads_limit",
                "How many create bodies may be awaited.",
                &["size"],
            )?,
            connections_open: d.single(
                "connections_open",
                "Client connections of the gate's own server.",
            )?,
            connections_limit: d.single(
                "connections_limit",
                "How many client connections of the gate's own server may be open.",
            )?,
            inspection: d.histogram("inspection_seconds", "Time in the inspector for one body.")?,
            overhead: d.histogram(
                "gate_overhead_seconds",
                "From the arrival of a create's last byte to its departure, \
                 and from the arrival of the answer to its departure.",
            )?,
            ledger_commit: d.histogram(
                "ledger_commit_seconds",
                "The ledger's decision on a reservation.",
            )?,
            ledger_wal_bytes: d.single(
                "ledger_wal_bytes",
                "Length of the write-ahead log of the ledger in SQLite; 0 for other ledgers.",
            )?,
            channel_up,
            channel_state,
            certificates: Certificates::declare(&d)?,
            ledger: LedgerGauges::declare(&d)?,
            reloads: Reloads::declare(&d)?,
            cost_labels: ArcSwap::default(),
            registry,
        })
    }

    /// Counts an answered request by its route, key and response status.
    pub fn request(&self, route: &str, key: &str, code: http::StatusCode) {
        let labels = [route, key, code.as_str()];
        self.requests.requests.with(&labels, |n| n.inc());
    }

    /// Counts a request that the gate refused; `reason` is the error code of the response.
    pub fn refusal(&self, key: &str, reason: &str) {
        self.requests.refusals.with(&[key, reason], |n| n.inc());
    }

    /// Counts the bytes of a request's body and of its response's body.
    pub fn bodies(&self, route: &str, request: u64, response: u64) {
        if request > 0 {
            self.requests
                .request_body
                .with(&[route], |n| n.inc_by(request));
        }
        if response > 0 {
            self.requests
                .response_body
                .with(&[route], |n| n.inc_by(response));
        }
    }

    /// Adds the costs and the video seconds of a charge to the counters of `event`.
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
        self.charges
            .list_cost
            .with(labels_of_all, |n| n.add(charge.list));
        self.charges
            .video_seconds
            .with(labels_of_all, |n| n.inc_by(seconds));
        self.charges
            .billed_cost
            .with(labels, |n| n.add(charge.billed));
        if let Some(cost) = &charge.purchase {
            let [key, model, size, channel, event, ..] = *labels;
            let labels = [key, model, size, channel, event, &*cost.currency];
            self.charges
                .channel_cost
                .with(&labels, |n| n.add(cost.amount));
        }
    }

    /// Sets the labels that the cost metrics have from now on, in addition to the event and the currency.
    /// Earlier counts stay in their series.
    pub fn show_cost_labels(&self, labels: CostLabels) {
        self.cost_labels.store(Arc::new(labels));
    }

    /// Observes `waited`, the time from the last byte of a request to the head of the channel's answer.
    pub fn answered(&self, channel: &str, route: &str, waited: Duration) {
        self.channels
            .upstream_response
            .with(&[channel, route], |times| times.observe(seconds(waited)));
    }

    /// Counts a request to a channel. `code` is the status of the answer, or `none` if there was no answer.
    pub fn upstream_request(&self, channel: &str, code: &str) {
        self.channels
            .upstream_requests
            .with(&[channel, code], |n| n.inc());
    }

    /// Counts a job that has ended with `status`, and observes `lasted`, the duration of the job.
    pub fn ended(&self, charge: &Charge, status: &str, lasted: Duration) {
        let labels = [&charge.channel, &charge.model, status];
        self.charges.jobs.with(&labels, |n| n.inc());
        self.charges
            .job_duration
            .with(&labels, |times| times.observe(seconds(lasted)));
    }

    /// Counts a channel's failure; `kind` is one of [`CHANNEL_ERRORS`].
    pub fn channel_error(&self, channel: &str, kind: &'static str) {
        self.channels
            .channel_errors
            .with(&[channel, kind], |n| n.inc());
    }

    /// Counts an ejection of a channel; `reason` names the kind of failures that led to it.
    pub fn channel_ejection(&self, channel: &str, reason: &'static str) {
        self.channels
            .ejections
            .with(&[channel, reason], |n| n.inc());
    }

    /// Counts a charge that was not raised to what the channel renders, since a limit would be exceeded.
    pub fn correction_left_out(&self, charge: &Charge) {
        let labels = [&*charge.payer.key, &charge.channel];
        self.charges.corrections_left_out.with(&labels, |n| n.inc());
    }

    /// Records whether an attempt to load the configuration succeeded.
    pub fn config_loaded(&self, success: bool, now: Timestamp) {
        self.reloads.successful.set(i64::from(success));
        if success {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a float")]
            self.reloads.success_time.set(now.seconds() as f64);
        }
    }

    /// Returns whether the last attempt to load the configuration succeeded, and the time of the last
    /// success, in seconds since the epoch.
    pub fn config_status(&self) -> (bool, u64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since 1970"
        )]
        let at = self.reloads.success_time.get() as u64;
        (self.reloads.successful.get() == 1, at)
    }

    /// Returns all families in Prometheus's text format, and on Linux also those of the process.
    ///
    /// # Errors
    /// If a family cannot be encoded, which is a mistake in this module.
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

/// Converts a duration to seconds, the unit of all histograms.
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

    /// Some channels answer a create only when the video is rendered.
    #[test]
    fn answers_that_take_minutes_are_told_apart() {
        let metrics = Metrics::new().unwrap();
        for seconds in [90, 170] {
            let waited = Duration::from_secs(seconds);
            metrics.answered("official", "create", waited);
        }
        let text = metrics.exposition().unwrap();
        for (up_to, answers) in [(60, 0), (120, 1), (180, 2)] {
            let labels = format!("channel=\"official\",route=\"create\",le=\"{up_to}\"");
            let bucket = "tollgate_upstream_response_seconds_bucket";
            let line = format!("{bucket}{{{labels}}} {answers}\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}
