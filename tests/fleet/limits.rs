//! Nothing slips through a limit by concurrency.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

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
    for (key, code, max) in [
        ("budget", "insufficient_quota", 500),
        ("billed", "insufficient_quota", 60),
        ("requests", "rate_limit_exceeded", 60),
        ("seconds", "rate_limit_exceeded", 60),
    ] {
        assert_eq!(hammer(&stage, key, code).await, max, "{key}");
        let stats = stage.mock.stats();
        assert_eq!(stats.creates_complete - before, max as u64, "{key}");
        assert_eq!(stats.creates_broken, 0);
        before = stats.creates_complete;
        let rows = stage.books.rows().await;
        let owed = rows.iter().filter(|r| r.key == key && r.state != "voided");
        let owed: Vec<u64> = owed.map(|row| row.list_nanos).collect();
        assert_eq!(owed, vec![LIST_NANOS; max], "{key}");
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

/// What a channel may take, of all keys together.
async fn nothing_slips_through_a_channels_limit(plan: Plan) {
    let plan = Plan {
        channel_limits: "requests: 500/total",
        ..plan
    };
    let stage = Arc::new(plan.start().await);
    assert_eq!(hammer(&stage, "demo", "rate_limit_exceeded").await, 500);
    let stats = stage.mock.stats();
    assert_eq!((stats.creates_complete, stats.creates_broken), (500, 0));
    stage.settled(Duration::from_secs(30)).await;
    assert_eq!(stage.books.count("posted").await, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gates_let_no_more_through_than_a_channel_may_take() {
    if let Some(plan) = Plan::postgres() {
        nothing_slips_through_a_channels_limit(plan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gate_lets_no_more_through_than_a_channel_may_take() {
    nothing_slips_through_a_channels_limit(Plan::sqlite()).await;
}

/// Asks for a job, and is given one or refused.
async fn ask(stage: &Stage, numbers: &AtomicUsize, gate: usize) -> Option<String> {
    let prompt = format!("key=demo n={}", numbers.fetch_add(1, Ordering::Relaxed));
    let create = create("demo", &prompt);
    let answer = create.send(stage.gate(gate)).await.unwrap();
    if answer.status == 429 {
        assert_eq!(answer.code(), "rate_limit_exceeded");
        return None;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    Some(answer.json()["id"].as_str().unwrap().to_owned())
}

/// Whether the channel has rendered a job.
fn has_ended(stage: &Stage, id: &str) -> bool {
    let jobs = stage.mock.jobs();
    let job = jobs.iter().find(|job| job.job.id.as_deref() == Some(id));
    job.unwrap().job.status == "completed"
}

/// As many jobs in flight as the limit says, and never more.
async fn in_flight(plan: Plan) {
    const MAX: usize = 8;
    const WANTED: usize = 80;
    let plan = Plan {
        keys: vec![("demo".into(), format!("in_flight: {MAX}"))],
        // Only clients see that a job has ended: it keeps its place until one has asked.
        jobs: "poll_after: 1h".into(),
        answer_timeout: "30s",
        rendering: Duration::from_millis(500),
        ..plan
    };
    let stage = Arc::new(plan.start().await);
    let numbers = Arc::<AtomicUsize>::default();

    // All at once, and no place becomes free.
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (stage, numbers) = (stage.clone(), numbers.clone());
        clients.spawn(async move { ask(&stage, &numbers, client % stage.gates()).await });
    }
    let held: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!((held.len(), stage.mock.jobs().len()), (MAX, MAX));

    // Places become free one by one, and all clients want them.
    let (taken, freed) = (
        Arc::new(AtomicUsize::new(MAX)),
        Arc::<AtomicUsize>::default(),
    );
    let mut held = held.into_iter();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (stage, numbers) = (stage.clone(), numbers.clone());
        let (taken, freed) = (taken.clone(), freed.clone());
        let mut job = held.next();
        clients.spawn(async move {
            let mut gates = (client..).map(|turn| turn % stage.gates());
            loop {
                if let Some(id) = job.take() {
                    while !has_ended(&stage, &id) {
                        sleep(Duration::from_millis(5)).await;
                    }
                    // Seen at any gate, it frees its place at each.
                    freed.fetch_add(1, Ordering::SeqCst);
                    let answer = stage.poll(gates.next().unwrap(), "demo", &id).await;
                    assert_eq!(answer.json()["status"], "completed", "{answer:?}");
                }
                if taken.load(Ordering::Relaxed) >= WANTED {
                    return;
                }
                job = ask(&stage, &numbers, gates.next().unwrap()).await;
                // The jobs are counted first, so that what is freed now does not count.
                let made = stage.mock.jobs().len();
                assert!(made <= MAX + freed.load(Ordering::SeqCst));
                match job {
                    Some(_) => _ = taken.fetch_add(1, Ordering::Relaxed),
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    stage.settled(Duration::from_secs(30)).await;
    let jobs = stage.mock.jobs().len();
    assert!(jobs >= WANTED);
    assert_eq!(stage.mock.stats().creates_complete as usize, jobs);
    assert_eq!(stage.books.count("posted").await, jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gates_hold_a_limit_of_jobs_in_flight() {
    if let Some(plan) = Plan::postgres() {
        in_flight(plan).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gate_holds_a_limit_of_jobs_in_flight() {
    in_flight(Plan::sqlite()).await;
}
