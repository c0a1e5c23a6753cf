//! The schema: how it is made, and what operators read in it.

use tollgate::ledger::{Ledger, ReservationId, Reserved, Resolution};
use tollgate::policy::{Measure, Timestamp, Window};

use super::{name_of, open};
use crate::channels::on;
use crate::suite::{NOW, binding, charge, confirmation, draft, key, limit};
use crate::support::postgres::shared;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_made_once() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let gates = (0..8).map(|_| {
        let gate = open(&url);
        tokio::spawn(async move { gate.ready().await })
    });
    for gate in gates.collect::<Vec<_>>() {
        gate.await.unwrap().unwrap();
    }
    let versions = "SELECT string_agg(version::text, ' ' ORDER BY version) \
         FROM tollgate.schema_version";
    assert_eq!(postgres.psql(&url, versions), "1 2 3 4 5 6 7 8 9 10 11 12");

    postgres.psql(&url, "INSERT INTO tollgate.schema_version VALUES (1000)");
    let refused = open(&url).ready().await.unwrap_err();
    assert!(refused.to_string().contains("version 1000"), "{refused}");
    assert!(!refused.is_transient());
}

/// A database of the second version, as gates of that time have left it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_the_second_version_is_brought_up_to_date() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let tables = include_str!("../../../src/ledger/schema/postgres/001_tables.sql");
    let at = NOW.0;
    let (minute, ahead) = (at / 60_000 * 60_000, at + 30 * 86_400_000);
    let rows = [
        (1, "CNY", "confirmed"),
        (2, "CNY", "confirmed"),
        (3, "USD", "posted"),
    ];
    let rows = rows.map(|(id, currency, state)| {
        let resolved = match state {
            "posted" => at.to_string(),
            _ => "NULL".to_owned(),
        };
        format!(
            "INSERT INTO tollgate.reservation VALUES ('{id:032x}', {at}, 'studio', 'sora2',
                 '{currency}', 5000, 'official', 'sora-2', '1280x720', 4, 400000000, 2000000000,
                 '{state}', '{:032x}', decode(repeat('00', 32), 'hex'), NULL, NULL, 'video_{id}',
                 {id}, {at}, NULL, {at}, {resolved}, NULL, false, NULL);",
            7
        )
    });
    let sql = format!(
        "CREATE SCHEMA tollgate;
         CREATE TABLE tollgate.schema_version (version integer PRIMARY KEY,
             applied_at timestamptz NOT NULL DEFAULT now());
         {tables}
         CREATE FUNCTION tollgate.track(p_scope text) RETURNS void LANGUAGE sql AS '';
         CREATE FUNCTION tollgate.prune(bigint, bigint, bigint) RETURNS text LANGUAGE sql
             AS 'SELECT NULL::text';
         INSERT INTO tollgate.schema_version VALUES (1), (2);
         {}
         INSERT INTO tollgate.counter VALUES
             ('key', 'studio', 'requests', 'total', 0, 50),
             ('key', 'studio', 'requests', 'min', {ahead}, 1),
             ('key', 'studio', 'requests', 'hour', {minute}, 1),
             ('key', 'studio', 'billed_cost', 'total', 0, 6000000000),
             ('key', 'studio', 'in_flight', 'total', 0, 2);",
        rows.join("\n")
    );
    postgres.psql(&url, &sql);
    let ledger = open(&url);
    let key = key(vec![
        limit(Measure::Requests, "100/total"),
        limit(Measure::Requests, "100/min"),
        limit(Measure::BilledCost, "100/total"),
        limit(Measure::InFlight, "10"),
    ]);
    let used = async || {
        let usage = ledger.usage(&key, NOW).await.unwrap();
        usage.iter().map(|usage| usage.used).collect::<Vec<_>>()
    };
    // The total goes on; the window is the one of now, and the sum one of one currency.
    assert_eq!(used().await, [50, 3, 4_000_000_000, 2]);
    let job = ledger.job("video_1").await.unwrap().unwrap();
    assert_eq!(
        (&*job.upstream_id, job.reservation),
        ("video_1", ReservationId(1))
    );
    assert!(job.charge.prices.is_empty());
    let found = ledger.job_of_channel("official", "video_3").await;
    assert_eq!(found, ledger.job("video_3").await);
    assert!(found.unwrap().is_some());
    let end = ledger.settle(ReservationId(1), Resolution::Posted, "completed", NOW);
    assert!(end.await.unwrap().is_some());
    assert_eq!(used().await[3], 1);
    let versions = "SELECT max(version) FROM tollgate.schema_version";
    assert_eq!(postgres.psql(&url, versions), "12");
}

