//! Routes without a body over HTTP/2, where a head does not tell whether one follows.

mod support;

use bytes::Bytes;
use http::{Method, Request};
use support::client::Body;
use support::h2::Http2;
use support::{KEY, Stand, client, form_type, plain_form};
use tokio::net::TcpStream;

/// Asks for a job and sends these frames after the head, the last with END_STREAM.
async fn ask(stand: &Stand, method: Method, path: &str, frames: &[&'static [u8]]) -> u16 {
    let stream = TcpStream::connect(stand.gate).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://gate.test{path}"))
        .header("authorization", format!("Bearer {KEY}"))
        .body(())
        .unwrap();
    let (answer, mut body) = sender.send_request(request, frames.is_empty()).unwrap();
    for (i, frame) in frames.iter().enumerate() {
        let last = i + 1 == frames.len();
        // A refusal may have ended the stream already.
        let _ = body.send_data(Bytes::from_static(frame), last);
    }
    answer.await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_request_gets_an_answer_without_a_body() {
    let stand = Stand::start().await;
    for (path, status) in [("/v1/videos", 200), ("/v1/videos/a/remix", 405)] {
        let head = client::Request::new("HEAD", path).key(KEY);
        let mut http2 = Http2::open(stand.gate).await.unwrap();
        let stream = http2.begin(&head, true).await.unwrap();
        let answer = stream.answer().await.unwrap();
        assert_eq!((answer.status, &*answer.body), (status, &b""[..]));
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(length > 0);
        let answer = head.send(stand.gate).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (status, &b""[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_reaches_a_channel_where_none_belongs() {
    let stand = Stand::start().await;
    let create = client::Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(stand.gate).await.unwrap();
    let path = format!("/v1/videos/{}", created.json()["id"].as_str().unwrap());

    assert_eq!(ask(&stand, Method::GET, &path, &[]).await, 200);
    assert_eq!(ask(&stand, Method::GET, &path, &[b""]).await, 200);
    assert_eq!(ask(&stand, Method::GET, &path, &[b"", b""]).await, 200);
    let seen = stand.mock.stats().requests_total;
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(ask(&stand, method.clone(), &path, &[b"x"]).await, 400);
        assert_eq!(ask(&stand, method, &path, &[b"", b"x", b"y"]).await, 400);
    }
    assert_eq!(stand.mock.stats().requests_total, seen);
}
