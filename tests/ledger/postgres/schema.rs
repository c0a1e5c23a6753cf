//! The schema: how it is made, and what operators read in it.

use tollgate::ledger::{Ledger, ReservationId, Reserved, Resolution};
use tollgate::policy::{Measure, Timestamp, Window};

use super::{name_of, open};
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
    assert_eq!(postgres.psql(&url, versions), "1 2 3");

    postgres.psql(&url, "INSERT INTO tollgate.schema_version VALUES (1000)");
    let refused = open(&url).ready().await.unwrap_err();
    assert!(refused.0.contains("version 1000"), "{refused}");
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
    assert!(why.0.contains("read-only"), "{why}");
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
    assert!(why.0.contains("default_transaction_isolation"), "{why}");
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
        let charge = charge(&free, 4);
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
         3|12|1.200000000|6.000000000|2|8|0.800000000|4.000000000"
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
