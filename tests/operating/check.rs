//! `tollgate check`: what would stop `tollgate serve` is found before.

use std::path::Path;
use std::process::Command;

use tokio::net::TcpListener;
use tollgate::mock::{Mock, Options};

use crate::gate::{Gate, configuration, run};
use crate::support::CREDENTIAL;
use crate::support::folder::Folder;

const LEDGER: &str = "ledger: memory";
const LISTEN: &str = "listen: { address: 127.0.0.1:8080 }";

/// What the check says of a configuration that it finds wrong.
fn refused(config: &Path, arguments: &[&str]) -> String {
    let output = run(arguments, config);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

/// What the check says, and what a start does of the same configuration: it fails as well.
fn stops_both(config: &Path) -> String {
    // First, since a gate that starts runs for ever.
    let checked = refused(config, &["check"]);
    let start = run(&["serve"], config);
    assert_eq!(start.status.code(), Some(1), "a gate starts");
    let said = String::from_utf8(start.stderr).unwrap();
    let reason = said.lines().last().unwrap();
    assert!(checked.contains(reason), "{checked}\nserve said: {reason}");
    checked
}

#[test]
fn certificates_that_cannot_be_used() {
    let folder = Folder::new();
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (one, other) = (made(), made());
    for (name, text) in [
        ("cert.pem", one.cert.pem()),
        ("key.pem", one.signing_key.serialize_pem()),
        ("other.pem", other.signing_key.serialize_pem()),
        ("junk.pem", "junk".into()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let with = |cert: &str, key: &str| {
        let listen =
            format!("listen: {{ address: 127.0.0.1:0, tls: {{ cert: {cert}, key: {key} }} }}");
        configuration(&folder, &[(LISTEN, &listen)])
    };
    let junk = stops_both(&with("junk.pem", "key.pem"));
    assert!(junk.contains("junk.pem: it holds no certificate"), "{junk}");
    let other = stops_both(&with("cert.pem", "other.pem"));
    assert!(other.contains("other.pem: it is not the key of"), "{other}");
    let fine = run(&["check"], &with("cert.pem", "key.pem"));
    assert!(fine.status.success(), "{fine:?}");
}

#[test]
fn ledgers_that_cannot_be_opened() {
    let folder = Folder::new();
    let with = |ledger: &str| configuration(&folder, &[(LEDGER, &format!("ledger: {ledger}"))]);
    let missing = stops_both(&with("sqlite:missing/ledger.db"));
    assert!(missing.contains("its folder does not exist"), "{missing}");
    std::fs::write(folder.join("junk.db"), [b'x'; 4096]).unwrap();
    let junk = stops_both(&with("sqlite:junk.db"));
    assert!(junk.contains("is no SQLite database"), "{junk}");
    let fine = run(&["check"], &with("sqlite:new.db"));
    assert!(fine.status.success(), "{fine:?}");
    assert!(!folder.join("new.db").exists(), "a check makes no ledger");
}

#[test]
fn a_ledger_that_may_only_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let file = folder.join("ledger.db");
    drop(tollgate::ledger::SqliteLedger::open(&file).unwrap());
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode));
    mode(0o444).unwrap();
    let config = configuration(&folder, &[(LEDGER, "ledger: sqlite:ledger.db")]);
    if std::fs::File::options().append(true).open(&file).is_err() {
        let text = stops_both(&config);
        assert!(text.contains("cannot be written"), "{text}");
        return;
    }
    // A user that may write everything finds nothing there, unless it does without that right.
    assert!(run(&["check"], &config).status.success());
    let mut restricted = Command::new("setpriv");
    restricted.args(["--inh-caps=-dac_override", "--bounding-set=-dac_override"]);
    restricted.args([env!("CARGO_BIN_EXE_tollgate"), "check", "--config"]);
    restricted.env("TOLLGATE_MOCK_CREDENTIAL", CREDENTIAL);
    // Not every system has it.
    let Ok(output) = restricted.arg(&config).output() else {
        return;
    };
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot be written"), "{text}");
}

#[test]
fn an_address_that_is_not_of_this_machine() {
    let folder = Folder::new();
    // Of the block that documentation is written with (RFC 5737).
    let listen = "listen: { address: 192.0.2.1:8080 }";
    let text = stops_both(&configuration(&folder, &[(LISTEN, listen)]));
    let problem = "listen.address: cannot listen on 192.0.2.1:8080";
    assert!(text.contains(problem), "{text}");
    assert!(text.contains("this machine has no such address"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_runs_is_no_problem() {
    let folder = Folder::new();
    let config = configuration(&folder, &[(LEDGER, "ledger: sqlite:ledger.db")]);
    let gate = Gate::start(&config, "");
    let (clients, admin) = (gate.address.to_string(), gate.admin.to_string());
    let text = std::fs::read_to_string(&config).unwrap();
    let mut addresses = [clients, admin].into_iter();
    let parts: Vec<&str> = text.splitn(3, "127.0.0.1:0").collect();
    let mut used = parts[0].to_owned();
    for part in &parts[1..] {
        used += &addresses.next().unwrap();
        used += part;
    }
    std::fs::write(&config, used).unwrap();
    let checked = run(&["check"], &config);
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_and_the_database_are_asked_where_that_is_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        credential: CREDENTIAL.into(),
        ..Options::default()
    };
    let mock = Mock::start(listener, options);
    let folder = Folder::new();
    let channel = format!("http://{}", mock.addr());
    let with = |replace: &[(&str, &str)]| {
        let mut all = vec![("http://127.0.0.1:8081", channel.as_str())];
        all.extend(replace);
        configuration(&folder, &all)
    };
    let online = &["check", "--online"][..];
    let check = async |config: &Path| {
        let config = config.to_owned();
        tokio::task::spawn_blocking(move || run(online, &config))
            .await
            .unwrap()
    };
    let fine = check(&with(&[])).await;
    assert!(fine.status.success(), "{fine:?}");
    let said = String::from_utf8(fine.stdout).unwrap();
    assert!(said.contains("channel mock: answers with 200"), "{said}");
    assert_eq!(mock.stats().creates_complete, 0);

    let other = Options {
        credential: "another account's".into(),
        ..Options::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = Mock::start(listener, other);
    for (replace, wanted) in [
        (
            [(channel.as_str(), "http://127.0.0.1:1")],
            "channel mock: 127.0.0.1:1 cannot be reached",
        ),
        (
            [(channel.as_str(), &*format!("http://{}", refusing.addr()))],
            "answers 401 Unauthorized: see the credential",
        ),
        (
            [(LEDGER, "ledger: postgres://u@127.0.0.1:1/none")],
            "ledger: ",
        ),
    ] {
        let found = check(&with(&replace)).await;
        let said = String::from_utf8(found.stderr).unwrap();
        assert_eq!(found.status.code(), Some(1), "{said}");
        assert!(said.contains(wanted), "{said}");
        assert!(!said.contains(CREDENTIAL), "{said}");
    }
}
