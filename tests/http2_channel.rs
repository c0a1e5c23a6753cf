//! Downloads from a channel that is spoken to in HTTP/2, and clients that take nothing of
//! them.

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use support::client::{Body, Connection, Request};
use support::h2::Http2;
use support::{CREDENTIAL, KEY, Setup, Stand, form, form_type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// More than sockets and windows hold on their way.
const LARGE: usize = 64 << 20;

/// A stand with a completed video of so many bytes, and the path of its content.
async fn rendered(setup: Setup, bytes: usize) -> (Stand, String) {
    let stand = setup.start().await;
    let prompt = format!("a cat [mock:big={bytes}]");
    let body = form(&[("prompt", prompt.as_bytes()), ("model", b"sora-2")]);
    let create = Request::create(&form_type(), Body::Length(body, vec![]));
    let created = create.send(stand.gate).await.unwrap();
    let path = format!("/v1/videos/{}", created.json()["id"].as_str().unwrap());
    let completed = async || {
        let poll = Request::get(&path).key(KEY).send(stand.gate).await;
        poll.unwrap().json()["status"] == "completed"
    };
    stand.until("the video is rendered", completed).await;
    (stand, format!("{path}/content"))
}

/// The stands whose channels speak either version.
fn setups() -> [Setup; 2] {
    [Setup::default(), Setup::default().http2_upstream()]
}

/// How often a download has ended with that status.
async fn downloads(stand: &Stand, code: u16) -> f64 {
    let sample =
        format!("tollgate_requests_total{{code=\"{code}\",key=\"demo\",route=\"content\"}}");
    stand.metric(&sample).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_is_what_the_channel_has() {
    let (stand, path) = rendered(Setup::default().http2_upstream(), 5_000_000).await;
    let direct = Request::get(&path).key(CREDENTIAL);
    let direct = direct.send(stand.mock.addr()).await.unwrap();
    assert_eq!(direct.body.len(), 5_000_000);

    let content = Request::get(&path).key(KEY);
    let mut http1 = Connection::open(stand.gate).await.unwrap();
    let mut http2 = Http2::open(stand.gate).await.unwrap();
    for _ in 0..2 {
        let stream = http2.begin(&content, true).await.unwrap();
        let (one, other) = tokio::join!(http1.send(&content), stream.answer());
        for answer in [one.unwrap(), other.unwrap()] {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), Some("video/mp4"));
            assert_eq!(answer.header("content-length"), Some("5000000"));
            assert!(answer.body == direct.body);
        }
    }
    let part = Request::get(&path)
        .key(KEY)
        .header("Range", "bytes=4999990-");
    let part = http1.send(&part).await.unwrap();
    assert_eq!((part.status, &*part.body), (206, &direct.body[4_999_990..]));

    let seen = stand.mock.requests();
    let downloads = seen
        .iter()
        .filter(|r| r.path == path && r.version == "HTTP/2.0");
    assert_eq!(downloads.count(), 5);
    assert!(stand.channel_errors().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_off_does_not_look_whole() {
    let (stand, path) = rendered(Setup::default().http2_upstream(), 5_000_000).await;
    let content = Request::get(&path).key(KEY);
    stand
        .mock
        .set_faults(vec!["content:drop-answer".parse().unwrap()], None);
    let error = content.send(stand.gate).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let mut http2 = Http2::open(stand.gate).await.unwrap();
    let stream = http2.begin(&content, true).await.unwrap();
    assert!(stream.answer().await.is_err());
    let sample = "tollgate_channel_errors_total{channel=\"mock\",kind=\"broken\"}";
    assert_eq!(stand.metric(sample).await, 2.0);

    stand.mock.set_faults(vec![], None);
    let answer = content.send(stand.gate).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 5_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_left() {
    for setup in setups() {
        let setup = setup.with("\nbounds:\n  read_timeout: 2s\n");
        let (stand, path) = rendered(setup, LARGE).await;
        let content = Request::get(&path).key(KEY);
        let mut http1 = Connection::open(stand.gate).await.unwrap();
        let request = content.pieces().concat();
        http1.stream.write_all(&request).await.unwrap();
        let left = async || downloads(&stand, 200).await == 1.0;
        stand.until("the gate has left it", left).await;
        let mut rest = Vec::new();
        let read = timeout(Duration::from_secs(20), http1.stream.read_to_end(&mut rest));
        // Whether it was closed or reset.
        let _ = read.await.expect("it is closed");
        assert!(rest.len() < LARGE, "{}", rest.len());

        let mut http2 = Http2::open(stand.gate).await.unwrap();
        let mut stream = http2.begin(&content, true).await.unwrap();
        stream.answered().await;
        let left = async || downloads(&stand, 200).await == 2.0;
        stand.until("the gate has left it", left).await;
        assert!(stream.answer().await.is_err());
        assert!(
            stand.channel_errors().await.is_empty(),
            "it is not the channel's fault"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_gone_are_in_nobodys_way() {
    let (stand, path) = rendered(Setup::default().http2_upstream(), LARGE).await;
    let content = Request::get(&path).key(KEY);
    for gone in 1..=20 {
        let mut connection = Connection::open(stand.gate).await.unwrap();
        let request = content.pieces().concat();
        connection.stream.write_all(&request).await.unwrap();
        let mut begun = [0; 16];
        connection.stream.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200 OK\r");
        drop(connection);
        let left = async || downloads(&stand, 200).await == f64::from(gone);
        stand.until("the gate has noticed", left).await;
    }
    let part = content.header("Range", "bytes=0-4999999");
    let part = part.send(stand.gate).await.unwrap();
    assert_eq!((part.status, part.body.len()), (206, 5_000_000));
    assert!(stand.channel_errors().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_holds_up_no_other() {
    for setup in setups() {
        let (stand, path) = rendered(setup, LARGE).await;
        let content = Request::get(&path).key(KEY);
        let mut stalls = Connection::open(stand.gate).await.unwrap();
        let request = content.pieces().concat();
        stalls.stream.write_all(&request).await.unwrap();
        let mut begun = [0; 16];
        stalls.stream.read_exact(&mut begun).await.unwrap();
        let other = content.send(stand.gate).await.unwrap();
        assert_eq!((other.status, other.body.len()), (200, LARGE));
        let is_counted = async || downloads(&stand, 200).await >= 1.0;
        stand.until("the other is counted", is_counted).await;
        assert_eq!(downloads(&stand, 200).await, 1.0, "the first is under way");
    }
}
