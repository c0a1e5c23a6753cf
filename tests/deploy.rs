//! What operators deploy, in `conf/`: the rules for Prometheus, the dashboard and the manifests.
//! `TOLLGATE_PROMTOOL` and `TOLLGATE_PROMETHEUS` name the programs where they are not on the PATH.

#[path = "deploy/dashboard.rs"]
mod dashboard;
#[path = "support/engines.rs"]
mod engines;
#[path = "deploy/expressions.rs"]
mod expressions;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
#[path = "deploy/prometheus.rs"]
mod prometheus;
#[path = "deploy/rules.rs"]
mod rules;
mod support;
#[path = "deploy/traffic.rs"]
mod traffic;
