//! Tests that invalid sections are refused: the catalog, fields, groups, keys and limits.

use super::*;

#[test]
fn the_catalog_must_hold_together() {
    refused(&[
        ("[\"4\", 8]", "[\"4\", §08]", &["`08` is no duration"]),
        ("[\"4\", 8]", "[\"4\", §8.0]", &["`8.0` is no duration"]),
        ("[\"4\", 8]", "[\"4\", §\"4\"]", &["`4` stands here twice"]),
        ("[\"4\", 8]", "§[]", &["no seconds on offer"]),
        (
            "default: 4",
            "default: §5",
            &["the default `5` is not among"],
        ),
        (
            "default: 1x2",
            "default: §2x2",
            &["the default `2x2` is not among"],
        ),
        ("0.10", "§1e-1", &["write a plain decimal"]),
        ("0.10", "§-0.1", &["this is negative"]),
        ("0.10", "§.nan", &["write a plain decimal"]),
        ("0.10", "§0.1000001", &["at most 6 decimals"]),
        ("{ 3x3: 0.5 }", "§{}", &["no sizes on offer"]),
        (
            "{ default: 3x3, usd_per_second: { 3x3: 0.5 } }",
            "{ default: a, usd_per_second: { §a: §b } }",
            &["`a` is no size", "write a plain decimal"],
        ),
        (
            "2x1: \"0.20\"",
            "2x1: 1, §2x1: 2",
            &["this key stands here twice"],
        ),
    ]);
    let text = changed(&[("  n:", "  §n:"), ("0.5", "9000000000")]);
    refused_in(Path::new("/"), &text, &["larger than any amount"]);
    let text = changed(&[("  n:", "  §\"n \":"), ("[m, n]", "[m, \"n \"]")]);
    refused_in(Path::new("/"), &text, &["this is no name of a model"]);
    let (from, to) = (BASE.find("  m:").unwrap(), BASE.find("groups:").unwrap());
    let text = BASE.replace(&BASE[from..to], "").replace("[m, n]", "[§m]");
    refused_in(
        Path::new("/"),
        &text.replace("catalog:", "catalog: §{}"),
        &["no model `m`", "no models on offer"],
    );
}

#[test]
fn fields_must_be_nameable_and_hold_the_prompt() {
    refused_with(&[
        (
            "fields: §[input_reference]",
            &["`prompt` must be among the fields"],
        ),
        ("fields: §[]", &["`prompt` must be among the fields"]),
        (
            "fields: [prompt, §model, §size, §seconds]",
            &["always allowed"; 3],
        ),
        ("fields: [prompt, §prompt]", &["stands here twice"]),
        (
            "fields: [prompt, §\"a b\", §\"\"]",
            &["no name of a field"; 2],
        ),
    ]);
}

#[test]
fn groups_must_be_payable() {
    refused(&[
        ("7.25", "§7.2511", &["at most 3 decimals"]),
        ("7.25", "§5e0", &["write a plain decimal"]),
        ("CNY", "§C/Y", &["this is no name"]),
    ]);
    let text = changed(&[("  g:", "  §\"g g\":"), ("group: g", "group: g g")]);
    refused_in(Path::new("/"), &text, &["this is no name"]);
    let text = changed(&[("0.5", "90000000"), ("7.25", "§1000000")]);
    refused_in(Path::new("/"), &text, &["costs more than any amount"]);
}

#[test]
fn keys_must_be_distinct_and_able_to_ask() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let nothing = "§e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    refused(&[
        ("name: a", "name: §a/b", &["this is no name"]),
        (digest, nothing, &["the SHA-256 of nothing at all"]),
        (
            "group: g",
            "group: §other",
            &["there is no group `other` (there are: g)"],
        ),
    ]);
    let allow = |allow: &str, wanted: &[&str]| {
        let text = changed(&[("group: g", &format!("group: g\n    allow: {allow}"))]);
        refused_in(Path::new("/"), &text, wanted);
    };
    allow(
        "{ models: §[], sizes: §[], seconds: §[] }",
        &["an empty list allows nothing"; 3],
    );
    allow("{ models: [m, §m] }", &["stands here twice"]);
    allow(
        "{ models: [n], sizes: [3x3, §1x2] }",
        &["the size `1x2` (offered are: 3x3)"],
    );
    allow(
        "{ models: [n], seconds: [§4] }",
        &["the duration `4` (offered are: 12)"],
    );
    allow(
        "{ models: [§o], sizes: [9x9] }",
        &["the catalog has no model `o`"],
    );
    // Each value is offered by some model, but no model offers both.
    let text = changed(&[
        ("name: a", "name: §a"),
        (
            "group: g",
            "group: g\n    allow: { sizes: [3x3], seconds: [4] }",
        ),
    ]);
    refused_in(Path::new("/"), &text, &["may not ask for anything"]);

    refused_with(&[(
        &format!("  - {{ name: §a, sha256: §{digest}, group: g }}"),
        &[
            "(the first is at t.yaml:17:11)",
            "two keys have this sha256 (the first is at t.yaml:18:13)",
        ],
    )]);
    let text = &BASE[..BASE.find("keys:").unwrap()];
    let error = parse_in(Path::new("/"), text).unwrap_err();
    assert_eq!(error.problems()[0].line, 0);
    assert!(
        error.to_string().starts_with("t.yaml: no client keys: "),
        "{error}"
    );
}

#[test]
fn limits_must_mean_something() {
    let limits = |limits: &str, wanted: &[&str]| {
        let text = changed(&[("group: g", &format!("group: g\n    limits: {limits}"))]);
        refused_in(Path::new("/"), &text, wanted);
    };
    limits("{ requests: §10/week }", &["`week` is no window"]);
    limits("{ requests: §1.5 }", &["add a window"]);
    limits("{ requests: §on }", &["add a window"]);
    limits("{ in_flight: §4/min }", &["jobs in flight have no window"]);
    limits("{ in_flight: §0x4 }", &["`0x4` is no number"]);
    limits(
        "{ video_seconds: [1/min, §x/day], billed_cost: §1e3/day }",
        &["`x` is no", "`1e3` is no"],
    );
    limits(
        "{ list_cost_usd: [1/min, 2/day, §3/min] }",
        &["two limits for the window `min`"],
    );
    refused(&[(
        "CNY }",
        "CNY, limits: { requests: §1 } }",
        &["add a window"],
    )]);
}
