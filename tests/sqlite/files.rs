//! Who may read the ledger's files, and how long its log grows.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tollgate::ledger::{BindingLimits, FirstAnswer, Ledger, ReservationId};

use crate::folder::Folder;
use crate::suite::{NOW, charge, claiming, confirmation, key};
use crate::{look, make, open, rows};

/// Keeps what is logged; a test's lines name its folder.
struct Log(Mutex<Vec<String>>);

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

/// What has been logged of a file or folder.
pub fn logged(of: &Path) -> Vec<String> {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| Log(Mutex::default()));
    // Set by the first of all tests.
    if log::set_logger(log).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    let (lines, of) = (log.0.lock().unwrap(), of.to_str().unwrap());
    let about = lines.iter().filter(|line| line.contains(of));
    about.cloned().collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs the next test in processes of their own: a umask is the whole process's.
#[test]
fn new_files_are_their_owners_whatever_the_umask() {
    let this = std::env::current_exe().unwrap();
    for umask in ["000", "022", "077"] {
        let child = Command::new("sh")
            .args(["-c", r#"umask "$1"; shift; exec "$0" "$@""#])
            .arg(&this)
            .arg(umask)
            .args(["--ignored", "--exact", "files::under_this_umask"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}

#[ignore = "run by the test before: it wants a umask"]
#[tokio::test]
async fn under_this_umask() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    make(&ledger, &key(vec![]), 1, NOW).await;
    for name in ["", "-wal", "-shm", ".lock"] {
        let path = folder.join(format!("tollgate.db{name}"));
        assert_eq!(mode(&path), 0o600, "{name}");
    }
}

#[tokio::test]
async fn files_that_others_can_read_are_closed_to_them() {
    let folder = Folder::new();
    assert!(logged(&folder).is_empty());
    set_mode(&folder, 0o755);
    let path = folder.join("tollgate.db");
    drop(open(&path));
    assert_eq!(logged(&folder), Vec::<String>::new());

    set_mode(&path, 0o644);
    let ledger = open(&path);
    assert_eq!(mode(&path), 0o600);
    make(&ledger, &key(vec![]), 1, NOW).await;
    assert_eq!(mode(&folder.join("tollgate.db-wal")), 0o600);
    let lines = logged(&path);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("mode 644") && lines[0].contains("640"));
    drop(ledger);

    // A group that was let in stays so.
    set_mode(&path, 0o640);
    drop(open(&path));
    assert_eq!((mode(&path), logged(&path).len()), (0o640, 1));

    set_mode(&folder, 0o777);
    drop(open(&path));
    let lines = logged(&folder);
    assert!(lines[1].contains("can write this folder"), "{lines:?}");

    // What is no ledger is left as it is.
    let other = folder.join("other.db");
    std::fs::write(&other, "no database at all, but a text of some length").unwrap();
    set_mode(&other, 0o644);
    assert!(tollgate::ledger::SqliteLedger::open(&other).is_err());
    assert_eq!(mode(&other), 0o644);
}

#[tokio::test]
async fn a_reader_without_an_end_is_told_of() {
    const LONG: u64 = 64 << 20;
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![]);
    let beat = async || {
        ledger
            .heartbeat(NOW, Duration::from_secs(3600))
            .await
            .unwrap()
    };
    assert!(logged(&folder).is_empty());
    beat().await;

    let reader = look(&path);
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(rows(&reader, "SELECT count(*) FROM reservation"), ["0"]);
    let mut id = 0;
    let mut write = async || {
        id += 1;
        let asked = charge(&key, 4);
        let draft = claiming(id, &asked, &format!("once-{id}"), 1);
        ledger.reserve(&draft, &key, NOW).await.unwrap();
        let mut tie = confirmation(&asked, &format!("video_{id}"));
        let body = vec![b'x'; 8 << 20].into();
        tie.answer = Some(FirstAnswer { status: 200, body });
        let limits = BindingLimits::default();
        let confirm = ledger.confirm(ReservationId(id), &tie, &limits, NOW);
        confirm.await.unwrap();
    };
    while ledger.wal_bytes().unwrap() <= LONG {
        beat().await;
        assert!(logged(&folder).is_empty(), "not yet");
        write().await;
    }
    for _ in 0..2 {
        beat().await;
        let lines = logged(&folder);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("WARN") && lines[0].contains("has grown to"));
    }

    reader.execute_batch("COMMIT").unwrap();
    while ledger.wal_bytes().unwrap() > LONG {
        write().await;
    }
    for _ in 0..2 {
        beat().await;
        let lines = logged(&folder);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("is down to"));
    }
}
