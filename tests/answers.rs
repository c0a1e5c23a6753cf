//! What a channel answers, through the binary's own server: see `answers/suite.rs`.

#[path = "answers/suite.rs"]
mod suite;
mod support;

use std::time::Duration;

use suite::{create, create_with};
use support::Stand;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_stops_when_its_work_is_done() {
    let stand = Stand::start().await;
    let gate = stand.gate;
    let request = tokio::spawn(async move { create_with("slow=300").send(gate).await });
    stand
        .until("the request is at the channel", async || {
            stand.mock.stats().creates_complete == 1
        })
        .await;
    stand.server.stop(Duration::from_secs(20)).await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    assert!(
        create().send(gate).await.is_err(),
        "nobody listens any more"
    );
}
