//! The database is away: nothing is let through uncounted, what is known goes on, and all
//! heals by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::{Plan, Stage, create, large_create};
use crate::support::postgres::Postgres;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_wait_for_the_database_and_jobs_do_not() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let plan = Plan {
        rendering: Duration::from_secs(3600),
        ..Plan::postgres_in(&postgres)
    };
    let stage = plan.start().await;
    let mut jobs = 0;
    for hard in [false, true] {
        let gates = 0..stage.gates();
        let mut known = vec![];
        for gate in gates.clone() {
            until("ready", async || stage.is_ready(gate).await).await;
            let prompt = format!("hard={hard} gate={gate}");
            let answer = create("demo", &prompt)
                .send(stage.gate(gate))
                .await
                .unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            known.push(answer.json()["id"].as_str().unwrap().to_owned());
            jobs += 1;
        }
        tokio::task::block_in_place(|| {
            if hard {
                postgres.stop_hard()
            } else {
                postgres.stop()
            }
        });
        let before = stage.mock.stats();
        for gate in gates.clone() {
            refused(&stage, gate).await;
            assert!(!stage.is_ready(gate).await);
            let answer = stage.poll(gate, "demo", &known[gate]).await;
            assert_eq!(
                (answer.status, &answer.json()["id"]),
                (200, &known[gate].as_str().into())
            );
            // Whose it is cannot be known here.
            let other = (gate + 1) % stage.gates();
            let answer = stage.poll(gate, "demo", &known[other]).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (503, "unavailable")
            );
            let answer = stage.poll(gate, "demo", "video_nobodys").await;
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        // A gate that starts now has yet to find its database.
        stage.end(0, "TERM");
        stage.start(0);
        refused(&stage, 0).await;
        assert!(!stage.is_ready(0).await);
        let after = stage.mock.stats();
        assert_eq!(
            before.by_path["POST /v1/videos"],
            after.by_path["POST /v1/videos"]
        );
        assert_eq!(before.creates_broken, after.creates_broken);
        tokio::task::block_in_place(|| postgres.start_again());
        for gate in gates {
            until("ready again", async || stage.is_ready(gate).await).await;
            let prompt = format!("again hard={hard} gate={gate}");
            let answer = create("demo", &prompt)
                .send(stage.gate(gate))
                .await
                .unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let answer = stage.poll(gate, "demo", &known[0]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            jobs += 1;
        }
    }
    assert_eq!(stage.mock.jobs().len(), jobs);
    assert_eq!(stage.books.count("confirmed").await, jobs);
    assert_eq!(stage.books.rows().await.len(), jobs);
}

/// Creates are refused, small and large ones, soon.
async fn refused(stage: &Stage, gate: usize) {
    for create in [create("demo", "a cat"), large_create("demo", "a cat")] {
        let asked = Instant::now();
        let answer = create.send(stage.gate(gate)).await.unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "unavailable")
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(asked.elapsed() < Duration::from_secs(10));
    }
}
