//! The unit for systemd, as its own tools judge it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tollgate::config;

use crate::rules::repository;
use crate::support::folder::Folder;
use crate::support::programs::find;

/// How exposed it may be, in tenths of a point of ten.
const EXPOSURE: &str = "15";

fn unit() -> String {
    std::fs::read_to_string(repository().join("conf/systemd/tollgate.service")).unwrap()
}

/// The values of each setting of the unit.
fn settings() -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in unit().lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=') {
            settings.entry(name.into()).or_default().push(value.into());
        }
    }
    settings
}

/// Runs a judgement of systemd's on the unit, with the program where it is here. It may warn of nothing.
fn judged(analyze: &Path, arguments: &[&str], text: &str) -> (bool, String) {
    let folder = Folder::new();
    let file = folder.join("tollgate.service");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(analyze);
    let ran = command.args(arguments).arg(&file).output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (ran.status.success(), said)
}

#[test]
fn systemd_finds_the_unit_in_order_and_safe() {
    let Some(analyze) = find("systemd-analyze", "TOLLGATE_SYSTEMD_ANALYZE") else {
        return;
    };
    let unit = unit().replace(
        "/usr/bin/tollgate ",
        concat!(env!("CARGO_BIN_EXE_tollgate"), " "),
    );
    let verify = ["verify", "--man=no"];
    let (in_order, said) = judged(&analyze, &verify, &unit);
    assert!(in_order && said.is_empty(), "{said}");
    let threshold = format!("--threshold={EXPOSURE}");
    let security = ["security", "--offline=true", "--no-pager", &threshold];
    let (safe, said) = judged(&analyze, &security, &unit);
    assert!(safe, "{said}");
    // The tools do complain where there is something to complain of.
    let misspelt = unit.replace("ProtectHome=", "ProtectHomes=");
    assert!(!judged(&analyze, &verify, &misspelt).1.is_empty());
    let open = unit.replace("CapabilityBoundingSet=\n", "");
    assert!(!judged(&analyze, &security, &open).0);
}

#[test]
fn the_socket_is_at_the_address_of_the_configuration() {
    let socket = repository().join("conf/systemd/tollgate.socket");
    let text = std::fs::read_to_string(&socket).unwrap();
    let config = repository().join("conf/tollgate.yaml");
    let config = config::load_with(&config, &|_| Some("credential".into())).unwrap();
    let listens = format!("\nListenStream={}\n", config.listen.address);
    assert!(text.contains(&listens), "{text}");
    let Some(analyze) = find("systemd-analyze", "TOLLGATE_SYSTEMD_ANALYZE") else {
        return;
    };
    let folder = Folder::new();
    let service = unit().replace(
        "/usr/bin/tollgate ",
        concat!(env!("CARGO_BIN_EXE_tollgate"), " "),
    );
    std::fs::write(folder.join("tollgate.service"), service).unwrap();
    std::fs::write(folder.join("tollgate.socket"), text).unwrap();
    let mut verify = Command::new(analyze);
    let verify = verify.args(["verify", "--man=no"]);
    let ran = verify.arg(folder.join("tollgate.socket")).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_unit_gives_a_gate_time_to_stop_and_files_to_open() {
    let settings = settings();
    let one = |name: &str| settings[name].as_slice();
    let demo = repository().join("conf/demo.yaml");
    let config = config::load_with(&demo, &|_| Some("credential".into())).unwrap();
    // The defaults: of requests, and after that of what is under way at the admin address.
    let bounds = config.bounds;
    let [stop] = one("TimeoutStopSec") else {
        panic!("{settings:?}");
    };
    let stop: u64 = stop.strip_suffix('s').unwrap().parse().unwrap();
    assert!(Duration::from_secs(stop) > 2 * bounds.shutdown_timeout);
    let files: usize = one("LimitNOFILE")[0].parse().unwrap();
    assert!(files > bounds.connections + 2 * bounds.concurrent_uploads);
    // A reload checks first.
    let [check, hangup] = one("ExecReload") else {
        panic!("{settings:?}");
    };
    let start = &one("ExecStart")[0];
    assert_eq!(start.replace(" serve ", " check "), *check);
    assert_eq!(hangup, "/bin/kill -HUP $MAINPID");
}
