//! What operators watch the gate with: the rules for Prometheus and the dashboard in `conf/`.

#[path = "monitoring/rules.rs"]
mod rules;
mod support;
