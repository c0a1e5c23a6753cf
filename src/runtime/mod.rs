//! The configuration in force, with its live channels.

mod zero_series;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::certificate::TlsIdentity;
use crate::config::{Admin, Config, ConfigChange};
use crate::inspect::{Plan, SecondsType};
use crate::metrics::Metrics;
use crate::policy::Timestamp;
use crate::upstream::{Channels, LiveChannel};
use crate::{json, multipart};

/// A configuration with the values derived from it. A request keeps the snapshot that it began with.
pub struct Snapshot {
    /// The configuration.
    pub config: Config,
    /// The live channels of the configuration.
    pub channels: Channels,
    /// The settings of the operators' listener that are in force: perhaps those of an earlier configuration.
    pub(crate) admin: Option<Admin>,
    /// The plan by which bodies are inspected.
    pub(crate) plan: Arc<Plan>,
}

impl Snapshot {
    fn new(config: Config, before: Option<&Self>) -> Arc<Self> {
        warn_of_short_grace(&config);
        let bounds = &config.bounds;
        let plan = Plan {
            catalog: config.catalog.clone(),
            fields: config.fields.clone(),
            prompt_chars: bounds.prompt_chars as u64,
            seconds_type: {
                let types = config.channels.iter().map(|channel| channel.seconds_type);
                types.reduce(SecondsType::or).unwrap_or_default()
            },
            multipart: multipart::Limits {
                parts: bounds.parts,
                header_bytes: bounds.part_header_bytes,
                ..multipart::Limits::default()
            },
            json: json::Limits::default(),
        };
        Arc::new(Self {
            channels: match before {
                Some(before) => Channels::replacing(&config.channels, &before.channels),
                None => Channels::new(&config.channels),
            },
            admin: admin_in_force(config.admin.as_ref(), before),
            plan: Arc::new(plan),
            config,
        })
    }
}

/// Returns the settings of the operators' listener that are in force. The listener keeps its address until
/// the next start. So if `new` has another address or no listener, the settings in `before` stay in force.
fn admin_in_force(new: Option<&Admin>, before: Option<&Snapshot>) -> Option<Admin> {
    let before = before.and_then(|before| before.admin.as_ref());
    let moved = |before: &&Admin| new.is_none_or(|new| new.address != before.address);
    before.filter(moved).or(new).cloned()
}

/// The holder of the configuration in force, which can be replaced while requests are under way.
pub(crate) struct Runtime {
    snapshot: ArcSwap<Snapshot>,
    metrics: Arc<Metrics>,
}

impl Runtime {
    /// Puts the first configuration in force, and shows it in the metrics.
    pub(crate) fn new(config: Config, metrics: Arc<Metrics>, at: Timestamp) -> Arc<Self> {
        show(&config, &metrics, at);
        Arc::new(Self {
            snapshot: ArcSwap::new(Snapshot::new(config, None)),
            metrics,
        })
    }

    /// Returns the configuration in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts `config` in force, and returns its differences from the previous configuration.
    pub(crate) fn replace(&self, config: Config, at: Timestamp) -> ConfigChange {
        let before = self.snapshot();
        for channel in &before.config.channels {
            self.metrics.certificates.set_channel(&channel.name, None);
            if !config.channels.iter().any(|is| is.name == channel.name) {
                self.metrics.ledger.end_rounds(&channel.name);
            }
        }
        show(&config, &self.metrics, at);
        let change = ConfigChange::between(&before.config, &config);
        self.snapshot.store(Snapshot::new(config, Some(&before)));
        let now = self.snapshot();
        log::info!("configuration {change}");
        log_states(&now.channels, &before.channels);
        warn_of_currencies(&now.config, &before.config);
        change
    }
}

fn show(config: &Config, metrics: &Metrics, at: Timestamp) {
    metrics.show_cost_labels(config.metrics.cost_labels);
    zero_series::start(config, metrics);
    for channel in &config.channels {
        let validity = channel.client_cert.as_ref().map(TlsIdentity::validity);
        let not_after = validity.map(|validity| validity.not_after);
        metrics.certificates.set_channel(&channel.name, not_after);
        metrics.ledger.start_rounds(&channel.name, at);
        if let Some(Err(not_valid)) = validity.map(|validity| validity.check(at.seconds())) {
            log::error!("channel {}: client_cert: {not_valid}", channel.name);
        }
    }
    metrics.config_loaded(true, at);
}

/// Logs the channels whose state the new configuration changes.
fn log_states(channels: &Channels, before: &Channels) {
    let is_shown = |at: &&Arc<LiveChannel>| channels.is_first(at) && !at.is_removed();
    let first = channels.all().iter().filter(is_shown);
    for channel in first {
        let (name, state) = (&channel.spec().name, channel.state());
        let was = before.get(name).map(|before| before.state());
        if let Some(was) = was.filter(|was| *was != state) {
            let (state, was) = (state.name(), was.name());
            log::info!("channel {name}: its state is {state} now, as configured; it was {was}");
        }
    }
}

/// Logs a warning for channels whose `answer_timeout` is not shorter than `jobs.unknown_grace`: the gate may
/// void a reservation before the channel creates its job.
fn warn_of_short_grace(config: &Config) {
    let grace = config.jobs.unknown_grace;
    for channel in config.channels.iter().filter(|c| c.answer_timeout >= grace) {
        log::warn!(
            "jobs.unknown_grace is not longer than the answer_timeout of channel {}: a job \
             that it takes longer to create is not charged",
            channel.name
        );
    }
}

/// Logs a warning for keys that are charged in a new currency from now on. Their budgets in the new currency
/// count only what has been charged in it so far, which is easily overlooked.
fn warn_of_currencies(config: &Config, before: &Config) {
    const NAMED: usize = 10;
    for ([was, is], keys) in config.changed_currencies(before) {
        let names: Vec<_> = keys.iter().take(NAMED).map(|key| &**key).collect();
        let more = match keys.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more keys"),
        };
        log::warn!(
            "key {}{more}: charged in {is} from now on, in {was} until now. Limits of billed_cost \
             count the charges in {is} alone",
            names.join(", ")
        );
    }
}
