//! Starts series at zero, so that a first event shows as an increase. `runtime/zero_series.rs` decides
//! which series.

use super::declare::{DURATIONS, RESPONSES};
use super::{Event, Metrics};
use crate::ledger::Payer;

impl Metrics {
    /// The number of series that [`start_answered`](Self::start_answered) starts: one for each bucket, and
    /// those for infinity, sum and count.
    pub const RESPONSE_SERIES: usize = RESPONSES.len() + 3;
    /// The number of series that [`start_ended`](Self::start_ended) starts: those of a histogram, and a
    /// counter.
    pub const ENDED_SERIES: usize = DURATIONS.len() + 4;

    /// Returns the number of series that [`start_charge`](Self::start_charge) starts: one for each of three
    /// events in each of three families. A channel whose price is known has a fourth family; `paid_in` is then
    /// the currency of that price.
    pub const fn charge_series(paid_in: Option<&str>) -> usize {
        match paid_in {
            Some(_) => 12,
            None => 9,
        }
    }

    /// Starts at zero the series of charges of a key for a model in a size on a channel. `paid_in` is the
    /// currency in which the channel is paid, if the channel's price is known.
    pub fn start_charge(
        &self,
        payer: &Payer,
        (model, size): (&str, &str),
        (channel, paid_in): (&str, Option<&str>),
    ) {
        let Payer {
            key,
            group,
            currency,
            ..
        } = payer;
        for event in [Event::Reserved, Event::Posted, Event::Voided] {
            let labels = [key, model, size, channel, event.name(), group, currency];
            let labels = &self.cost_labels.load().shown(labels);
            self.charges.list_cost.with(&labels[..5], |_| ());
            self.charges.video_seconds.with(&labels[..5], |_| ());
            self.charges.billed_cost.with(labels, |_| ());
            if let Some(currency) = paid_in {
                let [key, model, size, channel, event, ..] = *labels;
                let labels = [key, model, size, channel, event, currency];
                self.charges.channel_cost.with(&labels, |_| ());
            }
        }
    }

    /// Starts at zero the counter of answered client requests with these labels.
    pub fn start_request(&self, route: &str, key: &str, code: http::StatusCode) {
        self.requests
            .requests
            .with(&[route, key, code.as_str()], |_| ());
    }

    /// Starts at zero the counter of refusals of a key with the error code `reason`.
    pub fn start_refusal(&self, key: &str, reason: &str) {
        self.requests.refusals.with(&[key, reason], |_| ());
    }

    /// Starts at zero the counter of a channel's failures of this kind.
    pub fn start_channel_error(&self, channel: &str, kind: &'static str) {
        self.channels.channel_errors.with(&[channel, kind], |_| ());
    }

    /// Starts at zero the counter of a channel's ejections for this reason.
    pub fn start_channel_ejection(&self, channel: &str, reason: &'static str) {
        self.channels.ejections.with(&[channel, reason], |_| ());
    }

    /// Starts at zero the counter of requests to a channel that are answered with the status `code`.
    pub fn start_upstream_request(&self, channel: &str, code: &str) {
        self.channels
            .upstream_requests
            .with(&[channel, code], |_| ());
    }

    /// Starts the histogram of a channel's answer times on a route, without observations.
    pub fn start_answered(&self, channel: &str, route: &str) {
        self.channels
            .upstream_response
            .with(&[channel, route], |_| ());
    }

    /// Starts at zero the counter and the histogram of the jobs that end with this status.
    pub fn start_ended(&self, channel: &str, model: &str, status: &str) {
        let labels = [channel, model, status];
        self.charges.jobs.with(&labels, |_| ());
        self.charges.job_duration.with(&labels, |_| ());
    }
}
