//! Tests that a create counts as complete exactly when its message was received whole.

use sha2::{Digest, Sha256};

use super::*;
use crate::mock::body::hex;

pub(super) fn ask() -> Ask {
    Ask::form(&[("prompt", "a cat"), ("seconds", "4")])
}

/// Returns the head of a chunked create, and its body in chunks.
fn chunked(body: &[u8], chunk: usize) -> (String, Vec<u8>) {
    let Ask { line, headers, .. } = ask();
    let head = format!("{line} HTTP/1.1\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
    let mut chunks = Vec::new();
    for chunk in body.chunks(chunk) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    (head, chunks)
}

#[tokio::test]
async fn a_message_cut_anywhere_is_broken() {
    let body = ask().body;
    let declared = ask().bytes();
    let head = declared.len() - body.len();
    let (chunked_head, chunks) = chunked(&body, 16);
    let in_chunks = [chunked_head.as_bytes(), &chunks].concat();
    for (message, head) in [(declared, head), (in_chunks, chunked_head.len())] {
        for half_close in [true, false] {
            let mock = start(queued()).await;
            for cut in head..message.len() {
                let mut socket = connect(mock.addr()).await;
                socket.write_all(&message[..cut]).await.unwrap();
                if half_close {
                    socket.shutdown().await.unwrap();
                    assert!(read(&mut socket).await.is_err(), "answered at {cut}");
                } else {
                    drop(socket);
                }
            }
            let cuts = (message.len() - head) as u64;
            until(&mock, |stats| stats.creates_broken == cuts).await;
            let stats = mock.stats();
            assert_eq!((stats.creates_complete, stats.creates_in_flight), (0, 0));
            assert!(
                mock.requests()
                    .iter()
                    .all(|request| !request.complete && request.status.is_none())
            );
            let mut socket = connect(mock.addr()).await;
            socket.write_all(&message).await.unwrap();
            socket.shutdown().await.unwrap();
            assert_eq!(read(&mut socket).await.unwrap().status, 200);
            assert_eq!((mock.stats().creates_complete, mock.jobs().len()), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_whole_message_counts_before_and_without_its_answer() {
    let mock = start(queued()).await;
    let mut socket = connect(mock.addr()).await;
    socket
        .write_all(&ask().fault("slow=3600000").bytes())
        .await
        .unwrap();
    until(&mock, |stats| stats.creates_accepted == 1).await;
    assert_eq!(mock.stats().creates_complete, 1);
    assert_eq!(mock.requests()[0].status, None);
    drop(socket);

    let message = ask().bytes();
    let mut socket = connect(mock.addr()).await;
    socket.write_all(&message).await.unwrap();
    drop(socket);
    until(&mock, |stats| stats.creates_accepted == 2).await;
}

#[tokio::test]
async fn a_create_in_flight_is_seen() {
    let mock = start(queued()).await;
    let message = ask().bytes();
    let mut socket = connect(mock.addr()).await;
    let (start, last) = message.split_at(message.len() - 1);
    socket.write_all(start).await.unwrap();
    until(&mock, |stats| stats.creates_in_flight == 1).await;
    mock.reset();
    assert_eq!(
        (
            mock.stats().creates_in_flight,
            mock.stats().creates_complete
        ),
        (1, 0)
    );
    socket.write_all(last).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap().status, 200);
    assert_eq!(
        (
            mock.stats().creates_in_flight,
            mock.stats().creates_complete
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn the_hash_is_that_of_the_body() {
    let mock = start(queued()).await;
    let file: Vec<u8> = (0..1_000_000u32)
        .flat_map(|n| (n % 65_521).to_le_bytes())
        .collect();
    let ask = Ask::form_with_file("input_reference", "application/octet-stream", &file);
    assert_eq!(ask.to(&mock).await.status, 200);
    let (head, chunks) = chunked(&ask.body, 100_000);
    let mut socket = connect(mock.addr()).await;
    socket
        .write_all(&[head.as_bytes(), &chunks].concat())
        .await
        .unwrap();
    assert_eq!(read(&mut socket).await.unwrap().status, 200);
    let expected = hex(&Sha256::digest(&ask.body));
    let requests = mock.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(
            (request.body_bytes, &request.body_sha256),
            (ask.body.len() as u64, &expected)
        );
    }
}

#[tokio::test]
async fn a_form_that_never_begins_is_refused_and_received() {
    let mock = start(queued()).await;
    let ask = ask().body(&vec![b'x'; 12_000_000]);
    let got = ask.to(&mock).await;
    assert_eq!(got.error().0, 400);
    let request = &mock.requests()[0];
    assert_eq!((request.complete, request.body_bytes), (true, 12_000_000));
}

#[tokio::test]
async fn an_early_answer_comes_before_the_body_which_is_still_counted() {
    let mock = start(queued()).await;
    let (head, chunks) = chunked(&ask().body, 16);
    let head = head.replace("Host:", "X-Mock-Fault: early=429\r\nHost:");
    for whole in [true, false] {
        mock.reset();
        let mut socket = connect(mock.addr()).await;
        socket.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap().status, 429);
        assert_eq!(mock.stats().creates_in_flight, 1);
        if whole {
            socket.write_all(&chunks).await.unwrap();
            until(&mock, |stats| stats.creates_complete == 1).await;
        } else {
            socket.write_all(&chunks[..chunks.len() - 1]).await.unwrap();
            drop(socket);
            until(&mock, |stats| stats.creates_broken == 1).await;
        }
        assert_eq!(mock.stats().creates_in_flight, 0);
        assert_eq!(
            (mock.requests()[0].status, mock.jobs().len()),
            (Some(429), 0)
        );
    }
}

#[tokio::test]
async fn who_expects_100_continue_gets_it_or_the_answer_alone() {
    let mock = start(queued()).await;
    let message = ask().header("Expect: 100-continue").bytes();
    let head = message.len() - ask().body.len();
    let mut socket = connect(mock.addr()).await;
    socket.write_all(&message[..head]).await.unwrap();
    let mut go_on = [0; 25];
    socket.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(&message[head..]).await.unwrap();
    assert_eq!(read(&mut socket).await.unwrap().status, 200);

    let early = ask()
        .header("Expect: 100-continue")
        .fault("early=503")
        .bytes();
    let mut wrong = ask().header("Expect: 100-continue");
    wrong.headers = wrong.headers.replace("mock-channel-key", "another-key");
    for (message, status) in [(early, 503), (wrong.bytes(), 401)] {
        let mut socket = connect(mock.addr()).await;
        let head = message.len() - ask().body.len();
        socket.write_all(&message[..head]).await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap().status, status);
    }
    assert_eq!(mock.stats().creates_dropped, 2);
}

#[tokio::test]
async fn stopping_closes_everything() {
    let mock = start(queued()).await;
    let address = mock.addr();
    let mut socket = connect(address).await;
    socket
        .write_all(&Ask::new("GET /v1/videos").bytes())
        .await
        .unwrap();
    assert_eq!(read(&mut socket).await.unwrap().status, 200);
    mock.stop().await;
    assert!(read(&mut socket).await.is_err());
    assert!(TcpStream::connect(address).await.is_err());
}
