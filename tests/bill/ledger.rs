//! What the ledger makes of adjustments, and when lines of the bill fall.

use std::time::{Duration, Instant};

use tollgate::key::Secret;
use tollgate::ledger::{
    Adjustment, AdjustmentKind, Author, BillLine, BillQuery, BillTotals, CreditDecision, Ledger,
    ReservationId, Resolution, VoidDecision, VoidRefusal, credit_postgres, credit_sqlite,
    read_postgres_bill, read_sqlite_bill, void_postgres, void_sqlite,
};
use tollgate::policy::{Key, Measure, Timestamp};

use crate::engines::{self, Engine};
use crate::suite::{binding, charge, confirmation, group, key, key_in, limit, reserved};

/// The first days of October, November and December 2023, and of the next year.
const OCTOBER: Timestamp = Timestamp(1_696_118_400_000);
const NOVEMBER: Timestamp = Timestamp(1_698_796_800_000);
const DECEMBER: Timestamp = Timestamp(1_701_388_800_000);
const NEXT_YEAR: Timestamp = Timestamp(1_704_067_200_000);

fn after(time: Timestamp, minutes: u64) -> Timestamp {
    Timestamp(time.0 + minutes * 60_000)
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(u64::try_from(now.unwrap().as_millis()).unwrap())
}

pub fn author(at: Timestamp, reason: &str) -> Author {
    Author {
        at,
        made_by: "kim@desk".into(),
        reason: reason.into(),
    }
}

/// What the commands do.
pub trait Adjusting {
    async fn void_at(&self, name: &str, author: Author) -> VoidDecision;
    async fn void(&self, name: &str, reason: &str) -> VoidDecision {
        self.void_at(name, author(now(), reason)).await
    }
    async fn credit_at(&self, adjustment: &Adjustment) -> CreditDecision;
    async fn credit(
        &self,
        key: &str,
        currency: &str,
        amount: &str,
        id: &str,
    ) -> Result<(), String> {
        let adjustment = Adjustment {
            id: id.into(),
            author: author(now(), "late"),
            kind: AdjustmentKind::Credit {
                group: "sora2".into(),
                key: key.into(),
                currency: currency.into(),
                amount: amount.parse().unwrap(),
            },
        };
        match self.credit_at(&adjustment).await {
            CreditDecision::IdTaken(found) => Err(format!("{found:?}")),
            CreditDecision::Record | CreditDecision::Already(_) => Ok(()),
        }
    }
    async fn bill(&self, from: Timestamp, until: Timestamp) -> Vec<BillLine>;
}

const WITHIN: Duration = Duration::from_secs(30);

impl Adjusting for Engine {
    async fn void_at(&self, name: &str, author: Author) -> VoidDecision {
        match self {
            Self::Sqlite(folder) => {
                let path = folder.join("tollgate.db");
                tokio::task::block_in_place(|| void_sqlite(&path, name, &author, WITHIN).unwrap())
            }
            Self::Postgres(url) => {
                let url = Secret::new(url.clone());
                void_postgres(&url, name, &author).await.unwrap()
            }
            Self::Memory => unreachable!(),
        }
    }

    async fn credit_at(&self, adjustment: &Adjustment) -> CreditDecision {
        match self {
            Self::Sqlite(folder) => {
                let path = folder.join("tollgate.db");
                tokio::task::block_in_place(|| credit_sqlite(&path, adjustment, WITHIN).unwrap())
            }
            Self::Postgres(url) => {
                let url = Secret::new(url.clone());
                credit_postgres(&url, adjustment).await.unwrap()
            }
            Self::Memory => unreachable!(),
        }
    }

    async fn bill(&self, from: Timestamp, until: Timestamp) -> Vec<BillLine> {
        let query = BillQuery {
            from,
            until,
            key: None,
        };
        match self {
            Self::Sqlite(folder) => read_sqlite_bill(&folder.join("tollgate.db"), &query).unwrap(),
            Self::Postgres(url) => {
                let url = Secret::new(url.clone());
                read_postgres_bill(&url, &query).await.unwrap().lines
            }
            Self::Memory => unreachable!(),
        }
    }
}

