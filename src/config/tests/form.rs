//! Tests the messages for errors of form, and the order of problems.

use super::*;

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = r#"listen: { address: §localhost:8080 }
channels:
  one:
    url: §https://a.example/v1
    credential: { env: §UNSET }
    models: [§o, §m2]
    idle_timeout: §0s
catalog:
  §m:
    seconds: { allowed: ["4"], default: §"8" }
    sizes: { default: 1x2, usd_per_second: { 1x2: §1e-1, §2X1: 0.10 } }
groups:
  g: { multiplier: §x5, currency: §"" }
keys:
  - name: a
    sha256: §abc
    group: §h
    allow: { models: [§n] }
    limits: { requests: §10 }
bounds: { parts: §0 }
"#;
    let error = refused_in(
        Path::new("/nonexistent"),
        text,
        &[
            "write IP:PORT",
            "end the URL before /v1",
            "the environment variable `UNSET` is not set",
            "the catalog has no model `o` (did you mean `m`?)",
            "the catalog has no model `m2` (did you mean `m`?)",
            "write at least 1",
            "no channel serves the model `m`",
            "the default `8` is not among what is on offer",
            "write a plain decimal",
            "`2X1` is no size",
            "write a plain decimal",
            "this is no name",
            "64 hex digits",
            "there is no group `h` (did you mean `g`?)",
            "the catalog has no model `n`",
            "add a window",
            "write at least 1",
        ],
    );
    let first = error.to_string();
    let first = first.lines().next().unwrap();
    assert!(
        first.starts_with("t.yaml:1:20: this is no address: "),
        "{first}"
    );
    assert_eq!(error.to_string().lines().count(), 17);
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    // For each level, the text before which an unknown key is inserted.
    let levels = [
        ("listen: {", "§zzzzzzzz: 1\nlisten: {"),
        ("{ address: 1", "{ §zzzzzzzz: 1, address: 1"),
        ("0 }\nchannels", "0, tls: { §zzzzzzzz: 1 } }\nchannels"),
        ("listen:", "admin: { §zzzzzzzz: 1 }\nlisten:"),
        ("listen:", "server: { §zzzzzzzz: 1 }\nlisten:"),
        ("listen:", "bounds: { §zzzzzzzz: 1 }\nlisten:"),
        ("listen:", "jobs: { §zzzzzzzz: 1 }\nlisten:"),
        ("    url:", "    §zzzzzzzz: 1\n    url:"),
        ("    url:", "    auth: { §zzzzzzzz: 1 }\n    url:"),
        ("    seconds:", "    §zzzzzzzz: 1\n    seconds:"),
        ("{ allowed", "{ §zzzzzzzz: 1, allowed"),
        ("{ default", "{ §zzzzzzzz: 1, default"),
        ("{ multiplier", "{ §zzzzzzzz: 1, multiplier"),
        ("{ multiplier", "{ limits: { §zzzzzzzz: 1 }, multiplier"),
        ("    group:", "    §zzzzzzzz: 1\n    group:"),
        ("    group:", "    allow: { §zzzzzzzz: 1 }\n    group:"),
        ("    group:", "    limits: { §zzzzzzzz: 1 }\n    group:"),
    ];
    let shipped = conf("tollgate.yaml");
    for (old, new) in levels {
        let text = changed(&[(old, new)]);
        let error = refused_in(
            Path::new("/nonexistent"),
            &text,
            &["unknown key `zzzzzzzz`"],
        );
        let hint = error.problems()[0].hint.clone().unwrap();
        for known in hint.strip_prefix("known here: ").unwrap().split(", ") {
            assert!(shipped.contains(&format!("{known}:")), "not shown: {known}");
        }
    }
}

#[test]
fn a_typing_error_in_a_key_is_seen() {
    refused(&[
        (
            "listen",
            "§lsiten",
            &["unknown key `lsiten` (did you mean `listen`?)"],
        ),
        ("{ allowed", "{ §alowed", &["did you mean `allowed`?"]),
        (
            "    group",
            "    limits: { §in-flight: 4 }\n    group",
            &["did you mean `in_flight`?"],
        ),
        (
            "    group",
            "    allow: { §second: [4] }\n    group",
            &["did you mean `seconds`?"],
        ),
        (
            "    group",
            "    allow: { §Models: [m] }\n    group",
            &["did you mean `models`?"],
        ),
    ]);
}

