//! Deletions that delete nothing, and such as cannot be noted.

use crate::engines::{Engine, on};
use crate::support::postgres::shared;
use crate::upstream::{Heard, Say, Upstream, json};
use crate::*;

const GOING_ON: &str = r#"{"id":"video_1","object":"video","status":"in_progress"}"#;
const ABSENT: &str = r#"{"error":{"message":"no such video","code":"not_found"}}"#;
const NO_ROUTE: &str = r#"{"detail":"Not Found"}"#;

async fn deleting(
    script: impl Fn(&Heard) -> Say + Send + Sync + 'static,
) -> (Upstream, Stand, Answer) {
    let channel = Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => json(200, CREATED),
        _ => script(heard),
    })
    .await;
    let stand = channel.behind(soon("  poll_after: 1h\n"), "").start().await;
    created(&stand).await;
    let answer = send(&stand, "DELETE", JOB).await;
    (channel, stand, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_is_not_deleted_by_an_answer_that_says_nothing_of_it() {
    for (status, body) in [
        (404, NO_ROUTE),
        (404, ABSENT),
        (404, "404 page not found"),
        (405, r#"{"detail":"Method Not Allowed"}"#),
        (501, ""),
        (200, "<html>"),
        (200, ""),
        (200, r#"{"id":"video_1","deleted":false}"#),
        (200, r#"{"error":{"message":"m"}}"#),
        (200, GOING_ON),
    ] {
        let (channel, stand, answer) = deleting(move |heard| match heard.method.as_str() {
            "DELETE" => json(status, body),
            _ => json(200, GOING_ON),
        })
        .await;
        let told = (answer.status, answer.code());
        assert_eq!(told, (405, "method_not_allowed".into()), "{status} {body}");
        assert_eq!(open(&stand, State::Confirmed).await, 1, "{status} {body}");
        assert_eq!(cents(&stand).await, [40, 0, 0], "{status} {body}");
        // And it is not charged when it fails.
        channel.says(|_| json(200, r#"{"id":"video_1","status":"failed"}"#));
        assert_eq!(send(&stand, "GET", JOB).await.status, 200);
        until_cents(&stand, [40, 0, 40]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_gone_is_deleted() {
    // Deleted before, and the answer was lost.
    let (_channel, stand, answer) = deleting(|_| json(404, ABSENT)).await;
    assert_eq!(answer.status, 404);
    assert_eq!(ended(&stand, "deleted").await, 1.0);
    assert_eq!(cents(&stand).await, [40, 40, 0]);
    for (status, body) in [
        (
            200,
            r#"{"id":"video_1","object":"video.deleted","deleted":true}"#,
        ),
        (200, r#"{"id":"video_1","status":"deleted"}"#),
        (204, ""),
    ] {
        let (_channel, stand, answer) = deleting(move |heard| match heard.method.as_str() {
            "DELETE" if status == 204 => Say::Whole(b"HTTP/1.1 204 No\r\n\r\n".to_vec()),
            "DELETE" => json(status, body),
            _ => json(200, GOING_ON),
        })
        .await;
        assert_eq!(answer.status, status);
        assert_eq!(ended(&stand, "deleted").await, 1.0, "{status} {body}");
        assert_eq!(cents(&stand).await, [40, 40, 0]);
    }
    // It says nothing, but the job is gone.
    use std::sync::atomic::{AtomicBool, Ordering};
    let gone = AtomicBool::new(false);
    let (_channel, stand, answer) = deleting(move |heard| match heard.method.as_str() {
        "DELETE" => {
            gone.store(true, Ordering::Relaxed);
            json(200, "ok")
        }
        _ if gone.load(Ordering::Relaxed) => json(404, ABSENT),
        _ => json(200, GOING_ON),
    })
    .await;
    assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
    assert_eq!(ended(&stand, "deleted").await, 1.0);
}

/// A ledger that another program keeps from being written.
enum Unwritable {
    Sqlite(rusqlite::Connection),
    /// The name of the database, whose transactions are read-only.
    Postgres(String),
}

impl Unwritable {
    fn make(engine: &Engine) -> Self {
        match engine {
            Engine::Sqlite(folder) => {
                let other = rusqlite::Connection::open(folder.join("tollgate.db")).unwrap();
                other.execute_batch("BEGIN IMMEDIATE").unwrap();
                Self::Sqlite(other)
            }
            Engine::Postgres(_) => {
                let mut rows = engine.rows("SELECT current_database()");
                let name = rows.remove(0).remove(0);
                alter(&name, "SET default_transaction_read_only = on");
                Self::Postgres(name)
            }
            Engine::Memory => panic!("memory can be written"),
        }
    }

    fn end(self) {
        match self {
            Self::Sqlite(other) => other.execute_batch("ROLLBACK").unwrap(),
            Self::Postgres(name) => alter(&name, "RESET default_transaction_read_only"),
        }
    }
}

/// Changes a setting of a database, for those too who are connected: they have to come again.
fn alter(database: &str, setting: &str) {
    let alter = format!("ALTER DATABASE {database} {setting}");
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    for sql in [alter, end] {
        tokio::task::block_in_place(|| shared().unwrap().psql("postgres", &sql));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deleted_while_its_end_cannot_be_noted() {
    on(Engine::durable(), async |engine| {
        let channel = Upstream::start(|heard| match heard.method.as_str() {
            "POST" => json(200, CREATED),
            "DELETE" => json(200, r#"{"id":"video_1","deleted":true}"#),
            _ => json(200, r#"{"id":"video_1","status":"failed"}"#),
        })
        .await;
        let mut setup = soon("  poll_after: 1h\n");
        setup.ledger = engine.open();
        let stand = channel.behind(setup, "").start().await;
        created(&stand).await;
        let unwritable = Unwritable::make(&engine);
        let answer = send(&stand, "DELETE", JOB).await;
        let told = (answer.status, &*answer.code());
        assert_eq!(told, (503, "unavailable"), "{}", engine.name());
        assert_eq!(channel.times("DELETE", JOB), 0, "{}", engine.name());
        unwritable.end();
        let ledger = stand.handle.ledger();
        stand
            .until("it can be written again", async || {
                ledger.ready().await.is_ok()
            })
            .await;
        let answer = send(&stand, "DELETE", JOB).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", engine.name());
        assert_eq!(cents(&stand).await, [40, 0, 40], "{}", engine.name());
        assert_eq!(ended(&stand, "failed").await, 1.0, "{}", engine.name());
    })
    .await;
}
