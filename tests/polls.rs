//! Creates and polls before a channel that the test plays itself, connection by connection.

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use support::client::{Answer, Body, Connection, Request};
use support::{KEY, Setup, Stand, form_type, plain_form};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What the channel does with one request.
enum Play {
    /// Answers that nothing has changed.
    Unchanged,
    /// Answers with this body.
    Say(String),
    /// Closes the connection.
    HangUp,
    /// Says nothing until the gate hangs up.
    Stall,
}

/// A channel whose connections play these, one after the other, and what each of its first
/// reads of a request brought.
async fn channel(connections: Vec<Vec<Play>>) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reads = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let read = reads.clone();
    tokio::spawn(async move {
        for plays in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for play in plays {
                let mut chunk = vec![0; 64 * 1024];
                let length = stream.read(&mut chunk).await.unwrap();
                read.lock().unwrap().push(chunk[..length].to_vec());
                let answer = match play {
                    Play::Say(body) => {
                        let kind = "Content-Type: application/json";
                        let length = body.len();
                        format!(
                            "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}"
                        )
                    }
                    Play::Unchanged => {
                        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n"
                            .into()
                    }
                    Play::HangUp => break,
                    Play::Stall => {
                        let _ = stream.read(&mut chunk).await;
                        read.lock().unwrap().push(b"gone".to_vec());
                        break;
                    }
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        std::future::pending::<()>().await;
    });
    (address, reads)
}

fn job(status: &str) -> Play {
    Play::Say(format!(
        "{{\"id\":\"video_1\",\"object\":\"video\",\"status\":\"{status}\",\
         \"model\":\"sora-2\",\"seconds\":\"4\",\"size\":\"1280x720\"}}"
    ))
}

async fn before(channel: SocketAddr) -> Stand {
    // What stands behind the sharp sign is the mock channel's address, unused here.
    let url = format!("url: http://{channel} # ");
    Setup::default()
        .replacing("url: http://", &url)
        .start()
        .await
}

async fn create(stand: &Stand) {
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(stand.gate).await.unwrap();
    assert_eq!(created.status, 200, "{created:?}");
}

async fn poll(stand: &Stand) -> Answer {
    let poll = Request::get("/v1/videos/video_1").key(KEY);
    poll.send(stand.gate).await.unwrap()
}

async fn errors(stand: &Stand) -> Vec<String> {
    let metrics = stand.metrics().await.into_iter();
    let errors = metrics.filter(|(name, value)| name.contains("channel_errors") && *value > 0.0);
    errors.map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_in_the_pool_is_no_failure() {
    let (address, _) = channel(vec![
        vec![job("queued"), Play::HangUp],
        vec![job("in_progress")],
    ])
    .await;
    let stand = before(address).await;
    create(&stand).await;
    let polled = poll(&stand).await;
    assert_eq!(polled.status, 200, "{polled:?}");
    assert_eq!(polled.json()["status"], "in_progress");
    assert_eq!(errors(&stand).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_hangs_up_on_a_new_connection_is_answered_for() {
    let (address, _) = channel(vec![vec![job("queued"), Play::HangUp], vec![Play::HangUp]]).await;
    let stand = before(address).await;
    create(&stand).await;
    let polled = poll(&stand).await;
    assert_eq!((polled.status, &*polled.code()), (502, "upstream_error"));
    let [error] = &errors(&stand).await[..] else {
        panic!("one error is counted");
    };
    assert!(error.contains("kind=\"broken\""), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_create_leaves_in_one_write() {
    let (address, reads) = channel(vec![vec![job("queued")]]).await;
    let stand = before(address).await;
    create(&stand).await;
    let reads = reads.lock().unwrap();
    assert!(reads[0].starts_with(b"POST /v1/videos HTTP/1.1\r\n"));
    assert!(reads[0].ends_with(&plain_form()), "head and body together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_again_is_passed_on_and_an_end_settles_once() {
    let statuses = ["queued", "queued", "completed", "completed", "completed"];
    let plays = ["queued"].iter().chain(&statuses).map(|status| job(status));
    let (address, _) = channel(vec![plays.collect()]).await;
    let stand = before(address).await;
    create(&stand).await;
    let posted = async || {
        let metrics = stand.metrics().await.into_iter();
        let posted = metrics.filter(|(name, _)| {
            name.starts_with("tollgate_video_seconds_total") && name.contains("event=\"posted\"")
        });
        posted.map(|(_, value)| value).sum::<f64>()
    };
    // On one connection an answer means that what the one before it taught is learned.
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let poll = Request::get("/v1/videos/video_1").key(KEY);
    for (status, before) in statuses.into_iter().zip([0.0, 0.0, 0.0, 4.0, 4.0]) {
        let polled = connection.send(&poll).await.unwrap();
        assert_eq!(polled.json()["status"], status);
        // Of a completed one itself may be learned by now.
        let posted = posted().await;
        assert!(
            posted == before || (status == "completed" && posted == 4.0),
            "{posted}"
        );
    }
    assert_eq!(errors(&stand).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_may_ask_whether_anything_has_changed() {
    let (address, reads) = channel(vec![
        vec![job("queued"), Play::Unchanged],
        vec![job("in_progress")],
    ])
    .await;
    let stand = before(address).await;
    create(&stand).await;
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let asks = Request::get("/v1/videos/video_1?a=b").key(KEY);
    let asks = asks.header("If-None-Match", "\"a\"");
    connection
        .stream
        .write_all(&asks.pieces().concat())
        .await
        .unwrap();
    let unchanged = connection.answer(true).await.unwrap();
    assert_eq!(unchanged.status, 304, "{unchanged:?}");
    assert_eq!(unchanged.header("etag"), Some("\"a\""));
    assert_eq!(unchanged.header("content-length"), None);
    let asked = String::from_utf8(reads.lock().unwrap()[1].clone()).unwrap();
    assert!(
        asked.starts_with("GET /v1/videos/video_1?a=b HTTP/1.1\r\n"),
        "{asked}"
    );
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("if-none-match: \"a\"\r\n"), "{asked}");
    assert!(!asked.contains("content-length"), "{asked}");
    // The connection goes on.
    let polled = connection
        .send(&Request::get("/v1/videos/video_1").key(KEY))
        .await;
    assert_eq!(polled.unwrap().json()["status"], "in_progress");
    assert_eq!(errors(&stand).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_gone_keeps_no_channel_busy() {
    let (address, reads) = channel(vec![vec![job("queued"), Play::Stall]]).await;
    let stand = before(address).await;
    create(&stand).await;
    let asks = Request::get("/v1/videos/video_1")
        .key(KEY)
        .pieces()
        .concat();
    let mut connection = Connection::open(stand.gate).await.unwrap();
    connection.stream.write_all(&asks).await.unwrap();
    let arrived = async |count| reads.lock().unwrap().len() == count;
    stand
        .until("the poll arrives", async || arrived(2).await)
        .await;
    drop(connection);
    stand
        .until("the gate hangs up", async || arrived(3).await)
        .await;
    assert_eq!(errors(&stand).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_beyond_all_bounds_is_none() {
    let endless = Play::Say(format!("{{\"id\":\"{}\"}}", "x".repeat(2 << 20)));
    let (address, _) = channel(vec![vec![job("queued"), endless]]).await;
    let stand = before(address).await;
    create(&stand).await;
    let polled = poll(&stand).await;
    assert_eq!((polled.status, &*polled.code()), (502, "upstream_error"));
    let [error] = &errors(&stand).await[..] else {
        panic!("one error is counted");
    };
    assert!(error.contains("kind=\"no_job\""), "{error}");
}
