//! The disk is full: the gate's files may not grow.

use std::process::Command;

use crate::stage::{Plan, Stage, create, large_create};
use crate::support::until;

/// Bounds how long the files of a gate may become, as a full disk does.
fn files_up_to(stage: &Stage, bytes: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &stage.process(0).to_string()])
        .arg(format!("--fsize={bytes}:unlimited"))
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_creates_until_it_is_not() {
    let stage = Plan::sqlite().start().await;
    let create_next = async |number: usize| {
        let create = create("demo", &format!("key=demo n={number}"));
        create.send(stage.gate(0)).await.unwrap()
    };
    assert_eq!(create_next(0).await.status, 200);
    let log = stage.folder().join("ledger.db-wal");
    let length = std::fs::metadata(&log).unwrap().len();
    // Room for some rows, and no more.
    files_up_to(&stage, &(length + 100_000).to_string());
    let mut number = 1;
    let refused = loop {
        let answer = create_next(number).await;
        if answer.status != 200 {
            break answer;
        }
        number += 1;
        assert!(number < 1000, "the disk is never full");
    };
    assert!(number > 1, "there was no room at all");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "unavailable")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    until("not ready", async || !stage.is_ready(0).await).await;

    // The file is read all the same.
    let settled = stage
        .books
        .rows()
        .await
        .into_iter()
        .find(|row| row.job.is_some());
    let job = settled.unwrap().job.unwrap();
    assert_eq!(stage.poll(0, "demo", &job).await.status, 200);

    let before = stage.mock.stats();
    for refused in 0..20 {
        let prompt = format!("key=demo n={}", 1000 + refused);
        let create = match refused % 2 {
            0 => create("demo", &prompt),
            _ => large_create("demo", &prompt),
        };
        let answer = create.send(stage.gate(0)).await.unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "unavailable")
        );
    }
    let after = stage.mock.stats();
    assert_eq!(
        before.by_path["POST /v1/videos"],
        after.by_path["POST /v1/videos"]
    );

    files_up_to(&stage, "unlimited");
    until("ready again", async || stage.is_ready(0).await).await;
    let answer = create_next(2000).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    stage.settled(std::time::Duration::from_secs(30)).await;
    let jobs = stage.mock.jobs().len();
    assert_eq!(stage.mock.stats().creates_complete as usize, jobs);
    assert_eq!(stage.books.count("posted").await, jobs);
    // What was refused left nothing, or was voided before it could be written.
    let voided = stage.books.count("voided").await;
    assert_eq!(stage.books.rows().await.len(), jobs + voided);
}
