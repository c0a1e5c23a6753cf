//! What a gate says when it ends, or does not begin.

use std::path::{Path, PathBuf};

use crate::gate::{Gate, configuration, run};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;

const JSON: (&str, &str) = ("", "log: { format: json }\n");

/// The path of a ledger in a file, and a configuration with it.
fn in_file(folder: &Folder) -> (PathBuf, PathBuf) {
    let path = folder.join("ledger.db");
    let ledger = format!("ledger: sqlite:{}", path.display());
    let config = configuration(folder, &[("ledger: memory", &ledger)]);
    (path, config)
}

/// A gate whose ledger cannot be written loads a changed configuration and stops: it tells that the ledger
/// lacks the load.
async fn stops_with_a_load_untold(gate: &mut Gate, config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(config, text.replace("multiplier: 5", "multiplier: 6")).unwrap();
    gate.signal("HUP");
    gate.logged("configuration loaded anew").await;
    gate.signal("TERM");
    assert!(gate.ended().await.success());
    gate.logged("stopped before the ledger had ").await;
}

/// The messages of a log, each line of which is an object.
fn messages(log: &str) -> Vec<String> {
    let message = |line: &str| {
        let read: serde_json::Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {line}\n{log}"));
        assert!(
            read["time"].is_string() && read["level"].is_string(),
            "{line}"
        );
        read["message"].as_str().unwrap().to_owned()
    };
    log.lines().map(message).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_is_said() {
    let folder = Folder::new();
    for (replace, is_json) in [(&[][..], false), (&[JSON][..], true)] {
        let mut gate = Gate::start(&configuration(&folder, replace), "");
        gate.signal("TERM");
        assert!(gate.ended().await.success());
        gate.logged("stopped: all requests have ended").await;
        let log = gate.log();
        if is_json {
            let ends = messages(&log).iter().any(|m| m.starts_with("stopped: "));
            assert!(ends, "{log}");
        }
    }
}

/// A ledger whose file another program has locked holds up no stop: what it lacks is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_stops_though_its_ledger_is_locked() {
    let folder = Folder::new();
    let (path, config) = in_file(&folder);
    let mut gate = Gate::start(&config, "");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    stops_with_a_load_untold(&mut gate, &config).await;
    drop(other);
    // Nothing is in the way of the next one.
    let mut next = Gate::start(&config, "");
    next.signal("TERM");
    assert!(next.ended().await.success());
    next.logged("stopped: all requests have ended").await;
}

/// A gate that has ended has closed its ledger: all of it is in the one file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stop_leaves_is_one_file() {
    for _ in 0..8 {
        let folder = Folder::new();
        let (path, config) = in_file(&folder);
        let mut gate = Gate::start(&config, "");
        gate.signal("TERM");
        assert!(gate.ended().await.success());
        assert!(path.exists());
        assert!(!path.with_extension("db-wal").exists(), "{}", gate.log());
    }
}

/// A ledger that another program reads when a gate ends stays in two files, and the gate says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_keeps_the_ledger_in_two_files_is_told() {
    let folder = Folder::new();
    let (path, config) = in_file(&folder);
    let mut gate = Gate::start(&config, "");
    let reader = rusqlite::Connection::open(&path).unwrap();
    let begin = "BEGIN; SELECT count(*) FROM sqlite_schema";
    reader.execute_batch(begin).unwrap();
    gate.signal("TERM");
    assert!(gate.ended().await.success());
    gate.logged("keep both files together").await;
}

/// The format of the log changes with a reload, to JSON and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_format_of_the_log() {
    let folder = Folder::new();
    let config = configuration(&folder, &[JSON]);
    let gate = Gate::start(&config, "");
    let json = std::fs::read_to_string(&config).unwrap();
    let text = json.replace("format: json", "format: text");
    let loaded = |log: &str, is_json: bool| {
        let lines = log.lines();
        let lines = lines.filter(|line| line.contains("configuration loaded anew"));
        lines
            .filter(|line| line.starts_with('{') == is_json)
            .count()
    };
    for (format, texts, jsons) in [(&text, 1, 0), (&json, 1, 1), (&text, 2, 1)] {
        std::fs::write(&config, format).unwrap();
        gate.signal("HUP");
        crate::support::until("the reload is logged", async || {
            let log = gate.log();
            (loaded(&log, false), loaded(&log, true)) == (texts, jsons)
        })
        .await;
    }
}

/// A configuration that was loaded while the ledger was away is kept there by a later attempt: a stop
/// tells that there was none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_the_ledger_does_not_have_is_told() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let folder = Folder::new();
    let url = postgres.url(&postgres.create_database());
    let ledger = format!("ledger: {url}");
    let config = configuration(&folder, &[("ledger: memory", &ledger)]);
    let mut gate = Gate::start(&config, "");
    postgres.stop();
    stops_with_a_load_untold(&mut gate, &config).await;
}

/// The setting is named, and what to do; in a log of JSON as a line of it.
#[test]
fn an_address_that_is_taken_is_said_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    for (nth, setting) in [(1, "listen.address"), (2, "admin.address")] {
        for is_json in [false, true] {
            let replace = if is_json { &[JSON][..] } else { &[] };
            let config = configuration(&folder, replace);
            let text = std::fs::read_to_string(&config).unwrap();
            let parts: Vec<&str> = text.splitn(3, "127.0.0.1:0").collect();
            let mut addresses = ["127.0.0.1:0"; 2];
            addresses[nth - 1] = &taken;
            let [first, second] = addresses;
            let text = format!("{}{first}{}{second}{}", parts[0], parts[1], parts[2]);
            std::fs::write(&config, text).unwrap();
            let output = run(&["serve"], &config);
            assert!(!output.status.success());
            let said = String::from_utf8(output.stderr).unwrap();
            let said = match is_json {
                true => messages(&said).join("\n"),
                false => said,
            };
            let problem = format!("{setting}: cannot listen on {taken}: ");
            assert!(said.contains(&problem), "{said}");
            assert!(said.contains("another process has it"), "{said}");
        }
    }
}
