//! Clients that go right after their last byte: their jobs are known as soon as the channel
//! has answered.

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
    let started = Instant::now();
    loop {
        let rows = stage.books.rows().await;
        let known = rows.iter().filter(|row| row.job.is_some());
        if known.count() == CLIENTS {
            for row in &rows {
                assert_eq!((row.key.as_str(), row.list_nanos), ("demo", LIST_NANOS));
            }
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "not all jobs are known: {rows:?}"
        );
        sleep(Duration::from_millis(5)).await;
    }
    // Each by its answer, and none by the channel's list.
    assert_eq!(stage.books.were_unknown().await, 0);
    assert_eq!(stage.mock.stats().creates_complete as usize, CLIENTS);
    stage.settled(Duration::from_secs(30)).await;
    assert_eq!(stage.books.count("posted").await, CLIENTS);
}