async fn with_job(ledger: &dyn Ledger, key: &Key, id: u128, seconds: u32, at: Timestamp) {
    let charge = charge(key, seconds);
    assert!(reserved(ledger, key, id, &charge, at).await);
    let tie = confirmation(&charge, &format!("video_{id}"));
    let limits = binding(key);
    let confirmed = ledger.confirm(ReservationId(id), &tie, &limits, at);
    confirmed.await.unwrap();
}

async fn end(ledger: &dyn Ledger, id: u128, resolution: Resolution, at: Timestamp) -> bool {
    let end = ledger.settle(ReservationId(id), resolution, "completed", at);
    end.await.unwrap().is_some()
}

async fn posted(ledger: &dyn Ledger, key: &Key, id: u128, seconds: u32, at: Timestamp) {
    with_job(ledger, key, id, seconds, at).await;
    assert!(end(ledger, id, Resolution::Posted, at).await);
}

async fn used(ledger: &dyn Ledger, key: &Key, now: Timestamp) -> Vec<u64> {
    let usage = ledger.usage(key, now).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

/// Lets the gate look at what was adjusted.
async fn look(ledger: &dyn Ledger, at: Timestamp) {
    ledger
        .heartbeat(at, Duration::from_secs(600))
        .await
        .unwrap();
}

fn billed(lines: &[BillLine]) -> String {
    let totals = BillTotals::of(lines).unwrap();
    let mut currencies = totals.by_currency.values();
    currencies
        .next()
        .map_or("nothing".into(), |sum| sum.billed.to_string())
}

/// Every line is of the month in which it fell, and stays there when its charges are pruned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_that_is_over_does_not_change() {
    engines::on(Engine::durable(), async |engine| {
        let (ledger, key) = (engine.open(), key(vec![]));
        let late = after(NOVEMBER, 5);
        for id in 1..=3 {
            posted(&*ledger, &key, id, 4, after(OCTOBER, id as u64)).await;
        }
        // Reserved in the last minute of October: one posted in it, one in November, one fails.
        posted(&*ledger, &key, 4, 8, Timestamp(NOVEMBER.0 - 1)).await;
        for id in [5, 6] {
            with_job(&*ledger, &key, id, 8, Timestamp(NOVEMBER.0 - 1)).await;
        }
        let october = engine.bill(OCTOBER, NOVEMBER).await;
        // 3 x 4 s, and 8 s, at 0.10 USD a second times 5.
        assert_eq!(billed(&october), "10.00", "{}", engine.name());
        assert_eq!(
            (october.len(), october[0].jobs, october[0].video_seconds),
            (1, 4, 20)
        );
        assert_eq!(october[0].list_price.unwrap().to_string(), "0.10");
        assert_eq!(october[0].multiplier.unwrap().to_string(), "5.00");

        assert!(end(&*ledger, 5, Resolution::Posted, NOVEMBER).await);
        assert!(end(&*ledger, 6, Resolution::Voided, late).await);
        let void = engine.void_at("video_1", author(late, "black")).await;
        assert!(matches!(void, VoidDecision::Record(_)), "{void:?}");
        look(&*ledger, late).await;
        let november = engine.bill(NOVEMBER, DECEMBER).await;
        assert_eq!(billed(&november), "2.00");
        let kinds: Vec<_> = november
            .iter()
            .map(|line| (line.kind.name(), line.jobs))
            .collect();
        assert_eq!(kinds, [("charge", 1), ("void", -1)]);
        let adjustment = november[1].adjustment.as_ref().unwrap();
        assert_eq!((adjustment.at, &*adjustment.reason), (late, "black"));
        assert_eq!(adjustment.job.as_deref(), Some("video_1"));
        assert_eq!(engine.bill(OCTOBER, NOVEMBER).await, october);

        // Half of them are pruned, and then the rest.
        for limit in [2, 1000] {
            assert!(ledger.prune(NEXT_YEAR, NEXT_YEAR, limit).await.unwrap() > 0);
            assert_eq!(engine.bill(OCTOBER, NOVEMBER).await, october);
            assert_eq!(engine.bill(NOVEMBER, DECEMBER).await, november);
        }
        assert_eq!(engine.rows("SELECT count(*) FROM reservation"), [["0"]]);
        assert_eq!(engine.bill(DECEMBER, NEXT_YEAR).await, []);
        // What is gone is known where it was voided, and told otherwise.
        let again = engine.void_at("video_1", author(DECEMBER, "again")).await;
        assert!(matches!(again, VoidDecision::Already(_)), "{again:?}");
        let gone = engine.void_at("video_2", author(DECEMBER, "too")).await;
        assert_eq!(gone, VoidDecision::Refuse(VoidRefusal::NotFound));
    })
    .await;
}

