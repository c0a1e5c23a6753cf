//! A client that vanishes before its body is whole has created nothing, wherever it stops.

use super::bodies::{FILE, closer, file, honest};
use super::ledger::Watched;
use super::wire::{FRAMINGS, Framing, Sending, every, id, record};
use crate::support::client::{Body, Connection, Request};
use crate::support::{KEY, Setup, Stand, form_type, plain_form, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tollgate::mock::Outcome;

/// How often a client was gone before its create could be answered.
const GONE: &str = "tollgate_requests_total{code=\"499\",key=\"demo\",route=\"create\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_vanish_over_http1() {
    vanish(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_vanish_over_http2() {
    vanish(Setup::default().http2_upstream()).await;
}

async fn vanish(mut setup: Setup) {
    let ledger = Watched::new();
    setup.ledger = ledger.clone();
    let stand = setup.start().await;
    let small = [honest(""), file(100), closer()].concat();
    let large = [file(FILE), honest(""), closer()].concat();
    for framing in FRAMINGS {
        for body in [&small, &large] {
            // Up to the whole of it, where the end is a sign of its own.
            let own_end = !matches!(framing, Framing::Length);
            let last = body.len() - usize::from(!own_end);
            let first = last.saturating_sub(small.len()).max(1);
            for at in (first..=last).rev().step_by(every(29)) {
                at_offset(&stand, framing, body, at).await;
            }
        }
        // Half of the sign itself.
        if framing == Framing::Chunked {
            for sign in ["0", "0\r", "0\r\n", "0\r\n\r"] {
                let id = id();
                let mut sending = begin(&stand, framing, &id, small.len()).await;
                sending.push(&small).await;
                sending.begun(&stand).await;
                sending.write(sign.as_bytes()).await;
                drop(sending);
                assert_broken(&stand, &id, sign).await;
            }
        }
        stand.mock.reset();
    }
    assert_eq!(ledger.asked(), 0);
}

async fn begin(stand: &Stand, framing: Framing, id: &str, length: usize) -> Sending {
    let request = Request::new("POST", "/v1/videos")
        .key(KEY)
        .header("Content-Type", &form_type())
        .header("X-Request-Id", id);
    Sending::begin(stand, &request, framing, length)
        .await
        .unwrap()
}

async fn at_offset(stand: &Stand, framing: Framing, body: &[u8], at: usize) {
    let id = id();
    let mut sending = begin(stand, framing, &id, body.len()).await;
    sending.push(&body[..at]).await;
    sending.begun(stand).await;
    let kept = if at.is_multiple_of(2) {
        // On HTTP/2 the stream alone; its connection lives on.
        sending.reset().await;
        Some(sending)
    } else {
        drop(sending);
        None
    };
    let what = format!("{framing:?} at {at} of {}", body.len());
    assert_broken(stand, &id, &what).await;
    drop(kept);
}

async fn assert_broken(stand: &Stand, own: &str, what: &str) {
    let record = record(stand, own).await.expect(what);
    assert_eq!(record.outcome, Outcome::Broken, "{what}");
    assert_eq!(stand.mock.stats().creates_complete, 0, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_behind_its_head_reaches_no_channel() {
    let stand = Stand::start().await;
    // What was written to a socket arrives before its end does.
    let framings = [Framing::Length, Framing::Chunked];
    for framing in framings {
        drop(begin(&stand, framing, &id(), 500).await);
    }
    until("the gate has noticed", async || {
        stand.metric(GONE).await == framings.len() as f64
    })
    .await;
    assert_eq!(stand.mock.stats().requests_total, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_when_it_was_told_to_go_on_reaches_no_channel() {
    let stand = Stand::start().await;
    let body = Body::Length(plain_form(), vec![]);
    let create = Request::create(&form_type(), body).header("Expect", "100-continue");
    let mut connection = Connection::open(stand.gate).await.unwrap();
    let stream = &mut connection.stream;
    stream.write_all(&create.pieces()[0]).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    drop(connection);
    until("the gate has noticed", async || {
        stand.metric(GONE).await == 1.0
    })
    .await;
    assert_eq!(stand.mock.stats().requests_total, 0);
}
