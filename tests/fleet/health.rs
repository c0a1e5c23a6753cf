//! What `/readyz` says while a gate cannot take creates, or is about to end.

use std::process::Command;

use rusqlite::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::{Plan, create, large_create};
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_stops_is_not_ready_and_ends_what_is_under_way() {
    let stage = Plan::sqlite().start().await;
    let upload = large_create("demo", "a cat").pieces().concat();
    let (start, rest) = upload.split_at(upload.len() - 1000);
    let mut client = TcpStream::connect(stage.gate(0)).await.unwrap();
    client.write_all(start).await.unwrap();
    let in_progress = async || stage.mock.stats().creates_in_flight == 1;
    until("the upload is under way", in_progress).await;
    let gate = stage.process(0).to_string();
    let status = Command::new("kill").args(["-TERM", &gate]).status();
    assert!(status.unwrap().success());
    let stops = async || stage.readiness(0).await == (503, "stopping\n".into());
    until("it says so", stops).await;

    client.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let rows = stage.books.rows().await;
    assert!(rows.len() == 1 && rows[0].job.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_program_locks_is_said_without_waiting_for_it() {
    let stage = Plan::sqlite().start().await;
    let other = Connection::open(stage.folder().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = create("demo", "a cat").send(stage.gate(0)).await.unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "unavailable")
    );
    let silent = (503, "the ledger does not answer in time\n".into());
    assert_eq!(stage.readiness(0).await, silent);
    assert_eq!(stage.mock.stats().requests_total, 0);

    other.execute_batch("ROLLBACK").unwrap();
    until("ready again", async || stage.is_ready(0).await).await;
    let answer = create("demo", "a dog").send(stage.gate(0)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_can_poll_its_jobs_is_ready_while_the_ledger_is_away() {
    let stage = Plan::sqlite().start().await;
    let made = create("demo", "a cat").send(stage.gate(0)).await.unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let other = Connection::open(stage.folder().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    until("the ledger is away", async || !stage.is_ready(0).await).await;
    assert_eq!(stage.readiness(0).await, (200, "ok\n".into()));
    assert_eq!(stage.poll(0, "demo", &id).await.status, 200);
    other.execute_batch("ROLLBACK").unwrap();
    until("ready again", async || stage.is_ready(0).await).await;
}