/// Only what is over by the database's clock too: a gate whose clock is ahead forgets nothing
/// that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_windows_that_are_over_are_deleted() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let ledger = open(&url);
    let key = key(vec![limit(Measure::Requests, "10/min")]);
    let charge = charge(&key, 4);
    let times = (0..180).map(|minute| NOW.0 + 60_000 * minute);
    for (id, at) in (1..).zip(times) {
        let reserved = ledger
            .reserve(&draft(id, &charge), &key, Timestamp(at))
            .await;
        assert_eq!(reserved, Ok(Reserved::Done));
    }
    let count = || postgres.psql(&url, "SELECT count(*) FROM tollgate.counter");
    let last = Timestamp(NOW.0 + 60_000 * 179);
    assert_eq!(count(), "180");
    ledger.prune(Timestamp(0), last, 10).await.unwrap();
    assert_eq!(count(), "61");
    for minute in [0, 100, 179] {
        let at = Timestamp(NOW.0 + 60_000 * minute);
        assert_eq!(ledger.usage(&key, at).await.unwrap()[0].used, 1, "{minute}");
    }
    // In a year's time, by a wrong clock.
    let real = postgres.psql(&url, "SELECT (extract(epoch FROM now()) * 1000)::bigint");
    let real = Timestamp(real.parse().unwrap());
    let reserved = ledger.reserve(&draft(1000, &charge), &key, real).await;
    assert_eq!(reserved, Ok(Reserved::Done));
    let ahead = Timestamp(real.0 + 365 * 86_400_000);
    ledger.prune(Timestamp(0), ahead, 10).await.unwrap();
    assert_eq!(count(), "1");
    assert_eq!(ledger.usage(&key, real).await.unwrap()[0].used, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_is_not_ready() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    open(&url).ready().await.unwrap();
    let name = name_of(postgres, &url);
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    postgres.psql("postgres", &read_only);
    let why = open(&url).ready().await.unwrap_err();
    assert!(why.to_string().contains("read-only"), "{why}");
}

/// Under which a decision would not see what was written while it waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stricter_isolation_by_default_is_refused() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let name = name_of(postgres, &url);
    let level = "default_transaction_isolation = 'repeatable read'";
    postgres.psql("postgres", &format!("ALTER DATABASE {name} SET {level}"));
    let why = open(&url).ready().await.unwrap_err();
    assert!(
        why.to_string().contains("default_transaction_isolation"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_and_the_program_agree_on_windows() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    open(&url).ready().await.unwrap();
    // Every 11.57 days of 140 years, and the edges of a leap February.
    let moments = (0..4400).map(|n| n * 1_000_000_123);
    let edges = [1_706_745_599_999, 1_706_745_600_000, 1_709_251_199_999];
    let moments: Vec<u64> = moments.chain(edges).chain([1_709_251_200_000]).collect();
    let list: Vec<_> = moments.iter().map(u64::to_string).collect();
    let all = [
        Window::Minute,
        Window::Hour,
        Window::Day,
        Window::Month,
        Window::Total,
    ];
    for window in all {
        let sql = format!(
            "SET timezone = 'Asia/Kolkata'; \
             SELECT tollgate.window_start('{}', at) FROM unnest(ARRAY[{}]::bigint[]) AS at",
            window.name(),
            list.join(",")
        );
        let starts = postgres.psql(&url, &sql);
        let starts: Vec<u64> = starts.lines().map(|line| line.parse().unwrap()).collect();
        let expected = moments.iter().map(|at| window.start(Timestamp(*at)) * 1000);
        assert_eq!(starts, expected.collect::<Vec<_>>(), "{window:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_does_not_change_the_bill() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let ledger = open(&url);
    let free = key(vec![]);
    let later = Timestamp(NOW.0 + 1000);
    for id in 1..=6 {
        let charge = on("official", &charge(&free, 4));
        let reserved = ledger.reserve(&draft(id, &charge), &free, NOW).await;
        assert_eq!(reserved, Ok(Reserved::Done));
        let tie = confirmation(&charge, &format!("video_{id}"));
        let id = ReservationId(id);
        ledger
            .confirm(id, &tie, &binding(&free), NOW)
            .await
            .unwrap();
        let resolution = match id.0 {
            1..=3 => Resolution::Posted,
            4 => Resolution::Voided,
            _ => continue,
        };
        let end = ledger.settle(id, resolution, "ended", NOW).await.unwrap();
        assert!(end.is_some());
    }
    let of_key = "SELECT * FROM tollgate.bill WHERE key = 'studio' AND day >= '2023-11-14'";
    let bill = || postgres.psql(&url, of_key);
    let before = bill();
    assert_eq!(
        before,
        "2023-11-14|studio|sora2|CNY|official|sora-2|1280x720|\
         3|12|1.200000000|6.000000000|2|8|0.800000000|4.000000000|EUR|1.020000000|0.680000000"
    );
    assert_eq!(ledger.prune(NOW, later, 3).await, Ok(0), "none is older");
    assert_eq!(ledger.prune(later, later, 3).await, Ok(3));
    assert_eq!(bill(), before);
    assert_eq!(ledger.prune(later, later, 3).await, Ok(1));
    assert_eq!(ledger.prune(later, later, 3).await, Ok(0));
    assert_eq!(bill(), before);
    // A limit that is configured now counts what was pruned.
    let limited = key(vec![
        limit(Measure::VideoSeconds, "100/total"),
        limit(Measure::Requests, "100/month"),
        limit(Measure::InFlight, "100"),
    ]);
    let usage = ledger.usage(&limited, later).await.unwrap();
    let used: Vec<_> = usage.iter().map(|usage| usage.used).collect();
    assert_eq!(used, [20, 5, 2]);
}
