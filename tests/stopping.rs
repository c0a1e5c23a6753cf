//! A gate that stops waits for what is under way, and for nothing else.

mod support;

use std::time::Duration;

use support::client::{Body, Connection, Request};
use support::h2::{Http2, Undriven};
use support::{KEY, Stand, form, form_type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Less than any time that a client is given.
const SOON: Duration = Duration::from_secs(20);

/// More than any time that a client is given.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Stops a gate that has no request under way and would wait long for one. What holds it up would
/// otherwise be closed at the end of a short patience, which looks like a clean stop.
async fn stop_at_rest(stand: Stand) {
    let stopped = timeout(SOON, stand.server.stop(PATIENCE)).await;
    let stopped = stopped.expect("a gate that waits for nobody");
    stopped.expect("no request is under way");
}

/// A create that the channel takes a while for.
fn slow_create() -> Vec<u8> {
    form(&[("prompt", b"a cat [mock:slow=2000]"), ("model", b"sora-2")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_clients_that_say_nothing() {
    let stand = Stand::start().await;
    let list = Request::get("/v1/videos").key(KEY);
    let mut silent = Connection::open(stand.gate).await.unwrap();
    let mut idle = Connection::open(stand.gate).await.unwrap();
    assert_eq!(idle.send(&list).await.unwrap().status, 200);
    let mut half = Connection::open(stand.gate).await.unwrap();
    assert_eq!(half.send(&list).await.unwrap().status, 200);
    let begun = b"GET /v1/videos HTTP/1.1\r\nHost: gate.test\r\n";
    half.stream.write_all(begun).await.unwrap();
    let mut http2 = Http2::open(stand.gate).await.unwrap();
    let stream = http2.begin(&list, true).await.unwrap();
    assert_eq!(stream.answer().await.unwrap().status, 200);

    stop_at_rest(stand).await;
    for connection in [&mut silent, &mut idle, &mut half] {
        let mut rest = Vec::new();
        let _ = connection.stream.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_an_idle_http2_client_that_does_not_read() {
    let stand = Stand::start().await;
    let mut client = Undriven::open(stand.gate).await.unwrap();
    let list = http::Request::get("http://gate.test/v1/videos")
        .version(http::Version::HTTP_2)
        .header("authorization", format!("Bearer {KEY}"));
    assert_eq!(client.status(list.body(()).unwrap()).await.unwrap(), 200);
    stop_at_rest(stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_ended_in_time_is_counted() {
    let stand = Stand::start().await;
    let mut http2 = Http2::open(stand.gate).await.unwrap();
    let body = form(&[
        ("prompt", b"a cat [mock:slow=600000]"),
        ("model", b"sora-2"),
    ]);
    let request = Request::create(&form_type(), Body::Length(body.clone(), vec![]));
    // Two on one connection: requests are counted, and not connections.
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = http2.begin(&request, false).await.unwrap();
        stream.data(&body, true);
        streams.push(stream);
    }
    let mut connection = Connection::open(stand.gate).await.unwrap();
    for piece in request.pieces() {
        connection.stream.write_all(&piece).await.unwrap();
    }
    stand
        .until("all requests are at the channel", async || {
            stand.mock.stats().creates_complete == 3
        })
        .await;
    let still = stand.server.stop(Duration::from_millis(100)).await;
    let still = still.expect_err("three requests are under way");
    assert_eq!(still.requests, 3);
    assert_eq!(still.to_string(), "stopped with 3 requests still under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_over_http2_is_seen_to_its_end_though_its_client_is_gone() {
    let stand = Stand::start().await;
    let mut http2 = Http2::open(stand.gate).await.unwrap();
    let body = slow_create();
    let request = Request::create(&form_type(), Body::Length(body.clone(), vec![]));
    let mut stream = http2.begin(&request, false).await.unwrap();
    stream.data(&body, true);
    stand
        .until("the request is at the channel", async || {
            stand.mock.stats().creates_complete == 1
        })
        .await;
    drop((stream, http2));
    stand.server.stop(SOON).await.unwrap();
    let job = stand.mock.jobs()[0].job.id.clone().unwrap();
    let known = stand.handle.ledger().job(&job).await.unwrap();
    assert!(known.is_some(), "the job is the client's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_while_it_stops_is_answered_and_nothing_after() {
    let stand = Stand::start().await;
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let create = Request::create(&form_type(), Body::Length(slow_create(), vec![]));
    for piece in create.pieces() {
        connection.stream.write_all(&piece).await.unwrap();
    }
    stand
        .until("the request is at the channel", async || {
            stand.mock.stats().creates_complete == 1
        })
        .await;
    let (ended, answer) = tokio::join!(stand.server.stop(SOON), connection.answer(false));
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    ended.unwrap();
    let mut rest = Vec::new();
    let _ = connection.stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}