/// A charge that is open is left alone, and its end is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_is_not_voided_and_is_settled_once() {
    engines::on(Engine::durable(), async |engine| {
        let (ledger, key) = (
            engine.open(),
            key(vec![limit(Measure::BilledCost, "100/total")]),
        );
        assert!(reserved(&*ledger, &key, 1, &charge(&key, 4), NOVEMBER).await);
        let pending = format!("{}", ReservationId(1));
        with_job(&*ledger, &key, 2, 4, NOVEMBER).await;
        for (name, id) in [(&*pending, 1), ("video_2", 2)] {
            let void = engine.void_at(name, author(NOVEMBER, "early")).await;
            let open = VoidRefusal::Open(ReservationId(id));
            assert_eq!(void, VoidDecision::Refuse(open), "{}", engine.name());
        }
        assert!(end(&*ledger, 2, Resolution::Posted, NOVEMBER).await);
        let void = engine.void_at("video_2", author(NOVEMBER, "now")).await;
        assert!(matches!(void, VoidDecision::Record(_)), "{void:?}");
        look(&*ledger, NOVEMBER).await;
        // Nothing settles it anew, or gives anything back once more.
        for resolution in [Resolution::Posted, Resolution::Voided] {
            assert!(!end(&*ledger, 2, resolution, NOVEMBER).await);
        }
        look(&*ledger, NOVEMBER).await;
        assert_eq!(used(&*ledger, &key, NOVEMBER).await, [2_000_000_000]);
        assert_eq!(billed(&engine.bill(NOVEMBER, DECEMBER).await), "0.00");
        // One that failed is told to cost nothing.
        with_job(&*ledger, &key, 3, 4, NOVEMBER).await;
        assert!(end(&*ledger, 3, Resolution::Voided, NOVEMBER).await);
        let void = engine.void_at("video_3", author(NOVEMBER, "failed")).await;
        assert_eq!(void, VoidDecision::NothingOwed(ReservationId(3)));
    })
    .await;
}

