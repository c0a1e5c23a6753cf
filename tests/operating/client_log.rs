//! What clients do fills no log.

use h2::Reason;

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::h2::Http2;
use crate::support::{form, form_type, png};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_are_counted_and_not_logged() {
    let folder = Folder::new();
    let gate = Gate::start(&configuration(&folder, &[]), "");
    let body = form(&[("model", b"sora-2"), ("input_reference", &png(300_000))]);
    let create = Request::create(&form_type(), Body::Length(body, vec![]));
    let mut client = Http2::open(gate.address).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(client.begin(&create, false).await.unwrap());
    }
    let shows = async |sample: &str| {
        let metrics = Request::get("/metrics").send(gate.admin).await.unwrap();
        let metrics = String::from_utf8(metrics.body).unwrap();
        metrics.contains(&format!("\ntollgate_{sample}\n"))
    };
    let awaited = "uploads_in_flight{size=\"large\"} 50";
    crate::support::until("all are awaited", async || shows(awaited).await).await;
    for stream in &mut streams {
        stream.reset(Reason::CANCEL);
    }
    let gone = "requests_total{code=\"499\",key=\"demo\",route=\"create\"} 50";
    crate::support::until("all have ended", async || shows(gone).await).await;
    let log = gate.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "the ledger in memory alone: {log}");
}
