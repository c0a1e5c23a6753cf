//! Jobs of which a client was told while the ledger could not be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ledger::{HELD, Watched};
use crate::support::client::{Answer, Body, Request};
use crate::support::{KEY, STUDIO, Setup, Stand, form_type, plain_form, until};
use tollgate::ledger::{
    BindingLimits, ChannelAnswer, Confirmation, Confirmed, Job, Ledger, ReservationId, Resolution,
};

/// A stand whose gate has told a client of a job, while the ledger fails as `fault` says. The job renders for
/// the time `rendering`, and then fails if `fails`. Returns the job's id too.
async fn told(
    ledger: &Arc<Watched>,
    fault: impl Fn(&Watched) -> &AtomicBool,
    (rendering, fails): (Duration, bool),
) -> (Stand, String) {
    fault(ledger).store(true, Ordering::SeqCst);
    let mut setup = Setup {
        ledger: ledger.clone(),
        ..Setup::default()
    };
    setup.mock.rendering = rendering;
    let stand = setup.start().await;
    if fails {
        stand.mock.set_faults(vec!["fail".parse().unwrap()], None);
    }
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(stand.gate).await.unwrap();
    assert_eq!(created.status, 200, "{created:?}");
    let told = created.json()["id"].as_str().unwrap().to_owned();
    (stand, told)
}

const LONG: Duration = Duration::from_secs(60);

async fn ask(stand: &Stand, method: &'static str, path: &str) -> Answer {
    let request = Request::new(method, &format!("/v1/videos{path}")).key(KEY);
    request.send(stand.gate).await.unwrap()
}

async fn delete(stand: &Stand, job: &str) -> u16 {
    ask(stand, "DELETE", &format!("/{job}")).await.status
}

async fn until_ended(stand: &Stand, job: &str, status: &str) {
    let path = format!("/{job}");
    let has_ended = async || ask(stand, "GET", &path).await.json()["status"] == status;
    until("the job has ended", has_ended).await;
}

/// Nothing fails any more, and all that was to be written to the ledger is written.
async fn until_written(stand: &Stand, ledger: &Watched) {
    for fault in [
        &ledger.fail_confirm,
        &ledger.lose_confirm,
        &ledger.fail_mark_deleted,
    ] {
        fault.store(false, Ordering::SeqCst);
    }
    assert_eq!(stand.handle.flush(Duration::from_secs(30)).await, 0);
}

async fn job(ledger: &Watched, id: &str) -> Job {
    ledger.inner().job(id).await.unwrap().unwrap()
}

fn errors_of(ledger: &Watched) -> Vec<ReservationId> {
    ledger.job_errors.lock().unwrap().clone()
}

/// The id may be that of the job that is to be confirmed, and SDKs take a 404 for final.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_id_while_a_confirmation_cannot_be_written() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, |l| &l.fail_confirm, (Duration::ZERO, false)).await;
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

/// Gives the open reservation of this key this job, as another gate's reconciliation does. Returns the reservation.
async fn give_by_another_gate(ledger: &Watched, key: &str, job: &str) -> ReservationId {
    let open = ledger.inner().unmatched("mock", 10).await.unwrap();
    let open = open.iter().find(|open| *open.charge.payer.key == *key);
    let open = open.unwrap();
    let confirmation = Confirmation {
        job: job.into(),
        upstream_id: job.into(),
        charge: open.charge.clone(),
        channel_answer: ChannelAnswer::default(),
        answer: None,
    };
    let (limits, now) = (BindingLimits::default(), open.created);
    let confirmed = ledger.inner().confirm(open.id, &confirmation, &limits, now);
    assert!(matches!(confirmed.await, Ok(Confirmed::Done { .. })));
    open.id
}

