//! Metric families by subject. Only [`Metrics`](super::Metrics) updates them, except the gauges of channels.

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, IntGaugeVec};

use super::declare::{DURATIONS, Declare, RESPONSES};
use super::family::Family;
use super::money::MoneyCounter;

/// The counters of client requests: answers, refusals and bytes of bodies.
pub(super) struct Requests {
    pub(super) requests: Family<IntCounter>,
    pub(super) refusals: Family<IntCounter>,
    pub(super) request_body: Family<IntCounter>,
    pub(super) response_body: Family<IntCounter>,
}

impl Requests {
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            requests: d.counter(
                "requests_total",
                "Requests answered.",
                &["route", "key", "code"],
            )?,
            refusals: d.counter(
                "refusals_total",
                "Requests refused by the gate.",
                &["key", "reason"],
            )?,
            request_body: d.counter(
                "request_body_bytes_total",
                "Bytes of request bodies received.",
                &["route"],
            )?,
            response_body: d.counter(
                "response_body_bytes_total",
                "Bytes of response bodies sent.",
                &["route"],
            )?,
        })
    }
}

/// The metrics of charges (costs and seconds of video) and of ended jobs.
pub(super) struct Charges {
    pub(super) list_cost: Family<MoneyCounter>,
    pub(super) billed_cost: Family<MoneyCounter>,
    pub(super) channel_cost: Family<MoneyCounter>,
    pub(super) video_seconds: Family<IntCounter>,
    pub(super) jobs: Family<IntCounter>,
    pub(super) job_duration: Family<Histogram>,
    pub(super) corrections_left_out: Family<IntCounter>,
}

impl Charges {
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<Self> {
        let charge = ["key", "model", "size", "channel", "event"];
        Ok(Self {
            list_cost: d.money(
                "list_cost_usd_total",
                "List cost in USD, by what became of the charge.",
                &charge,
            )?,
            billed_cost: d.money(
                "billed_cost_total",
                "Billed cost in the group's currency, by what became of the charge.",
                &[
                    "key", "model", "size", "channel", "event", "group", "currency",
                ],
            )?,
            channel_cost: d.money(
                "channel_cost_total",
                "What is paid to the channel, in the currency of the purchase, by what became of the \
                 charge.",
                &["key", "model", "size", "channel", "event", "currency"],
            )?,
            video_seconds: d.counter(
                "video_seconds_total",
                "Seconds of video, by what became of the charge.",
                &charge,
            )?,
            jobs: d.counter(
                "jobs_total",
                "Jobs that have ended.",
                &["channel", "model", "status"],
            )?,
            job_duration: d.histograms(
                "job_duration_seconds",
                "From a job's creation to its completion as its channel tells, \
                 or to the end that was seen.",
                DURATIONS,
                &["channel", "model", "status"],
            )?,
            corrections_left_out: d.counter(
                "corrections_left_out_total",
                "Jobs that are charged for less than their channel renders, \
                 since more would exceed a limit.",
                &["key", "channel"],
            )?,
        })
    }
}

/// The metrics of channels: requests and answers, failures and ejections.
pub(super) struct Channels {
    pub(super) upstream_requests: Family<IntCounter>,
    pub(super) upstream_response: Family<Histogram>,
    pub(super) channel_errors: Family<IntCounter>,
    pub(super) ejections: Family<IntCounter>,
}

impl Channels {
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
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
            channel_errors: d.counter(
                "channel_errors_total",
                "Failures of a channel.",
                &["channel", "kind"],
            )?,
            ejections: d.counter(
                "channel_ejections_total",
                "How often a channel was ejected: it gets creates only where no other can take \
                 them.",
                &["channel", "reason"],
            )?,
        })
    }
}

/// The gauges of attempts to load the configuration.
pub(super) struct Reloads {
    pub(super) successful: IntGauge,
    pub(super) success_time: Gauge,
}

impl Reloads {
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            successful: d.single(
                "config_last_reload_successful",
                "1 where the last attempt to load the configuration succeeded.",
            )?,
            success_time: d.add(Gauge::new(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded.",
            )?)?,
        })
    }
}

/// Declares the gauges of channels: whether each is up, and its state.
pub(super) fn channel_gauges(d: &Declare<'_>) -> prometheus::Result<(IntGaugeVec, IntGaugeVec)> {
    let up = d.gauge(
        "channel_up",
        "1 where the channel is used and not ejected, or may be tried again.",
        &["channel"],
    )?;
    let state = d.gauge(
        "channel_state",
        "1 for the state that the channel is in: active, drain, off, resting or trial.",
        &["channel", "state"],
    )?;
    Ok((up, state))
}
