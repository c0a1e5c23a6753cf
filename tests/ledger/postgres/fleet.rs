//! Several gates on one database.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::NoTls;
use tollgate::ledger::{Claimed, Ledger, ReservationId, Reserved, State};
use tollgate::policy::Measure;

use super::{FEW, WRONG_COUNTERS, open};
use crate::suite::{NOW, charge, claiming, draft, key, limit};
use crate::support::postgres::shared;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_share_a_budget() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let gates = [(); 2].map(|()| Arc::new(open(&url)));
    let key = key(vec![limit(Measure::ListCost, "200/total")]);
    let tasks = (0..64_u128).map(|task| {
        let (gate, key) = (gates[task as usize % 2].clone(), key.clone());
        tokio::spawn(async move {
            let mut done = 0;
            loop {
                let draft = draft(task << 64 | done, &charge(&key, 4));
                match gate.reserve(&draft, &key, NOW).await.unwrap() {
                    Reserved::Done => done += 1,
                    Reserved::Refused(_) => return done,
                    Reserved::Claimed(claimed) => panic!("{claimed:?}"),
                }
            }
        })
    });
    let mut done = 0;
    for task in tasks.collect::<Vec<_>>() {
        done += task.await.unwrap();
    }
    assert_eq!(done, 500, "200 USD are exactly 500 times 0.40 USD");
    let rows = postgres.psql(&url, "SELECT count(*) FROM tollgate.reservation");
    assert_eq!(rows, "500");
    assert_eq!(postgres.psql(&url, WRONG_COUNTERS), "");
}

/// Requests under one idempotency key that have all found nothing under it, while they wait for the
/// counter of a budget for one of them: the losers are told to come back for the winner's answer,
/// and not that the budget is spent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repetitions_that_wait_for_a_counter_are_never_refused_by_its_limit() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let ledger = Arc::new(open(&url));
    let key = key(vec![limit(Measure::ListCost, "0.4/total")]);
    let charge = charge(&key, 4);
    // Afterwards there is a counter to wait for.
    let first = ledger.reserve(&draft(1, &charge), &key, NOW).await;
    assert_eq!(first, Ok(Reserved::Done));
    let voided = ledger.void(ReservationId(1), "refused", NOW).await;
    assert!(voided.unwrap().is_some());

    let (holder, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let hold = "BEGIN; SELECT 1 FROM tollgate.counter FOR UPDATE";
    holder.batch_execute(hold).await.unwrap();
    let tasks = (0..FEW as u128).map(|task| {
        let (ledger, charge, key) = (ledger.clone(), charge.clone(), key.clone());
        tokio::spawn(async move {
            let draft = claiming(2 + task, &charge, "order-17", 1);
            ledger.reserve(&draft, &key, NOW).await.unwrap()
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("all wait for the counter", async || {
        let waiting = tokio::task::block_in_place(|| postgres.psql(&url, waiting));
        waiting == FEW.to_string()
    })
    .await;
    holder.batch_execute("COMMIT").await.unwrap();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Reserved::Done => done += 1,
            other => assert_eq!(other, Reserved::Claimed(Claimed::InFlight)),
        }
    }
    assert_eq!(done, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_configured_amid_reservations_counts_them_all() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let gates = [(); 2].map(|()| Arc::new(open(&url)));
    let (free, limited) = (key(vec![]), super::limited());
    let tasks = (0..16_u128).map(|task| {
        let gate = gates[task as usize % 2].clone();
        let (free, limited) = (free.clone(), limited.clone());
        tokio::spawn(async move {
            for count in 0..20 {
                // The last gates to have heard of the limits go on without them.
                let key = if task + count > 20 { &limited } else { &free };
                let draft = draft(task << 64 | count, &charge(key, 4));
                let reserved = gate.reserve(&draft, key, NOW).await;
                assert_eq!(reserved, Ok(Reserved::Done));
                if count % 3 == 0 {
                    let voided = gate.void(draft.id, "refused", NOW).await;
                    assert!(voided.unwrap().is_some());
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let counters = postgres.psql(&url, "SELECT count(*) FROM tollgate.counter");
    assert_eq!(counters, "4");
    assert_eq!(postgres.psql(&url, WRONG_COUNTERS), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gate_that_is_gone_left_pending_becomes_unknown() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let (gone, living) = (open(&url), open(&url));
    let key = key(vec![]);
    let charge = charge(&key, 4);
    let long = Duration::from_secs(3600);
    for (id, gate) in [(1, &gone), (2, &living)] {
        let reserved = gate.reserve(&draft(id, &charge), &key, NOW).await;
        assert_eq!(reserved, Ok(Reserved::Done));
    }
    assert_eq!(living.heartbeat(NOW, long).await, Ok(0), "both live");
    let gate = "SELECT gate FROM tollgate.reservation ORDER BY id LIMIT 1";
    let ended = format!("UPDATE tollgate.lease SET until = now() WHERE holder = ({gate})");
    postgres.psql(&url, &ended);
    assert_eq!(living.heartbeat(NOW, long).await, Ok(1));
    let mut unmatched = living.unmatched("official", 10).await.unwrap();
    unmatched.retain(|one| one.state == State::Unknown);
    assert_eq!(unmatched.len(), 1);
    assert_eq!(unmatched[0].id, ReservationId(1));
    assert_eq!(unmatched[0].since, NOW);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_held_by_one_gate() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let (one, other) = (open(&url), open(&url));
    let long = Duration::from_secs(3600);
    assert_eq!(one.lease("prune", long).await, Ok(true));
    assert_eq!(other.lease("prune", long).await, Ok(false));
    assert_eq!(other.lease("poll", long).await, Ok(true));
    assert_eq!(one.lease("prune", Duration::ZERO).await, Ok(true));
    assert_eq!(other.lease("prune", long).await, Ok(true));
    assert_eq!(one.lease("prune", long).await, Ok(false));
}
