//! Tests that invalid sections are refused: addresses, the ledger and bounds.

use super::*;

#[test]
fn addresses_must_be_free_and_whole() {
    refused(&[
        ("127.0.0.1:8080", "§:8080", &["write IP:PORT"]),
        ("listen:", "admin: §on\nlisten:", &["write `admin: off`"]),
        (
            "listen:",
            "admin: { address: §127.0.0.1 }\nlisten:",
            &["write IP:PORT"],
        ),
        (
            "listen:",
            "admin: { address: §127.0.0.1:8080 }\nlisten:",
            &["takes the address"],
        ),
        (
            "listen:",
            "admin: { address: §0.0.0.0:8080 }\nlisten:",
            &["takes the address"],
        ),
        (
            "listen:",
            "server: { threads: §0 }\nlisten:",
            &["write at least 1"],
        ),
        (
            "listen:",
            "server: { threads: §1025 }\nlisten:",
            &["at most 1024"],
        ),
        (
            "listen:",
            "server: { threads: §two }\nlisten:",
            &["whole number"],
        ),
    ]);
    let free = changed(&[("8080 }", "0 }\nadmin: { address: 127.0.0.1:0 }")]);
    assert_eq!(accepted(&free).admin.unwrap().address.port(), 0);
}

#[test]
fn the_operators_token_is_a_secret_of_some_length() {
    for (section, wanted) in [
        (
            "{ token: §abcdefghijklmnopqrstuvwxyz }",
            "a credential does not stand in the configuration",
        ),
        ("{ token: { env: §MISSING } }", "is not set"),
        ("{ token: §{ env: SHORT } }", "shorter than 16 characters"),
    ] {
        let admin = format!("admin: {section}\nlisten:");
        refused(&[("listen:", &admin, &[wanted])]);
    }
    let set = "admin: { token: { env: CRED }, open_metrics: true }\nlisten:";
    let admin = accepted(&changed(&[("listen:", set)])).admin.unwrap();
    assert!(admin.open_metrics && admin.token.unwrap().is_same(SECRET.as_bytes()));
    assert_eq!(accepted(BASE).admin.unwrap().token, None);
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    let with = |origins: &str| format!("cors: {{ origins: {origins} }}\nlisten:");
    for wrong in [
        "app.example.com",
        "https://app.example.com/",
        "https://App.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://",
        "ftp://app.example.com",
        "\"null\"",
        "\"*\"",
    ] {
        let list = with(&format!("[§{wrong}]"));
        refused(&[("listen:", &list, &["this is no origin"])]);
    }
    for wrong in ["§[]", "§https://app.example.com", "§{ a: b }"] {
        refused(&[("listen:", &with(wrong), &["write a list of origins"])]);
    }
    refused(&[(
        "listen:",
        "cors: { origins: any, headers: [§a b] }\nlisten:",
        &["this is no name of a header"],
    )]);
    let list = with(
        "[https://app.example.com, http://localhost:3000, http://127.0.0.1, \"http://[::1]:8000\"]",
    );
    let cors = accepted(&changed(&[("listen:", &list)])).cors.unwrap();
    assert_eq!(cors.origins.unwrap().len(), 4);
    assert_eq!(cors.max_age.as_secs(), 600);
    let any = accepted(&changed(&[("listen:", &with("any"))])).cors;
    assert_eq!(any.unwrap().origins, None);
    assert_eq!(accepted(BASE).cors, None);
}

#[test]
fn tls_needs_its_files_and_has_its_own_http2() {
    let dir = TempDir::new().with("c.pem", "c");
    let text = changed(&[("8080 }", "8080, tls: { cert: c.pem, key: §k.pem } }")]);
    refused_in(&dir.0, &text, &["cannot read `"]);
    let text = changed(&[("8080 }", "8080, tls: { cert: c.pem, key: §. } }")]);
    refused_in(&dir.0, &text, &["cannot read `"]);
    let text = changed(&[(
        "8080 }",
        "8080, tls: { cert: c.pem, key: c.pem }, h2c: §true }",
    )]);
    refused_in(&dir.0, &text, &["`h2c` is for a plain port"]);
}

#[test]
fn ledgers_are_in_memory_in_a_file_or_in_a_database() {
    let ledger = |text: &str| accepted(&format!("ledger: {text}\n{BASE}")).ledger;
    assert_eq!(ledger("memory"), LedgerUrl::Memory);
    let file = |path: &str| LedgerUrl::Sqlite(path.into());
    assert_eq!(ledger("sqlite:a/b.db"), file("/nonexistent/a/b.db"));
    assert_eq!(ledger("sqlite:/a/b.db"), file("/a/b.db"));
    let postgres = ledger("postgres://u:SECRET@h/db");
    assert!(matches!(&postgres, LedgerUrl::Postgres(_)));
    assert!(!format!("{postgres:?}").contains("SECRET"));
    refused_with(&[
        ("ledger: §'sqlite:'", &["this names no file"]),
        (
            "ledger: §redis://u:SECRET@h",
            &["this is no ledger (write `sqlite:"],
        ),
        (
            "ledger: §{ url: \"postgres://u:SECRET@h\" }",
            &["this is no ledger"],
        ),
        ("ledger: §[memory]", &["this is no ledger"]),
        // The variable holds a channel's credential, and no URL.
        ("ledger: §{ env: CRED }", &["this is no ledger"]),
        ("ledger: { env: §NOTHING }", &["is not set"]),
    ]);
}

