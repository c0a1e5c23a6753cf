//! Tests which differences between two configurations are found and logged.

use super::*;

const OTHER: &str = "1931e83dd823d76523d6ca08b28b851b9806b94e4f11885cea19873c4a3eca0a";

/// Returns the log line for a change from `BASE` to `BASE` with these changes, from behind the hashes on.
fn told(changes: &[(&str, &str)]) -> String {
    let (before, now) = (accepted(BASE), accepted(&changed(changes)));
    let change = ConfigChange::between(&before, &now);
    assert_eq!((change.before, change.now), (before.hash, now.hash));
    assert_ne!(before.hash, now.hash);
    let line = change.to_string();
    let hashes = format!("{} (before it {}); ", now.hash, before.hash);
    line.strip_prefix(&hashes).unwrap().to_owned()
}

#[test]
fn each_change_is_told_by_what_it_is() {
    let group = "    group: g\n";
    let another =
        "  g: { multiplier: 7.25, currency: CNY }\n  h: { multiplier: 1, currency: CNY }\n";
    let own = "  g: { multiplier: 7.25, currency: CNY }\n";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let key_b = format!("{group}  - {{ name: b, sha256: {OTHER}, group: g }}\n");
    let both = format!("{group}    digests: [{{ sha256: {OTHER} }}]\n");
    for (changes, expected) in [
        (
            &[("listen:", "# a comment\nlisten:")][..],
            "nothing changed",
        ),
        (&[(group, &key_b)], "keys added: b"),
        (&[("name: a", "name: c")], "keys added: c; keys removed: a"),
        (&[(abc, OTHER)], "keys rotated: a"),
        (&[(group, &both)], "keys rotated: a"),
        (
            &[(group, "    group: g\n    disabled: true\n")],
            "keys disabled: a",
        ),
        (
            &[(group, "    group: g\n    not_after: 2027-01-01T00:00:00Z\n")],
            "keys changed: a",
        ),
        (
            &[(group, "    group: g\n    limits: { in_flight: 1 }\n")],
            "keys changed: a",
        ),
        (
            &[(group, "    group: g\n    allow: { models: [m] }\n")],
            "keys changed: a",
        ),
        (
            &[(own, another), (group, "    group: h\n")],
            "keys moved: a (from g to h); groups added: h",
        ),
        (&[("7.25", "7.5")], "prices changed of groups: g"),
        (
            &[("CNY }", "CNY, limits: { in_flight: 1 } }")],
            "groups changed: g",
        ),
        (&[("1x2: 0.10", "1x2: 0.11")], "prices changed of models: m"),
        (
            &[("1x2: 0.10, ", "1x2: 0.10, 9x9: 0.30, ")],
            "models changed: m",
        ),
        (&[("default: 4", "default: 8")], "models changed: m"),
        (
            &[("https://a.example", "https://b.example")],
            "channels changed: one",
        ),
        (
            &[("models: [m, n]", "models: [m, n]\n    weight: 5")],
            "channels changed: one",
        ),
        (
            &[("listen:", "bounds: { headers: 7 }\nlisten:")],
            "settings changed: bounds",
        ),
        (
            &[("listen:", "reload: { watch: 2s }\nlisten:")],
            "settings changed: reload",
        ),
    ] {
        assert_eq!(told(changes), expected, "{changes:?}");
    }
}

#[test]
fn another_credential_is_a_change_that_no_hash_shows() {
    let dir = TempDir::new();
    let text = changed(&[("{ env: CRED }", "{ file: credential }")]);
    let with = |credential: &str| {
        std::fs::write(dir.0.join("credential"), credential).unwrap();
        parse_in(&dir.0, &text).unwrap()
    };
    let (before, now) = (with("sk-one"), with("sk-other"));
    let change = ConfigChange::between(&before, &now);
    assert_eq!(change.channels_changed, ["one".into()]);
    assert_eq!(before.hash, now.hash);
    assert!(!change.is_empty() && !format!("{change:?} {change}").contains("sk-"));
    // The same holds for the password of a database in the file.
    let ledger = |password: &str| {
        accepted(&format!(
            "{BASE}ledger: postgres://u:{password}@db.example/t\n"
        ))
    };
    let (before, now) = (ledger("one"), ledger("other"));
    assert_eq!(before.hash, now.hash);
    assert_eq!(ConfigChange::between(&before, &now).settings, ["ledger"]);
    assert_ne!(before.hash, accepted(BASE).hash);
}

#[test]
fn many_names_are_counted() {
    let keys = |keys: usize| {
        let mut text = BASE.to_owned();
        for i in 0..keys {
            text.push_str(&format!(
                "  - {{ name: k{i:03}, sha256: {i:064x}, group: g }}\n"
            ));
        }
        accepted(&text)
    };
    let change = ConfigChange::between(&keys(0), &keys(111));
    assert_eq!(change.keys_added.len(), 111);
    let line = change.to_string();
    assert!(
        line.ends_with(
            "keys added: k000, k001, k002, k003, k004, k005, k006, k007, k008, k009 and 101 more"
        ),
        "{line}"
    );
}
