//! A channel with several addresses.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::client::{Body, Request};
use support::{CREDENTIAL, KEY, Setup, Stand, form_type, plain_form};
use tokio::net::TcpListener;
use tollgate::mock::{Mock, Options};

/// A gate before one channel at two addresses: the stand's own, and this one.
async fn stand() -> (Stand, Mock) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        credential: CREDENTIAL.into(),
        queued: Duration::ZERO,
        rendering: Duration::from_millis(20),
        ..Options::default()
    };
    let second = Mock::start(listener, options);
    let bounds = "]\n    answer_timeout: 2s\n    read_timeout: 1s\n    credential: ";
    let setup = Setup::default()
        .replacing(
            "    url: ",
            &format!("    urls: ['http://{}', ", second.addr()),
        )
        .replacing("\n    credential: ", bounds)
        .with("\njobs: { poll_after: 200ms, polls_per_second: 1000, unknown_grace: 2s }\n");
    (setup.start().await, second)
}

fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

async fn made(stand: &Stand, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let answer = create().send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_asked_for_where_it_was_made() {
    let (stand, second) = stand().await;
    let ids = made(&stand, 10).await;
    let of = |mock: &Mock| -> BTreeSet<String> {
        let jobs = mock.jobs().into_iter();
        jobs.map(|job| job.job.id.unwrap()).collect()
    };
    let (first, second_jobs) = (of(&stand.mock), of(&second));
    assert!(!first.is_empty() && !second_jobs.is_empty());
    assert_eq!(first.len() + second_jobs.len(), 10);
    for id in &ids {
        let poll = Request::get(&format!("/v1/videos/{id}")).key(KEY);
        let answer = poll.send(stand.gate).await.unwrap();
        assert_eq!(
            (answer.status, answer.json()["id"].as_str()),
            (200, Some(&**id))
        );
        let content = Request::get(&format!("/v1/videos/{id}/content")).key(KEY);
        support::until("it can be downloaded", async || {
            content.send(stand.gate).await.unwrap().status == 200
        })
        .await;
    }
    // The gate's own polls settle them, wherever they are.
    let sample = "tollgate_jobs_in_flight{key=\"demo\"}";
    support::until("all are settled", async || {
        stand.metric(sample).await == 0.0
    })
    .await;
    let delete = Request::new("DELETE", &format!("/v1/videos/{}", ids[0])).key(KEY);
    assert_eq!(delete.send(stand.gate).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_address_rests_alone() {
    let (stand, second) = stand().await;
    made(&stand, 4).await;
    let before = stand.mock.jobs().len();
    second.stop().await;
    made(&stand, 10).await;
    assert_eq!(stand.mock.jobs().len() - before, 10);
    let channels = Request::get("/channels").send(stand.admin).await.unwrap();
    let channels = channels.json()["channels"].as_array().unwrap().clone();
    let mut states: Vec<_> = channels
        .iter()
        .map(|at| at["state"].as_str().unwrap())
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["active", "resting"]);
    assert_eq!(
        stand.metric("tollgate_channel_up{channel=\"mock\"}").await,
        1.0
    );
}

/// Each address has a list of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_at_its_address() {
    let (stand, second) = stand().await;
    second.set_faults(vec!["create:drop-after".parse().unwrap()], Some(1));
    let mut lost = 0;
    for _ in 0..4 {
        let answer = create().send(stand.gate).await.unwrap();
        lost += usize::from(answer.status != 200);
    }
    assert_eq!(lost, 1);
    let list = Request::get("/v1/videos?limit=100").key(KEY);
    support::until("all four are in the list", async || {
        let answer = list.send(stand.gate).await.unwrap();
        answer.json()["data"].as_array().unwrap().len() == 4
    })
    .await;
    assert_eq!(stand.mock.jobs().len() + second.jobs().len(), 4);
}
