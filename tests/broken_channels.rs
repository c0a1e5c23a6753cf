//! Channels that break the protocol in the middle of an upload: the client gets its answer,
//! and nothing stays reserved.

mod support;

use std::net::SocketAddr;

use support::client::{Answer, Body, Connection, Request};
use support::{KEY, Setup, Stand, form, form_type, plain_form, png};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A gate before a channel that the test plays itself.
async fn before(channel: SocketAddr, http2: bool) -> Stand {
    // What stands behind the sharp sign is the mock channel's address, unused here.
    let setup = Setup::default().replacing("url: http://", &format!("url: http://{channel} # "));
    let setup = if http2 { setup.http2_upstream() } else { setup };
    setup.start().await
}

/// An upload of which only the beginning is ever sent, and the answer to it.
async fn unfinished_upload(gate: SocketAddr) -> Answer {
    let image = png(600_000);
    let body = form(&[
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
        ("prompt", b"a cat"),
        ("input_reference", &image),
    ]);
    let pieces = Request::create(&form_type(), Body::Length(body, vec![300_000])).pieces();
    let mut connection = Connection::open(gate).await.unwrap();
    for piece in &pieces[..2] {
        connection.stream.write_all(piece).await.unwrap();
    }
    connection.answer(false).await.unwrap()
}

async fn nothing_is_reserved(stand: &Stand) {
    for (name, value) in stand.metrics().await {
        let money = name.contains("event=\"reserved\"") || name.contains("jobs_in_flight{");
        assert!(!money || value == 0.0, "{name} {value}");
    }
}

/// Plays an HTTP/2 channel, which gets one request and does with it what `play` says.
async fn http2_channel<F>(
    play: impl FnOnce(http::Request<h2::RecvStream>, h2::server::SendResponse<bytes::Bytes>) -> F
    + Send
    + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        let rest = async { while connection.accept().await.is_some() {} };
        tokio::join!(play(request, respond), rest);
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_channel_that_resets_an_upload_is_answered_for() {
    let channel = http2_channel(|mut request, mut respond| async move {
        // All that goes on of the beginning, so that the gate waits for the client when the
        // reset comes, rather than for the channel.
        let mut taken = 0;
        while taken < 299_000 {
            let chunk = request.body_mut().data().await.unwrap().unwrap();
            let flow = request.body_mut().flow_control();
            flow.release_capacity(chunk.len()).unwrap();
            taken += chunk.len();
        }
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    let stand = before(channel.await, true).await;
    let answer = unfinished_upload(stand.gate).await;
    assert_eq!(
        (answer.status, answer.code()),
        (502, "upstream_error".into())
    );
    nothing_is_reserved(&stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_with_two_lengths_is_answered_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_some(&mut stream).await;
        let answer = b"HTTP/1.1 413 No\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx";
        stream.write_all(answer).await.unwrap();
        read_some(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let stand = before(channel, false).await;
    let answer = unfinished_upload(stand.gate).await;
    assert_eq!(
        (answer.status, answer.code()),
        (502, "upstream_error".into())
    );
    nothing_is_reserved(&stand).await;
}

async fn read_some(stream: &mut TcpStream) {
    let mut chunk = [0; 4096];
    let _ = stream.read(&mut chunk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_http2_reaches_a_client_of_http1() {
    let stand = Setup::default().http2_upstream().start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let answer = create.send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
    let poll = Request::get(&format!(
        "/v1/videos/{}",
        answer.json()["id"].as_str().unwrap()
    ));
    let poll = poll.key(KEY).send(stand.gate).await.unwrap();
    assert_eq!(poll.status, 200, "{poll:?}");
    assert!(poll.head.starts_with("HTTP/1.1 200"), "{}", poll.head);
}
