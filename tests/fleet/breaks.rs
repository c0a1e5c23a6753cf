//! What is not the gate's breaks under load: clients, the way to the channel, the database.

use std::time::Duration;

use tokio::net::TcpListener;
use tollgate::mock::{Mock, Options};

use crate::forwarder::Forwarder;
use crate::stage::{Plan, Stage};
use crate::storm::{Storm, a_while, kills, with_budgets};
use crate::support::CREDENTIAL;
use crate::support::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_leave_the_file_right() {
    clients_go(Plan::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_leave_the_database_right() {
    let Some(plan) = Plan::postgres() else { return };
    clients_go(plan).await;
}

async fn clients_go(plan: Plan) {
    let storm = Storm::new(with_budgets(plan).start().await, true);
    let rage = async || {
        for _ in 0..kills() {
            a_while(600).await;
        }
    };
    assert!(storm.rage(rage()).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_breaks_off_leaves_the_file_right() {
    channel_breaks_off(Plan::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_breaks_off_leaves_the_database_right() {
    let Some(plan) = Plan::postgres() else { return };
    channel_breaks_off(plan).await;
}

async fn channel_breaks_off(plan: Plan) {
    let (stage, way) = behind_forwarder(with_budgets(plan)).await;
    let cutting = async move {
        for _ in 0..kills() {
            a_while(600).await;
            way.cut().await;
            a_while(100).await;
            way.mend().await;
        }
    };
    assert!(Storm::new(stage, false).rage(cutting).await > 0);
}

async fn behind_forwarder(plan: Plan) -> (Stage, Forwarder) {
    let options = Options {
        credential: CREDENTIAL.into(),
        queued: Duration::ZERO,
        rendering: plan.rendering,
        ..Options::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mock = Mock::start(listener, options);
    let way = Forwarder::start(mock.addr()).await;
    let channel = Some(way.address);
    let stage = Plan { channel, ..plan }.start_before(mock).await;
    (stage, way)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_started_again_is_right() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let plan = Plan {
        // A machine that stands still for a moment must not leave a job untold.
        answer_timeout: "10s",
        ..Plan::postgres_in(&postgres)
    };
    let storm = Storm::new(with_budgets(plan).start().await, false);
    let postgres = &mut postgres;
    let restarting = async move {
        for number in 0..kills() {
            a_while(1200).await;
            tokio::task::block_in_place(|| match number % 2 {
                0 => postgres.stop(),
                _ => postgres.stop_hard(),
            });
            a_while(400).await;
            tokio::task::block_in_place(|| postgres.start_again());
        }
    };
    // Who has paid is told, even while that cannot be written down.
    assert_eq!(storm.rage(restarting).await, 0);
}
