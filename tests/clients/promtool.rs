//! The exposition, as Prometheus's own tool judges it.

use std::process::Command;

use super::programs::run;
use super::support::client::{Body, Request};
use super::support::programs::find;
use super::support::{KEY, STUDIO, Stand, form, form_type, plain_form};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_complain_of() {
    let Some(promtool) = find("promtool", "TOLLGATE_PROMTOOL") else {
        return;
    };
    let stand = Stand::start().await;
    // A sample in as many families as there can be.
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let video = create.send(stand.gate).await.unwrap().json();
    let poll = Request::get(&format!("/v1/videos/{}", video["id"].as_str().unwrap())).key(KEY);
    stand
        .until("completed", async || {
            poll.send(stand.gate).await.unwrap().json()["status"] == "completed"
        })
        .await;
    stand
        .mock
        .set_faults(vec!["no-id".parse().unwrap()], Some(1));
    create.send(stand.gate).await.unwrap();
    let mut refused = Request::new("POST", "/v1/videos").key(STUDIO);
    refused = refused.header("Content-Type", &form_type());
    refused.body = Some(Body::Length(form(&[("model", b"sora-2-pro")]), vec![]));
    assert_eq!(refused.send(stand.gate).await.unwrap().status, 403);

    let exposition = Request::get("/metrics")
        .send(stand.admin)
        .await
        .unwrap()
        .body;
    let text = String::from_utf8_lossy(&exposition).into_owned();
    for family in [
        "tollgate_billed_cost_total{",
        "tollgate_refusals_total{",
        "tollgate_unresolved_reservations{",
        "tollgate_job_duration_seconds_bucket{",
        "tollgate_channel_errors_total{",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(family), "no sample of {family}: {text}");
    }
    assert_eq!(judged(&promtool, exposition).await, None);
    // The tool does complain where there is something to complain of.
    let bad =
        b"# HELP tollgate_videos Videos.\n# TYPE tollgate_videos counter\ntollgate_videos 1\n";
    assert!(judged(&promtool, bad.to_vec()).await.is_some());
}

/// What the tool says, if it is anything.
async fn judged(promtool: &std::path::Path, exposition: Vec<u8>) -> Option<String> {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]);
    let ran = run(command, exposition).await;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &ran.stderr;
    (!ran.success || !said.trim().is_empty()).then_some(said)
}
