//! What operators deploy: the rules for Prometheus, the dashboard, the manifests, the unit, the
//! image and the Debian package.
//! `TOLLGATE_PROMTOOL`, `TOLLGATE_PROMETHEUS` and `TOLLGATE_SYSTEMD_ANALYZE` name the programs where they
//! are not on the PATH.

#[path = "deploy/dashboard.rs"]
mod dashboard;
#[path = "support/engines.rs"]
mod engines;
#[path = "deploy/expressions.rs"]
mod expressions;
#[path = "operating/gate.rs"]
mod gate;
#[path = "support/gates.rs"]
mod gates;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
#[path = "deploy/package.rs"]
mod package;
#[path = "deploy/prometheus.rs"]
mod prometheus;
#[path = "deploy/rules.rs"]
mod rules;
mod support;
#[path = "deploy/traffic.rs"]
mod traffic;
#[path = "deploy/unit.rs"]
mod unit;
