//! A database that takes a charge's step, and longer than anybody waits for its answer.

use std::io::Write as _;
use std::process::{Child, ChildStdin};
use std::time::{Duration, Instant};

use crate::engines::Engine;
use crate::support::client::Answer;
use crate::support::postgres::shared;
use crate::support::{KEY, Stand, until};
use crate::{POLLS, asked, cents, create, send, soon, until_cents, until_ended};

/// Holds the commits of reservations that get into one state, from when it is made on.
struct Hold {
    url: String,
    psql: Child,
    orders: ChildStdin,
}

impl Hold {
    fn on(engine: &Engine, state: &str) -> Self {
        let Engine::Postgres(url) = engine else {
            panic!("{} commits at once", engine.name());
        };
        let postgres = shared().unwrap();
        let trigger = format!(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON tollgate.reservation
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
             WHEN (old.state <> new.state AND new.state = '{state}') EXECUTE FUNCTION hold()"
        );
        let (mut psql, url) = (postgres.client(url).spawn().unwrap(), url.clone());
        let mut orders = psql.stdin.take().unwrap();
        tokio::task::block_in_place(|| {
            postgres.psql(&url, &trigger);
            writeln!(orders, "SELECT pg_advisory_lock(42);").unwrap();
        });
        Self { url, psql, orders }
    }

    /// How many sessions wait: the one that commits, and those that repeat what it was asked. A note about the
    /// reservation, which waits for its row too, is none of them.
    fn waiting(&self) -> usize {
        let sql = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock' \
             AND query NOT LIKE 'UPDATE %'";
        let count = tokio::task::block_in_place(|| shared().unwrap().psql(&self.url, sql));
        count.parse().unwrap()
    }

    async fn until_held(&self) {
        until("the lock is held", async || {
            // Of this database alone: other tests hold theirs at the same time.
            let sql = "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d \
                 ON d.oid = l.database AND d.datname = current_database() \
                 WHERE locktype = 'advisory' AND objid = 42 AND granted \
                 AND mode = 'ExclusiveLock'";
            tokio::task::block_in_place(|| shared().unwrap().psql(&self.url, sql)) == "1"
        })
        .await;
    }

    /// Waits until the call was given up and repeated, and lets both go on.
    async fn until_repeated(mut self) {
        until("one waits and another repeats", async || {
            self.waiting() >= 2
        })
        .await;
        writeln!(self.orders, "SELECT pg_advisory_unlock(42);").unwrap();
        drop(self.orders);
        tokio::task::block_in_place(|| self.psql.wait()).unwrap();
    }
}

/// A create of which that step is held, as its client sees it; what it costs in cents.
async fn held(state: &str, prompt: &str, expected: [i64; 3]) -> Option<(Stand, Answer)> {
    let engine = Engine::postgres()?;
    let mut setup = soon("  poll_after: 100ms\n  polls_per_second: 20\n");
    setup.ledger = engine.open();
    let stand = setup.start().await;
    stand.handle.ledger().ready().await.unwrap();
    let hold = Hold::on(&engine, state);
    hold.until_held().await;
    let (gate, request) = (stand.gate, create(prompt));
    let answer = tokio::spawn(async move { send(gate, KEY, request).await });
    hold.until_repeated().await;
    let answer = answer.await.unwrap();

    stand.until_resolved().await;
    until_cents(&stand, expected).await;
    // Once, whatever is looked at again.
    // Counted before the job is there: its only poll may come before its client has the answer.
    let before = asked(&stand.mock, POLLS);
    let another = send(stand.gate, KEY, create("a dog")).await;
    assert_eq!(another.status, 200, "{another:?}");
    let began = Instant::now();
    stand
        .until("it is polled, and time has passed", async || {
            began.elapsed() >= Duration::from_secs(1) && asked(&stand.mock, POLLS) > before
        })
        .await;
    let with_another = [expected[0] + 40, expected[1] + 40, expected[2]];
    until_cents(&stand, with_another).await;
    let counted = "SELECT state, count(*) FROM reservation GROUP BY 1 ORDER BY 1";
    let states: Vec<_> = engine.rows(counted);
    let posted = if state == "voided" { "1" } else { "2" };
    assert!(
        states.contains(&vec!["posted".into(), posted.into()]),
        "{states:?}"
    );
    assert_eq!(cents(&stand).await, with_another);
    Some((stand, answer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_is_not_answered_is_counted_once() {
    if let Some((stand, answer)) = held("posted", "a cat", [40, 40, 0]).await {
        assert_eq!(answer.status, 200);
        until_ended(&stand, "completed", 2.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voidance_that_is_not_answered_is_counted_once() {
    let prompt = "a cat [mock:400]";
    if let Some((_, answer)) = held("voided", prompt, [40, 0, 40]).await {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_that_is_not_answered_is_counted_once() {
    let prompt = "a cat [mock:other-seconds=8]";
    if let Some((stand, answer)) = held("confirmed", prompt, [120, 80, 40]).await {
        assert_eq!(answer.status, 200);
        until_ended(&stand, "completed", 2.0).await;
    }
}
