//! The crates in `Cargo.lock`: their licences, their duplicates, and which of them a build without
//! the features `cli` and `mock` has. `deny.toml` has the lists; no network is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates that only the commands and the mock channel need. Pingora brings clap, but not these.
const NOT_EMBEDDED: &[&str] = &[
    "env_filter",
    "http-body-util",
    "hyper",
    "hyper-util",
    "mimalloc",
    "multer",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo answers, or what it complains of.
fn cargo(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(arguments)
        .args(["--offline", "--locked"])
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// All locked packages, for whatever platform.
fn packages() -> Option<Vec<Value>> {
    match cargo(&["metadata", "--format-version", "1"]) {
        Ok(metadata) => {
            let metadata: Value = serde_json::from_str(&metadata).unwrap();
            Some(metadata["packages"].as_array().unwrap().clone())
        }
        // Cargo downloads the crates of other platforms only when it is asked to.
        Err(error) => {
            let is_required =
                std::env::var_os("TOLLGATE_REQUIRE_CLIENTS").is_some_and(|v| v == "1");
            assert!(!is_required, "run `cargo fetch --locked`: {error}");
            // The test harness keeps back what goes through println!.
            let _ = writeln!(
                std::io::stdout(),
                "SKIPPED: licences: run `cargo fetch --locked`"
            );
            None
        }
    }
}

/// The strings in quotes of a list in `deny.toml`, line by line.
fn list(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let begin = format!("\n{name} = [\n");
    let (_, rest) = text.split_once(&begin).unwrap();
    let (lines, _) = rest.split_once("\n]\n").unwrap();
    let strings = |line: &str| {
        line.split('"')
            .skip(1)
            .step_by(2)
            .map(String::from)
            .collect()
    };
    lines.lines().map(strings).collect()
}

/// Whether an expression of SPDX names is satisfied by allowed licences. `/` is an old `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // The innermost brackets first, each replaced by what it comes to.
    if let Some((before, inner)) = expression
        .split_once(')')
        .map(|(b, _)| b)
        .and_then(|b| b.rsplit_once('('))
    {
        let verdict = match is_allowed(inner, allowed) {
            true => "yes",
            false => "no",
        };
        let bracket = format!("({inner})");
        let after = &expression[before.len() + bracket.len()..];
        return is_allowed(&format!("{before}{verdict}{after}"), allowed);
    }
    let expression = expression.replace('/', " OR ");
    let all = |choice: &str| {
        let mut parts = choice.split(" AND ").map(str::trim);
        parts.all(|part| part == "yes" || allowed.contains(part))
    };
    expression.split(" OR ").any(all)
}

fn allowed_licences() -> BTreeSet<String> {
    list("allow").into_iter().flatten().collect()
}

#[test]
fn licences_are_allowed() {
    let allowed = allowed_licences();
    let Some(packages) = packages() else { return };
    let refused: Vec<_> = packages
        .iter()
        .map(|package| {
            (
                &package["name"],
                package["license"].as_str().unwrap_or_default(),
            )
        })
        .filter(|(_, license)| !is_allowed(license, &allowed))
        .collect();
    assert!(refused.is_empty(), "not in deny.toml: {refused:#?}");
    let used = |license: &str| {
        let mut others = allowed.clone();
        others.remove(license);
        packages.iter().any(|package| {
            let license = package["license"].as_str().unwrap_or_default();
            !is_allowed(license, &others)
        })
    };
    // One that another stands in for is no harm; one that nobody names is a leftover.
    for license in allowed.iter().filter(|license| !used(license)) {
        let mut named = packages
            .iter()
            .filter_map(|package| package["license"].as_str());
        assert!(
            named.any(|text| text.contains(&**license)),
            "no crate has {license}"
        );
    }
}

#[test]
fn expressions_of_licences() {
    let allowed =
        BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(String::from));
    for (expression, is_allowed_now) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND ISC", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND GPL-3.0 OR ISC", true),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND GPL-3.0", false),
        ("ISC AND (GPL-3.0 OR (GPL-2.0 OR MIT))", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(
            is_allowed(expression, &allowed),
            is_allowed_now,
            "{expression}"
        );
    }
}

/// Every further version of a crate is in `deny.toml`, with its reason, and nothing else is.
#[test]
fn duplicate_versions_are_known() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let value = |line: Option<&str>, key: &str| {
        let line = line.and_then(|line| line.strip_prefix(key));
        line.unwrap().trim_matches('"').to_owned()
    };
    let mut versions = BTreeMap::<String, Vec<String>>::new();
    for package in lock.split("[[package]]\n").skip(1) {
        let mut lines = package.lines();
        let name = value(lines.next(), "name = ");
        let version = value(lines.next(), "version = ");
        versions.entry(name).or_default().push(version);
    }
    let mut known = BTreeSet::new();
    for entry in list("skip") {
        let [package, reason] = &entry[..] else {
            panic!("write a crate and a reason: {entry:?}");
        };
        assert!(!reason.is_empty(), "{package} has no reason");
        known.insert(package.clone());
    }
    for (name, versions) in &versions {
        let is_known = |version: &&String| known.contains(&format!("{name}@{version}"));
        let count = versions.iter().filter(is_known).count();
        assert_eq!(
            count,
            versions.len() - 1,
            "{name} in {versions:?}: see deny.toml"
        );
        for version in versions {
            known.remove(&format!("{name}@{version}"));
        }
    }
    assert!(known.is_empty(), "not in Cargo.lock: {known:?}");
}

/// A proxy that embeds the gate builds neither the mock channel's server nor the commands.
#[test]
fn an_embedded_gate_has_no_server_and_no_commands() {
    let tree = |more: &[&str]| {
        let all = ["tree", "-e", "normal", "--prefix", "none", "-f", "{p}"];
        let tree = cargo(&[&all, more].concat()).unwrap();
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        names.map(String::from).collect::<BTreeSet<_>>()
    };
    let embedded = tree(&["--no-default-features"]);
    let own = tree(&["--no-default-features", "--depth", "1"]);
    let whole = tree(&[]);
    for name in NOT_EMBEDDED {
        assert!(whole.contains(*name), "{name} is needed by nobody");
        assert!(!embedded.contains(*name), "{name} is built");
    }
    assert!(own.contains("pingora") && !own.contains("clap"), "{own:?}");
}
