//! A create that comes while the channel's list is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::engines::{Engine, on};
use crate::fleet::reserve;
use crate::gates::{OneGate, channel};
use crate::support::client::Request;
use crate::support::{KEY, STUDIO, until};
use crate::{LISTS, asked, create, created_behind, open, send, soon};
use serde_json::json;
use tollgate::clock::now;
use tollgate::ledger::{ReservationId, State};

/// How many creates and lists have come.
#[derive(Default)]
struct Events {
    creates: watch::Sender<u32>,
    lists: watch::Sender<u32>,
    /// Set to 1 once the second create may be answered.
    answer: watch::Sender<u32>,
}

async fn reaches(count: &watch::Sender<u32>, least: u32) {
    let mut count = count.subscribe();
    count.wait_for(|count| *count >= least).await.unwrap();
}

/// The first create gets no answer. The second one's job is on the list before it is
/// answered.
async fn serve(mut stream: TcpStream, events: Arc<Events>) {
    let mut request = Vec::new();
    let mut chunk = vec![0; 65536];
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        request.extend_from_slice(&chunk[..n]);
        let list = request.starts_with(b"GET");
        if !request.ends_with(if list { b"\r\n\r\n" } else { b"--\r\n" }) {
            continue;
        }
        request.clear();
        let job = json!({
            "id": "video_1", "object": "video", "model": "sora-2", "status": "in_progress",
            "prompt": "a cat", "seconds": "4", "size": "1280x720",
            "created_at": now().seconds(),
        });
        let body = if list {
            events.lists.send_modify(|lists| *lists += 1);
            reaches(&events.creates, 2).await;
            json!({"object": "list", "data": [job], "has_more": false})
        } else {
            events.creates.send_modify(|creates| *creates += 1);
            if *events.creates.borrow() == 1 {
                return;
            }
            reaches(&events.answer, 1).await;
            job
        };
        let (body, length) = (body.to_string(), body.to_string().len());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Whose a job is cannot be known from what was open before the list was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_comes_while_the_list_is_read_is_nobody_elses() {
    on(Engine::all(), async |engine| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let channel = listener.local_addr().unwrap();
        let events = Arc::new(Events::default());
        let of_channel = events.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, of_channel.clone()));
            }
        });
        let mut setup = soon("  poll_after: 1h\n  unknown_grace: 4s\n")
            .replacing("url: http://", &format!("url: http://{channel} # "));
        setup.ledger = engine.open();
        let stand = setup.start().await;
        assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 502);
        reaches(&events.lists, 1).await;
        let ledger = stand.handle.ledger();
        let second = send(stand.gate, STUDIO, create("a cat"));
        let list_is_read = async {
            stand
                .until("the list was read and judged", async || {
                    let judged = open(&**ledger, State::Unknown).await == 0;
                    judged || *events.lists.borrow() >= 2
                })
                .await;
            events.answer.send_replace(1);
        };
        let (answer, ()) = tokio::join!(second, list_is_read);
        assert_eq!(answer.status, 200, "{}: {answer:?}", engine.name());
        stand
            .until("the first one is voided", async || {
                open(&**ledger, State::Unknown).await == 0
            })
            .await;
        let job = ledger.job("video_1").await.unwrap().unwrap();
        assert_eq!(&*job.charge.payer.key, "studio-a", "{}", engine.name());
        let poll = Request::get("/v1/videos/video_1/content");
        assert_eq!(send(stand.gate, KEY, poll).await.status, 404);
    })
    .await;
}

/// Only so many reservations are looked at in a round: a job that is younger than they are
/// may be that of one that is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_request_that_was_not_looked_at_is_nobody_elses() {
    let setup = soon("  poll_after: 1h\n  unknown_grace: 200ms\n");
    let mock = channel(Duration::from_secs(3600)).await;
    let ledger = Engine::Memory.open();
    reserve(&setup, &mock, &*ledger, (1, "demo", "a cat")).await;
    ledger.mark_unknown(ReservationId(1), now()).await.unwrap();
    for number in 2..=2000 {
        reserve(&setup, &mock, &*ledger, (number, "demo", "a dog")).await;
    }
    // So that they lie before what follows.
    let last = now();
    until("a millisecond has passed", async || now() > last).await;
    reserve(&setup, &mock, &*ledger, (2001, "studio-a", "a cat")).await;
    let id = created_behind(&mock, "a cat", "4").await;
    let gate = OneGate::start(&setup, &mock, ledger.clone());
    let before = asked(&mock, LISTS);
    until("the list was read some times", async || {
        asked(&mock, LISTS) >= before + 8
    })
    .await;
    assert_eq!(ledger.job(&id).await.unwrap(), None);
    assert_eq!(open(&*ledger, State::Unknown).await, 1);
    gate.stop().await;
}
