//! Nothing slips through a limit by concurrency.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::stage::{LIST_NANOS, Plan, Stage, create};

const CLIENTS: usize = 64;

/// The budget for 500 jobs, and what allows as few by other measures.
fn keys() -> Vec<(String, String)> {
    let keys = [
        ("budget", "list_cost_usd: 200/total"),
        ("billed", "billed_cost: 120/total"),
        ("requests", "requests: 60/total"),
        ("seconds", "video_seconds: 240/total"),
    ];
    keys.map(|(name, limits)| (name.into(), limits.into()))
        .into()
}

/// Clients of one key that create until they are refused. How many creates were taken.
async fn hammer(stage: &Arc<Stage>, key: &'static str, code: &'static str) -> usize {
    let (taken, numbers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (stage, taken, numbers) = (stage.clone(), taken.clone(), numbers.clone());
        clients.spawn(async move {
            for turn in client.. {
                let prompt = format!("key={key} n={}", numbers.fetch_add(1, Ordering::Relaxed));
                let gate = stage.gate(turn % stage.gates());
                let answer = create(key, &prompt).send(gate).await.unwrap();
                match answer.status {
                    200 => taken.fetch_add(1, Ordering::Relaxed),
                    429 => {
                        assert_eq!(answer.code(), code);
                        return;
                    }
                    _ => panic!("{answer:?}"),
                };
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    taken.load(Ordering::Relaxed)
}

async fn nothing_slips_through(plan: Plan) {
    let plan = Plan {
        keys: keys(),
        ..plan
    };
    let stage = Arc::new(plan.start().await);
    let mut before = 0;
    for (key, code, most) in [
        ("budget", "insufficient_quota", 500),
        ("billed", "insufficient_quota", 60),
        ("requests", "rate_limit_exceeded", 60),
        ("seconds", "rate_limit_exceeded", 60),
    ] {
        assert_eq!(hammer(&stage, key, code).await, most, "{key}");
        let stats = stage.mock.stats();
        assert_eq!(stats.creates_complete - before, most as u64, "{key}");
        assert_eq!(stats.creates_broken, 0);
        before = stats.creates_complete;
        let rows = stage.books.rows().await;
        let owed = rows.iter().filter(|r| r.key == key && r.state != "voided");
        let owed: Vec<u64> = owed.map(|row| row.list_nanos).collect();
        assert_eq!(owed, vec![LIST_NANOS; most], "{key}");
    }
    stage.settled(Duration::from_secs(30)).await;
    let posted = stage.books.count("posted").await;
    assert_eq!(posted, stage.mock.jobs().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gates_let_no_more_through_than_a_limit_allows() {
    if let Some(plan) = Plan::postgres() {
        nothing_slips_through(plan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gate_lets_no_more_through_than_a_limit_allows() {
    nothing_slips_through(Plan::sqlite()).await;
}

/// Jobs that the channel has in hand at once, never more than the limit, and as many at
/// some time.
async fn in_flight(plan: Plan) {
    const MOST: usize = 8;
    const WANTED: usize = 80;
    let plan = Plan {
        keys: vec![("demo".into(), format!("in_flight: {MOST}"))],
        ..plan
    };
    let stage = Arc::new(plan.start().await);
    let (taken, numbers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let refused = Arc::<AtomicUsize>::default();
    let done = Arc::<AtomicBool>::default();
    let watching = {
        let (stage, done) = (stage.clone(), done.clone());
        tokio::spawn(async move {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                let jobs = stage.mock.jobs();
                let ended = |status| ["completed", "failed"].contains(&status);
                peak = peak.max(jobs.iter().filter(|j| !ended(j.job.status)).count());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            peak
        })
    };
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (stage, taken, numbers) = (stage.clone(), taken.clone(), numbers.clone());
        let refused = refused.clone();
        clients.spawn(async move {
            let mut turn = client;
            while taken.load(Ordering::Relaxed) < WANTED {
                turn += 1;
                let gate = turn % stage.gates();
                let prompt = format!("key=demo n={}", numbers.fetch_add(1, Ordering::Relaxed));
                let answer = create("demo", &prompt)
                    .send(stage.gate(gate))
                    .await
                    .unwrap();
                if answer.status == 429 {
                    assert_eq!(answer.code(), "rate_limit_exceeded");
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                assert_eq!(answer.status, 200, "{answer:?}");
                taken.fetch_add(1, Ordering::Relaxed);
                let job = answer.json()["id"].as_str().unwrap().to_owned();
                // Seen to its end at any gate: its place is free.
                while stage.poll(turn % stage.gates(), "demo", &job).await.json()["status"]
                    != "completed"
                {
                    turn += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert_eq!(watching.await.unwrap(), MOST);
    assert!(refused.load(Ordering::Relaxed) > 0);
    stage.settled(Duration::from_secs(30)).await;
    assert_eq!(
        stage.mock.stats().creates_complete as usize,
        stage.mock.jobs().len()
    );
    assert_eq!(stage.books.count("posted").await, stage.mock.jobs().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gates_hold_a_limit_of_jobs_in_flight() {
    if let Some(plan) = Plan::postgres() {
        let rendering = Duration::from_millis(100);
        in_flight(Plan { rendering, ..plan }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gate_holds_a_limit_of_jobs_in_flight() {
    let rendering = Duration::from_millis(100);
    in_flight(Plan {
        rendering,
        ..Plan::sqlite()
    })
    .await;
}
