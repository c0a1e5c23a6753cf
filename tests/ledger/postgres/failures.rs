//! Connections that break, and servers that are away.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::ledger::Unavailable;
use tollgate::ledger::{Confirmed, Ledger, ReservationId, Reserved, Resolution, State};
use tollgate::policy::{Key, Measure};

use super::wire::Wire;
use super::{WRONG_COUNTERS, limited, name_of, open, open_with};
use crate::suite::{NOW, binding, charge, claiming, confirmation, draft, key, limit};
use crate::support::postgres::{Postgres, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_one_round_trip() {
    let Some(postgres) = shared() else { return };
    let name = name_of(postgres, &postgres.create_database());
    let wire = Wire::to(postgres.folder());
    let ledger = open_with(&wire.url(&name), 1);
    let key = limited();
    let charge = charge(&key, 4);
    ledger.usage(&key, NOW).await.unwrap();

    let mut before = wire.round_trips();
    let mut spent = || {
        let now = wire.round_trips();
        now - std::mem::replace(&mut before, now)
    };
    let id = ReservationId(1);
    let claimed = claiming(1, &charge, "once", 1);
    let reserve = ledger.reserve(&claimed, &key, NOW).await;
    assert_eq!((reserve, spent()), (Ok(Reserved::Done), 1));
    ledger.mark_unknown(id, NOW).await.unwrap();
    assert_eq!(spent(), 1, "mark_unknown");
    let tie = confirmation(&charge, "video_1");
    let confirm = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    assert!(matches!(confirm, Confirmed::Done { .. }));
    assert_eq!(spent(), 1, "confirm");
    let settle = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert!(settle.await.unwrap().is_some());
    assert_eq!(spent(), 1, "settle");
    let voided = ledger.void(id, "refused", NOW).await.unwrap();
    assert_eq!((voided, spent()), (None, 1));
    assert!(ledger.job("video_1").await.unwrap().is_some());
    assert_eq!(spent(), 1, "job");
    ledger.check(&key, Some(&charge), NOW).await.unwrap();
    assert_eq!(spent(), 1, "check");
    ledger.heartbeat(NOW, Duration::ZERO).await.unwrap();
    assert_eq!(spent(), 1, "heartbeat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_is_told_although_its_answer_was_lost() {
    let Some(postgres) = shared() else { return };
    let url = postgres.create_database();
    let wire = Wire::to(postgres.folder());
    let ledger = open_with(&wire.url(&name_of(postgres, &url)), 1);
    // Both have room for one: a repetition must not stand in its own way.
    let key = key(vec![
        limit(Measure::InFlight, "1"),
        limit(Measure::VideoSeconds, "8/total"),
    ]);
    let (asked, rendered) = (charge(&key, 4), charge(&key, 8));
    ledger.usage(&key, NOW).await.unwrap();

    wire.cut_next_answer();
    let reserve = ledger.reserve(&draft(1, &asked), &key, NOW).await;
    assert_eq!(reserve, Ok(Reserved::Done));
    assert!(wire.was_cut());
    wire.cut_next_answer();
    let voided = ledger.void(ReservationId(1), "refused", NOW);
    assert_eq!(voided.await, Ok(Some(asked.clone())));
    assert!(wire.was_cut());
    let again = ledger.void(ReservationId(1), "refused", NOW);
    assert_eq!(again.await, Ok(None));

    wire.cut_next_answer();
    let reserve = ledger
        .reserve(&claiming(2, &asked, "once", 1), &key, NOW)
        .await;
    assert_eq!(reserve, Ok(Reserved::Done));
    assert!(wire.was_cut());
    wire.cut_next_answer();
    let (id, tie) = (ReservationId(2), confirmation(&rendered, "video_2"));
    let confirm = ledger.confirm(id, &tie, &binding(&key), NOW).await.unwrap();
    let Confirmed::Done { after, .. } = confirm else {
        panic!("{confirm:?}");
    };
    assert!(wire.was_cut());
    assert_eq!(after, rendered);
    let again = ledger.confirm(id, &tie, &binding(&key), NOW).await;
    assert_eq!(again, Ok(Confirmed::Already { job: tie.job }));
    // A deletion is recorded before that: a repetition is still recognised by the name of the confirmation.
    let name = "SELECT last_operation FROM tollgate.reservation WHERE job = 'video_2'";
    let confirmed_by = postgres.psql(&url, name);
    ledger.mark_deleted(id, NOW).await.unwrap();
    assert_ne!(confirmed_by, "");
    assert_eq!(postgres.psql(&url, name), confirmed_by);
    wire.cut_next_answer();
    let settle = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert_eq!(settle.await, Ok(Some(rendered)));
    assert!(wire.was_cut());
    let again = ledger.settle(id, Resolution::Posted, "completed", NOW);
    assert_eq!(again.await, Ok(None));
    assert_eq!(postgres.psql(&url, WRONG_COUNTERS), "");
}

/// What a task was told.
#[derive(Debug, Default)]
struct Told {
    reserved: Vec<u128>,
    confirmed: Vec<u128>,
    posted: Vec<u128>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_loses_and_doubles_nothing() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let url = postgres.create_database();
    let ledger = Arc::new(open(&url));
    let key = limited();
    ledger.usage(&key, NOW).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let tasks = (0..16_u128).map(|task| {
        let (ledger, key, stopped) = (ledger.clone(), key.clone(), stopped.clone());
        tokio::spawn(async move {
            let mut told = Told::default();
            let mut id = task << 64;
            while !*stopped.borrow() {
                id += 1;
                if one_job(&*ledger, &key, id, &mut told).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            told
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for hard in [false, true] {
        until_jobs_are_added(&postgres, &url).await;
        tokio::task::block_in_place(|| {
            if hard {
                postgres.stop_hard();
            } else {
                postgres.stop();
            }
            postgres.start_again();
        });
        until_jobs_are_added(&postgres, &url).await;
    }
    stop.send(true).unwrap();
    let mut told = Told::default();
    for task in tasks {
        let one = task.await.unwrap();
        told.reserved.extend(one.reserved);
        told.confirmed.extend(one.confirmed);
        told.posted.extend(one.posted);
    }
    let states = postgres.psql(&url, "SELECT id || ' ' || state FROM tollgate.reservation");
    let states = states.lines().map(|line| {
        let (id, state) = line.split_once(' ').unwrap();
        let id = u128::from_str_radix(&id.replace('-', ""), 16).unwrap();
        (id, State::from_name(state).unwrap())
    });
    let states: HashMap<u128, State> = states.collect();
    assert!(told.reserved.iter().all(|id| states.contains_key(id)));
    let has_job = |id| matches!(states[id], State::Confirmed | State::Posted);
    assert!(told.confirmed.iter().all(has_job));
    assert!(told.posted.iter().all(|id| states[id] == State::Posted));
    assert_eq!(postgres.psql(&url, WRONG_COUNTERS), "");
    let twice = "SELECT key, place FROM tollgate.reservation WHERE place IS NOT NULL \
         GROUP BY 1, 2 HAVING count(*) > 1";
    assert_eq!(postgres.psql(&url, twice), "");
}

async fn one_job(
    ledger: &dyn Ledger,
    key: &Key,
    id: u128,
    told: &mut Told,
) -> Result<(), Unavailable> {
    let charge = charge(key, 4);
    let reserved = ledger.reserve(&draft(id, &charge), key, NOW).await?;
    assert_eq!(reserved, Reserved::Done);
    told.reserved.push(id);
    let reservation = ReservationId(id);
    let tie = confirmation(&charge, &format!("video_{id}"));
    let confirmed = ledger
        .confirm(reservation, &tie, &binding(key), NOW)
        .await?;
    assert!(matches!(confirmed, Confirmed::Done { .. }), "{confirmed:?}");
    told.confirmed.push(id);
    let end = ledger.settle(reservation, Resolution::Posted, "completed", NOW);
    assert_eq!(end.await?, Some(charge));
    told.posted.push(id);
    Ok(())
}

async fn until_jobs_are_added(postgres: &Postgres, url: &str) {
    let count = || -> u64 {
        let count = "SELECT count(*) FROM tollgate.reservation WHERE state = 'posted'";
        let count = tokio::task::block_in_place(|| postgres.psql(url, count));
        count.parse().unwrap()
    };
    let (before, started) = (count(), Instant::now());
    while count() < before + 100 {
        assert!(started.elapsed() < Duration::from_secs(60), "no progress");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_said_so_soon_and_found_when_it_is_back() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let url = postgres.create_database();
    tokio::task::block_in_place(|| postgres.stop());
    let ledger = open(&url);
    let started = Instant::now();
    let why = ledger.ready().await.unwrap_err();
    assert!(why.to_string().contains("cannot be reached"), "{why}");
    assert!(why.is_transient() && why.source().is_some());
    assert!(started.elapsed() < Duration::from_secs(3));
    tokio::task::block_in_place(|| postgres.start_again());
    let started = Instant::now();
    while ledger.ready().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let key = limited();
    let reserved = ledger.reserve(&draft(1, &charge(&key, 4)), &key, NOW).await;
    assert_eq!(reserved, Ok(Reserved::Done));
}

/// A host that takes connections and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_given_up_soon() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let ledger = open(&format!(
        "postgres://u:pass-word@{address}/db?sslmode=disable"
    ));
    let started = Instant::now();
    let why = ledger.ready().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4));
    assert!(why.to_string().contains("took too long"), "{why}");
    // While it is known to be away, nobody waits for it: the answer is there at once.
    let again = tokio::time::timeout(Duration::ZERO, ledger.ready()).await;
    assert_eq!(again, Ok(Err(why.clone())));
    assert!(!format!("{why} {ledger:?}").contains("pass-word"));
}
