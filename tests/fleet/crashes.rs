//! Gates are killed under load, at random moments, and started again.

use tokio::net::TcpListener;
use tollgate::mock::{Mock, Options};

use crate::stage::{Plan, Stage};
use crate::storm::{Storm, a_while, kills, random, with_budgets};
use crate::support::CREDENTIAL;

async fn kill_gates(stage: &Stage) {
    for _ in 0..kills() {
        a_while(600).await;
        let gate = random(stage.gates());
        stage.end(gate, "KILL");
        // Others go on alone for a moment.
        a_while(100).await;
        stage.start(gate);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_is_killed_leaves_its_file_right() {
    let storm = Storm::new(with_budgets(Plan::sqlite()).start().await, false);
    let stage = storm.stage.clone();
    assert!(storm.rage(kill_gates(&stage)).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_are_killed_leave_their_database_right() {
    let Some(plan) = Plan::postgres() else { return };
    let storm = Storm::new(with_budgets(plan).start().await, false);
    let stage = storm.stage.clone();
    assert!(storm.rage(kill_gates(&stage)).await > 0);
}

/// Every other create goes to a channel first that does not take it, and moves on with its
/// reservation, whatever dies in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_are_killed_while_creates_move_leave_their_database_right() {
    let Some(plan) = Plan::postgres() else { return };
    let refusing = Options {
        credential: CREDENTIAL.into(),
        faults: vec!["create:503".parse().unwrap()],
        ..Options::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = Mock::start(listener, refusing);
    let plan = Plan {
        refusing: Some(refusing.addr()),
        ..plan
    };
    let storm = Storm::new(with_budgets(plan).start().await, false);
    let stage = storm.stage.clone();
    assert!(storm.rage(kill_gates(&stage)).await > 0);
    assert!(
        refusing.stats().creates_complete > 10,
        "{:?}",
        refusing.stats()
    );
    assert!(refusing.jobs().is_empty());
}
