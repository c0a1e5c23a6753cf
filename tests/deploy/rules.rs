//! The rules for Prometheus: judged and tried by its own tool, and each alert explained to operators.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::support::programs::find;

/// A file of rules.
#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// An alert or a recording rule.
#[derive(Deserialize)]
pub struct Rule {
    pub alert: Option<String>,
    pub record: Option<String>,
    pub expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A file of tests for them.
#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Deserialize)]
struct ExpectedAlert {}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read<T: DeserializeOwned>(file: &str) -> T {
    let text = fs::read_to_string(repository().join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The rules of a file in `conf/prometheus`.
pub fn rules_of(file: &str) -> Vec<Rule> {
    let rules: Rules = read(&format!("conf/prometheus/{file}"));
    let groups = rules.groups.into_iter();
    groups.flat_map(|group| group.rules).collect()
}

fn alerts() -> BTreeMap<String, Rule> {
    let rules = rules_of("alerts.yaml").into_iter();
    rules
        .map(|rule| (rule.alert.clone().unwrap(), rule))
        .collect()
}

/// What the tool says of files in the repository, and whether it finds them in order.
fn promtool(promtool: &PathBuf, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(promtool);
    let ran = command.args(arguments).current_dir(repository()).output();
    let ran = ran.unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (ran.status.success(), said)
}

#[test]
fn promtool_finds_the_rules_in_order_and_their_tests_hold() {
    let Some(tool) = find("promtool", "TOLLGATE_PROMTOOL") else {
        return;
    };
    for arguments in [
        &["check", "config", "conf/prometheus/prometheus.yaml"][..],
        &["test", "rules", "tests/deploy/alerts.yaml"][..],
    ] {
        let (in_order, said) = promtool(&tool, arguments);
        assert!(in_order, "{arguments:?}: {said}");
    }
    let rules = alerts().len() + rules_of("recording.yaml").len();
    let files = ["recording.yaml", "alerts.yaml"].map(|file| format!("conf/prometheus/{file}"));
    let (in_order, said) = promtool(&tool, &["check", "rules", &files[0], &files[1]]);
    assert!(in_order, "{said}");
    let words = said.split_whitespace();
    let counted: usize = words.filter_map(|word| word.parse::<usize>().ok()).sum();
    assert_eq!(counted, rules, "{said}");
}

#[test]
fn each_alert_is_tried_firing_and_quiet() {
    let tests: Tests = read("tests/deploy/alerts.yaml");
    let mut tried: BTreeSet<(String, bool)> = BTreeSet::new();
    for test in tests
        .tests
        .into_iter()
        .flat_map(|test| test.alert_rule_test)
    {
        tried.insert((test.alertname, !test.exp_alerts.is_empty()));
    }
    let wanted = alerts().into_keys();
    let wanted = wanted.flat_map(|name| [(name.clone(), false), (name, true)]);
    assert_eq!(tried, wanted.collect());
}

#[test]
fn each_alert_says_how_bad_it_is_and_where_operators_read_what_to_do() {
    let handbook = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let (_, section) = handbook.split_once("\n## Alerts\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut explained: BTreeMap<&str, &str> = BTreeMap::new();
    for part in section.split("\n### ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap();
        assert_eq!(explained.insert(name, text.trim()), None, "{name} twice");
    }
    let alerts = alerts();
    assert!(
        alerts.keys().eq(explained.keys()),
        "{:?} {:?}",
        alerts.keys(),
        explained.keys()
    );
    for (name, alert) in alerts {
        let severity = alert.labels.get("severity").map(String::as_str);
        let known = ["critical", "warning", "info"];
        assert!(severity.is_some_and(|s| known.contains(&s)), "{name}");
        let annotations: Vec<_> = alert.annotations.keys().collect();
        assert_eq!(annotations, ["description", "runbook", "summary"], "{name}");
        let anchor = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(alert.annotations["runbook"], anchor, "{name}");
        assert!(!explained[&*name].is_empty(), "{name}");
    }
}

/// A family in an expression that the gate does not have would never be seen to be missing.
#[test]
fn rules_name_families_that_the_gate_declares() {
    let metrics = fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let records = rules_of("recording.yaml").into_iter();
    let records: BTreeSet<_> = records.filter_map(|rule| rule.record).collect();
    let rules = rules_of("alerts.yaml").into_iter();
    for rule in rules.chain(rules_of("recording.yaml")) {
        for name in names_in(&rule.expr) {
            let family = name.strip_prefix("tollgate_").unwrap_or_default();
            let histogram = family.trim_end_matches("_bucket");
            let is_known = match name.contains(':') {
                true => records.contains(name),
                false => metrics.contains(&format!("`{histogram}`")),
            };
            assert!(is_known, "{name} in {}", rule.expr);
        }
    }
}

/// The names of families of the gate and of records that stand in an expression.
fn names_in(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c| !is_of_name(c));
    words.filter(|word| word.contains("tollgate_"))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_:".contains(c)
}

/// The selectors of series that stand in an expression, without their ranges.
pub fn selectors_in(expression: &str) -> BTreeSet<String> {
    let mut selectors = BTreeSet::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_of_name) {
        rest = &rest[start..];
        let name = &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())];
        rest = &rest[name.len()..];
        let is_family = ["tollgate_", "process_"]
            .iter()
            .any(|part| name.contains(part));
        if !is_family && name != "up" {
            continue;
        }
        let matchers = match rest.starts_with('{') {
            true => &rest[..=rest.find('}').unwrap()],
            false => "",
        };
        rest = &rest[matchers.len()..];
        selectors.insert(format!("{name}{matchers}"));
    }
    selectors
}

#[test]
fn selectors_are_found() {
    let expression = "sum by (up_to) (rate(tollgate_a_total{x=~\"b|c\"}[5m])) > job:tollgate_b:rate5m \
                      or up{job=\"t\"} == 0";
    let found = selectors_in(expression).into_iter().collect::<Vec<_>>();
    let wanted = [
        "job:tollgate_b:rate5m",
        "tollgate_a_total{x=~\"b|c\"}",
        "up{job=\"t\"}",
    ];
    assert_eq!(found, wanted);
}