/// The limits of key and group have room again, once, whenever they were configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_gives_room_back_exactly_once() {
    engines::on(Engine::durable(), async |engine| {
        let measures = || {
            vec![
                limit(Measure::Requests, "10/min"),
                limit(Measure::VideoSeconds, "100/hour"),
                limit(Measure::ListCost, "10/day"),
                limit(Measure::BilledCost, "8/month"),
                limit(Measure::InFlight, "5"),
            ]
        };
        let shared = group(vec![limit(Measure::BilledCost, "100/total")]);
        let limited = key_in(&shared, "studio", measures());
        let unlimited = key_in(&group(vec![]), "later", vec![]);
        let ledger = engine.open();
        let start = after(NOVEMBER, 3 * 24 * 60);
        for id in 1..=4 {
            posted(&*ledger, &limited, id, 4, start).await;
        }
        with_job(&*ledger, &unlimited, 5, 4, start).await;
        for id in 6..=8 {
            posted(&*ledger, &unlimited, id, 4, start).await;
        }
        assert!(!reserved(&*ledger, &limited, 9, &charge(&limited, 4), start).await);
        let full = [4, 16, 1_600_000_000, 8_000_000_000, 0, 8_000_000_000];
        assert_eq!(used(&*ledger, &limited, start).await[..5], full[..5]);

        let void = async |name: &str| {
            engine.void_at(name, author(after(start, 1), "black")).await;
        };
        void("video_1").await;
        void("video_6").await;
        for _ in 0..3 {
            look(&*ledger, start).await;
        }
        let less = [3, 12, 1_200_000_000, 6_000_000_000, 0];
        assert_eq!(
            used(&*ledger, &limited, start).await[..5],
            less,
            "{}",
            engine.name()
        );
        // A limit that is configured later counts what is owed, and so does one in use.
        let later = key_in(&group(vec![]), "later", measures());
        let own = [3, 12, 1_200_000_000, 6_000_000_000, 1];
        assert_eq!(used(&*ledger, &later, start).await, own);
        void("video_6").await;
        void("video_7").await;
        drop(ledger);
        let ledger = engine.open();
        look(&*ledger, start).await;
        look(&*ledger, start).await;
        let own = [2, 8, 800_000_000, 4_000_000_000, 1];
        assert_eq!(used(&*ledger, &later, start).await, own);
        // All of the group: 8 jobs of which 3 are not owed.
        let of_group = used(&*ledger, &limited, start).await[5];
        assert_eq!(of_group, 5 * 2_000_000_000);

        // Once its job is pruned as well, what is voided counts in no limit that comes after.
        assert!(ledger.prune(NEXT_YEAR, start, 1000).await.unwrap() > 0);
        let total = vec![
            limit(Measure::BilledCost, "100/total"),
            limit(Measure::Requests, "9/month"),
        ];
        let newest = key_in(&group(vec![]), "studio", total);
        assert_eq!(used(&*ledger, &newest, start).await, [6_000_000_000, 3]);
    })
    .await;
}

/// However many operators void and credit the same at once, while the gate writes without a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adjustments_at_once_are_recorded_once_beside_a_busy_gate() {
    engines::on(Engine::durable(), async |engine| {
        let (ledger, key) = (
            engine.open(),
            key(vec![limit(Measure::BilledCost, "9000/total")]),
        );
        posted(&*ledger, &key, 1, 4, NOVEMBER).await;
        let busy = {
            let (ledger, key) = (ledger.clone(), key.clone());
            tokio::spawn(async move {
                for round in 0_u128.. {
                    let ids = (0..16).map(|n| 1_000 + round * 16 + n);
                    let charge = charge(&key, 4);
                    let all = ids.map(|id| reserved(&*ledger, &key, id, &charge, NOVEMBER));
                    futures_util::future::join_all(all).await;
                }
            })
        };
        let began = Instant::now();
        let void = |n| {
            let engine = &engine;
            async move {
                engine
                    .void_at("video_1", author(after(NOVEMBER, n), "x"))
                    .await
            }
        };
        let voids = futures_util::future::join_all((0..6).map(void)).await;
        let took = began.elapsed();
        busy.abort();
        let recorded = voids
            .iter()
            .filter(|void| matches!(void, VoidDecision::Record(_)));
        assert_eq!(recorded.count(), 1, "{voids:?}");
        let already = voids
            .iter()
            .filter(|void| matches!(void, VoidDecision::Already(_)));
        assert_eq!(already.count(), 5, "{voids:?}");
        assert!(took < WITHIN, "{took:?}");
        println!(
            "{}: 6 voids beside a busy gate took {took:?}",
            engine.name()
        );
        let credits = (0..6).map(|_| engine.credit("studio", "CNY", "1", "ticket-1"));
        for credit in futures_util::future::join_all(credits).await {
            credit.unwrap();
        }
        assert_eq!(engine.rows("SELECT count(*) FROM adjustment"), [["2"]]);
        assert_eq!(billed(&engine.bill(NOVEMBER, DECEMBER).await), "0.00");
    })
    .await;
}

