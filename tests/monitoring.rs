//! What operators watch the gate with: the rules for Prometheus and the dashboard in `conf/`.
//! `TOLLGATE_PROMTOOL` and `TOLLGATE_PROMETHEUS` name the programs where they are not on the PATH.

#[path = "monitoring/dashboard.rs"]
mod dashboard;
#[path = "support/engines.rs"]
mod engines;
#[path = "monitoring/expressions.rs"]
mod expressions;
#[path = "monitoring/prometheus.rs"]
mod prometheus;
#[path = "monitoring/rules.rs"]
mod rules;
mod support;
#[path = "monitoring/traffic.rs"]
mod traffic;
