//! Refusals that come from outside the body: limits, sizes, deadlines, and a ledger that
//! cannot be used.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bodies::{FILE, closer, file, honest};
use super::ledger::{HELD, Watched};
use super::wire::{FRAMINGS, Framing, Sending, id, record};
use crate::support::client::{Answer, Body, Request};
use crate::support::{KEY, Setup, Stand, form_type, plain_form, until};
use tollgate::ledger::{BindingLimits, ChannelAnswer, Confirmation, Confirmed, Ledger, Resolution};
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

/// The id may be that of the job that is to be confirmed, and SDKs take a 404 for final.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_id_while_a_confirmation_cannot_be_written() {
    let ledger = Watched::new();
    ledger.fail_confirm.store(true, Ordering::SeqCst);
    let setup = Setup {
        ledger: ledger.clone(),
        ..Setup::default()
    };
    let stand = setup.start().await;
    let gate = stand.gate;
    let get = async |path: String| {
        Request::get(&path)
            .key(KEY)
            .send(gate)
            .await
            .unwrap()
            .status
    };
    let poll = async |id: &str| get(format!("/v1/videos/{id}")).await;
    let list_after = async |id: &str| get(format!("/v1/videos?after={id}")).await;
    let (created, _) = send(&stand, Framing::Length, &large()).await;
    assert_eq!(created.status, 200, "{created:?}");
    let told = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(poll(&told).await, 200);
    assert_eq!(poll("video_unknown").await, 503);
    assert_eq!(list_after(&told).await, 503);
    assert_eq!(list_after("video_unknown").await, 503);
    // The confirmation is written between the request for this id and the ledger's answer about it.
    let held = Request::get(&format!("/v1/videos/{HELD}")).key(KEY);
    let held = tokio::spawn(async move { held.send(gate).await.unwrap().status });
    let searches = async || ledger.has_search_begun.load(Ordering::SeqCst);
    until("the ledger is asked", searches).await;
    ledger.fail_confirm.store(false, Ordering::SeqCst);
    let is_unknown = async || poll("video_unknown").await == 404;
    until("the confirmation is written", is_unknown).await;
    ledger.let_searches_pass();
    assert_eq!(held.await.unwrap(), 503);
    assert_eq!(poll(HELD).await, 404);
    assert_eq!(poll(&told).await, 200);
    assert_eq!(list_after(&told).await, 200);
    assert_eq!(list_after("video_unknown").await, 404);
}

/// A stand whose gate has told a client of a job that the ledger does not have: the confirmation fails. The job
/// renders for the time `rendering`, and then fails if `fails`. Returns the job's id too.
async fn told(ledger: &Arc<Watched>, rendering: Duration, fails: bool) -> (Stand, String) {
    ledger.fail_confirm.store(true, Ordering::SeqCst);
    let mut setup = Setup {
        ledger: ledger.clone(),
        ..Setup::default()
    };
    setup.mock.rendering = rendering;
    let stand = setup.start().await;
    if fails {
        stand.mock.set_faults(vec!["fail".parse().unwrap()], None);
    }
    let (created, _) = send(&stand, Framing::Length, &large()).await;
    let told = created.json()["id"].as_str().unwrap().to_owned();
    (stand, told)
}

async fn ask(stand: &Stand, method: &'static str, job: &str) -> Answer {
    let request = Request::new(method, &format!("/v1/videos/{job}")).key(KEY);
    request.send(stand.gate).await.unwrap()
}

async fn until_ended(stand: &Stand, job: &str, status: &str) {
    let has_ended = async || ask(stand, "GET", job).await.json()["status"] == status;
    until("the job has ended", has_ended).await;
}

/// The ledger can be used again, and all that was to be written to it is written.
async fn until_written(stand: &Stand, ledger: &Watched) {
    ledger.fail_confirm.store(false, Ordering::SeqCst);
    assert_eq!(stand.handle.flush(Duration::from_secs(30)).await, 0);
}

/// While the ledger cannot be used, another gate may give the reservation of a told job another job of the
/// same key: the end of the told job is not that of the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_a_told_job_whose_reservation_has_another_job() {
    for status in ["completed", "failed"] {
        let ledger = Watched::new();
        let (stand, told) = told(&ledger, Duration::ZERO, status == "failed").await;
        let waiting = ledger.inner().unmatched("mock", 10).await.unwrap();
        let [waiting] = &waiting[..] else {
            panic!("{waiting:?}");
        };
        let other = Confirmation {
            job: "video_other".into(),
            upstream_id: "video_other".into(),
            charge: waiting.charge.clone(),
            channel_answer: ChannelAnswer::default(),
            answer: None,
        };
        let (limits, now) = (BindingLimits::default(), waiting.created);
        let confirmed = ledger.inner().confirm(waiting.id, &other, &limits, now);
        assert!(matches!(confirmed.await, Ok(Confirmed::Done { .. })));
        until_ended(&stand, &told, status).await;
        until_written(&stand, &ledger).await;
        let job = async |id: &str| ledger.inner().job(id).await.unwrap().unwrap();
        let other = job("video_other").await;
        assert_eq!((other.reservation, other.resolution), (waiting.id, None));
        assert_ne!(job(&told).await.reservation, waiting.id);
        assert_eq!(ledger.job_errors.load(Ordering::SeqCst), 0, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_a_told_job_is_recorded_once_the_ledger_has_the_job() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, Duration::ZERO, true).await;
    until_ended(&stand, &told, "failed").await;
    until_written(&stand, &ledger).await;
    let job = ledger.inner().job(&told).await.unwrap().unwrap();
    assert_eq!(job.resolution, Some(Resolution::Voided));
    assert_eq!(ledger.job_errors.load(Ordering::SeqCst), 1);
}

/// The job may turn out to have no reservation, so that its deletion could not be recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_told_job_is_not_deleted_until_the_ledger_has_it() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, Duration::from_secs(60), false).await;
    let answer = ask(&stand, "DELETE", &told).await;
    assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
    let requests = stand.mock.requests();
    assert!(requests.iter().all(|request| request.method == "POST"));
    until_written(&stand, &ledger).await;
    assert_eq!(ask(&stand, "DELETE", &told).await.status, 200);
    let job = ledger.inner().job(&told).await.unwrap().unwrap();
    assert!(
        job.deleted && job.resolution == Some(Resolution::Posted),
        "{job:?}"
    );
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
