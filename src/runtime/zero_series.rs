//! Starts the metric series of configured keys and channels at zero. Prometheus cannot compute the increase
//! of a counter that did not exist before, so the first create of a key would otherwise not show.

use std::sync::Arc;

use crate::channel::Channel;
use crate::config::Config;
use crate::ledger::Payer;
use crate::metrics::{CHANNEL_ERRORS, Metrics};
use crate::policy::Key;
use crate::upstream::EjectionReason;

/// The maximum number of series that are started; further series exist from their first value on. A
/// thousand keys with all models and sizes would be a hundred thousand series, most of which nobody ever
/// needs.
const MAX_SERIES: usize = 5_000;

const ROUTES: [&str; 8] = [
    "create", "list", "retrieve", "delete", "content", "remix", "models", "usage",
];
const ENDS: [&str; 6] = [
    "completed",
    "failed",
    "cancelled",
    "timed_out",
    "deleted",
    "expired",
];
/// The error codes of those refusals of a key about which operators want alerts.
const REFUSALS: [&str; 3] = ["rate_limit_exceeded", "insufficient_quota", "unavailable"];

/// The number of series that may still be started.
struct SeriesBudget(usize);

impl SeriesBudget {
    /// Takes `series` from the budget. If fewer were left, empties the budget and returns `false`.
    fn take(&mut self, series: usize) -> bool {
        let left = self.0.checked_sub(series);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Starts at zero the series of a configuration's channels and keys, up to [`MAX_SERIES`] of them: channels
/// first, then keys by name.
pub(super) fn start(config: &Config, metrics: &Metrics) {
    let mut left = SeriesBudget(MAX_SERIES);
    for channel in &config.channels {
        start_channel(config, channel, metrics, &mut left);
    }
    if left.take(1) {
        metrics.start_refusal("", "invalid_api_key");
    }
    for key in config.keys.values() {
        start_key(config, key, metrics, &mut left);
    }
}

fn start_channel(config: &Config, channel: &Channel, metrics: &Metrics, left: &mut SeriesBudget) {
    let name = &*channel.name;
    if left.take(CHANNEL_ERRORS.len() + 1) {
        for kind in CHANNEL_ERRORS {
            metrics.start_channel_error(name, kind);
        }
        metrics.start_upstream_request(name, "200");
    }
    if left.take(EjectionReason::ALL.len()) {
        for reason in EjectionReason::ALL {
            metrics.start_channel_ejection(name, reason.name());
        }
    }
    for route in ROUTES {
        if left.take(Metrics::RESPONSE_SERIES) {
            metrics.start_answered(name, route);
        }
    }
    let served = |name: &str| channel.models.contains(name);
    for model in config.catalog.models().filter(|model| served(model.name())) {
        for status in ENDS {
            if left.take(Metrics::ENDED_SERIES) {
                metrics.start_ended(name, model.name(), status);
            }
        }
    }
}

fn start_key(config: &Config, key: &Arc<Key>, metrics: &Metrics, left: &mut SeriesBudget) {
    if !left.take(ROUTES.len() + REFUSALS.len()) {
        return;
    }
    for route in ROUTES {
        metrics.start_request(route, &key.name, http::StatusCode::OK);
    }
    for reason in REFUSALS {
        metrics.start_refusal(&key.name, reason);
    }
    let payer = Payer::from(&**key);
    let models = config.catalog.models();
    for model in models.filter(|model| key.allow.model(model.name())) {
        let sizes = model.sizes().iter();
        for size in sizes.filter(|size| key.allow.size(&size.name)) {
            let channels = config.channels.iter();
            for channel in channels.filter(|channel| channel.models.contains(model.name())) {
                let paid_in = channel.purchase.as_ref().map(|p| &*p.currency);
                if left.take(Metrics::charge_series(paid_in)) {
                    let made = (&**model.name(), &*size.name);
                    metrics.start_charge(&payer, made, (&channel.name, paid_in));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::path::Path;

    fn exposition(keys: usize, metrics: &Metrics) -> String {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let mut text = std::fs::read_to_string(dir.join("demo.yaml")).unwrap();
        for n in 0..keys {
            writeln!(text, "  - {{ name: k{n}, sha256: {n:064x}, group: sora2 }}").unwrap();
        }
        let env = |_: &str| Some("credential".to_owned());
        let config = crate::config::parse(&text, "demo.yaml", &env, &dir).unwrap();
        start(&config, metrics);
        metrics.exposition().unwrap()
    }

    fn series(text: &str) -> usize {
        let own = text.lines().filter(|line| line.starts_with("tollgate_"));
        own.count()
    }

    #[test]
    fn what_a_key_may_ask_for_begins_at_zero() {
        let text = exposition(0, &Metrics::new().unwrap());
        let charge = "channel=\"mock\",event=\"reserved\",key=\"studio-a\",model=\"sora-2\",\
                      size=\"720x1280\"";
        for line in [
            &format!("list_cost_usd_total{{{charge}}} 0"),
            "requests_total{code=\"200\",key=\"demo\",route=\"create\"} 0",
            "refusals_total{key=\"demo\",reason=\"insufficient_quota\"} 0",
            "jobs_total{channel=\"mock\",model=\"sora-2\",status=\"failed\"} 0",
            "channel_errors_total{channel=\"mock\",kind=\"connect\"} 0",
            "channel_ejections_total{channel=\"mock\",reason=\"account\"} 0",
            "upstream_response_seconds_count{channel=\"mock\",route=\"create\"} 0",
        ] {
            assert!(
                text.contains(&format!("tollgate_{line}\n")),
                "{line}\n{text}"
            );
        }
        let not_allowed = |line: &&str| line.contains("studio-a") && line.contains("sora-2-pro");
        assert_eq!(text.lines().find(not_allowed), None);
    }

    #[test]
    fn many_keys_start_no_more_series_than_may_be() {
        let few = series(&exposition(0, &Metrics::new().unwrap()));
        let many = series(&exposition(1000, &Metrics::new().unwrap()));
        assert!(few < 1000, "{few}");
        // Metrics without labels are always there.
        let always = series(&Metrics::new().unwrap().exposition().unwrap());
        assert!(many <= MAX_SERIES + always, "{many}");
        assert!(many >= MAX_SERIES - 100, "{many}");
    }
}
