//! Clients that close their sending side once the request is out, as RFC 9112 (section 9.6)
//! lets them: each gets its answer. And clients that send more than their request.

#[path = "support/plays.rs"]
mod plays;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use plays::{Play, Played, answer, job};
use support::client::{Answer, Body, Connection, Request};
use support::{KEY, Stand, form_type, plain_form};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

/// Sends a request and closes the sending side.
async fn half_closed(to: SocketAddr, request: &Request) -> Connection {
    let mut connection = Connection::open(to).await.unwrap();
    let request = request.pieces().concat();
    connection.stream.write_all(&request).await.unwrap();
    connection.stream.shutdown().await.unwrap();
    connection
}

fn of_job(method: &'static str, under: &str) -> Request {
    Request::new(method, &format!("/v1/videos/video_1{under}")).key(KEY)
}

/// What a client that is half closed gets, when the channel answers that only after the gate
/// had the time to see it.
async fn answered(request: Request, late: &str) -> Answer {
    let told = Arc::new(Notify::new());
    let late = Play::AnswerWhen(told.clone(), answer("200 OK", "", late));
    let played = Played::start(vec![vec![job("completed"), late]]).await;
    let mut connection = half_closed(played.stand.gate, &request).await;
    played.has_read(2).await;
    told.notify_one();
    let answer = connection.answer(false).await.unwrap();
    assert_eq!(played.errors().await, [""; 0]);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_client_gets_its_answer_on_every_route() {
    let job = r#"{"id":"video_1","object":"video","status":"completed"}"#;
    let deleted = r#"{"id":"video_1","object":"video.deleted","deleted":true}"#;
    for (method, under, late) in [
        ("GET", "", job),
        ("GET", "/content", job),
        ("DELETE", "", deleted),
    ] {
        let answer = answered(of_job(method, under), late).await;
        let got = String::from_utf8(answer.body).unwrap();
        assert_eq!((answer.status, &*got), (200, late), "{method} {under}");
    }
    let list = Request::get("/v1/videos").key(KEY);
    assert_eq!(answered(list, job).await.status, 200);

    let stand = Stand::start().await;
    let form = |chunked| match chunked {
        true => Body::Chunked(plain_form(), vec![40]),
        false => Body::Length(plain_form(), vec![]),
    };
    for chunked in [false, true] {
        let create = Request::create(&form_type(), form(chunked));
        let mut connection = half_closed(stand.gate, &create).await;
        assert_eq!(connection.answer(false).await.unwrap().status, 200);
    }
}

/// A download goes on for a client that closes its side in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_survives_a_half_close_in_its_middle() {
    let stand = Stand::start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(stand.gate).await.unwrap().json();
    let path = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    stand
        .until("the video is there", async || {
            let poll = Request::get(&path).key(KEY).send(stand.gate).await.unwrap();
            poll.json()["status"] == "completed"
        })
        .await;
    let content = Request::get(&format!("{path}/content")).key(KEY);
    let whole = content.send(stand.gate).await.unwrap();
    let mut connection = half_closed(stand.gate, &content).await;
    let again = connection.answer(false).await.unwrap();
    assert_eq!((again.status, &again.body), (200, &whole.body));
}

/// One that vanishes without a trace looks the same, and is waited for as long as an answer
/// may take, but not longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_client_is_waited_for_within_bounds() {
    let plays = vec![job("completed"), Play::Hold(vec![])];
    let line = "    answer_timeout: 1s\n";
    let played = Played::start_with(line, vec![plays]).await;
    let mut connection = half_closed(played.stand.gate, &of_job("GET", "")).await;
    let answer = connection.answer(false).await.unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (504, "upstream_timeout".into())
    );
    played.has_read(3).await;
    assert_eq!(played.read(2), "gone");
}

/// A request that is sent before the answer to the one before it may be left unanswered, when
/// the connection closes (RFC 9112, section 9.3.2); the one before may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipelined_request_does_not_cost_the_first_one_its_answer() {
    for under in ["", "/content"] {
        let told = Arc::new(Notify::new());
        let late = Play::AnswerWhen(told.clone(), answer("200 OK", "", "{}"));
        let played = Played::start(vec![vec![job("completed"), late]]).await;
        let mut connection = Connection::open(played.stand.gate).await.unwrap();
        let request = of_job("GET", under).pieces().concat();
        connection.stream.write_all(&request).await.unwrap();
        played.has_read(2).await;
        connection.stream.write_all(&request).await.unwrap();
        told.notify_one();
        let answer = connection.answer(false).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"{}"[..]), "{under}");
    }
}
