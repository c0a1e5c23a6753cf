//! Answers that say nothing: they change nothing, and are counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::scripted::Scripted;
use crate::support::client::Request;
use crate::support::{KEY, Stand};
use crate::{create, created, open, send, soon, until_cents};
use serde_json::json;
use tollgate::ledger::State;

async fn errors(stand: &Stand, kind: &str) -> f64 {
    let sample = format!("tollgate_channel_errors_total{{channel=\"mock\",kind=\"{kind}\"}}");
    stand.metric(&sample).await
}

/// A gate whose only job is asked for in vain; then it has ended.
async fn says_nothing(status: u16, body: &'static str, kind: &str) {
    let channel = Scripted::start(true).await;
    let setup = soon("  poll_after: 50ms\n  polls_per_second: 100\n");
    let stand = channel.behind(setup).start().await;
    channel.says(move |_| (status, body.into()));
    created(stand.gate, KEY, "a cat").await;
    let what = format!("{status} {body}");
    stand
        .until(&what, async || errors(&stand, kind).await >= 2.0)
        .await;
    // A client's poll tells no more than the gate's own.
    let poll = Request::get("/v1/videos/video_1");
    send(stand.gate, KEY, poll).await;
    stand
        .until(&what, async || errors(&stand, kind).await >= 4.0)
        .await;
    let ledger = stand.handle.ledger();
    assert_eq!(open(&**ledger, State::Confirmed).await, 1, "{what}");
    until_cents(&stand, [40, 0, 0]).await;

    channel.says(|_| (200, r#"{"id":"video_1","status":"completed"}"#.into()));
    stand.until_resolved().await;
    until_cents(&stand, [40, 40, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_says_nothing_of_the_job_changes_nothing() {
    let cases = [
        (200, "<html>we are busy</html>", "no_job"),
        (200, "", "no_job"),
        (200, "[]", "no_job"),
        (200, "null", "no_job"),
        (200, "{}", "no_job"),
        (200, r#"{"id":"video_1","status":"melting"}"#, "status_word"),
        (200, r#"{"id":"video_1","status":["completed"]}"#, "no_job"),
        (200, r#"{"id":"video_2","status":"completed"}"#, "no_job"),
        (200, r#"{"id":"video_2","status":"failed"}"#, "no_job"),
        (401, r#"{"id":"video_1","status":"failed"}"#, "account"),
        (403, "", "account"),
        (
            404,
            r#"{"error":{"message":"no","code":"not_found"}}"#,
            "status",
        ),
        (
            429,
            r#"{"id":"video_1","status":"completed"}"#,
            "rate_limited",
        ),
        (500, r#"{"id":"video_1","status":"completed"}"#, "status"),
        (302, r#"{"id":"video_1","status":"completed"}"#, "status"),
    ];
    let cases = cases.into_iter();
    let cases = cases.map(|(status, body, kind)| Box::pin(says_nothing(status, body, kind)));
    futures_util::future::join_all(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_poll_that_says_nothing_of_the_job_is_counted() {
    let channel = Scripted::start(true).await;
    let stand = channel.behind(soon("  poll_after: 1h\n")).start().await;
    created(stand.gate, KEY, "a cat").await;
    let poll = Request::get("/v1/videos/video_1");
    for (n, body) in ["<html>", "{}", r#"{"id":"video_2","status":"completed"}"#]
        .into_iter()
        .enumerate()
    {
        channel.says(move |_| (200, body.into()));
        let answer = send(stand.gate, KEY, poll.clone()).await;
        assert_eq!(answer.body, body.as_bytes());
        stand
            .until(body, async || {
                errors(&stand, "no_job").await == (n + 1) as f64
            })
            .await;
        assert_eq!(open(&**stand.handle.ledger(), State::Confirmed).await, 1);
    }
}

/// A page of a hundred jobs that are none of this gate's.
fn full_page() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let job = |n| {
        json!({
            "id": format!("video_other_{n}"), "object": "video", "model": "sora-2",
            "status": "completed", "prompt": format!("of somebody else {n}"), "seconds": "4",
            "size": "1280x720", "created_at": now.as_secs(),
        })
    };
    let jobs: Vec<_> = (0..100).map(job).collect();
    json!({"object": "list", "data": jobs, "has_more": true}).to_string()
}

const LAST: &str = r#"{"object":"list","data":[],"has_more":false}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_voided_on_the_word_of_half_a_list() {
    let channel = Scripted::start(false).await;
    let grace = Duration::from_secs(1);
    let stand = channel.behind(soon("  unknown_grace: 4s\n")).start().await;
    channel.says(|_| (500, String::new()));
    let began = std::time::Instant::now();
    assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 502);
    type Page = fn(&str) -> (u16, String);
    let pages: [(&str, Page); 6] = [
        ("no page", |_| (500, String::new())),
        ("no list", |_| (200, "<html>".into())),
        ("a job instead", |_| {
            (200, r#"{"id":"video_1","status":"completed"}"#.into())
        }),
        ("no second page", |target| match target.contains("after=") {
            true => (500, LAST.into()),
            false => (200, full_page()),
        }),
        ("no end", |_| (200, full_page())),
        ("no way on", |_| {
            (200, r#"{"data":[],"has_more":true}"#.into())
        }),
    ];
    for (what, page) in pages {
        channel.says(page);
        let before = channel.times_asked();
        stand
            .until(what, async || {
                channel.times_asked() >= before + 4 && began.elapsed() > 2 * grace
            })
            .await;
        assert_eq!(
            open(&**stand.handle.ledger(), State::Unknown).await,
            1,
            "{what}"
        );
        until_cents(&stand, [40, 0, 0]).await;
    }
    channel.says(|target| match target.contains("after=") {
        true => (200, LAST.into()),
        false => (200, full_page()),
    });
    stand.until_resolved().await;
    until_cents(&stand, [40, 0, 40]).await;
}
