//! Requests without a body: how clients and the proxies before them frame nothing, HEAD, and
//! what the gate asks of a channel.

#[path = "support/plays.rs"]
mod plays;
mod support;

use plays::{Play, Played, answer, job};
use support::client::{Body, Connection, Request};
use support::{KEY, Stand, form_type, plain_form};

fn of_job(method: &'static str, under: &str) -> Request {
    Request::new(method, &format!("/v1/videos/video_1{under}")).key(KEY)
}

fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_in_chunks_are_no_body() {
    let stand = Stand::start().await;
    let created = create().send(stand.gate).await.unwrap().json();
    let path = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let chunked = |method, path: &str, body: &[u8]| {
        let mut request = Request::new(method, path).key(KEY);
        request.body = Some(Body::Chunked(body.to_vec(), vec![]));
        request
    };
    for (method, path) in [("GET", "/v1/videos"), ("GET", &path), ("DELETE", &path)] {
        // The connection goes on: all of the body was read.
        let answer = connection.send(&chunked(method, path, b"")).await.unwrap();
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    }
    let expects = chunked("GET", "/v1/videos", b"").header("Expect", "100-continue");
    assert_eq!(connection.send(&expects).await.unwrap().status, 200);
    let bytes = chunked("GET", "/v1/videos", b"x");
    let refused = bytes.send(stand.gate).await.unwrap();
    assert_eq!(
        (refused.status, refused.code()),
        (400, "invalid_body".into())
    );
    let malformed = Request::get("/v1/videos").key(KEY);
    let malformed = malformed.header("Transfer-Encoding", "chunked");
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let bytes = [malformed.pieces().concat(), b"zz\r\n".to_vec()].concat();
    tokio::io::AsyncWriteExt::write_all(&mut connection.stream, &bytes)
        .await
        .unwrap();
    assert_eq!(connection.answer(false).await.unwrap().status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_may_stand_behind_several_spaces() {
    let stand = Stand::start().await;
    let list = Request::get("/v1/videos").header("Authorization", &format!("Bearer  {KEY}"));
    assert_eq!(list.send(stand.gate).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_answered_like_get_without_the_body() {
    let stand = Stand::start().await;
    let created = create().send(stand.gate).await.unwrap().json();
    let path = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    let ask = async |method, path: &str| {
        let mut connection = Connection::open(stand.gate).await.unwrap();
        let request = Request::new(method, path).key(KEY);
        let answer = connection.send(&request).await.unwrap();
        // Whatever stood behind the head would be in the way of the next answer.
        let next = Request::get("/v1/nothing").key(KEY);
        assert_eq!(connection.send(&next).await.unwrap().status, 404);
        answer
    };
    // A poll by HEAD sees the end of a job, and settles it.
    let ended = r#"tollgate_jobs_total{channel="mock",model="sora-2",status="completed"}"#;
    stand
        .until("the job has ended", async || {
            assert_eq!(ask("HEAD", &path).await.status, 200);
            stand.metric(ended).await == 1.0
        })
        .await;
    for path in [
        "/v1/videos",
        &path,
        &format!("{path}/content"),
        "/v1/videos/no",
    ] {
        let (got, head) = (ask("GET", path).await, ask("HEAD", path).await);
        assert_eq!(got.status, head.status, "{path}");
        for name in ["content-length", "content-type", "cache-control"] {
            assert_eq!(got.header(name), head.header(name), "{path} {name}");
        }
        assert_eq!(head.body, b"", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_of_a_video_leaves_the_video_at_the_channel() {
    let head = |length: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n";
        format!("{head}{length}\r\n").into_bytes()
    };
    // One channel knows HEAD, and one does not and begins to send all of the video.
    let knows = vec![
        job("completed"),
        Play::Answer(head("Content-Length: 9000000000\r\n")),
    ];
    let other = vec![
        job("completed"),
        Play::Answer(answer("405 No", "Allow: GET\r\n", "{}")),
    ];
    let begun = [head("Content-Length: 9000000000\r\n"), b"first".to_vec()].concat();
    let other = vec![other, vec![Play::Hold(begun)]];
    for (plays, methods) in [(vec![knows], &["HEAD"][..]), (other, &["HEAD", "GET"])] {
        let played = Played::start(plays).await;
        let answer = of_job("HEAD", "/content").send(played.stand.gate).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), Some("9000000000"));
        assert_eq!(answer.header("content-type"), Some("video/mp4"));
        for (at, method) in methods.iter().enumerate() {
            let asked = played.read(1 + at);
            assert!(asked.starts_with(&format!("{method} /v1/videos/video_1/content ")));
        }
        if methods.len() > 1 {
            played.has_read(4).await;
            assert_eq!(played.read(3), "gone");
        }
        assert_eq!(played.errors().await, [""; 0]);
    }

    // What GET would be told, HEAD is: a length that is not known, and errors.
    let plays = vec![vec![job("completed"), Play::Answer(head(""))]];
    let played = Played::start(plays).await;
    let answer = of_job("HEAD", "/content").send(played.stand.gate).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-length"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_asked_for_answers_as_they_are() {
    let body = r#"{"id":"video_1","object":"video","status":"completed"}"#;
    let gzip = "Content-Encoding: gzip\r\nContent-Type: application/json\r\n";
    let encoded = || Play::Answer(answer("200 OK", gzip, "\u{1f}not to be read"));
    let plain = Play::Answer(answer("200 OK", "Content-Encoding: identity\r\n", body));
    let played = Played::start(vec![vec![job("queued"), plain, encoded(), encoded()]]).await;
    let poll = of_job("GET", "").header("Accept-Encoding", "gzip, br");
    assert_eq!(poll.send(played.stand.gate).await.unwrap().status, 200);
    assert_eq!(played.errors().await, [""; 0]);
    for at in 0..2 {
        let asked = played.read(at).to_ascii_lowercase();
        let codings: Vec<_> = asked.matches("accept-encoding").collect();
        assert_eq!(codings.len(), 1, "{asked}");
        assert!(
            asked.contains("\r\naccept-encoding: identity\r\n"),
            "{asked}"
        );
    }

    // A client may be able to read what the gate cannot.
    let answer = poll.send(played.stand.gate).await.unwrap();
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let errors = async || {
        let mut errors = played.errors().await;
        errors.sort();
        errors
    };
    played
        .stand
        .until("it is counted", async || {
            errors().await == ["encoded", "no_job"]
        })
        .await;
    // A job may have been created: which one, the answer does not tell.
    let created = create().send(played.stand.gate).await.unwrap();
    assert_eq!(
        (created.status, created.code()),
        (502, "upstream_error".into())
    );
    assert_eq!(created.header("x-should-retry"), Some("false"));
}
