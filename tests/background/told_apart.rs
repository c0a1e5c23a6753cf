//! Which of several lost answers a job on the list belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engines::{Engine, on};
use crate::scripted::Scripted;
use crate::support::client::{Answer, Body, Request};
use crate::support::{KEY, STUDIO, Setup, Stand, form, form_type, png};
use crate::{create, open, send, soon, until_cents};
use serde_json::{Value, json};
use tollgate::clock::{self, Clock};
use tollgate::ledger::State;
use tollgate::policy::Timestamp;

/// A create under an idempotency key.
fn keyed(name: &str, seconds: &str, image: Option<&[u8]>) -> Request {
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("seconds", seconds.as_bytes()),
        ("size", b"1280x720"),
    ];
    fields.extend(image.map(|image| ("input_reference", image)));
    let mut request = Request::create(&form_type(), Body::Length(form(&fields), vec![]));
    request.headers.retain(|(name, _)| name != "Authorization");
    request.header("Idempotency-Key", name)
}

/// Loses the answer of a create while the channel gives no list.
async fn lose(stand: &Stand, key: &str, fault: &str, request: Request) {
    let both = [fault, "list:500"].map(|name| name.parse().unwrap());
    stand.mock.set_faults(both.into(), None);
    let answer = send(stand.gate, key, request).await;
    assert_eq!(answer.status, 502, "{answer:?}");
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn on_engine(engine: &Engine, setup: Setup) -> Setup {
    Setup {
        ledger: engine.open(),
        ..setup
    }
}

/// Four seconds that were never created and twelve that were, of one key and one prompt, within
/// a budget for just the two of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_tells_two_requests_of_one_key_apart() {
    on(Engine::all(), async |engine| {
        let limit = "    group: sora2\n    limits: { list_cost_usd: 1.6/total }\n";
        let setup = soon("  poll_after: 100ms\n  polls_per_second: 100\n  unknown_grace: 2s\n")
            .replacing("    group: sora2\n", limit);
        let stand = on_engine(&engine, setup).start().await;
        lose(&stand, KEY, "drop-before", keyed("a", "4", None)).await;
        lose(&stand, KEY, "drop-after", keyed("b", "12", None)).await;
        stand.mock.set_faults(vec![], None);
        stand.until_resolved().await;
        until_cents(&stand, [160, 120, 40]).await;
        let again = send(stand.gate, KEY, keyed("b", "12", None)).await;
        assert_eq!(again.status, 200, "{}: {again:?}", engine.name());
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        let jobs = stand.mock.jobs();
        assert_eq!(jobs.len(), 1, "{}", engine.name());
        assert_eq!(Some(id(&again)), jobs[0].job.id);
        let poll = Request::get(&format!("/v1/videos/{}", id(&again)));
        let poll = send(stand.gate, KEY, poll).await;
        assert_eq!(poll.json()["seconds"], "12", "{}", engine.name());
        // What was not created can be, under its name.
        let first = send(stand.gate, KEY, keyed("a", "4", None)).await;
        assert_eq!(first.status, 200, "{}: {first:?}", engine.name());
        assert_eq!(first.header("idempotent-replayed"), None);
        assert_eq!(stand.mock.jobs().len(), 2, "{}", engine.name());
    })
    .await;
}

/// The list does not show the reference image: whichever request the job came of, no
/// repetition makes another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_differ_in_their_image_make_no_job_twice() {
    on(Engine::all(), async |engine| {
        let setup = soon("  poll_after: 100ms\n  polls_per_second: 100\n  unknown_grace: 4s\n");
        let stand = on_engine(&engine, setup).start().await;
        let images = [png(3000), png(4000)];
        let request = |n: usize| keyed(["a", "b"][n], "4", Some(&images[n]));
        lose(&stand, KEY, "drop-before", request(0)).await;
        lose(&stand, KEY, "drop-after", request(1)).await;
        // Once this one is voided, the time of the others is over as well.
        lose(&stand, KEY, "drop-before", create("a dog")).await;
        stand.mock.set_faults(vec![], None);
        until_cents(&stand, [120, 40, 40]).await;
        let job = stand.mock.jobs()[0].job.id.clone();
        one_has_the_job(&stand, job, request).await;
        assert_eq!(stand.mock.jobs().len(), 1, "{}", engine.name());
    })
    .await;
}

/// Repeats two requests of which the list cannot tell whose the one job is: one of them has it,
/// and the other one is held.
async fn one_has_the_job(stand: &Stand, job: Option<String>, request: impl Fn(usize) -> Request) {
    let mut codes = vec![];
    for n in [0, 1] {
        let again = send(stand.gate, KEY, request(n)).await;
        codes.push(again.status);
        if again.status == 200 {
            assert_eq!(Some(id(&again)), job);
        }
    }
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
}

