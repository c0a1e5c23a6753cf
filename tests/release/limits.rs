//! Refusals that come from outside the body: limits, sizes, deadlines, and a ledger that
//! cannot be used.

use std::sync::atomic::Ordering;

use super::bodies::{FILE, closer, file, honest};
use super::ledger::Watched;
use super::wire::{FRAMINGS, Framing, Sending, id, record};
use crate::support::client::{Answer, Body, Request};
use crate::support::{KEY, Setup, Stand, form_type, plain_form, until};
use tollgate::mock::Outcome;

const GROUP: &str = "    group: sora2\n  - name: studio-a";

fn limited(limits: &str) -> Setup {
    let lines = format!("    group: sora2\n    limits: {limits}\n  - name: studio-a");
    Setup::default().replacing(GROUP, &lines)
}

fn large() -> Vec<u8> {
    [file(FILE), honest(""), closer()].concat()
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

async fn send(stand: &Stand, framing: Framing, body: &[u8]) -> (Answer, String) {
    let id = id();
    let mut sending = begin(stand, framing, &id, body.len()).await;
    let half = body.len() / 2;
    sending.push(&body[..half]).await;
    sending.begun(stand).await;
    sending.finish(stand, &body[half..]).await;
    (sending.answer().await.unwrap(), id)
}

/// The request came to an end at the channel that is none.
async fn assert_broken(stand: &Stand, id: &str, what: &str) {
    let record = record(stand, id).await;
    let record = record.unwrap_or_else(|| panic!("{what}: the channel heard nothing"));
    assert_eq!(record.outcome, Outcome::Broken, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget() {
    for setup in [
        limited("{ list_cost_usd: 0.5/day }"),
        limited("{ list_cost_usd: 0.5/day }").http2_upstream(),
    ] {
        let stand = setup.start().await;
        let (answer, _) = send(&stand, Framing::Length, &large()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        stand.mock.reset();
        for framing in FRAMINGS {
            // The fields come behind the file: only the end tells the cost.
            let (answer, id) = send(&stand, framing, &large()).await;
            let outcome = (answer.status, answer.code());
            assert_eq!(outcome, (429, "insufficient_quota".into()), "{framing:?}");
            assert_eq!(answer.header("x-should-retry"), Some("false"));
            assert_broken(&stand, &id, &format!("{framing:?}")).await;
            // The fields come first: no channel hears of it.
            let body = [honest(""), file(FILE), closer()].concat();
            let (answer, id) = send(&stand, framing, &body).await;
            assert_eq!(
                (answer.status, answer.code()),
                (429, "insufficient_quota".into())
            );
            assert!(record(&stand, &id).await.is_none(), "{framing:?}");
        }
        assert_eq!(stand.mock.stats().creates_complete, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_jobs_as_allowed() {
    for h2 in [false, true] {
        for framing in FRAMINGS {
            let mut setup = limited("{ in_flight: 1 }");
            setup.mock.rendering = std::time::Duration::from_secs(600);
            let setup = if h2 { setup.http2_upstream() } else { setup };
            let stand = setup.start().await;
            // A small create comes while a large one is under way; the one that ends first is
            // the one job.
            let body = large();
            let first_id = id();
            let mut first = begin(&stand, framing, &first_id, body.len()).await;
            let (start, end) = body.split_at(FILE);
            first.push(start).await;
            until("it is under way", async || {
                stand.mock.stats().creates_in_flight == 1
            })
            .await;
            let limit = (429, "rate_limit_exceeded".to_owned());
            // More large ones than jobs that are allowed could not all end well.
            let (answer, second_id) = send(&stand, framing, &body).await;
            assert_eq!((answer.status, answer.code()), limit, "{framing:?}");
            let small = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
            assert_eq!(small.send(stand.gate).await.unwrap().status, 200);
            first.finish(&stand, end).await;
            let answer = first.answer().await.unwrap();
            assert_eq!((answer.status, answer.code()), limit, "{framing:?}");
            assert_broken(&stand, &first_id, &format!("{framing:?}")).await;
            assert!(record(&stand, &second_id).await.is_none());
            // A third is refused by its head.
            let (answer, id) = send(&stand, framing, &body).await;
            assert_eq!(answer.status, 429);
            assert!(record(&stand, &id).await.is_none());
            assert_eq!(stand.mock.stats().creates_complete, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_cannot_be_used() {
    for h2 in [false, true] {
        let ledger = Watched::new();
        let setup = Setup {
            ledger: ledger.clone(),
            ..Setup::default()
        };
        let setup = if h2 { setup.http2_upstream() } else { setup };
        let stand = setup.start().await;
        for framing in FRAMINGS {
            let unavailable = (503, "unavailable".to_owned());
            ledger.fail_reserve.store(true, Ordering::SeqCst);
            let (answer, id) = send(&stand, framing, &large()).await;
            assert_eq!((answer.status, answer.code()), unavailable, "{framing:?}");
            assert_broken(&stand, &id, &format!("{framing:?}")).await;
            ledger.fail_check.store(true, Ordering::SeqCst);
            let (answer, id) = send(&stand, framing, &large()).await;
            assert_eq!((answer.status, answer.code()), unavailable, "{framing:?}");
            assert!(record(&stand, &id).await.is_none(), "{framing:?}");
            ledger.fail_check.store(false, Ordering::SeqCst);
        }
        assert_eq!(stand.mock.stats().creates_complete, 0);
        assert_eq!(ledger.reserved(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit() {
    for h2 in [false, true] {
        let setup = Setup::default().with("\nbounds: { body_bytes: 150 KiB }\n");
        let setup = if h2 { setup.http2_upstream() } else { setup };
        let stand = setup.start().await;
        for framing in FRAMINGS {
            let (answer, id) = send(&stand, framing, &large()).await;
            let outcome = (answer.status, answer.code());
            assert_eq!(outcome, (413, "request_too_large".into()), "{framing:?}");
            let declared = !matches!(
                framing,
                Framing::Chunked | Framing::Http2 { length: false, .. }
            );
            match declared {
                true => assert!(record(&stand, &id).await.is_none(), "{framing:?}"),
                false => assert_broken(&stand, &id, &format!("{framing:?}")).await,
            }
        }
        assert_eq!(stand.mock.stats().creates_complete, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_takes_too_long() {
    for bound in ["upload_timeout", "read_timeout"] {
        for h2 in [false, true] {
            let bounds = format!("\nbounds: {{ {bound}: 1s, drain_timeout: 1s }}\n");
            let setup = Setup::default().with(&bounds);
            let setup = if h2 { setup.http2_upstream() } else { setup };
            let stand = setup.start().await;
            let slow = FRAMINGS.map(|framing| {
                let stand = &stand;
                async move {
                    let (body, id) = (large(), id());
                    let mut sending = begin(stand, framing, &id, body.len()).await;
                    // All but the very end, which never comes.
                    sending.push(&body[..body.len() - 1]).await;
                    let answer = sending.answer().await.unwrap();
                    let outcome = (answer.status, answer.code());
                    assert_eq!(
                        outcome,
                        (408, "request_timeout".into()),
                        "{framing:?}, {bound}"
                    );
                    assert_broken(stand, &id, &format!("{framing:?}, {bound}")).await;
                }
            });
            let [a, b, c, d, e, f] = slow;
            tokio::join!(a, b, c, d, e, f);
            assert_eq!(stand.mock.stats().creates_complete, 0);
        }
    }
}
