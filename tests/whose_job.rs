//! Which channel and which key a job belongs to, where channels fail or name jobs badly.

mod support;

use support::client::{Answer, Body, Request};
use support::{KEY, STUDIO, Setup, Stand, form, form_type, plain_form};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

async fn create(stand: &Stand, key: &str, body: Vec<u8>) -> Answer {
    let mut create = Request::create(&form_type(), Body::Length(body, vec![]));
    create.headers.retain(|(name, _)| name != "Authorization");
    create.key(key).send(stand.gate).await.unwrap()
}

/// A gate before a channel that creates every job under that name.
async fn naming(id: &str) -> Stand {
    let body = format!("{{\"id\":\"{id}\",\"status\":\"queued\"}}");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut chunk = vec![0; 65536];
                while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                    if chunk[..n].ends_with(b"--\r\n") || chunk.starts_with(b"GET") {
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    let setup = Setup::default().replacing("url: http://", &format!("url: http://{channel} # "));
    setup.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_not_handed_out_again() {
    let stand = naming("video_1").await;
    assert_eq!(create(&stand, KEY, plain_form()).await.status, 200);
    let second = create(&stand, STUDIO, plain_form()).await;
    assert_eq!(
        (second.status, second.code()),
        (502, "upstream_error".into())
    );
    assert_eq!(second.header("x-should-retry"), Some("false"));
    let poll = async |key| {
        Request::get("/v1/videos/video_1")
            .key(key)
            .send(stand.gate)
            .await
    };
    assert_eq!(poll(KEY).await.unwrap().status, 200);
    assert_eq!(poll(STUDIO).await.unwrap().status, 404);
    assert_eq!(
        stand
            .metric("tollgate_unresolved_reservations{channel=\"mock\"}")
            .await,
        1.0
    );
}

/// The gate's own paths are built anew: what a channel calls its job leads to no other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_stands_in_no_path_is_known_by_another() {
    let stand = naming("../models").await;
    let answer = create(&stand, KEY, plain_form()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("video_") && id.len() == 38, "{id}");
    for (path, status) in [(&*id, 200), ("../models", 404), ("..%2Fmodels", 404)] {
        let poll = Request::get(&format!("/v1/videos/{path}")).key(KEY);
        assert_eq!(
            poll.send(stand.gate).await.unwrap().status,
            status,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_is_unknown_on_the_channel_that_had_it() {
    // Bound, so that nobody else gets the port, but not listening.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let dead = format!(
        "channels:\n  dead:\n    url: http://{}\n    auth: none\n    models: [sora-2]\n",
        closed.local_addr().unwrap()
    );
    let stand = Setup::default()
        .replacing("channels:\n", &dead)
        .start()
        .await;
    // Channels are tried in turn, so one of two goes to the dead one first.
    for _ in 0..2 {
        let body = form(&[("model", b"sora-2"), ("prompt", b"a cat [mock:drop-after]")]);
        assert_eq!(create(&stand, KEY, body).await.status, 502);
    }
    let unresolved = |channel| format!("tollgate_unresolved_reservations{{channel=\"{channel}\"}}");
    assert_eq!(stand.metric(&unresolved("mock")).await, 2.0);
    assert_eq!(stand.metric(&unresolved("dead")).await, 0.0);
}
