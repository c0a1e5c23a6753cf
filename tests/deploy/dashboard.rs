//! The dashboard for Grafana: its form, and the expressions of its panels.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use serde_json::Value;

use crate::rules::repository;
use crate::support::programs::skip;

/// An expression of a panel, with its variables filled in as where everything is chosen.
pub struct Target {
    pub panel: String,
    pub expression: String,
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(repository().join("conf/grafana/tollgate.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

/// What Grafana puts in place of the variables, the longer names first.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "5m"),
    ("$channel", ".*"),
    ("$job", "tollgate.*"),
    ("$key", ".*"),
];

/// Every expression of the panels, and that of the annotations.
pub fn targets() -> Vec<Target> {
    let dashboard = dashboard();
    let panels = list(&dashboard["panels"]).filter(|panel| panel["type"] != "row");
    let of_panels = panels.flat_map(|panel| {
        list(&panel["targets"]).map(|target| (panel["title"].clone(), target["expr"].clone()))
    });
    let annotations = list(&dashboard["annotations"]["list"]);
    let annotations = annotations.filter(|annotation| annotation.get("expr").is_some());
    let of_annotations =
        annotations.map(|annotation| (annotation["name"].clone(), annotation["expr"].clone()));
    let target = |(panel, expression): (Value, Value)| {
        let mut filled = expression.as_str().unwrap().to_owned();
        for (name, value) in VARIABLES {
            filled = filled.replace(name, value);
        }
        assert!(!filled.contains('$'), "{filled}");
        Target {
            panel: panel.as_str().unwrap().to_owned(),
            expression: filled,
        }
    };
    of_panels.chain(of_annotations).map(target).collect()
}

#[test]
fn panels_have_places_of_their_own_and_the_datasource_that_is_chosen() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "tollgate");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(titles.insert(title.to_owned()), "{title}");
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title}");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| {
            let rows = at("y")..at("y") + at("h");
            rows.map(move |y| (x, y))
        }) {
            assert!(cells.insert((x, y)), "{title} covers another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets: Vec<_> = list(&panel["targets"]).collect();
        assert!(!targets.is_empty(), "{title}");
        let references: BTreeSet<_> = targets.iter().map(|t| t["refId"].as_str()).collect();
        assert_eq!(references.len(), targets.len(), "{title}");
        for source in targets.into_iter().chain([panel]) {
            assert_eq!(source["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let variables = list(&dashboard["templating"]["list"]);
    let variables: Vec<_> = variables.map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "key", "channel"]);
}

/// The interpreter that has `tests/deploy/requirements.txt`.
pub fn python() -> Option<OsString> {
    let python = std::env::var_os("TOLLGATE_PYTHON");
    if python.is_none() {
        skip("TOLLGATE_PYTHON names no interpreter with tests/deploy/requirements.txt");
    }
    python
}

/// What Grafana reads and its published model leaves out.
const UNMODELLED: [&str; 7] = [
    ".__requires",
    ".annotations.list[].step",
    ".annotations.list[].tagKeys",
    ".annotations.list[].textFormat",
    ".annotations.list[].titleFormat",
    ".id",
    ".templating.list[].definition",
];

#[test]
fn the_dashboard_is_read_by_the_model_of_grafana() {
    let Some(python) = python() else {
        return;
    };
    let folder = repository();
    let mut command = Command::new(python);
    let command = command.arg(folder.join("tests/deploy/dashboard.py"));
    let ran = command.arg(folder.join("conf/grafana/tollgate.json"));
    let ran = ran.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    let lost = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(lost.lines().collect::<Vec<_>>(), UNMODELLED);
}
