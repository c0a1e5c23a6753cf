//! What the ledger in SQLite holds beyond the suite for all ledgers: its file.

#[path = "sqlite/batches.rs"]
mod batches;
#[cfg(unix)]
#[path = "sqlite/files.rs"]
mod files;
#[path = "support/folder.rs"]
mod folder;
#[path = "ledger/suite.rs"]
#[allow(dead_code, reason = "only its helpers are used")]
mod suite;
#[path = "sqlite/sums.rs"]
mod sums;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folder::Folder;
use rusqlite::{Connection, OpenFlags};
use suite::{
    NOW, binding, charge, claiming, confirmation, draft, group, key, key_in, limit, reserved,
};
use tollgate::ledger::{
    ClaimState, Confirmed, Job, JobsAfter, Ledger, OpenError, ReservationId, Reserved, Resolution,
    SqliteLedger, State, read_sqlite_reloads,
};
use tollgate::policy::{Key, Measure, Timestamp};

const DAY_MS: u64 = 86_400_000;
const HOUR: Duration = Duration::from_secs(3600);

fn later(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

/// Opens a ledger. A child that another test starts at the moment has the lock of one that was just
/// closed, until its own program begins.
fn open(path: &Path) -> SqliteLedger {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match SqliteLedger::open(path) {
            Err(OpenError::Locked(_)) if Instant::now() < until => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// As an operator reads it.
fn look(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// What a query answers, cells parted by `|`.
fn rows(db: &Connection, sql: &str) -> Vec<String> {
    let mut read = db.prepare(sql).unwrap();
    let columns = read.column_count();
    let rows = read.query_map([], |row| {
        let cells = (0..columns).map(|column| {
            use rusqlite::types::Value;
            Ok(match row.get(column)? {
                Value::Null => "null".to_owned(),
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => text,
                other => format!("{other:?}"),
            })
        });
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

async fn used(ledger: &dyn Ledger, key: &Key, now: Timestamp) -> Vec<u64> {
    let usage = ledger.usage(key, now).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

/// Reserves 4 seconds of video and confirms them as the job `video_<id>`.
async fn make(ledger: &dyn Ledger, key: &Key, id: u128, now: Timestamp) -> ReservationId {
    let charge = charge(key, 4);
    assert!(reserved(ledger, key, id, &charge, now).await);
    let tie = confirmation(&charge, &format!("video_{id}"));
    let id = ReservationId(id);
    let confirmed = ledger.confirm(id, &tie, &binding(key), now).await.unwrap();
    assert!(matches!(confirmed, Confirmed::Done { .. }));
    id
}

async fn post(ledger: &dyn Ledger, id: ReservationId, now: Timestamp) {
    let posted = ledger.settle(id, Resolution::Posted, "completed", now);
    assert!(posted.await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let key = key(vec![
        limit(Measure::Requests, "100/day"),
        limit(Measure::BilledCost, "100/total"),
        limit(Measure::InFlight, "10"),
    ]);
    let ledger = open(&path);
    for id in 1..=3 {
        make(&ledger, &key, id, later(id as u64)).await;
    }
    let tied = claiming(4, &charge(&key, 4), "once", 1);
    assert_eq!(ledger.reserve(&tied, &key, NOW).await, Ok(Reserved::Done));
    post(&ledger, ReservationId(1), NOW).await;
    let before = used(&ledger, &key, NOW).await;
    assert_eq!(before, [4, 8_000_000_000, 3]);
    let running = ledger.job("video_3").await.unwrap().unwrap();
    drop(ledger);
    assert!(
        !folder.join("tollgate.db-wal").exists(),
        "all is in one file"
    );

    let ledger = open(&path);
    assert_eq!(used(&ledger, &key, NOW).await, before);
    let claim = ledger.claim("studio", "once", NOW).await;
    assert_eq!(claim, Ok(Some(ClaimState::InFlight)));
    // What an earlier process left pending is lost, what this one has made is not.
    assert!(reserved(&ledger, &key, 5, &charge(&key, 4), NOW).await);
    assert_eq!(ledger.heartbeat(later(1), HOUR).await, Ok(1));
    assert_eq!(ledger.heartbeat(later(1), HOUR).await, Ok(0));
    let unmatched = ledger.unmatched("official", 10).await.unwrap();
    let found = unmatched
        .iter()
        .map(|found| (found.id.0, found.state, found.since));
    let found: Vec<_> = found.collect();
    let expected = [(4, State::Unknown, later(1)), (5, State::Pending, NOW)];
    assert_eq!(found.len(), 2);
    assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    // A claim gets its answer, and jobs their places, across processes.
    let tie = confirmation(&charge(&key, 4), "video_4");
    let confirmed = ledger
        .confirm(ReservationId(4), &tie, &binding(&key), NOW)
        .await;
    assert!(matches!(confirmed, Ok(Confirmed::Done { .. })));
    let claim = ledger.claim("studio", "once", NOW).await;
    assert_eq!(claim, Ok(Some(ClaimState::Answered)));
    let page = JobsAfter {
        after: Some("video_1"),
        ascending: true,
        limit: 10,
    };
    let jobs = ledger.jobs("studio", &page).await.unwrap().unwrap();
    let jobs: Vec<_> = jobs.iter().map(|job| &*job.id).collect();
    assert_eq!(jobs, ["video_2", "video_3", "video_4"]);
    assert_eq!(ledger.job("video_3").await, Ok(Some(running.clone())));
    ledger.mark_deleted(ReservationId(3), NOW).await.unwrap();
    let deleted = Job {
        deleted: true,
        ..running
    };
    assert_eq!(ledger.job("video_3").await, Ok(Some(deleted)));
    // What is resolved stays so, whatever is repeated.
    assert!(reserved(&ledger, &key, 1, &charge(&key, 4), NOW).await);
    let void = ledger.settle(ReservationId(1), Resolution::Voided, "failed", NOW);
    assert_eq!(void.await, Ok(None));
    assert_eq!(used(&ledger, &key, NOW).await, [5, 10_000_000_000, 4]);
    post(&ledger, ReservationId(2), NOW).await;
    assert_eq!(used(&ledger, &key, NOW).await[2], 3);
}

#[tokio::test]
async fn one_gate_at_a_time_has_the_file() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let first = open(&path);
    let link = folder.join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [&path, &link] {
        let error = SqliteLedger::open(name).err().unwrap();
        assert!(matches!(error, OpenError::Locked(_)), "{error}");
        assert!(error.to_string().contains("another gate uses it"));
    }
    drop(first);
    open(&path);
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let folder = Folder::new();
    let error = |path: &Path| SqliteLedger::open(path).err().unwrap();

    let missing = error(&folder.join("nowhere/tollgate.db"));
    assert!(matches!(missing, OpenError::FolderMissing(_)), "{missing}");
    // A command makes no ledger, and says which of the two is missing.
    let read = |path: &Path| read_sqlite_reloads(path, 1).err().unwrap();
    let missing = read(&folder.join("nowhere/tollgate.db"));
    assert!(matches!(missing, OpenError::FolderMissing(_)), "{missing}");
    let missing = read(&folder.join("tollgate.db"));
    assert!(matches!(missing, OpenError::FileMissing(_)), "{missing}");

    let text = folder.join("notes.txt");
    std::fs::write(&text, "no database at all, but a text of some length").unwrap();
    let no_database = error(&text);
    assert!(
        matches!(no_database, OpenError::NotADatabase(_)),
        "{no_database}"
    );

    let other = folder.join("other.db");
    let db = Connection::open(&other).unwrap();
    db.execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    drop(db);
    let as_it_was = std::fs::read(&other).unwrap();
    let no_ledger = error(&other);
    assert!(matches!(no_ledger, OpenError::NotALedger(_)), "{no_ledger}");
    assert_eq!(std::fs::read(&other).unwrap(), as_it_was);

    let newer = folder.join("newer.db");
    drop(open(&newer));
    let db = Connection::open(&newer).unwrap();
    db.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(db);
    let error = error(&newer).to_string();
    assert!(error.contains("newer tollgate") && error.contains("version 9"));
}

/// No one, root neither, makes files there.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let error = SqliteLedger::open(Path::new("/sys/tollgate.db"));
    let error = error.err().unwrap();
    assert!(matches!(error, OpenError::ReadOnly(_)), "{error}");
}

#[tokio::test]
async fn operators_read_while_the_gate_writes() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let key = key(vec![]);
    let ledger = open(&path);
    let db = look(&path);
    db.execute_batch("BEGIN").unwrap();
    let count = "SELECT count(*) FROM reservation";
    assert_eq!(rows(&db, count), ["0"]);
    make(&ledger, &key, 1, NOW).await;
    assert_eq!(rows(&db, count), ["0"], "one moment in one transaction");
    db.execute_batch("COMMIT").unwrap();
    let one = "SELECT hex(id), key, state, job, created_ms FROM reservation";
    let id = format!("{:032X}", 1);
    let expected = format!("{id}|studio|confirmed|video_1|{}", NOW.0);
    assert_eq!(rows(&db, one), [expected]);
}

#[tokio::test]
async fn pruning_changes_no_bill_and_no_limit() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let group = group(vec![]);
    let keys = ["a", "b"].map(|name| key_in(&group, name, vec![]));
    // On two days for each key: three posted, one voided, one still running.
    let mut id = 0;
    for (key, day) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let now = later(day * DAY_MS);
        for job in 0..5 {
            id += 1;
            let made = make(&ledger, &keys[key], id, now).await;
            match job {
                0..3 => post(&ledger, made, now).await,
                3 => {
                    let void = ledger.settle(made, Resolution::Voided, "failed", now);
                    void.await.unwrap().unwrap();
                }
                _ => {}
            }
        }
    }
    let bill = || {
        let db = look(&path);
        let sql = "SELECT day, key, jobs, video_seconds, list_nanos, list_cost_usd, billed_cost,
                          open_jobs, open_billed_cost
                   FROM bill WHERE key = 'a' AND day >= '2023-11-14' ORDER BY day";
        let whole = "SELECT * FROM bill ORDER BY day, key";
        (rows(&db, sql), rows(&db, whole))
    };
    let before = bill();
    let line =
        |day| format!("2023-11-{day}|a|3|12|1200000000|1.200000000|6.000000000|1|2.000000000");
    assert_eq!(before.0, [line(14), line(15)]);
    assert_eq!(before.1.len(), 4);

    // In batches: eight resolved of the first day go, its two running jobs stay.
    let second_day = later(DAY_MS);
    let mut batches = vec![];
    loop {
        let pruned = ledger.prune(second_day, second_day, 3).await.unwrap();
        if pruned == 0 {
            break;
        }
        batches.push(pruned);
        assert_eq!(bill(), before);
    }
    assert_eq!(batches, [3, 3, 2]);
    assert!(ledger.job("video_1").await.unwrap().is_none());
    assert!(ledger.job("video_5").await.unwrap().is_some());

    // Days of which nothing is left are on the bill as well.
    for id in [5, 15] {
        post(&ledger, ReservationId(id), second_day).await;
    }
    let settled = bill();
    assert_eq!(ledger.prune(later(2 * DAY_MS), NOW, 100).await, Ok(10));
    assert_eq!(bill(), settled);
    let left = rows(&look(&path), "SELECT count(*) FROM reservation");
    assert_eq!(left, ["2"]);

    // A limit that asks for the first time counts what has been pruned.
    let limits = vec![
        limit(Measure::ListCost, "100/total"),
        limit(Measure::VideoSeconds, "1000/month"),
        limit(Measure::Requests, "100/day"),
    ];
    let a = key_in(&group, "a", limits.clone());
    let month = [8 * 400_000_000, 32, 4];
    assert_eq!(used(&ledger, &a, second_day).await, month);
    let both = key_in(&suite::group(limits), "c", vec![]);
    let month = month.map(|used| 2 * used);
    assert_eq!(used(&ledger, &both, second_day).await, month);
}

#[tokio::test]
async fn expired_idempotency_keys_are_pruned() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![]);
    for id in 0..5 {
        let tied = claiming(id, &charge(&key, 4), &format!("once-{id}"), 1);
        assert_eq!(ledger.reserve(&tied, &key, NOW).await, Ok(Reserved::Done));
    }
    let old = later(2 * DAY_MS);
    // None of these requests has an outcome.
    assert_eq!(ledger.prune(NOW, old, 4).await, Ok(0));
    for id in 0..5 {
        let tie = confirmation(&charge(&key, 4), &format!("video_{id}"));
        let confirmed = ledger
            .confirm(ReservationId(id), &tie, &binding(&key), NOW)
            .await;
        assert!(matches!(confirmed, Ok(Confirmed::Done { .. })));
    }
    assert_eq!(ledger.prune(NOW, later(DAY_MS - 1), 4).await, Ok(0));
    assert_eq!(ledger.prune(NOW, old, 4).await, Ok(4));
    assert_eq!(ledger.prune(NOW, old, 4).await, Ok(1));
    let left = rows(&look(&path), "SELECT count(*) FROM idempotency");
    assert_eq!(left, ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_dropped_ends_what_was_begun() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = Arc::new(open(&path));
    let key = key(vec![limit(Measure::Requests, "1000/day")]);
    let tasks = (0..200).map(|id| {
        let (ledger, key) = (ledger.clone(), key.clone());
        tokio::spawn(async move {
            let done = reserved(&*ledger, &key, id, &charge(&key, 4), NOW).await;
            assert!(done);
        })
    });
    let tasks: Vec<_> = tasks.collect();
    drop(ledger);
    for task in tasks {
        task.await.unwrap();
    }
    let ledger = loop {
        // The last task may hold the ledger a moment longer than its answer.
        match SqliteLedger::open(&path) {
            Ok(ledger) => break ledger,
            Err(OpenError::Locked(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(used(&ledger, &key, NOW).await, [200]);
    let open = ledger.count_unresolved().await.unwrap();
    assert_eq!(
        (open.len(), open[0].state, open[0].count),
        (1, State::Pending, 200)
    );
}

/// Runs the next test in a process that lives on when a file may not grow any more.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_commit_refuses_the_whole_batch() {
    let this = std::env::current_exe().unwrap();
    let child = std::process::Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#])
        .arg(this)
        .args([
            "--ignored",
            "--exact",
            "in_a_process_of_its_own",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[cfg(target_os = "linux")]
#[ignore = "run by the test before: it bounds the files of its process"]
#[tokio::test]
async fn in_a_process_of_its_own() {
    let may_grow_to = |size: &str| {
        let this = std::process::id().to_string();
        let fsize = format!("--fsize={size}:");
        let mut set = std::process::Command::new("prlimit");
        let set = set.args(["--pid", &this, &fsize]).status();
        assert!(set.unwrap().success());
    };
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = Arc::new(open(&path));
    let limits = vec![
        limit(Measure::Requests, "1000/day"),
        limit(Measure::InFlight, "1000"),
    ];
    let key = key(limits);
    for id in 0..10 {
        make(&*ledger, &key, id, NOW).await;
    }
    assert_eq!(ledger.ready().await, Ok(()));

    let log = std::fs::metadata(folder.join("tollgate.db-wal")).unwrap();
    may_grow_to(&log.len().to_string());
    let calls = (10..60).map(|id| {
        let (ledger, key) = (ledger.clone(), key.clone());
        tokio::spawn(async move {
            let draft = draft(id, &charge(&key, 4));
            ledger.reserve(&draft, &key, NOW).await
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        let refused = call.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("look at the disk"), "{refused}");
    }
    let settle = ledger.settle(ReservationId(1), Resolution::Voided, "failed", NOW);
    settle.await.unwrap_err();
    assert!(ledger.ready().await.is_err());
    // Nothing of it is counted, and nothing of it is there.
    assert_eq!(used(&*ledger, &key, NOW).await, [10, 10]);
    let left = ledger.count_unresolved().await.unwrap();
    assert_eq!((left.len(), left[0].count), (1, 10));

    may_grow_to("unlimited");
    assert_eq!(ledger.ready().await, Ok(()), "it heals by itself");
    assert!(reserved(&*ledger, &key, 10, &charge(&key, 4), NOW).await);
    let void = ledger.settle(ReservationId(1), Resolution::Voided, "failed", NOW);
    assert!(void.await.unwrap().is_some());
    assert_eq!(used(&*ledger, &key, NOW).await, [10, 10]);
    drop(ledger);
    assert_eq!(used(&open(&path), &key, NOW).await, [10, 10]);
}

/// A database of the first version, as a gate of that time has left it.
#[tokio::test]
async fn a_ledger_of_the_first_version_is_brought_up_to_date() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../src/ledger/schema/sqlite/001_ledger.sql"))
        .unwrap();
    db.pragma_update(None, "application_id", 0x746f_6c6c)
        .unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    let at = NOW.0;
    let ahead = at / 60_000 * 60 + 30 * 86_400;
    for (number, currency, state, resolved) in [
        (1, "CNY", "confirmed", "NULL".to_owned()),
        (2, "CNY", "confirmed", "NULL".to_owned()),
        (3, "USD", "posted", at.to_string()),
    ] {
        db.execute_batch(&format!(
            "INSERT INTO reservation (number, id, created_ms, key, \"group\", currency, multiplier,
                 channel, model, size, seconds, list_nanos, billed_nanos, state, gate,
                 prompt_sha256, look_at_ms, job, place, confirmed_ms, resolved_ms)
             VALUES ({number}, x'{number:032x}', {at}, 'studio', 'sora2', '{currency}', 5000,
                 'official', 'sora-2', '1280x720', 4, 400000000, 2000000000, '{state}', 7,
                 zeroblob(32), {at}, 'video_{number}', {number}, {at}, {resolved})"
        ))
        .unwrap();
    }
    db.execute_batch(&format!(
        "INSERT INTO payer VALUES ('sora2', 'studio');
         INSERT INTO counter VALUES
             ('key', 'studio', 'requests', 'total', 0, 50),
             ('key', 'studio', 'requests', 'min', {ahead}, 1),
             ('key', 'studio', 'billed_cost', 'total', 0, 6000000000),
             ('key', 'studio', 'in_flight', 'total', 0, 2);"
    ))
    .unwrap();
    drop(db);

    let ledger = open(&path);
    let key = key(vec![
        limit(Measure::Requests, "100/total"),
        limit(Measure::Requests, "100/min"),
        limit(Measure::BilledCost, "100/total"),
        limit(Measure::InFlight, "10"),
    ]);
    // The total goes on; the window is the one of now, and the sum one of one currency.
    assert_eq!(used(&ledger, &key, NOW).await, [50, 3, 4_000_000_000, 2]);
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(
        (&*job.upstream_id, job.reservation),
        ("video_1", ReservationId(1))
    );
    assert!(job.charge.prices.is_empty());
    let found = ledger.job_of_channel("official", "video_3").await;
    assert_eq!(found, ledger.job("video_3").await);
    assert!(found.unwrap().is_some());
    post(&ledger, ReservationId(1), NOW).await;
    assert_eq!(used(&ledger, &key, NOW).await[3], 1);
    drop(ledger);
    let version = rows(&look(&path), "PRAGMA user_version");
    assert_eq!(version, ["8"]);
    let ledger = open(&path);
    assert_eq!(used(&ledger, &key, NOW).await, [50, 3, 4_000_000_000, 1]);
}

/// A request in each of three hours' minutes leaves no more than an hour of them.
#[tokio::test]
async fn counters_of_windows_that_are_over_are_deleted() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![limit(Measure::Requests, "10/min")]);
    for minute in 0..180_u64 {
        let at = later(minute * 60_000);
        assert!(reserved(&ledger, &key, minute.into(), &charge(&key, 4), at).await);
    }
    let count = rows(&look(&path), "SELECT count(*) FROM counter");
    assert_eq!(count, ["61"]);
    drop(ledger);
    let ledger = open(&path);
    for minute in [0, 100, 179] {
        assert_eq!(used(&ledger, &key, later(minute * 60_000)).await, [1]);
    }
}
