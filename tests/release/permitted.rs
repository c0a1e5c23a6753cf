//! What is permitted arrives once, byte for byte, and is reserved once; and its end is held
//! back until the ledger has decided.

use super::bodies::{FILE, closer, file, honest};
use super::documents::document;
use super::ledger::Watched;
use super::wire::{FRAMINGS, Framing, Sending, crumbs, every, id, record, sha256};
use std::time::{Duration, Instant};

use crate::support::client::{Body, Request};
use crate::support::{KEY, Setup, Stand, form_type, until};

/// Bodies with nothing wrong, with their Content-Types.
fn bodies() -> Vec<(&'static str, String, Vec<u8>)> {
    let (first, last) = (file(FILE), file(FILE));
    let small = [honest(""), file(300), closer()].concat();
    let json = || "application/json".to_owned();
    vec![
        ("plain form", form_type(), [honest(""), closer()].concat()),
        ("small file", form_type(), small),
        (
            "file first",
            form_type(),
            [first, honest(""), closer()].concat(),
        ),
        (
            "file last",
            form_type(),
            [honest(""), last, closer()].concat(),
        ),
        (
            "document",
            json(),
            br#"{"prompt":"x","model":"sora-2"}"#.to_vec(),
        ),
        ("document with an image", json(), document(FILE)),
    ]
}

fn head(content_type: &str, id: &str) -> Request {
    Request::new("POST", "/v1/videos")
        .key(KEY)
        .header("Content-Type", content_type)
        .header("X-Request-Id", id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permitted_bodies_arrive_over_http1() {
    arrive(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permitted_bodies_arrive_over_http2() {
    arrive(Setup::default().http2_upstream()).await;
}

async fn arrive(mut setup: Setup) {
    let ledger = Watched::new();
    setup.ledger = ledger.clone();
    let stand = setup.start().await;
    let mut reserved = 0;
    for (name, content_type, body) in bodies() {
        for framing in FRAMINGS {
            let near_end = (body.len().saturating_sub(70).max(1)..body.len()).step_by(every(10));
            let mut ways = vec![vec![], crumbs(framing, 0, body.len()), vec![body.len() / 2]];
            ways.extend(near_end.map(|cut| vec![cut]));
            for cuts in ways {
                let what = format!("{name} as {framing:?} in {} pieces", cuts.len() + 1);
                let id = id();
                let head = head(&content_type, &id);
                let sending = Sending::begin(&stand, &head, framing, body.len()).await;
                let mut sending = sending.unwrap();
                let mut from = 0;
                for cut in &cuts {
                    sending.push(&body[from..*cut]).await;
                    from = *cut;
                    if cuts.len() == 1 {
                        sending.begun(&stand).await;
                    }
                }
                sending.finish(&stand, &body[from..]).await;
                let answer = sending.answer().await;
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                let record = record(&stand, &id).await.expect(&what);
                assert!(record.complete, "{what}");
                assert_eq!(record.body_sha256, sha256(&body), "{what}");
                reserved += 1;
                assert_eq!(
                    (ledger.asked(), ledger.reserved()),
                    (reserved, reserved),
                    "{what}"
                );
                assert_eq!(stand.mock.stats().creates_complete, 1, "{what}");
                assert_eq!(stand.mock.stats().creates_broken, 0, "{what}");
                stand.mock.reset();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_held_back_over_http1() {
    held_back(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_held_back_over_http2() {
    held_back(Setup::default().http2_upstream()).await;
}

async fn held_back(mut setup: Setup) {
    let ledger = Watched::waiting();
    setup.ledger = ledger.clone();
    let stand = setup.start().await;
    let mut asked = 0;
    for (name, content_type, body) in bodies() {
        for framing in FRAMINGS {
            let what = format!("{name} as {framing:?}");
            let id = id();
            let head = head(&content_type, &id);
            let sending = Sending::begin(&stand, &head, framing, body.len()).await;
            let mut sending = sending.unwrap();
            let apart = body.len() > FILE || matches!(framing, Framing::Http2 { late: true, .. });
            let split = body.len() / 2;
            sending.push(&body[..split]).await;
            if apart {
                sending.begun(&stand).await;
            }
            sending.finish(&stand, &body[split..]).await;
            asked += 1;
            until("the ledger is asked", async || ledger.asked() == asked).await;
            settle(&stand).await;
            let stats = stand.mock.stats();
            assert_eq!(stats.creates_complete, 0, "{what}");
            assert_eq!(stats.creates_broken, 0, "{what}");
            if apart {
                assert_eq!(stats.creates_in_flight, 1, "{what}");
            }
            assert_eq!(ledger.reserved(), asked - 1, "{what}");

            ledger.let_one_pass();
            let answer = sending.answer().await.unwrap();
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            let record = record(&stand, &id).await.expect(&what);
            assert!(record.complete, "{what}");
            assert_eq!(record.body_sha256, sha256(&body), "{what}");
            stand.mock.reset();
        }
    }
}

/// Another gate may have given up a reservation that is as old as `jobs.unknown_grace`: a create that was
/// held up for so long does not reach the channel, and nothing is charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_not_sent_for_a_reservation_that_is_too_old() {
    const GRACE: Duration = Duration::from_millis(100);
    for body in [
        [honest(""), closer()].concat(),
        [honest(""), file(FILE), closer()].concat(),
    ] {
        let ledger = Watched::waiting();
        let mut setup = Setup::default().with("jobs: { unknown_grace: 100ms }\n");
        setup.ledger = ledger.clone();
        let stand = setup.start().await;
        let create = Request::create(&form_type(), Body::Length(body, vec![]));
        let gate = stand.gate;
        let answer = tokio::spawn(async move { create.send(gate).await });
        until("the ledger is asked", async || ledger.asked() == 1).await;
        let asked = Instant::now();
        until("its time is over", async || asked.elapsed() > GRACE).await;
        ledger.let_one_pass();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(ledger.reserved(), 1);
        assert_eq!(stand.mock.stats().creates_complete, 0);
        let costs = stand.metrics().await;
        let event = |name: &str| {
            let of = costs.iter().filter(|(sample, _)| {
                sample.starts_with("tollgate_list_cost_usd_total{") && sample.contains(name)
            });
            of.map(|(_, value)| value).sum::<f64>()
        };
        let (reserved, voided) = (event("event=\"reserved\""), event("event=\"voided\""));
        assert!(reserved > 0.0 && reserved == voided, "{reserved} {voided}");
    }
}

/// Gives what is on its way the time of some exchanges, through the gate and at the channel:
/// bytes that had been let go would have arrived before these have been answered.
async fn settle(stand: &Stand) {
    for _ in 0..10 {
        let list = Request::get("/v1/videos?limit=1").key(KEY);
        assert_eq!(list.send(stand.gate).await.unwrap().status, 200);
        let stats = Request::get("/mock/stats").send(stand.mock.addr()).await;
        assert_eq!(stats.unwrap().status, 200);
    }
}