/// Nobody changes what was recorded, by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_recorded_is_neither_changed_nor_deleted() {
    let engine = Engine::sqlite();
    let Engine::Sqlite(folder) = &engine else {
        return;
    };
    drop(engine.open());
    engine
        .credit("studio", "CNY", "1", "ticket-1")
        .await
        .unwrap();
    let db = rusqlite::Connection::open(folder.join("tollgate.db")).unwrap();
    db.execute_batch(
        "INSERT INTO adjustment VALUES (7, 'void_1', 'void', 1, 'kim', 'black', 'studio', 'sora2',
             'CNY', -1, -1, -1, -1, x'01', 1, 'video_1', 'a', 'sora-2', '1280x720', 1000);
         INSERT INTO reload VALUES (1, x'01', 1, 'start', '', 1, '1', 'a', NULL, '');",
    )
    .unwrap();
    let other = |table, changed: &[(&str, &str)]| {
        let columns = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<_> = columns.column_names().map(String::from).collect();
        let values = columns.iter().map(|column| {
            let changed = changed.iter().find(|(name, _)| name == column);
            changed.map_or_else(|| format!("\"{column}\""), |(_, value)| value.to_string())
        });
        let values: Vec<_> = values.collect();
        format!(
            "REPLACE INTO {table} SELECT {} FROM {table}",
            values.join(", ")
        )
    };
    // Each of what is unique would let a row be replaced.
    for (sql, wrong) in [
        (
            "UPDATE adjustment SET reason = 'other'".to_owned(),
            "record another one",
        ),
        ("DELETE FROM adjustment".into(), "record another one"),
        (
            other("adjustment", &[("number", "NULL")]),
            "record another one",
        ),
        (
            other(
                "adjustment",
                &[
                    ("id", "'x' || number"),
                    ("reservation", "iif(kind = 'void', x'02', NULL)"),
                ],
            ),
            "record another one",
        ),
        (
            other("adjustment", &[("number", "NULL"), ("id", "'x' || number")])
                + " WHERE kind = 'void'",
            "record another one",
        ),
        ("UPDATE reload SET hash = 'other'".into(), "never changed"),
        ("DELETE FROM reload".into(), "never deleted"),
        (other("reload", &[("number", "NULL")]), "never replaced"),
        (other("reload", &[("id", "x'02'")]), "never replaced"),
    ] {
        let refused = db.execute(&sql, []).map_err(|error| error.to_string());
        let refused = refused.expect_err(&sql);
        assert!(refused.contains(wrong), "{sql}: {refused}");
    }
    let Some(engine) = Engine::postgres() else {
        return;
    };
    let Engine::Postgres(url) = &engine else {
        return;
    };
    engine.open().ready().await.unwrap();
    engine
        .credit("studio", "CNY", "1", "ticket-1")
        .await
        .unwrap();
    for sql in [
        "UPDATE tollgate.adjustment SET reason = 'other'",
        "TRUNCATE tollgate.adjustment",
    ] {
        let postgres = crate::support::postgres::shared().unwrap();
        let refused = tokio::task::block_in_place(|| postgres.try_psql(url, sql)).unwrap_err();
        assert!(refused.contains("never changed or deleted"), "{refused}");
    }
}

/// Makes a database of the version before this one, with a posted charge and another one that was pruned.
async fn of_version_9(url: &str) -> tokio_postgres::Client {
    let tables = [
        include_str!("../../src/ledger/schema/postgres/001_tables.sql"),
        include_str!("../../src/ledger/schema/postgres/003_ids_and_prices.sql"),
        include_str!("../../src/ledger/schema/postgres/004_counters.sql"),
        include_str!("../../src/ledger/schema/postgres/007_channels.sql"),
        include_str!("../../src/ledger/schema/postgres/009_evidence.sql"),
    ];
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let sql = format!(
        "CREATE SCHEMA tollgate;
         CREATE TABLE tollgate.schema_version (version integer PRIMARY KEY,
             applied_at timestamptz NOT NULL DEFAULT now());
         {}
         INSERT INTO tollgate.schema_version SELECT generate_series(1, 9);",
        tables.concat()
    );
    client.batch_execute(&sql).await.unwrap();
    client
}