#[test]
fn jobs_are_kept_for_as_long_as_limits_need_them() {
    refused_with(&[
        ("jobs: { keep_days: §31 }", &["limits for a month"]),
        ("jobs: { polls_per_second: §0 }", &["zero"]),
        ("jobs: { poll_after: §soon }", &["no duration"]),
    ]);
}

#[test]
fn credentials_come_from_elsewhere() {
    let other = &["does not stand in the configuration (write { env: NAME } or { file: PATH })"];
    refused(&[
        ("{ env: CRED }", "§sk-SECRET", other),
        ("{ env: CRED }", "§'sk-SECRET'", other),
        ("{ env: CRED }", "|\n      §sk-SECRET", other),
        ("{ env: CRED }", "§[sk-SECRET]", other),
        ("{ env: CRED }", "§{ SECRET }", other),
        ("{ env: CRED }", "§{ sk-SECRET: 1 }", other),
        ("{ env: CRED }", "§{ key: sk-SECRET }", other),
        ("{ env: CRED }", "§{ env: CRED, SECRET: x }", other),
        ("{ env: CRED }", "§{ env: CRED, file: x }", other),
        ("{ env: CRED }", "§{}", other),
        ("{ env: CRED }", "§1234", other),
        ("{ env: CRED }", "§-12.5", other),
        ("{ env: CRED }", "§1e999", other),
        ("{ env: CRED }", "§true", other),
        ("{ env: CRED }", "!SECRET §x", &["tags have no meaning"]),
        (
            "{ env: CRED }",
            "{ env: §[SECRET] }",
            &["a single value is expected"],
        ),
        (
            "{ env: CRED }",
            "{ env: §sk-SECRET }",
            &["no name of an environment variable"],
        ),
        (
            "{ env: CRED }",
            "{ env: §1A }",
            &["no name of an environment variable"],
        ),
        (
            "{ env: CRED }",
            "{ env: §\"\" }",
            &["no name of an environment variable"],
        ),
        (
            "{ env: CRED }",
            "{ env: §EMPTY }",
            &["the credential found there is empty"],
        ),
        ("{ env: CRED }", "{ env: §SPACED }", &["not visible ASCII"]),
        (
            "{ env: CRED }",
            "{ file: §none }",
            &["cannot read `/nonexistent/none`"],
        ),
        ("{ env: CRED }", "{ file: §\"\" }", &["this is no path"]),
    ]);
    let dir = TempDir::new()
        .with("empty", "\n")
        .with("two", "SECRET\n\n")
        .with("long", "SECRET".repeat(2000))
        .with("latin", b"\xe4SECRET");
    for (name, wanted) in [
        ("empty", "is empty"),
        ("two", "not visible ASCII"),
        ("long", "longer than 8 KiB"),
        ("latin", "cannot read `"),
        (".", "cannot read `"),
    ] {
        let text = changed(&[("{ env: CRED }", &format!("{{ file: §{name} }}"))]);
        refused_in(&dir.0, &text, &[wanted]);
    }
    // A client key in place of its digest.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    refused(&[(digest, "§sk-SECRET", &["64 hex digits"])]);
}

#[test]
fn bounds_are_never_zero() {
    let wrong = |value: &str, wanted: &str| {
        for name in [
            "body_bytes",
            "head_bytes",
            "part_header_bytes",
            "drain_bytes",
            "answer_bytes",
        ] {
            let text = format!("{BASE}bounds: {{ {name}: §{value} }}\n");
            refused_in(Path::new("/"), &text, &[wanted]);
        }
    };
    wrong("0", "write at least 1");
    wrong("0 GiB", "write at least 1");
    for value in [
        "-1",
        "1.5 MiB",
        "64 MB",
        "64  MiB",
        "1025 GiB",
        "99999999999999999999",
        "1e3",
        "MiB",
        "\"\"",
    ] {
        wrong(value, "this is no size");
    }
    for name in [
        "headers",
        "parts",
        "prompt_chars",
        "keepalive_requests",
        "concurrent_uploads",
        "uploads_per_key",
        "connections",
    ] {
        for (value, wanted) in [
            ("0", "write at least 1"),
            ("4294967296", "this is no count"),
            ("1_0", "this is no count"),
            ("+1", "this is no count"),
        ] {
            let text = format!("{BASE}bounds: {{ {name}: §{value} }}\n");
            refused_in(Path::new("/"), &text, &[wanted]);
        }
    }
    for name in [
        "read_timeout",
        "upload_timeout",
        "upload_rate_window",
        "keepalive_timeout",
        "drain_timeout",
        "shutdown_timeout",
    ] {
        for (value, wanted) in [
            ("0ms", "write at least 1"),
            ("30", "this is no duration"),
            ("1.5s", "this is no duration"),
            ("18446744073709551615h", "this is no duration"),
        ] {
            let text = format!("{BASE}bounds: {{ {name}: §{value} }}\n");
            refused_in(Path::new("/"), &text, &[wanted]);
        }
    }
}

#[test]
fn labels_that_costs_do_not_have() {
    let text = format!("{BASE}metrics: {{ cost_labels: [key, §event, §Model] }}\n");
    let wanted = "no label of costs that can be left out";
    refused_in(Path::new("/"), &text, &[wanted, wanted]);
}