/// Lets a channel list and show one job, `video_1`.
fn shows(channel: &Scripted, job: Value) {
    channel.says(move |target| match target.contains("video_1") {
        true => (200, job.to_string()),
        false => (200, list(std::slice::from_ref(&job), false)),
    });
}

/// The same, where the job was rendered otherwise than both have asked for: that its owner is
/// charged for what was rendered does not make the job the owner's for sure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_tells_no_two_requests_apart() {
    on(Engine::all(), async |engine| {
        let channel = Scripted::start(false).await;
        let setup = soon("  poll_after: 1h\n  polls_per_second: 100\n  unknown_grace: 4s\n");
        let stand = channel.behind(on_engine(&engine, setup)).start().await;
        channel.says(|_| (500, String::new()));
        let images = [png(3000), png(4000)];
        let request = |n: usize| keyed(["a", "b"][n], "4", Some(&images[n]));
        for n in [0, 1] {
            assert_eq!(send(stand.gate, KEY, request(n)).await.status, 502);
        }
        // Once this one is voided, the time of the others is over as well.
        assert_eq!(send(stand.gate, KEY, create("a dog")).await.status, 502);
        let mut rendered = job("video_1", "a cat", seconds_now());
        rendered["seconds"] = json!("8");
        shows(&channel, rendered);
        until_cents(&stand, [200, 80, 80]).await;
        one_has_the_job(&stand, Some("video_1".into()), request).await;
    })
    .await;
}

/// A job is of eight seconds, though its owner asked for twelve: a request that asked for eight can
/// tell from that that the job is not its own, also once nothing but the ledger knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_asked_for_is_known_after_a_reload() {
    on(Engine::all(), async |engine| {
        let channel = Scripted::start(false).await;
        let jobs = "  poll_after: 1h\n  polls_per_second: 100\n  unknown_grace: 1s\n";
        let setup = || channel.behind(soon(jobs));
        let stand = on_engine(&engine, setup()).start().await;
        let lost = send(stand.gate, KEY, keyed("a", "12", None)).await;
        assert_eq!(lost.status, 502, "{}", engine.name());
        let mut rendered = job("video_1", "a cat", seconds_now());
        rendered["seconds"] = json!("8");
        shows(&channel, rendered);
        // The charge of twelve seconds is replaced by one of eight.
        until_cents(&stand, [200, 80, 120]).await;
        stand.handle.reload(setup().config_for(stand.mock.addr()));
        let lost = send(stand.gate, KEY, keyed("b", "8", None)).await;
        assert_eq!(lost.status, 502, "{}", engine.name());
        // It became nothing, and is not held.
        until_cents(&stand, [280, 80, 200]).await;
    })
    .await;
}

pub fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

pub fn job(id: &str, prompt: &str, created: u64) -> Value {
    json!({
        "id": id, "object": "video", "model": "sora-2", "status": "completed",
        "prompt": prompt, "seconds": "4", "size": "1280x720", "created_at": created,
    })
}

pub fn list(jobs: &[Value], has_more: bool) -> String {
    json!({"object": "list", "data": jobs, "has_more": has_more}).to_string()
}

/// A job that is listed only after its reservation was voided is not another key's, who asked
/// for the same meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_listed_late_goes_to_no_other_key() {
    on(Engine::all(), async |engine| {
        let channel = Scripted::start(false).await;
        let setup = soon("  polls_per_second: 100\n  unknown_grace: 4s\n");
        let stand = channel.behind(on_engine(&engine, setup)).start().await;
        channel.says(|_| (200, list(&[], false)));
        assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 502);
        until_cents(&stand, [40, 0, 40]).await;
        channel.says(|_| (500, String::new()));
        let answer = send(stand.gate, STUDIO, create("a cat")).await;
        assert_eq!(answer.status, 502, "{}: {answer:?}", engine.name());
        channel.says(move |target| match target.contains("video_1") {
            true => (200, job("video_1", "a cat", seconds_now()).to_string()),
            false => (200, list(&[job("video_1", "a cat", seconds_now())], false)),
        });
        let before = channel.times_asked();
        stand
            .until("it has had its chance", async || {
                channel.times_asked() >= before + 6
            })
            .await;
        let ledger = stand.handle.ledger();
        assert_eq!(
            open(&**ledger, State::Unknown).await,
            1,
            "{}",
            engine.name()
        );
        until_cents(&stand, [80, 0, 40]).await;
        let poll = Request::get("/v1/videos/video_1");
        for key in [KEY, STUDIO] {
            let status = send(stand.gate, key, poll.clone()).await.status;
            assert_eq!(status, 404, "{}", engine.name());
        }
    })
    .await;
}

