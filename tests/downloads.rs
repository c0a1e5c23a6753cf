//! Downloads and deletions before a channel that the test plays itself: what it sends arrives
//! as it was sent, and what breaks off is seen to.

#[path = "support/plays.rs"]
mod plays;
mod support;

use std::io::ErrorKind;
use std::sync::Arc;

use plays::{Play, Played, answer, job};
use support::KEY;
use support::client::{Connection, Request};
use support::h2::Http2;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nSet-Cookie: a=b\r\n\
                       Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n";

fn content() -> Request {
    Request::get("/v1/videos/video_1/content").key(KEY)
}

/// A gate whose channel plays these with the requests after the create, on one connection.
async fn playing(plays: impl IntoIterator<Item = Play>) -> Played {
    Played::start(vec![[job("completed")].into_iter().chain(plays).collect()]).await
}

fn ended() -> Play {
    Play::Answer(format!("{CHUNKED}0\r\n\r\n").into_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_without_a_length_ends_where_the_channel_ends_it() {
    let played = playing([ended(), ended(), ended(), ended()]).await;
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    for _ in 0..2 {
        let answer = connection.send(&content()).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"firstsecond"[..]));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("content-type"), Some("video/mp4"));
        assert_eq!(answer.header("set-cookie"), None);
    }

    // In HTTP/1.0 there are no chunks: the connection's end tells.
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    let request = content().header("Connection", "keep-alive").pieces();
    let request = String::from_utf8(request.concat()).unwrap();
    let request = request.replace("HTTP/1.1", "HTTP/1.0");
    connection
        .stream
        .write_all(request.as_bytes())
        .await
        .unwrap();
    let answer = connection.answer(false).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"firstsecond"[..]));
    assert_eq!(answer.header("transfer-encoding"), None);

    let mut http2 = Http2::open(played.stand.gate).await.unwrap();
    let stream = http2.begin(&content(), true).await.unwrap();
    let answer = stream.answer().await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"firstsecond"[..]));
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_keeps_its_length_and_its_place() {
    let part = answer("206 Partial", "Content-Range: bytes 4-7/99\r\n", "ftyp");
    let played = playing([Play::Answer(part)]).await;
    let request = content().header("Range", "bytes=4-7");
    let answer = request.send(played.stand.gate).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (206, &b"ftyp"[..]));
    assert_eq!(answer.header("content-range"), Some("bytes 4-7/99"));
    assert_eq!(answer.header("content-length"), Some("4"));
    let asked = played.read(1).to_ascii_lowercase();
    assert!(asked.contains("\r\nrange: bytes=4-7\r\n"), "{asked}");
    assert!(asked.contains(&format!("bearer {}", support::CREDENTIAL)));
    assert!(!asked.contains(KEY), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_channel_breaks_off_does_not_look_whole() {
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort".to_vec();
    for broken in [CHUNKED.as_bytes().to_vec(), short] {
        let breaks = || vec![job("completed"), Play::Break(broken.clone())];
        let connections = vec![breaks(), breaks().split_off(1)];
        let played = Played::start(connections).await;
        let error = content().send(played.stand.gate).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        let mut http2 = Http2::open(played.stand.gate).await.unwrap();
        let stream = http2.begin(&content(), true).await.unwrap();
        assert!(stream.answer().await.is_err());
        assert_eq!(played.errors().await, ["broken"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_keeps_no_channel_busy() {
    let played = playing([Play::Hold(CHUNKED.as_bytes().to_vec())]).await;
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    let request = content().pieces().concat();
    connection.stream.write_all(&request).await.unwrap();
    let mut begun = [0; 16];
    connection.stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200 OK\r");
    drop(connection);
    played.has_read(3).await;
    assert_eq!(played.read(2), "gone");
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_video_is_the_clients_business_or_the_gates() {
    let error = |code: &str| format!("{{\"error\":{{\"message\":\"m\",\"code\":\"{code}\"}}}}");
    let played = playing([
        Play::Answer(answer("404 No", "", &error("gone"))),
        Play::Answer(answer("416 No", "Content-Range: bytes */9\r\n", "")),
        Play::Answer(answer("401 No", "", &error("invalid_api_key"))),
    ])
    .await;
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    let expired = connection.send(&content()).await.unwrap();
    assert_eq!((expired.status, &*expired.code()), (404, "gone"));
    let beyond = connection.send(&content()).await.unwrap();
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some("bytes */9"));
    let account = connection.send(&content()).await.unwrap();
    assert_eq!((account.status, &*account.code()), (502, "upstream_error"));
    assert_eq!(played.errors().await, ["account"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_noted_though_its_client_is_gone() {
    let told = Arc::new(Notify::new());
    let deleted = answer("200 OK", "", r#"{"id":"video_1","deleted":true}"#);
    let played = playing([Play::AnswerWhen(told.clone(), deleted)]).await;
    let mut connection = Connection::open(played.stand.gate).await.unwrap();
    let request = deletes().pieces().concat();
    connection.stream.write_all(&request).await.unwrap();
    played.has_read(2).await;
    assert!(played.read(1).starts_with("DELETE /v1/videos/video_1 "));
    drop(connection);
    told.notify_one();
    let counted = async || {
        let metrics = played.stand.metrics().await;
        metrics.iter().any(|(name, n)| {
            name.starts_with("tollgate_requests_total")
                && name.contains("route=\"delete\"")
                && *n > 0.0
        })
    };
    played.stand.until("the deletion has ended", counted).await;
    assert_eq!(listed(&played).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_stalls_in_a_download_is_left() {
    let plays = vec![vec![job("completed"), Play::Hold(CHUNKED.into())]];
    let played = Played::start_with("    read_timeout: 1s\n", plays).await;
    let error = content().send(played.stand.gate).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    played.has_read(3).await;
    assert_eq!(played.errors().await, ["timeout"]);
}

fn deletes() -> Request {
    Request::new("DELETE", "/v1/videos/video_1").key(KEY)
}

async fn listed(played: &Played) -> usize {
    let list = Request::get("/v1/videos").key(KEY);
    let page = list.send(played.stand.gate).await.unwrap().json();
    page["data"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_asked_for_again_where_its_connection_had_died() {
    let deleted = answer("200 OK", "", r#"{"id":"video_1","deleted":true}"#);
    let connections = vec![
        vec![job("completed"), Play::Break(vec![])],
        vec![Play::Answer(deleted)],
    ];
    let played = Played::start(connections).await;
    let answer = deletes().send(played.stand.gate).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(listed(&played).await, 0);
    assert_eq!(played.errors().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_to_be_deleted_is_in_no_list() {
    // Whether it is there is looked at, since a channel without that route answers 404 as well.
    let absent = r#"{"error":{"message":"no such video"}}"#;
    let absent = || Play::Answer(answer("404 No", "", absent));
    let played = playing([absent(), absent()]).await;
    let answer = deletes().send(played.stand.gate).await.unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(listed(&played).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_none_is_not_asked_for_again() {
    let nonsense = Play::Answer(b"HTTP/1.1 banana\r\n\r\n".to_vec());
    let played = playing([nonsense]).await;
    let answer = deletes().send(played.stand.gate).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
    assert_eq!(played.reads.lock().unwrap().len(), 2, "it is asked once");
    assert_eq!(played.errors().await, ["broken"]);
}
