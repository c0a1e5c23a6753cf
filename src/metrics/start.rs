//! Starts series at zero, so that a first event is an increase. `runtime/zero_series.rs` knows
//! which.

use super::declare::{DURATIONS, RESPONSES};
use super::{Event, Metrics};
use crate::ledger::Payer;

impl Metrics {
    /// How many [`start_answered`](Self::start_answered): buckets, one for infinity, sum and count.
    pub const RESPONSE_SERIES: usize = RESPONSES.len() + 3;
    /// How many [`start_ended`](Self::start_ended): those of a histogram, and a counter.
    pub const ENDED_SERIES: usize = DURATIONS.len() + 4;

    /// Returns how many series [`start_charge`](Self::start_charge) starts: three families of three
    /// events, or four where it is known in which currency the channel is paid.
    pub const fn charge_series(paid_in: Option<&str>) -> usize {
        match paid_in {
            Some(_) => 12,
            None => 9,
        }
    }

    /// Starts what counts the charges of a key for a model in a size on a channel, which is paid in
    /// that currency if its price is known.
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

    /// Starts what counts requests.
    pub fn start_request(&self, route: &str, key: &str, code: http::StatusCode) {
        self.requests
            .requests
            .with(&[route, key, code.as_str()], |_| ());
    }

    /// Starts what counts refusals.
    pub fn start_refusal(&self, key: &str, reason: &str) {
        self.requests.refusals.with(&[key, reason], |_| ());
    }

    /// Starts what counts a channel's failures.
    pub fn start_channel_error(&self, channel: &str, kind: &'static str) {
        self.channels.channel_errors.with(&[channel, kind], |_| ());
    }

    /// Starts what counts a channel's ejections.
    pub fn start_channel_ejection(&self, channel: &str, reason: &'static str) {
        self.channels.ejections.with(&[channel, reason], |_| ());
    }

    /// Starts what counts requests to a channel.
    pub fn start_upstream_request(&self, channel: &str, code: &str) {
        self.channels
            .upstream_requests
            .with(&[channel, code], |_| ());
    }

    /// Starts what counts a channel's answers.
    pub fn start_answered(&self, channel: &str, route: &str) {
        self.channels
            .upstream_response
            .with(&[channel, route], |_| ());
    }

    /// Starts what counts jobs that end.
    pub fn start_ended(&self, channel: &str, model: &str, status: &str) {
        let labels = [channel, model, status];
        self.charges.jobs.with(&labels, |_| ());
        self.charges.job_duration.with(&labels, |_| ());
    }
}
