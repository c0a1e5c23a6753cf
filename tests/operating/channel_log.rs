//! What is said of a channel and its jobs, and what the mock channel says of itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::{form_type, mock_options, plain_form, start_mock, until};
use crate::upstream::{Upstream, json};

fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_fails_is_said_once() {
    let folder = Folder::new();
    let dead = [("http://127.0.0.1:8081", "http://127.0.0.1:1")];
    let mut gate = Gate::start(&configuration(&folder, &dead), "");
    for _ in 0..20 {
        assert_eq!(create().send(gate.address).await.unwrap().status, 503);
    }
    let metrics = Request::get("/metrics").send(gate.admin).await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let counted = "tollgate_channel_errors_total{channel=\"mock\",kind=\"connect\"} 20\n";
    assert!(metrics.contains(counted), "{metrics}");
    let log = gate.whole_log().await;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    assert!(warnings[0].contains("the ledger is in memory"), "{log}");
    assert!(
        warnings[1].contains("channel mock fails (connect)"),
        "{log}"
    );
}

/// A gate that polls its jobs soon.
fn polling(folder: &Folder, channel: std::net::SocketAddr) -> Gate {
    let url = format!("http://{channel}");
    let replace = [
        ("http://127.0.0.1:8081", &*url),
        ("", "jobs: { poll_after: 50ms }\n"),
    ];
    Gate::start(&configuration(folder, &replace), "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_about_a_job_names_it() {
    let folder = Folder::new();
    let mock = start_mock(mock_options()).await;
    mock.set_faults(vec!["poll:500".parse().unwrap()], None);
    let gate = polling(&folder, mock.addr());
    let created = create().send(gate.address).await.unwrap();
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let line = format!("retrieve of job {id} was answered with 500");
    gate.logged(&line).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_nobody_knows_is_said_once() {
    let channel = Upstream::start(|heard| match heard.method.as_str() {
        "POST" => json(200, r#"{"id":"video_1","status":"queued"}"#),
        _ => json(200, r#"{"id":"video_1","status":"warming"}"#),
    })
    .await;
    let folder = Folder::new();
    let mut gate = polling(&folder, channel.address);
    let created = create().send(gate.address).await.unwrap();
    assert_eq!(created.status, 200, "{created:?}");
    until("it was said more than once", async || {
        channel.times("GET", "/v1/videos/video_1") >= 4
    })
    .await;
    gate.logged("the status `warming` of a job").await;
    let log = gate.whole_log().await;
    let lines: Vec<_> = log.lines().filter(|l| l.contains("`warming`")).collect();
    assert_eq!(lines.len(), 1, "{log}");
}

/// What a channel does not know of one job is no failure of the channel, which answers for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_its_channel_does_not_know_is_named_once() {
    let created = AtomicUsize::new(0);
    let channel = Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => {
            let number = created.fetch_add(1, Ordering::Relaxed);
            json(
                200,
                format!(r#"{{"id":"video_{number}","status":"queued"}}"#),
            )
        }
        _ if heard.target.ends_with("video_2") => {
            json(200, r#"{"id":"video_2","status":"queued"}"#)
        }
        _ => json(404, r#"{"error":{"message":"no such video"}}"#),
    })
    .await;
    let folder = Folder::new();
    let mut gate = polling(&folder, channel.address);
    for _ in 0..3 {
        assert_eq!(create().send(gate.address).await.unwrap().status, 200);
    }
    let paths = [
        "/v1/videos/video_0",
        "/v1/videos/video_1",
        "/v1/videos/video_2",
    ];
    until("each was polled often", async || {
        paths.iter().all(|path| channel.times("GET", path) >= 4)
    })
    .await;
    gate.logged("job video_1 on channel mock (status): the channel does not know it")
        .await;
    let log = gate.whole_log().await;
    let lines: Vec<_> = log
        .lines()
        .filter(|l| l.contains("does not know it"))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        !log.contains("channel mock fails") && !log.contains("works again"),
        "{log}"
    );
}

/// Beside a gate's lines its own are told apart.
#[test]
fn the_mock_channel_logs_as_itself() {
    let mut mock = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["mock", "--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stderr = mock.stderr.take().unwrap();
    let read = BufReader::new(stderr).read_line(&mut line);
    mock.kill().unwrap();
    mock.wait().unwrap();
    read.unwrap();
    assert!(line.contains(" mock] listens on 127.0.0.1:"), "{line}");
}