#[test]
fn errors_of_form_have_a_place() {
    refused(&[
        (
            "listen: { address: 127.0.0.1:8080 }",
            "listen: §{}",
            &["the key `address` is missing from this mapping"],
        ),
        // The place is the mapping's last key.
        (
            "    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n    group: g",
            "    §sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            &["the key `group` is missing from this mapping"],
        ),
        (
            "listen: {",
            "listen: { address: 127.0.0.1:1 }\n§listen: {",
            &["this key stands here twice (remove one)"],
        ),
        ("[m, n]", "§m", &["a list is expected here"]),
        (
            "https://a.example",
            "§[a]",
            &["a single value is expected here"],
        ),
        ("group: g\n", "group§:\n", &["a value is missing here"]),
        ("{ default: 1x2", "§x\n#", &["a mapping is expected here"]),
        ("[m, n]", "[m, n]\n   §]", &["this is not YAML: "]),
        ("https://a.example", "§*b", &["no anchor of this name"]),
        ("https://a.example", "!b §c", &["tags have no meaning here"]),
        (
            "listen: {",
            "listen: { h2c: §on, ",
            &["write true or false"],
        ),
        (
            "    seconds",
            "    check_image: §yes\n    seconds",
            &["write true or false"],
        ),
        (
            "    group: g",
            "    group: g\n    limits: { requests: §{ a: 1 } }",
            &["this is no limit"],
        ),
        (
            "listen: {",
            "admin: §[1]\nlisten: {",
            &["write `admin: off`"],
        ),
        (
            "    group: g",
            "    group: g\n    limits: { requests: [§[1/min]] }",
            &["a single value is expected here"],
        ),
    ]);
    refused_with(&[("---\n§listen: 1", &["a second document begins here"])]);
    let nested = format!("{BASE}ledger: {}\n", "[".repeat(100_000));
    assert_eq!(
        parse_in(Path::new("/nonexistent"), &nested)
            .unwrap_err()
            .problems()
            .len(),
        1
    );
    refused_in(
        Path::new("/nonexistent"),
        "§",
        &["the file holds no configuration"],
    );
}

#[test]
fn problems_of_further_files_name_them() {
    let dir = TempDir::new()
        .with("bad.yaml", "keys:\n  - { name: a, sha256: x, group: g }\n")
        .with("more.yaml", "keys: []\nlisten: {}\n");
    let text = format!("{BASE}keys_from: [bad.yaml, none.yaml, more.yaml]\nledger: x\n");
    let error = parse_in(&dir.0, &text).unwrap_err().to_string();
    let dir = dir.0.display();
    let starts = [
        "t.yaml:20:23: cannot read `".to_owned(),
        "t.yaml:21:9: this is no ledger".to_owned(),
        format!("{dir}/bad.yaml:2:13: two keys have this name (the first is at t.yaml:17:11)"),
        format!("{dir}/bad.yaml:2:24: write the 64 hex digits"),
        format!("{dir}/more.yaml:2:1: unknown key `listen` (known here: keys)"),
    ];
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), starts.len(), "{error}");
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start), "{line}\nwanted: {start}");
    }
}

#[test]
fn a_message_stays_on_its_line() {
    let text = changed(&[("group: g", "group: §\"g\\n\\e[31mh\"")]);
    let error = refused_in(
        Path::new("/"),
        &text,
        &["there is no group `g\\n\\u{1b}[31mh`"],
    );
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn an_alias_is_reported_where_it_stands() {
    let text = changed(&[(
        "[m, n]",
        "[m, n]\n    read_timeout: &t §0s\n    idle_timeout: §*t",
    )]);
    let wanted = &["write at least 1", "write at least 1"];
    refused_in(Path::new("/"), &text, wanted);
}
