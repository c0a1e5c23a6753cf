//! What a channel says of its own account, and what it says on the way, stays with the gate.

mod support;
#[path = "support/upstream.rs"]
mod upstream;

use support::client::{Body, Request};
use support::{KEY, Setup, form_type, mock_options, plain_form, start_mock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate::mock::Mock;
use upstream::{Upstream, json};

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

/// The first channel refuses the gate's account. Returns the gate and the other channel.
async fn beside_one_that_works() -> (support::Stand, Mock) {
    let other = start_mock(mock_options()).await;
    let tier = "    tier: 1\n";
    let mut setup = Setup::default().beside("", ("other", other.addr()), tier);
    setup.mock.credential = "another account's".into();
    (setup.start().await, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_goes_on_to_a_channel_that_takes_it() {
    let (stand, other) = beside_one_that_works().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    for _ in 0..4 {
        let answer = create.send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(other.jobs().len(), 4);
    assert!(stand.mock.jobs().is_empty());
}

/// Its bytes have left: the client is invited to try again, and is not told of any account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_another_channel_may_take_is_worth_another_try() {
    let (stand, other) = beside_one_that_works().await;
    let form = support::form(&[
        ("prompt", b"A calico cat playing a piano"),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
        ("input_reference", &support::png(1 << 20)),
    ]);
    let create = Request::create(&form_type(), Body::Chunked(form, vec![]));
    let answer = create.send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("x-should-retry"), None);
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("Try again"), "{message}");
    assert!(!message.contains("account"), "{message}");
    assert!(other.jobs().is_empty());
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

/// A 403 is about the request or about the account, and only what an API has written tells which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_a_filter_refuses_is_for_its_client() {
    let filtered = r#"{"error":{"message":"Your prompt was blocked by our safety system.","type":"invalid_request_error","param":"prompt","code":"moderation_blocked"}}"#;
    let flat = r#"{"code":"content_policy_violation","message":"blocked","data":null}"#;
    let account = r#"{"error":{"message":"This account of org-7 is blocked.","type":"t","param":null,"code":"account_blocked"}}"#;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let upstream = Upstream::start(|_| json(403, "")).await;
    let stand = upstream.behind(Setup::default(), "").start().await;
    for (status, body, passes) in [
        (403, filtered, true),
        (403, flat, true),
        (403, account, false),
        (403, "", false),
        (
            403,
            "<html>the content filter of a gateway, sk-ab</html>",
            false,
        ),
        // Of others that are about the account, nothing passes.
        (401, filtered, false),
        (402, filtered, false),
    ] {
        upstream.says(move |_| json(status, body));
        let answer = create.send(stand.gate).await.unwrap();
        if passes {
            assert_eq!(answer.status, status, "{body}: {answer:?}");
            assert_eq!(answer.body, body.as_bytes());
            assert_eq!(answer.header("x-should-retry"), None);
            assert!(stand.channel_errors().await.is_empty(), "{body}");
        } else {
            assert_eq!((answer.status, &*answer.code()), (502, "upstream_error"));
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{body}");
            let text = String::from_utf8(answer.body).unwrap();
            assert!(!text.contains("org-7") && !text.contains("sk-ab"), "{text}");
        }
        // Nothing was created, and nothing is charged.
        let in_flight = "tollgate_jobs_in_flight{key=\"demo\"}";
        assert_eq!(stand.metric(in_flight).await, 0.0, "{body}");
    }
    // Of a job, the account alone can be meant.
    let job = r#"{"id":"video_1","object":"video","status":"queued"}"#;
    upstream.says(move |heard| match heard.method.as_str() {
        "POST" => json(200, job),
        _ => json(403, filtered),
    });
    assert_eq!(create.send(stand.gate).await.unwrap().status, 200);
    let poll = Request::get("/v1/videos/video_1").key(KEY);
    assert_eq!(poll.send(stand.gate).await.unwrap().status, 502);
}