/// What a gate of the version before this one does where it prunes.
const OLD_PRUNE: &str = "
    WITH gone AS (DELETE FROM tollgate.reservation WHERE state = 'posted' RETURNING *)
    INSERT INTO tollgate.total
    SELECT tollgate.day_of(created_ms), key, group_name, currency, channel, model, size, count(*),
           sum(seconds), sum(list_nanos), sum(billed_nanos), '', 0
    FROM gone GROUP BY 1, 2, 3, 4, 5, 6, 7";

/// However a gate of the version before this one prunes while another one upgrades.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_gate_prunes_during_the_upgrade_stays_on_the_bill() {
    let Some(engine) = Engine::postgres() else {
        return;
    };
    let Engine::Postgres(url) = &engine else {
        return;
    };
    let (old, key) = (of_version_9(url).await, key(vec![]));
    // It has pruned, and has not committed, when the upgrade begins.
    let pruning = "BEGIN; INSERT INTO tollgate.total VALUES ('2023-10-31', 'studio', 'sora2', 'CNY', \
         'a', 'sora-2', '1280x720', 1, 4, 400000000, 2000000000, '', 0)";
    old.batch_execute(pruning).await.unwrap();
    let ledger = engine.open();
    let upgrade = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.ready().await }
    });
    let waits = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
         WHERE datname = current_database() AND NOT granted";
    crate::support::until("the upgrade waits or is done", async || {
        upgrade.is_finished() || engine.rows(waits) != [["0"]]
    })
    .await;
    old.batch_execute("COMMIT").await.unwrap();
    upgrade.await.unwrap().unwrap();
    assert_eq!(billed(&engine.bill(OCTOBER, NOVEMBER).await), "2.00");
    // What it had begun before, and does after it.
    posted(&*ledger, &key, 1, 4, after(OCTOBER, 1)).await;
    assert_eq!(billed(&engine.bill(OCTOBER, NOVEMBER).await), "4.00");
    old.batch_execute(OLD_PRUNE).await.unwrap();
    assert_eq!(engine.rows("SELECT count(*) FROM reservation"), [["0"]]);
    assert_eq!(billed(&engine.bill(OCTOBER, NOVEMBER).await), "4.00");
}

/// A standby that has stopped to follow says up to when it has the lines; a primary needs not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_says_up_to_when_it_has_the_bill() {
    let Some(primary) = crate::support::postgres::Postgres::start() else {
        return;
    };
    let url = tokio::task::block_in_place(|| primary.create_database());
    let ledger = Engine::Postgres(url.clone()).open();
    ledger.ready().await.unwrap();
    let standby = tokio::task::block_in_place(|| primary.start_standby());
    let query = BillQuery {
        from: OCTOBER,
        until: NOVEMBER,
        key: None,
    };
    let read = async |url: String| {
        let bill = read_postgres_bill(&Secret::new(url), &query).await.unwrap();
        bill.replayed
    };
    assert_eq!(read(url.clone()).await, None);
    let standby_url = standby.url(url.rsplit('/').next().unwrap());
    // Each commit waits until the standby has it, though not until it shows it.
    let before = now();
    posted(&*ledger, &key(vec![]), 1, 4, OCTOBER).await;
    crate::support::until("the standby shows it", async || {
        read(standby_url.clone())
            .await
            .is_some_and(|at| at >= before)
    })
    .await;
    let paused = |sql| tokio::task::block_in_place(|| standby.psql("postgres", sql));
    paused("SELECT pg_wal_replay_pause()");
    crate::support::until("it has stopped", async || {
        paused("SELECT pg_get_wal_replay_pause_state()") == "paused"
    })
    .await;
    let stopped = read(standby_url.clone()).await;
    let after_it = now();
    posted(&*ledger, &key(vec![]), 2, 4, OCTOBER).await;
    assert_eq!(read(standby_url).await, stopped);
    assert!(stopped.is_some_and(|at| at <= after_it), "{stopped:?}");
}

