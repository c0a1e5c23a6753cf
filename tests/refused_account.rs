//! What a channel says of its own account, and what it says on the way, stays with the gate.

mod support;

use support::client::{Body, Request};
use support::{KEY, Setup, form_type, plain_form};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate::mock::{Mock, Options};

/// Plays a channel that creates one job, and answers every other request so.
async fn polled(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut chunk = vec![0; 65536];
                while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                    let created: &[u8] =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"id\":\"video_1\"}";
                    match &chunk[..n] {
                        head if head.starts_with(b"GET") => stream.write_all(answer).await.unwrap(),
                        rest if rest.ends_with(b"--\r\n") => {
                            stream.write_all(created).await.unwrap()
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    let stand = Setup::default().replacing("url: http://", &format!("url: http://{channel} # "));
    let stand = stand.start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    assert_eq!(create.send(stand.gate).await.unwrap().status, 200);
    let poll = Request::get("/v1/videos/video_1").key(KEY);
    let mut stream = TcpStream::connect(stand.gate).await.unwrap();
    for piece in poll.header("Connection", "close").pieces() {
        stream.write_all(&piece).await.unwrap();
    }
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_without_a_body_is_replaced_whole() {
    for refusal in [
        &b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nsk-ab",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = polled(refusal).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.contains("\"upstream_error\""), "{answer}");
        assert!(!answer.contains("sk-ab"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_carry_nothing() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nX-Secret: s\r\nSet-Cookie: a=b\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let answer = polled(hints).await;
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        !lower.contains("secret") && !lower.contains("cookie"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_another_channel_may_take_is_worth_another_try() {
    let refusing = Options {
        credential: "another account's".into(),
        ..Options::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Mock::start(listener, refusing);
    let second = |models: &str| {
        format!(
            "    models: [sora-2, sora-2-pro]\n  other:\n    url: http://{}\n    credential: \
             {{ env: TOLLGATE_MOCK_CREDENTIAL }}\n    models: {models}",
            other.addr()
        )
    };
    let first = "    models: [sora-2, sora-2-pro]";
    let stand = Setup::default().replacing(first, &second("[sora-2]"));
    let stand = stand.start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = create.send(stand.gate).await.unwrap();
        if answer.status == 502 {
            assert_eq!(answer.header("x-should-retry"), None);
            let message = answer.json()["error"]["message"].to_string();
            assert!(message.contains("Try again"), "{message}");
            assert!(!message.contains("Tell whoever"), "{message}");
        }
        statuses.push(answer.status);
    }
    assert!(
        statuses.contains(&502) && statuses.contains(&200),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_no_other_channel_takes_is_for_operators() {
    let mut setup = Setup::default();
    setup.mock.credential = "another account's".into();
    let stand = setup.start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let answer = create.send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("Tell whoever"), "{message}");
}
