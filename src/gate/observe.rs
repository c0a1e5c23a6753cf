//! What is live, brought into the metrics when they are read.

use std::collections::HashMap;
use std::sync::Arc;

use super::upload_slots::BodySize;
use super::{Gate, State};
use crate::ledger::{self, Scope};
use crate::policy::Key;

impl Gate {
    /// What is live, brought into the metrics: to be called before they are read.
    pub async fn refresh_metrics(&self) {
        let (state, now) = (self.state(), self.now());
        // What is not in the configuration any more is not shown any more.
        self.metrics.channel_up.reset();
        self.metrics.budget_spent.reset();
        for channel in state.channels.all() {
            let up = self
                .metrics
                .channel_up
                .with_label_values(&[&*channel.spec().name]);
            up.set(i64::from(channel.is_up(now)));
        }
        self.show_uploads(&state);
        self.show_open().await;
        // One question for each key: those without a budget have no answer to give.
        let budget = |key: &&Arc<Key>| key.limits.iter().any(|l| l.measure.is_budget());
        for key in state.config.keys.values().filter(budget) {
            let Ok(usage) = self.ledger().usage(key, now).await else {
                continue;
            };
            for used in usage.iter().filter(|used| used.limit.most > 0) {
                let (measure, window) = (used.limit.measure, used.limit.window);
                if measure.is_budget() && matches!(used.scope, Scope::Key(_)) {
                    let labels = [&*key.name, measure.name(), window.name()];
                    #[expect(clippy::cast_precision_loss, reason = "a ratio for a dashboard")]
                    let ratio = used.used as f64 / used.limit.most as f64;
                    self.metrics
                        .budget_spent
                        .with_label_values(&labels)
                        .set(ratio);
                }
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
