//! Creates and polls before a channel that the test plays itself, connection by connection.

#[path = "support/plays.rs"]
mod plays;
mod support;

use plays::{Play, Played, answer, job};
use support::client::{Answer, Connection, Request};
use support::{KEY, plain_form};
use tokio::io::AsyncWriteExt as _;

fn asks() -> Request {
    Request::get("/v1/videos/video_1").key(KEY)
}

async fn poll(played: &Played) -> Answer {
    asks().send(played.stand.gate).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_in_the_pool_is_no_failure() {
    let connections = vec![
        vec![job("queued"), Play::Break(vec![])],
        vec![job("in_progress")],
    ];
    let played = Played::start(connections).await;
    let polled = poll(&played).await;
    assert_eq!(polled.status, 200, "{polled:?}");
    assert_eq!(polled.json()["status"], "in_progress");
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_hangs_up_on_a_new_connection_is_answered_for() {
    let breaks = || Play::Break(vec![]);
    let connections = vec![vec![job("queued"), breaks()], vec![breaks()]];
    let played = Played::start(connections).await;
    let polled = poll(&played).await;
    assert_eq!((polled.status, &*polled.code()), (502, "upstream_error"));
    assert_eq!(played.errors().await, ["broken"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_create_leaves_in_one_write() {
    let played = Played::start(vec![vec![job("queued")]]).await;
    let reads = played.reads.lock().unwrap();
    assert!(reads[0].starts_with(b"POST /v1/videos HTTP/1.1\r\n"));
    assert!(reads[0].ends_with(&plain_form()), "head and body together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_again_is_passed_on_and_an_end_settles_once() {
    let statuses = ["queued", "queued", "completed", "completed", "completed"];
    let plays = ["queued"].iter().chain(&statuses).map(|status| job(status));
    let played = Played::start(vec![plays.collect()]).await;
    let posted = async || {
        let metrics = played.stand.metrics().await.into_iter();
        let posted = metrics.filter(|(name, _)| {
            name.starts_with("tollgate_video_seconds_total") && name.contains("event=\"posted\"")
        });
        posted.map(|(_, value)| value).sum::<f64>()
    };
    // On one connection an answer means that what the one before it taught is learned.
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    for (status, before) in statuses.into_iter().zip([0.0, 0.0, 0.0, 4.0, 4.0]) {
        let polled = connection.send(&asks()).await.unwrap();
        assert_eq!(polled.json()["status"], status);
        // Of a completed one itself may be learned by now.
        let posted = posted().await;
        assert!(
            posted == before || (status == "completed" && posted == 4.0),
            "{posted}"
        );
    }
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_may_ask_whether_anything_has_changed() {
    let unchanged = b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n";
    let connections = vec![
        vec![job("queued"), Play::Answer(unchanged.to_vec())],
        vec![job("in_progress")],
    ];
    let played = Played::start(connections).await;
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    let mut asks_again = asks().header("If-None-Match", "\"a\"");
    asks_again.path.push_str("?a=b");
    connection
        .stream
        .write_all(&asks_again.pieces().concat())
        .await
        .unwrap();
    let unchanged = connection.answer(true).await.unwrap();
    assert_eq!(unchanged.status, 304, "{unchanged:?}");
    assert_eq!(unchanged.header("etag"), Some("\"a\""));
    assert_eq!(unchanged.header("content-length"), None);
    let asked = played.read(1);
    assert!(
        asked.starts_with("GET /v1/videos/video_1?a=b HTTP/1.1\r\n"),
        "{asked}"
    );
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("if-none-match: \"a\"\r\n"), "{asked}");
    assert!(!asked.contains("content-length"), "{asked}");
    // The connection goes on.
    let polled = connection.send(&asks()).await;
    assert_eq!(polled.unwrap().json()["status"], "in_progress");
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_keeps_no_channel_busy() {
    let played = Played::start(vec![vec![job("queued"), Play::Hold(vec![])]]).await;
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    let request = asks().pieces().concat();
    connection.stream.write_all(&request).await.unwrap();
    played.has_read(2).await;
    // A reset: the end of what it sends would be no sign.
    connection.stream.set_zero_linger().unwrap();
    drop(connection);
    played.has_read(3).await;
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_beyond_all_bounds_is_none() {
    let endless = format!("{{\"id\":\"{}\"}}", "x".repeat(2 << 20));
    let endless = Play::Answer(answer("200 OK", "", &endless));
    let played = Played::start(vec![vec![job("queued"), endless]]).await;
    let polled = poll(&played).await;
    assert_eq!((polled.status, &*polled.code()), (502, "upstream_error"));
    assert_eq!(played.errors().await, ["no_job"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_lasted_as_long_as_its_channel_says() {
    let completed = "{\"id\":\"video_1\",\"status\":\"completed\",\"created_at\":1795373043,\
                     \"completed_at\":1795373050}";
    let completed = answer("200 OK", "", completed);
    let plays = vec![job("queued"), Play::Answer(completed)];
    let played = Played::start(vec![plays]).await;
    assert_eq!(poll(&played).await.status, 200);
    let labels = "{channel=\"mock\",model=\"sora-2\",status=\"completed\"}";
    let count = format!("tollgate_job_duration_seconds_count{labels}");
    let counted = async || played.stand.metric(&count).await == 1.0;
    played.stand.until("the job has ended", counted).await;
    let sum = format!("tollgate_job_duration_seconds_sum{labels}");
    assert_eq!(played.stand.metric(&sum).await, 7.0);
}