/// What a version before this one pruned is there, and told to be dated by its reservations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_pruned_stays_on_the_bill() {
    const SQLITE: [&str; 6] = [
        include_str!("../../src/ledger/schema/sqlite/001_ledger.sql"),
        include_str!("../../src/ledger/schema/sqlite/002_ids_and_prices.sql"),
        include_str!("../../src/ledger/schema/sqlite/003_exact_sums.sql"),
        include_str!("../../src/ledger/schema/sqlite/004_counters.sql"),
        include_str!("../../src/ledger/schema/sqlite/005_channels.sql"),
        include_str!("../../src/ledger/schema/sqlite/006_evidence.sql"),
    ];
    const POSTGRES: [&str; 5] = [
        include_str!("../../src/ledger/schema/postgres/001_tables.sql"),
        include_str!("../../src/ledger/schema/postgres/003_ids_and_prices.sql"),
        include_str!("../../src/ledger/schema/postgres/004_counters.sql"),
        include_str!("../../src/ledger/schema/postgres/007_channels.sql"),
        include_str!("../../src/ledger/schema/postgres/009_evidence.sql"),
    ];
    engines::on(Engine::durable(), async |engine| {
        match &engine {
            Engine::Sqlite(folder) => {
                let db = rusqlite::Connection::open(folder.join("tollgate.db")).unwrap();
                db.execute_batch(&SQLITE.concat()).unwrap();
                db.execute_batch(
                    "PRAGMA application_id = 1953459308;
                     PRAGMA user_version = 6;
                     INSERT INTO total VALUES
                         ('2023-10-31', 'studio', 'sora2', 'CNY', 'a', 'sora-2', '1280x720', '',
                          2, 8, 0, 800000000, 9223372036, 900000000, 0, 0),
                         ('2023-10-31', 'studio', 'sora2', 'CNY', 'b', 'sora-2', '1280x720', 'USD',
                          1, 4, 0, 400000000, 2, 200000000, 0, 0);",
                )
                .unwrap();
            }
            Engine::Postgres(url) => {
                let sql = format!(
                    "CREATE SCHEMA tollgate;
                     CREATE TABLE tollgate.schema_version (version integer PRIMARY KEY,
                         applied_at timestamptz NOT NULL DEFAULT now());
                     {}
                     INSERT INTO tollgate.schema_version SELECT generate_series(1, 9);
                     INSERT INTO tollgate.total VALUES
                         ('2023-10-31', 'studio', 'sora2', 'CNY', 'a', 'sora-2', '1280x720',
                          2, 8, 800000000, 9223372036900000000, '', 0),
                         ('2023-10-31', 'studio', 'sora2', 'CNY', 'b', 'sora-2', '1280x720',
                          1, 4, 400000000, 2200000000, 'USD', 0);",
                    POSTGRES.concat()
                );
                let postgres = crate::support::postgres::shared().unwrap();
                tokio::task::block_in_place(|| postgres.psql(url, &sql));
            }
            Engine::Memory => unreachable!(),
        }
        let (ledger, key) = (engine.open(), key(vec![]));
        ledger.ready().await.unwrap();
        posted(&*ledger, &key, 1, 4, after(OCTOBER, 1)).await;
        let lines = engine.bill(OCTOBER, NOVEMBER).await;
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.is_approximate(), line.jobs, line.billed.to_string()))
            .collect();
        let expected = [
            (true, 3, "9223372039.10".to_owned()),
            (false, 1, "2.00".to_owned()),
        ];
        assert_eq!(found, expected, "{}", engine.name());
        assert_eq!(lines.len(), 2);
        assert_eq!(engine.bill(NOVEMBER, DECEMBER).await, []);
    })
    .await;
}
