//! A gate stands still, is taken for dead, and goes on.

use std::process::Command;
use std::time::Duration;

use crate::stage::{Plan, Stage};
use crate::storm::{Storm, a_while, with_budgets};
use crate::support::until;

fn signal(stage: &Stage, signal: &str) {
    let gate = stage.process(0).to_string();
    let status = Command::new("kill").args([signal, &gate]).status();
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_stood_still_spends_nothing_twice() {
    let Some(plan) = Plan::postgres() else { return };
    let storm = Storm::new(with_budgets(plan).start().await, false);
    let stage = storm.stage.clone();
    let pausing = async {
        until("load", async || stage.mock.jobs().len() > 20).await;
        a_while(100).await;
        signal(&stage, "-STOP");
        // Soon every client waits for this gate. The other one takes it for dead, finds out
        // what has become of its requests, and gives up those that it did not complete.
        let taken_over = async || stage.books.count("unknown").await > 0;
        until("its requests are taken over", taken_over).await;
        stage.settled(Duration::from_secs(90)).await;
        signal(&stage, "-CONT");
    };
    // Answers that came while it stood still may reach their clients when it goes on.
    storm.blow(pausing).await;
}
