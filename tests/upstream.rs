//! What channels answer beside OpenAI's own shape, and how they answer it: in other words, under
//! other statuses, in drips, in pages of any length, by redirects.

#[path = "upstream/deletes.rs"]
mod deletes;
#[path = "upstream/drips.rs"]
mod drips;
#[path = "support/engines.rs"]
mod engines;
#[path = "upstream/lists.rs"]
mod lists;
#[path = "upstream/proxies.rs"]
mod proxies;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "upstream/redirects.rs"]
mod redirects;
mod support;
#[path = "support/upstream.rs"]
mod upstream;
#[path = "upstream/windows.rs"]
mod windows;
#[path = "upstream/words.rs"]
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::client::{Answer, Body, Request};
use support::{KEY, Setup, Stand, form, form_type};
use tollgate::ledger::State;

/// The path of the one job that most tests have.
const JOB: &str = "/v1/videos/video_1";
const CREATED: &str = r#"{"id":"video_1","object":"video","status":"queued","model":"sora-2","seconds":"4","size":"1280x720"}"#;

/// A gate that does its tasks soon.
fn soon(lines: &str) -> Setup {
    Setup::default().with(&format!("jobs:\n{lines}"))
}

/// A create of four seconds of `sora-2`, which list at 0.4 USD.
fn create(prompt: &str) -> Request {
    let body = form(&[
        ("prompt", prompt.as_bytes()),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ]);
    Request::create(&form_type(), Body::Length(body, vec![]))
}

async fn created(stand: &Stand) {
    let answer = create("a cat").send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn send(stand: &Stand, method: &'static str, path: &str) -> Answer {
    let request = Request::new(method, path).key(KEY);
    request.send(stand.gate).await.unwrap()
}

/// How many reservations are in that state.
async fn open(stand: &Stand, state: State) -> u64 {
    let open = stand.handle.ledger().count_unresolved().await.unwrap();
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

async fn until_cents(stand: &Stand, expected: [i64; 3]) {
    let what = format!("{expected:?} cents reserved, posted and voided");
    stand
        .until(&what, async || cents(stand).await == expected)
        .await;
}

async fn errors(stand: &Stand, kind: &str) -> f64 {
    let sample = format!("tollgate_channel_errors_total{{channel=\"mock\",kind=\"{kind}\"}}");
    stand.metric(&sample).await
}

/// How jobs ended, by the metrics.
async fn ended(stand: &Stand, status: &str) -> f64 {
    let labels = format!("channel=\"mock\",model=\"sora-2\",status=\"{status}\"");
    stand
        .metric(&format!("tollgate_jobs_total{{{labels}}}"))
        .await
}

/// So many jobs are counted as ended so: right after their charges are resolved in the metrics.
async fn until_ended(stand: &Stand, status: &str, jobs: f64) {
    let is_counted = async || ended(stand, status).await >= jobs;
    stand.until(status, is_counted).await;
    assert_eq!(ended(stand, status).await, jobs, "{status}");
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

const SHORT: Duration = Duration::from_millis(50);
