//! What is live, brought into the metrics when they are read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::upload_slots::BodySize;
use super::{Gate, State};
use crate::ledger::{self, Scope};
use crate::policy::{Limit, Timestamp};

impl Gate {
    /// What is live, brought into the metrics: to be called before they are read.
    pub async fn refresh_metrics(&self) {
        let (state, now) = (self.state(), self.now());
        self.show_uploads(&state);
        let wal = self.ledger().wal_bytes().unwrap_or(0);
        let wal = i64::try_from(wal).unwrap_or(i64::MAX);
        self.metrics.ledger_wal_bytes.set(wal);
        let readiness = self.readiness().await;
        // What is not in the configuration any more is not shown any more.
        for (gauge, values) in [
            (&self.metrics.channel_up, &readiness.channels),
            (&self.metrics.model_available, &readiness.models),
        ] {
            gauge.reset();
            for (name, up) in values {
                gauge.with_label_values(&[&**name]).set(i64::from(*up));
            }
        }
        let ready = readiness.why_not().is_none();
        self.metrics.ready.set(i64::from(ready));
        let ledger_up = readiness.ledger.is_ok();
        self.metrics.ledger_up.set(i64::from(ledger_up));
        // While it is away, what it said last is shown.
        if ledger_up {
            self.show_open().await;
            self.show_budgets(&state, now).await;
        }
    }

    /// What is spent of budgets. One question for each key: those without a budget have no
    /// answer to give, and of those that share a group's alone one is asked.
    async fn show_budgets(&self, state: &State, now: Timestamp) {
        let metrics = &self.metrics;
        metrics.budget_spent.reset();
        metrics.group_budget_spent.reset();
        let has_budget = |limits: &[Limit]| limits.iter().any(|l| l.measure.is_budget());
        let mut groups: HashSet<&str> = HashSet::new();
        for key in state.config.keys.values() {
            let group = &key.group;
            let shows_group = has_budget(&group.limits) && !groups.contains(&*group.name);
            if !has_budget(&key.limits) && !shows_group {
                continue;
            }
            let Ok(usage) = self.ledger().usage(key, now).await else {
                continue;
            };
            groups.insert(&group.name);
            for used in usage.iter().filter(|used| used.limit.most > 0) {
                let (measure, window) = (used.limit.measure, used.limit.window);
                if !measure.is_budget() {
                    continue;
                }
                let (gauge, whose) = match &used.scope {
                    Scope::Key(name) => (&metrics.budget_spent, name),
                    Scope::Group(name) => (&metrics.group_budget_spent, name),
                };
                #[expect(clippy::cast_precision_loss, reason = "a ratio for a dashboard")]
                let ratio = used.used as f64 / used.limit.most as f64;
                let labels = [&**whose, measure.name(), window.name()];
                gauge.with_label_values(&labels).set(ratio);
            }
        }
    }

    fn show_uploads(&self, state: &State) {
        let limit = state.config.bounds.concurrent_uploads;
        for (size, label) in [(BodySize::Small, "small"), (BodySize::Large, "large")] {
            for (gauge, value) in [
                (&self.metrics.uploads_in_flight, self.uploads.taken(size)),
                (&self.metrics.uploads_limit, limit),
            ] {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                gauge.with_label_values(&[label]).set(value);
            }
        }
    }

    /// What is not resolved, in the ledger's own words: in a fleet, every gate shows all of
    /// it. While the ledger is away, what it said last.
    async fn show_open(&self) {
        let Ok(open) = self.ledger().open().await else {
            return;
        };
        // A series that was there goes to zero rather than away.
        let state = self.state();
        let keys = state.config.keys.values().map(|key| (key.name.clone(), 0));
        let mut jobs: HashMap<Arc<str>, u64> = keys.collect();
        let channels = state.channels.all().iter();
        let names = channels.map(|channel| (channel.spec().name.clone(), 0));
        let mut unresolved: HashMap<Arc<str>, u64> = names.collect();
        for open in open {
            *jobs.entry(open.key).or_default() += open.count;
            if open.state == ledger::State::Unknown {
                *unresolved.entry(open.channel).or_default() += open.count;
            }
        }
        for (gauge, counts) in [
            (&self.metrics.jobs_in_flight, jobs),
            (&self.metrics.unresolved, unresolved),
        ] {
            gauge.reset();
            for (label, count) in counts {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                gauge.with_label_values(&[&*label]).set(count);
            }
        }
    }
}