/// As after two days without a gate: what the list can tell is not given up unread, though the list cannot be
/// read at first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_read_before_an_outcome_expires() {
    let channel = Scripted::start(false).await;
    let began = clock::now();
    let clock = Clock::manual(began);
    let setup = channel.behind(soon("  polls_per_second: 100\n"));
    let stand = setup.start_with_clock(clock.clone()).await;
    channel.says(|_| (500, String::new()));
    assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 502);
    clock.set(Timestamp(began.0 + 2 * 86_400_000));
    let (lists, made) = (AtomicU32::new(0), move || {
        job("video_1", "a cat", began.seconds())
    });
    channel.says(move |target| match target.contains("video_1") {
        true => (200, made().to_string()),
        false if lists.fetch_add(1, Ordering::Relaxed) < 3 => (500, String::new()),
        false => (200, list(&[made()], false)),
    });
    until_cents(&stand, [40, 40, 0]).await;
}

/// As after two days without a gate: a job that fits two keys can be assigned once the first of them has got its
/// own, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_expires_after_those_that_hinder_its_decision() {
    const DAYS: u64 = 2 * 86_400;
    let channel = Scripted::start(false).await;
    let began = clock::now();
    let past = move |second: u64| Timestamp(began.0 - (DAYS - second) * 1000);
    let clock = Clock::manual(past(0));
    channel.is_behind_by(Duration::from_secs(DAYS));
    let setup = channel.behind(soon("  polls_per_second: 100\n"));
    let stand = setup.start_with_clock(clock.clone()).await;
    let until_asked = async || {
        let before = channel.times_asked();
        let what = "the channel's clock is known";
        let is_asked = async || channel.times_asked() >= before + 3;
        stand.until(what, is_asked).await;
    };
    assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 502);
    until_asked().await;
    channel.is_behind_by(Duration::from_secs(DAYS - 400));
    clock.set(past(400));
    until_asked().await;
    assert_eq!(send(stand.gate, STUDIO, create("a cat")).await.status, 502);
    channel.is_behind_by(Duration::ZERO);
    clock.set(began);
    until_asked().await;
    let made = move |name: &str| match name {
        "video_1" => job("video_1", "a cat", past(0).seconds() - 50),
        _ => job("video_2", "a cat", past(290).seconds()),
    };
    channel.says(move |target| match target.rsplit_once('/') {
        Some((_, name @ ("video_1" | "video_2"))) => (200, made(name).to_string()),
        _ => (200, list(&["video_2", "video_1"].map(made), false)),
    });
    until_cents(&stand, [80, 80, 0]).await;
}

/// A channel whose clock is an hour behind, as its answers' dates say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_behind_loses_no_job() {
    let channel = Scripted::start(false).await;
    let setup = soon("  polls_per_second: 100\n  unknown_grace: 4s\n  poll_after: 1h\n");
    let stand = channel.behind(setup).start().await;
    channel.says(|_| (500, String::new()));
    channel.is_behind_by(Duration::from_secs(3600));
    assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 502);
    let created = seconds_now() - 3600;
    channel.says(move |_| (200, list(&[job("video_1", "a cat", created)], false)));
    stand.until_resolved().await;
    until_cents(&stand, [40, 40, 0]).await;
    let found = stand.handle.ledger().job("video_1").await.unwrap();
    assert_eq!(&*found.unwrap().charge.payer.key, "demo");
}

/// More pages than any fixed number: the list is read until it reaches back far enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_read_to_the_oldest_request() {
    const PAGES: u64 = 130;
    let channel = Scripted::start(false).await;
    let setup = soon("  polls_per_second: 1000\n  unknown_grace: 4s\n  poll_after: 1h\n");
    let stand = channel.behind(setup).start().await;
    channel.says(|_| (500, String::new()));
    for prompt in ["a cat", "a dog"] {
        assert_eq!(send(stand.gate, KEY, create(prompt)).await.status, 502);
    }
    let created = seconds_now();
    let broken = Arc::new(AtomicBool::new(true));
    channel.says(move |target| {
        let page = target.split_once("after=page_");
        let page = page.map_or(0, |(_, n)| n.parse::<u64>().unwrap());
        // One page in the middle is not given at first: the reading goes on there.
        if page == PAGES / 2 && broken.swap(false, Ordering::Relaxed) {
            return (500, String::new());
        }
        let mut jobs = vec![job(&format!("page_{}", page + 1), "a bird", created)];
        if page == PAGES {
            jobs.insert(0, job("video_1", "a cat", created));
        }
        (200, list(&jobs, page < PAGES))
    });
    stand.until_resolved().await;
    until_cents(&stand, [80, 40, 40]).await;
    let found = stand.handle.ledger().job("video_1").await.unwrap();
    assert_eq!(&*found.unwrap().charge.payer.key, "demo");
}
