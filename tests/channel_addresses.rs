//! A channel with several addresses.

mod support;

use std::collections::BTreeSet;

use support::client::{Body, Request};
use support::{KEY, STUDIO, Setup, Stand, form_type, mock_options, plain_form, start_mock};
use tollgate::ledger::{State, Unmatched};
use tollgate::mock::Mock;

const BOUNDS: &str = "\n    answer_timeout: 2s\n    read_timeout: 1s\n    credential: ";
const JOBS: &str = "\njobs: { poll_after: 200ms, polls_per_second: 1000, unknown_grace: 2s }\n";

/// A gate before one channel at two addresses: the stand's own, and this one.
async fn stand() -> (Stand, Mock) {
    let second = start_mock(mock_options()).await;
    let bounds = format!("]{BOUNDS}");
    let setup = Setup::default()
        .replacing(
            "    url: ",
            &format!("    urls: ['http://{}', ", second.addr()),
        )
        .replacing("\n    credential: ", &bounds)
        .with(JOBS);
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

/// Loses the answer of a create while no list is given.
async fn lose(stand: &Stand, mock: &Mock, key: &str, fault: &str) {
    let faults = [fault, "list:500"].map(|name| name.parse().unwrap());
    mock.set_faults(faults.into(), None);
    let mut request = create();
    request.headers.retain(|(name, _)| name != "Authorization");
    let answer = request.key(key).send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
}

async fn unknown(stand: &Stand) -> Vec<Unmatched> {
    let unmatched = stand.handle.ledger().unmatched("mock", 100).await.unwrap();
    let is_unknown = |unmatched: &Unmatched| unmatched.state == State::Unknown;
    unmatched.into_iter().filter(is_unknown).collect()
}

async fn until_lists_are_read(stand: &Stand, mock: &Mock, times: usize) {
    let read = || {
        let requests = mock.requests().into_iter();
        requests.filter(|request| request.method == "GET").count()
    };
    let before = read();
    stand
        .until("the lists are read", async || read() >= before + times)
        .await;
}

/// Addresses that share an account have one list: what is on it may be what became of a request that
/// was sent to another address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_on_a_shared_list_goes_to_no_other_key() {
    let mock = start_mock(mock_options()).await;
    let port = mock.addr().port();
    let urls = format!("    urls: ['http://127.0.0.1:{port}', 'http://localhost:{port}'] # ");
    let setup = Setup::default()
        .replacing("    url: ", &urls)
        .replacing("\n    credential: ", BOUNDS)
        .with("\njobs: { polls_per_second: 100, unknown_grace: 1s }\n");
    let stand = setup.start().await;
    // The address that fails is not used for the next create.
    lose(&stand, &mock, KEY, "create:drop-before").await;
    lose(&stand, &mock, STUDIO, "create:drop-after").await;
    let made_at = unknown(&stand).await.into_iter().map(|made| made.address);
    assert_eq!(made_at.collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(mock.jobs().len(), 1);
    mock.set_faults(vec![], None);
    until_lists_are_read(&stand, &mock, 8).await;
    assert_eq!(
        unknown(&stand).await.len(),
        2,
        "whose it is cannot be known"
    );
}

/// No list that can be read tells what became of a request to an address that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_at_an_address_that_is_gone_is_held() {
    let (stand, second) = stand().await;
    for (mock, fault) in [
        (&stand.mock, "create:drop-before"),
        (&second, "create:drop-after"),
    ] {
        let faults = [fault, "list:500"].map(|name| name.parse().unwrap());
        mock.set_faults(faults.into(), None);
    }
    // The address that fails is not used for the next create.
    for _ in 0..2 {
        assert_eq!(create().send(stand.gate).await.unwrap().status, 502);
    }
    assert_eq!(second.jobs().len(), 1);
    let setup = Setup::default()
        .replacing("\n    credential: ", BOUNDS)
        .with(JOBS);
    stand.handle.reload(setup.config_for(stand.mock.addr()));
    // Once this one is voided, the time of the others is over as well.
    assert_eq!(create().send(stand.gate).await.unwrap().status, 502);
    assert_eq!(unknown(&stand).await.len(), 3);
    stand.mock.set_faults(vec![], None);
    stand
        .until("what was made here is voided", async || {
            unknown(&stand).await.len() == 1
        })
        .await;
    let held = unknown(&stand).await.remove(0);
    let address = format!("http://{}", second.addr());
    assert_eq!(held.address.as_deref(), Some(&*address));
}

/// An address that is removed while jobs of it are unfinished: they are followed to their end, and no create
/// goes there, also where the address that is left takes none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_removed_takes_no_creates() {
    let (stand, second) = stand().await;
    made(&stand, 4).await;
    let before = second.jobs().len();
    assert!(before > 0);
    let first_alone = Setup::default().replacing("\n    credential: ", BOUNDS);
    let first_alone = first_alone.with(JOBS).config_for(stand.mock.addr());
    stand.handle.reload(first_alone);
    made(&stand, 20).await;
    let busy = vec!["create:429".parse().unwrap()];
    stand.mock.set_faults(busy, None);
    for _ in 0..6 {
        let answer = create().send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 429, "{answer:?}");
    }
    assert_eq!(second.jobs().len(), before);
    let sample = "tollgate_jobs_in_flight{key=\"demo\"}";
    support::until("all are settled", async || {
        stand.metric(sample).await == 0.0
    })
    .await;
}