/// While the ledger cannot be used, another gate may give the reservation of a told job another job of the
/// same key: the end of the told job is not that of the other one, but of the reservation that it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_a_told_job_whose_reservation_has_another_job() {
    for (status, resolution) in [
        ("completed", Resolution::Posted),
        ("failed", Resolution::Voided),
    ] {
        let ledger = Watched::new();
        let fails = status == "failed";
        let (stand, told) = told(&ledger, |l| &l.fail_confirm, (Duration::ZERO, fails)).await;
        let waiting = give_by_another_gate(&ledger, "demo", "video_other").await;
        until_ended(&stand, &told, status).await;
        // The end was seen: the channel is not asked for it again.
        stand
            .mock
            .set_faults(vec!["poll:500".parse().unwrap()], None);
        until_written(&stand, &ledger).await;
        let other = job(&ledger, "video_other").await;
        assert_eq!((other.reservation, other.resolution), (waiting, None));
        let told = job(&ledger, &told).await;
        assert_ne!(told.reservation, waiting);
        assert_eq!(told.resolution, Some(resolution));
        let noted = if fails {
            vec![told.reservation]
        } else {
            vec![]
        };
        assert_eq!(errors_of(&ledger), noted);
    }
}

/// The record of the job's id may be that of another job, which had it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_a_told_job_that_another_key_has() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, |l| &l.fail_confirm, (Duration::ZERO, true)).await;
    let mut create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    create.headers.retain(|(name, _)| name != "Authorization");
    let create = create.key(STUDIO);
    assert_eq!(create.send(stand.gate).await.unwrap().status, 200);
    let reservation = give_by_another_gate(&ledger, "studio-a", &told).await;
    until_ended(&stand, &told, "failed").await;
    until_written(&stand, &ledger).await;
    let job = job(&ledger, &told).await;
    assert_eq!((job.reservation, job.resolution), (reservation, None));
    assert_eq!(errors_of(&ledger), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_a_told_job_is_recorded_once_the_ledger_has_the_job() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, |l| &l.fail_confirm, (Duration::ZERO, true)).await;
    until_ended(&stand, &told, "failed").await;
    assert_eq!(errors_of(&ledger), []);
    until_written(&stand, &ledger).await;
    let told = job(&ledger, &told).await;
    assert_eq!(told.resolution, Some(Resolution::Voided));
    assert_eq!(errors_of(&ledger), [told.reservation]);
}

/// The job may turn out to have no reservation, so that its deletion could not be recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_told_job_is_not_deleted_until_the_ledger_has_it() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, |l| &l.fail_confirm, (LONG, false)).await;
    let answer = ask(&stand, "DELETE", &format!("/{told}")).await;
    assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
    let remix = Request::new("POST", &format!("/v1/videos/{told}/remix"));
    let mut remix = remix.header("Content-Type", "application/json").key(KEY);
    remix.body = Some(Body::Length(br#"{"prompt":"a dog"}"#.to_vec(), vec![]));
    let answer = remix.send(stand.gate).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
    let requests = stand.mock.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    until_written(&stand, &ledger).await;
    assert_eq!(delete(&stand, &told).await, 200);
    let told = job(&ledger, &told).await;
    assert_eq!(
        (told.deleted, told.resolution),
        (true, Some(Resolution::Posted))
    );
}

/// The ledger has the job, but the gate does not know it until it is told by a list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_list_shows_is_deleted_at_once() {
    let ledger = Watched::new();
    let (stand, told) = told(&ledger, |l| &l.lose_confirm, (LONG, false)).await;
    assert_eq!(delete(&stand, &told).await, 503);
    let ids = async || {
        let list = ask(&stand, "GET", "").await.json();
        let jobs = list["data"].as_array().unwrap().iter();
        let ids: Vec<_> = jobs
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect();
        ids
    };
    assert_eq!(ids().await, [&*told]);
    assert_eq!(delete(&stand, &told).await, 200);
    assert_eq!(ids().await, [""; 0]);
    let open = job(&ledger, &told).await;
    assert_eq!((open.deleted, open.resolution), (true, None));
    // The repetition of the confirmation is recognised all the same, and the charge is posted then.
    until_written(&stand, &ledger).await;
    let told = job(&ledger, &told).await;
    assert_eq!(told.resolution, Some(Resolution::Posted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_is_recorded_once_the_ledger_can_be_used() {
    let ledger = Watched::new();
    let (stand, id) = told(&ledger, |l| &l.fail_mark_deleted, (LONG, false)).await;
    assert_eq!(delete(&stand, &id).await, 200);
    assert!(!job(&ledger, &id).await.deleted);
    until_written(&stand, &ledger).await;
    let job = job(&ledger, &id).await;
    assert_eq!(
        (job.deleted, job.resolution),
        (true, Some(Resolution::Posted))
    );
}
