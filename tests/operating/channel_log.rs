//! A channel that fails for many requests in a row.

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::{form_type, plain_form};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_fails_is_said_once() {
    let folder = Folder::new();
    let dead = [("http://127.0.0.1:8081", "http://127.0.0.1:1")];
    let gate = Gate::start(&configuration(&folder, &dead), "");
    for _ in 0..20 {
        let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
        assert_eq!(create.send(gate.address).await.unwrap().status, 503);
    }
    gate.logged("channel mock fails (connect)").await;
    let log = gate.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    assert!(warnings[0].contains("the ledger is in memory"), "{log}");
    let metrics = Request::get("/metrics").send(gate.admin).await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let counted = "tollgate_channel_errors_total{channel=\"mock\",kind=\"connect\"} 20\n";
    assert!(metrics.contains(counted), "{metrics}");
}
