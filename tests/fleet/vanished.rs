//! Clients that go right after their last byte: their jobs are known as soon as the channel
//! has answered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::stage::{LIST_NANOS, Plan, create, large_create};

const CLIENTS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_vanished_clients_are_in_the_file() {
    jobs_of_vanished_clients(Plan::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_vanished_clients_are_in_the_database() {
    if let Some(plan) = Plan::postgres() {
        jobs_of_vanished_clients(plan).await;
    }
}

async fn jobs_of_vanished_clients(plan: Plan) {
    // So long that what would be found by asking the channel is found too late.
    let plan = Plan {
        jobs: "poll_after: 200ms, polls_per_second: 1000, unknown_grace: 60s".into(),
        answer_timeout: "30s",
        ..plan
    };
    let stage = plan.start().await;
    for client in 0..CLIENTS {
        let prompt = format!("key=demo n={client} [mock:slow=2000]");
        let request = match client % 4 {
            0 => large_create("demo", &prompt),
            _ => create("demo", &prompt),
        };
        let mut stream = TcpStream::connect(stage.gate(client % stage.gates()))
            .await
            .unwrap();
        stream.write_all(&request.pieces().concat()).await.unwrap();
        // Dropped: the socket closes.
    }
    let mut answered: HashMap<String, Instant> = HashMap::new();
    let mut known: HashMap<String, Instant> = HashMap::new();
    let (started, mut looked) = (Instant::now(), Instant::now());
    while known.len() < CLIENTS || answered.len() < CLIENTS {
        let answers = stage.mock.requests();
        let created = answers
            .iter()
            .filter(|r| r.method == "POST" && r.status == Some(200));
        for job in created.filter_map(|record| record.job_id.clone()) {
            // It was answered after the look before.
            answered.entry(job).or_insert(looked);
        }
        looked = Instant::now();
        for row in stage.books.rows().await {
            if let Some(job) = row.job {
                assert_eq!((row.key.as_str(), row.list_nanos), ("demo", LIST_NANOS));
                known.entry(job).or_insert_with(Instant::now);
            }
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{} jobs known, {} answered",
            known.len(),
            answered.len()
        );
        sleep(Duration::from_millis(5)).await;
    }
    let late = |job: &String| known[job].saturating_duration_since(answered[job]);
    let latest = answered.keys().map(late).max().unwrap();
    // All within half of `unknown_grace`: by their answers, and not by the channel's list.
    println!("{CLIENTS} jobs known at most {latest:?} after the channel's answer");
    assert_eq!(stage.mock.stats().creates_complete as usize, CLIENTS);
    stage.settled(Duration::from_secs(30)).await;
    assert_eq!(stage.books.count("posted").await, CLIENTS);
}
