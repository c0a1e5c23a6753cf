//! A call of which a statement fails fails alone.

use rusqlite::Connection;
use tollgate::ledger::{Ledger, Reserved, State};
use tollgate::policy::Measure;

use crate::folder::Folder;
use crate::suite::{NOW, charge, draft, key, limit};
use crate::{later, make, open, post, rows, used};

/// Makes the database refuse what is of this day.
fn refuse(db: &Connection, statement: &str, when: &str) {
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE {statement} WHEN {when}
         BEGIN SELECT raise(ABORT, 'refused by the test'); END"
    );
    db.execute_batch(&trigger).unwrap();
}

#[tokio::test]
async fn a_call_that_fails_takes_no_other_with_it() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    drop(open(&path));
    let db = Connection::open(&path).unwrap();
    refuse(&db, "INSERT ON reservation", "new.seconds = 13");
    let ledger = open(&path);
    let key = key(vec![
        limit(Measure::Requests, "1000/day"),
        limit(Measure::VideoSeconds, "100000/total"),
    ]);
    make(&ledger, &key, 1000, NOW).await;

    // While another program has the lock, all calls come together behind the first batch.
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let calls = (0..200).map(async |id| {
        let seconds = if id % 50 == 7 { 13 } else { 4 };
        let draft = draft(id, &charge(&key, seconds));
        (seconds, ledger.reserve(&draft, &key, NOW).await)
    });
    let calls = futures_util::future::join_all(calls);
    let unlock = async { db.execute_batch("ROLLBACK").unwrap() };
    let (outcomes, ()) = tokio::join!(calls, unlock);
    for (seconds, outcome) in outcomes {
        match seconds {
            13 => assert!(
                outcome
                    .unwrap_err()
                    .to_string()
                    .contains("refused by the test")
            ),
            _ => assert_eq!(outcome, Ok(Reserved::Done)),
        }
    }
    assert_eq!(ledger.ready().await, Ok(()), "the ledger itself is well");
    // What is counted in memory is what is on disk.
    let expected = [197, 197 * 4];
    assert_eq!(used(&ledger, &key, NOW).await, expected);
    let pending = ledger.count_unresolved().await.unwrap();
    let pending = pending.iter().find(|open| open.state == State::Pending);
    assert_eq!(pending.map(|open| open.count), Some(196));
    assert!(ledger.job("video_1000").await.unwrap().is_some());
    drop(ledger);
    assert_eq!(used(&open(&path), &key, NOW).await, expected);
}

#[tokio::test]
async fn pruning_that_fails_holds_up_nobody() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![]);
    let id = make(&ledger, &key, 1, NOW).await;
    post(&ledger, id, NOW).await;
    let db = Connection::open(&path).unwrap();
    refuse(&db, "INSERT ON total", "true");
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let prune = async { ledger.prune(later(1), NOW, 100).await };
    let reserve = async { ledger.reserve(&draft(2, &charge(&key, 4)), &key, NOW).await };
    let unlock = async { db.execute_batch("ROLLBACK").unwrap() };
    let (pruned, reserved, ()) = tokio::join!(prune, reserve, unlock);
    assert!(
        pruned
            .unwrap_err()
            .to_string()
            .contains("refused by the test")
    );
    assert_eq!(reserved, Ok(Reserved::Done));
    let bill = "SELECT jobs, open_jobs FROM bill";
    assert_eq!(rows(&db, bill), ["1|1"], "nothing of it is lost");
    db.execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(ledger.prune(later(1), NOW, 100).await, Ok(1));
    assert_eq!(rows(&db, bill), ["1|1"]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_and_others_are_pruned() {
    let folder = Folder::new();
    let path = folder.join("tollgate.db");
    let ledger = open(&path);
    let key = key(vec![]);
    for id in 1..=3 {
        let id = make(&ledger, &key, id, NOW).await;
        post(&ledger, id, NOW).await;
    }
    let db = Connection::open(&path).unwrap();
    db.execute_batch("UPDATE reservation SET billed_nanos = -5 WHERE job = 'video_2'")
        .unwrap();
    assert_eq!(ledger.prune(later(1), NOW, 100).await, Ok(2));
    assert_eq!(ledger.prune(later(1), NOW, 100).await, Ok(0));
    let left = "SELECT job, billed_nanos FROM reservation";
    assert_eq!(rows(&db, left), ["video_2|-5"]);
    assert_eq!(
        rows(&db, "SELECT jobs, billed_nanos FROM total"),
        ["2|4000000000"]
    );
}
