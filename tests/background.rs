//! What the gate does without being asked: it follows jobs to their end, and finds out what
//! became of requests without an answer.

#[path = "support/engines.rs"]
mod engines;
#[path = "background/fleet.rs"]
mod fleet;
#[path = "support/gates.rs"]
mod gates;
#[path = "background/race.rs"]
mod race;
#[path = "background/reloaded.rs"]
mod reloaded;
#[path = "background/resolve.rs"]
mod resolve;
#[path = "background/restored.rs"]
mod restored;
#[path = "background/rounds.rs"]
mod rounds;
#[path = "background/scripted.rs"]
mod scripted;
mod support;
#[path = "background/told_apart.rs"]
mod told_apart;
#[path = "background/unanswered.rs"]
mod unanswered;
#[path = "background/unclear.rs"]
mod unclear;
#[path = "background/watch.rs"]
mod watch;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::client::{Answer, Body, Request};
use support::{CREDENTIAL, Setup, Stand, form, form_type};
use tollgate::ledger::{Ledger, State};
use tollgate::mock::Mock;

/// A gate that does its tasks soon. No reservation is voided before its channel's timeouts are
/// over.
fn soon(lines: &str) -> Setup {
    let timeouts = "    answer_timeout: 5s\n    read_timeout: 1s\n    credential: ";
    let setup = Setup::default().with(&format!("jobs:\n{lines}"));
    setup.replacing("    credential: ", timeouts)
}

/// A create of four seconds of `sora-2`, which list at 0.4 USD.
fn create(prompt: &str) -> Request {
    let body = form(&[
        ("prompt", prompt.as_bytes()),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ]);
    let mut request = Request::create(&form_type(), Body::Length(body, vec![]));
    request.headers.retain(|(name, _)| name != "Authorization");
    request
}

async fn send(to: SocketAddr, key: &str, request: Request) -> Answer {
    request.key(key).send(to).await.unwrap()
}

/// The id of the job that was created.
async fn created(to: SocketAddr, key: &str, prompt: &str) -> String {
    let answer = send(to, key, create(prompt)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Makes a job of which no gate knows: what the prompt directs is not done.
async fn created_behind(mock: &Mock, prompt: &str, seconds: &str) -> String {
    let body = form(&[
        ("prompt", prompt.as_bytes()),
        ("model", b"sora-2"),
        ("seconds", seconds.as_bytes()),
        ("size", b"1280x720"),
    ]);
    let mut request = Request::create(&form_type(), Body::Length(body, vec![]));
    request.headers.retain(|(name, _)| name != "Authorization");
    let request = request.key(CREDENTIAL).header("X-Mock-Fault", "trickle");
    let answer = request.send(mock.addr()).await.unwrap();
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// How many reservations are in that state, of all keys.
async fn open(ledger: &dyn Ledger, state: State) -> u64 {
    let open = ledger.count_unresolved().await.unwrap();
    let open = open.iter().filter(|open| open.state == state);
    open.map(|open| open.count).sum()
}

/// List cost by what became of it, in cents: reserved, posted, voided.
async fn cents(stand: &Stand) -> [i64; 3] {
    let metrics = stand.metrics().await;
    ["reserved", "posted", "voided"].map(|event| {
        let event = format!("event=\"{event}\"");
        let family = metrics.iter().filter(|(name, _)| {
            name.starts_with("tollgate_list_cost_usd_total") && name.contains(&event)
        });
        let sum: f64 = family.map(|(_, value)| value).sum();
        (sum * 100.0).round() as i64
    })
}

/// Counters move right after the ledger has.
async fn until_cents(stand: &Stand, expected: [i64; 3]) {
    let what = format!("{expected:?} cents reserved, posted and voided");
    stand
        .until(&what, async || cents(stand).await == expected)
        .await;
}

/// So many jobs are counted as ended so: right after their charges are resolved in the metrics.
async fn until_ended(stand: &Stand, status: &str, jobs: f64) {
    let labels = format!("channel=\"mock\",model=\"sora-2\",status=\"{status}\"");
    let sample = format!("tollgate_jobs_total{{{labels}}}");
    let is_counted = async || stand.metric(&sample).await >= jobs;
    stand.until(&sample, is_counted).await;
    assert_eq!(stand.metric(&sample).await, jobs, "{sample}");
}

fn asked(mock: &Mock, path: &str) -> u64 {
    mock.stats().by_path.get(path).copied().unwrap_or(0)
}

/// How often the mock was asked for one job, and for its list.
const POLLS: &str = "GET /v1/videos/{id}";
const LISTS: &str = "GET /v1/videos";

/// Waits until the channel was asked so many times more, and that time has passed: whatever
/// would be done wrongly has then had its chance.
async fn after_chances(stand: &Stand, path: &str, times: u64, least: Duration) {
    let (began, before) = (Instant::now(), asked(&stand.mock, path));
    stand
        .until("the channel was asked some times more", async || {
            began.elapsed() >= least && asked(&stand.mock, path) >= before + times
        })
        .await;
}
