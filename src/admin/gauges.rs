//! Updates the gauges of live state when the metrics are read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::readiness::{ChannelReadiness, ModelReadiness, Readiness};
use crate::gate::{BodySize, Gate};
use crate::ledger::{self, Scope};
use crate::policy::{Limit, Timestamp};
use crate::runtime::Snapshot;
use crate::upstream::CHANNEL_STATES;

/// Updates the gauges of live state: ledger, channels, models, budgets, uploads. Call this before the
/// metrics are read.
pub async fn refresh_metrics(gate: &Gate) {
    let (snapshot, now) = (gate.snapshot(), gate.now());
    show_uploads(gate, &snapshot);
    let wal = gate.ledger().wal_bytes().unwrap_or(0);
    let wal = i64::try_from(wal).unwrap_or(i64::MAX);
    gate.metrics().ledger_wal_bytes.set(wal);
    let readiness = Readiness::of(gate).await;
    // Series of channels and models that are not configured any more are removed.
    show_channels(gate, &readiness);
    let available = &gate.metrics().model_available;
    available.reset();
    for (name, model) in &readiness.models {
        let value = i64::from(*model == ModelReadiness::Available);
        available.with_label_values(&[&**name]).set(value);
    }
    let ready = readiness.why_not().is_none();
    gate.metrics().ready.set(i64::from(ready));
    let ledger_up = readiness.ledger.is_ok();
    gate.metrics().ledger_up.set(i64::from(ledger_up));
    // While the ledger is unavailable, the gauges keep its last values.
    if ledger_up {
        show_open(gate, now).await;
        show_adjustments(gate).await;
        show_budgets(gate, &snapshot, now).await;
    }
}

fn show_channels(gate: &Gate, readiness: &Readiness) {
    let (up, states) = (&gate.metrics().channel_up, &gate.metrics().channel_state);
    up.reset();
    states.reset();
    // A channel with several addresses is shown in the state of the best one.
    let same = |a: &ChannelReadiness, b: &ChannelReadiness| a.name == b.name;
    for addresses in readiness.channels.chunk_by(same) {
        let Some(best) = addresses.iter().min_by_key(|at| !at.is_up) else {
            continue;
        };
        let name = &*best.name;
        up.with_label_values(&[name]).set(i64::from(best.is_up));
        for state in CHANNEL_STATES {
            let value = i64::from(best.status.label == state);
            states.with_label_values(&[name, state]).set(value);
        }
    }
}

/// Shows how much of each budget is spent. The ledger is asked once for each key with a budget; if only the
/// group of several keys has a budget, the ledger is asked for one key of the group. If it does not answer for
/// one of them, all gauges keep their values.
async fn show_budgets(gate: &Gate, snapshot: &Snapshot, now: Timestamp) {
    let metrics = gate.metrics();
    let has_budget = |limits: &[Limit]| limits.iter().any(|l| l.measure.is_budget());
    let (mut groups, mut usages) = (HashSet::<&str>::new(), Vec::new());
    for key in snapshot.config.keys.values() {
        let group = &key.group;
        let shows_group = has_budget(&group.limits) && !groups.contains(&*group.name);
        if !has_budget(&key.limits) && !shows_group {
            continue;
        }
        let Ok(usage) = gate.ledger().usage(key, now).await else {
            return;
        };
        groups.insert(&group.name);
        usages.extend(usage);
    }
    metrics.budget_spent.reset();
    metrics.group_budget_spent.reset();
    for used in usages.iter().filter(|used| used.limit.max > 0) {
        let (measure, window) = (used.limit.measure, used.limit.window);
        if !measure.is_budget() {
            continue;
        }
        let (gauge, whose) = match &used.scope {
            Scope::Key(name) => (&metrics.budget_spent, name),
            Scope::Group(name) => (&metrics.group_budget_spent, name),
            // A limit of a channel does not belong to a key.
            Scope::Channel(_) => continue,
        };
        #[expect(clippy::cast_precision_loss, reason = "a ratio for a dashboard")]
        let ratio = used.used as f64 / used.limit.max as f64;
        let labels = [&**whose, measure.name(), window.name()];
        gauge.with_label_values(&labels).set(ratio);
    }
}

fn show_uploads(gate: &Gate, snapshot: &Snapshot) {
    let limit = snapshot.config.bounds.concurrent_uploads;
    for (size, label) in [(BodySize::Small, "small"), (BodySize::Large, "large")] {
        for (gauge, value) in [
            (
                &gate.metrics().uploads_in_flight,
                gate.uploads_in_flight(size),
            ),
            (&gate.metrics().uploads_limit, limit),
        ] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauge.with_label_values(&[label]).set(value);
        }
    }
}

/// Shows the unresolved reservations and jobs as the ledger counts them: each of the gates that share a
/// ledger shows all of them. While the ledger is unavailable, its last counts stay.
async fn show_open(gate: &Gate, now: Timestamp) {
    let Ok(open) = gate.ledger().count_unresolved().await else {
        return;
    };
    // Each configured key and channel has a series, even if its count is zero.
    let snapshot = gate.snapshot();
    let keys = snapshot
        .config
        .keys
        .values()
        .map(|key| (key.name.clone(), 0));
    let mut jobs: HashMap<Arc<str>, u64> = keys.collect();
    let channels = snapshot.channels.all().iter();
    let names = channels.map(|channel| (channel.spec().name.clone(), 0));
    let mut unresolved: HashMap<Arc<str>, u64> = names.collect();
    let mut ages: HashMap<Arc<str>, u64> = unresolved.clone();
    for open in open {
        *jobs.entry(open.key).or_default() += open.count;
        if open.state == ledger::State::Unknown {
            let age = ages.entry(open.channel.clone()).or_default();
            *age = (*age).max(now.since(open.oldest));
            *unresolved.entry(open.channel).or_default() += open.count;
        }
    }
    let ages = ages.iter().map(|(channel, age)| (&**channel, *age));
    gate.metrics().ledger.show_unresolved_ages(ages);
    for (gauge, counts) in [
        (&gate.metrics().jobs_in_flight, jobs),
        (&gate.metrics().unresolved, unresolved),
    ] {
        gauge.reset();
        for (label, count) in counts {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            gauge.with_label_values(&[&*label]).set(count);
        }
    }
}

/// Shows the adjustments of bills, which are recorded by commands and not by gates.
async fn show_adjustments(gate: &Gate) {
    if let Ok(sums) = gate.ledger().adjustments().await {
        gate.metrics().ledger.show_adjustments(&sums);
    }
}
