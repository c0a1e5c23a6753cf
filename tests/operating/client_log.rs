//! What clients do fills no log.

use h2::Reason;

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::h2::Http2;
use crate::support::{KEY, form, form_type, png};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_are_counted_and_not_logged() {
    let folder = Folder::new();
    let mut gate = Gate::start(&configuration(&folder, &[]), "");
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
    let log = gate.whole_log().await;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "the ledger in memory alone: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_log_chooses_the_lines_of_requests_too() {
    let folder = Folder::new();
    let config = configuration(&folder, &[]);
    let lists_and_asks = async |gate: &Gate| {
        for path in ["/v1/videos/video_1", "/v1/videos"] {
            let request = Request::get(path).key(KEY);
            request.send(gate.address).await.unwrap();
        }
    };
    // Lines with an s: "gate listens" and "list 200", and not "retrieve 404".
    let mut gate = Gate::start(&config, "export RUST_LOG=info/s");
    lists_and_asks(&gate).await;
    let log = gate.whole_log().await;
    assert!(log.contains("] list 200 "), "{log}");
    assert!(!log.contains("retrieve"), "{log}");
    let quiet = "export RUST_LOG=info,tollgate::request=warn";
    let mut gate = Gate::start(&config, quiet);
    lists_and_asks(&gate).await;
    let log = gate.whole_log().await;
    assert!(!log.contains("tollgate::request"), "{log}");
}
