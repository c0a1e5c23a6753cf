//! Answers that never end, and rates.

use std::time::Instant;

use crate::engines::{Engine, on};
use crate::upstream::{Say, Upstream, json, with};
use crate::*;

/// Longer than any test waits.
const LONG: usize = 100_000;

/// An answer that begins with that body and goes on byte by byte.
fn drips(body: &str) -> Say {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n{body}");
    Say::Drip(head.into_bytes(), vec![b' '; LONG], SHORT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_answer_drips_is_unknown_and_found_later() {
    let channel = Upstream::start(|heard| match heard.method.as_str() {
        "POST" => drips(CREATED),
        _ if heard.target.starts_with("/v1/videos?") => {
            let time = unix_time();
            let job = CREATED.replace('}', &format!(r#","prompt":"a cat","created_at":{time}}}"#));
            json(200, format!(r#"{{"data":[{job}],"has_more":false}}"#))
        }
        _ => json(200, CREATED),
    })
    .await;
    let setup = soon("  unknown_grace: 4s\n  poll_after: 1h\n");
    let stand = channel
        .behind(setup, "    read_timeout: 500ms\n")
        .start()
        .await;
    let answer = create("a cat").send(stand.gate).await.unwrap();
    assert_eq!((answer.status, &*answer.code()), (504, "upstream_timeout"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    stand
        .until("the job is found", async || {
            open(&stand, State::Confirmed).await == 1
        })
        .await;
    assert_eq!(send(&stand, "GET", JOB).await.status, 200);
    assert_eq!(cents(&stand).await, [40, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_drips_ends_and_so_does_a_deletion() {
    let channel = Upstream::start(|heard| match heard.method.as_str() {
        "POST" => json(200, CREATED),
        _ => drips(CREATED),
    })
    .await;
    let setup = soon("  poll_after: 1h\n");
    let stand = channel
        .behind(setup, "    read_timeout: 1s\n")
        .start()
        .await;
    created(&stand).await;
    for method in ["GET", "DELETE"] {
        let answer = send(&stand, method, JOB).await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (504, "upstream_timeout"),
            "{method}"
        );
    }
    assert_eq!(open(&stand, State::Confirmed).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_polls_drip_holds_up_no_other() {
    let channel = Upstream::start(|heard| match heard.method.as_str() {
        "POST" => {
            let id = match heard.body.windows(5).any(|w| w == b"drips") {
                true => "video_1",
                false => "video_2",
            };
            json(200, CREATED.replace("video_1", id))
        }
        _ if heard.target == JOB => drips(CREATED),
        _ => json(200, r#"{"id":"video_2","status":"in_progress"}"#),
    })
    .await;
    // One look at the first job takes longer than this test.
    let setup = soon("  poll_after: 50ms\n  polls_per_second: 100\n");
    let stand = channel
        .behind(setup, "    read_timeout: 5min\n")
        .start()
        .await;
    for prompt in ["it drips", "it does not"] {
        let answer = create(prompt).send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    stand
        .until("both are looked at", async || {
            channel.times("GET", JOB) > 0 && channel.times("GET", "/v1/videos/video_2") > 20
        })
        .await;
    // It is asked for once at a time.
    assert_eq!(channel.times("GET", JOB), 1);
    channel.says(|_| json(200, r#"{"id":"video_2","status":"completed"}"#));
    until_cents(&stand, [80, 40, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_that_drips_is_broken_off_and_a_slow_client_is_not() {
    let channel = Upstream::start(|heard| match heard.method.as_str() {
        "POST" => json(200, CREATED),
        _ => drips("the video"),
    })
    .await;
    // Far longer than from one byte to the next, so that it is the rate that breaks it off.
    let lines = "    read_timeout: 2s\n    min_download_rate: 1 KiB\n";
    let stand = channel
        .behind(soon("  poll_after: 1h\n"), lines)
        .start()
        .await;
    created(&stand).await;
    let request = Request::get("/v1/videos/video_1/content").key(KEY);
    let error = request.send(stand.gate).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(stand.channel_errors().await, ["timeout"]);
    // Whole, it may be taken as slowly as the client likes.
    channel.says(|_| Say::Whole(with(200, "", vec![7; 8_000_000])));
    let mut connection = support::client::Connection::open(stand.gate).await.unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bytes = request.pieces().concat();
    connection.stream.write_all(&bytes).await.unwrap();
    let mut read = 0;
    let mut chunk = vec![0; 1_000_000];
    let began = Instant::now();
    while read < 8_000_000 {
        read += connection.stream.read(&mut chunk).await.unwrap();
        // For longer than the channel might be silent.
        if began.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(SHORT).await;
        }
    }
    assert_eq!(stand.channel_errors().await, ["timeout"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_while_enough_jobs_are_due() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    const JOBS: usize = 300;
    let made = AtomicUsize::new(0);
    let channel = Upstream::start(move |heard| match heard.method.as_str() {
        "POST" => {
            let n = made.fetch_add(1, Ordering::Relaxed);
            json(200, CREATED.replace("video_1", &format!("video_{n}")))
        }
        _ => json(200, r#"{"status":"completed"}"#),
    })
    .await;
    // In rounds of fifty jobs with a pause of five seconds between them this would take half a
    // minute.
    let setup = soon("  poll_after: 20s\n  polls_per_second: 1000\n");
    let clock = tollgate::clock::Clock::manual(tollgate::policy::Timestamp(unix_time() * 1000));
    let stand = channel
        .behind(setup, "")
        .start_with_clock(clock.clone())
        .await;
    for n in 0..JOBS {
        let answer = create(&format!("a cat {n}"))
            .send(stand.gate)
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    assert_eq!(cents(&stand).await, [40 * JOBS as i64, 0, 0]);
    clock.set(tollgate::policy::Timestamp((unix_time() + 60) * 1000));
    let began = Instant::now();
    until_cents(&stand, [40 * JOBS as i64, 40 * JOBS as i64, 0]).await;
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
}

/// What comes of a create whose reservation is voided before its channel answers with a job, as
/// another gate does to one that it takes for dead; and what `meanwhile` sends before the answer.
async fn given_up(
    engine: &Engine,
    setup: impl FnOnce(Setup) -> Setup,
    meanwhile: impl AsyncFnOnce(&Stand),
) -> (Stand, Answer) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (waits, count) = (Arc::new(AtomicUsize::new(1)), AtomicUsize::new(0));
    let told = waits.clone();
    let channel = Upstream::start(move |heard| {
        if heard.method == "GET" {
            return json(200, CREATED);
        }
        let other = CREATED.replace("video_1", "video_2");
        if count.fetch_add(1, Ordering::Relaxed) > 0 {
            return json(200, other);
        }
        // A worker that waits keeps the task that it has just woken, unless it hands them all on.
        tokio::task::block_in_place(|| {
            while told.load(Ordering::Relaxed) == 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        json(200, CREATED)
    })
    .await;
    let mut setup = setup(channel.behind(soon("  poll_after: 1h\n"), ""));
    setup.ledger = engine.open();
    let stand = setup.start().await;
    let gate = stand.gate;
    let request = create("a cat").header("Idempotency-Key", "once");
    let answer = tokio::spawn(async move { request.send(gate).await.unwrap() });
    stand
        .until("the channel has it", async || {
            channel.times("POST", "/v1/videos") == 1
        })
        .await;
    let ledger = stand.handle.ledger();
    let pending = ledger.unmatched("mock", 1).await.unwrap().remove(0);
    let now = tollgate::policy::Timestamp(unix_time() * 1000);
    ledger.void(pending.id, "not found out", now).await.unwrap();
    meanwhile(&stand).await;
    waits.store(0, Ordering::Relaxed);
    (stand, answer.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_is_charged_although_its_create_was_given_up_before_its_answer() {
    on(Engine::all(), async |engine| {
        let (stand, answer) = given_up(&engine, |setup| setup, async |_| {}).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", engine.name());
        assert_eq!(open(&stand, State::Confirmed).await, 1);
        assert_eq!(send(&stand, "GET", JOB).await.status, 200);
        // What was voided here was voided by nobody who counts.
        assert_eq!(cents(&stand).await, [80, 0, 0], "{}", engine.name());
        // A repetition makes no second job.
        let again = create("a cat").header("Idempotency-Key", "once");
        let again = again.send(stand.gate).await.unwrap();
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.body, answer.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repetition_that_came_before_the_late_answer_keeps_its_own() {
    let repeat = async |stand: &Stand| {
        let again = create("a cat").header("Idempotency-Key", "once");
        again.send(stand.gate).await.unwrap()
    };
    on(Engine::all(), async |engine| {
        let (stand, answer) = given_up(
            &engine,
            |setup| setup,
            async |stand| assert_eq!(repeat(stand).await.status, 200),
        )
        .await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", engine.name());
        assert_eq!(open(&stand, State::Confirmed).await, 2);
        let again = repeat(&stand).await;
        let again = String::from_utf8_lossy(&again.body);
        assert!(again.contains("video_2"), "{}: {again}", engine.name());
    })
    .await;
}

/// A configuration whose limit has room for one of the two jobs.
fn tight(setup: Setup) -> Setup {
    setup.replacing(
        "sora2: { multiplier: 5, currency: CNY }",
        "sora2: { multiplier: 5, currency: CNY, limits: { list_cost_usd: 0.5/total } }",
    )
}

/// A create of `prompt` that takes the room of the limit.
async fn takes_the_room(stand: &Stand, prompt: &str) {
    let other = create(prompt).send(stand.gate).await.unwrap();
    assert_eq!(other.status, 200);
}

async fn has_no_room(engine: &Engine, stand: &Stand, answer: &Answer) {
    let told = (answer.status, &*answer.code());
    assert_eq!(told, (502, "upstream_error"), "{}", engine.name());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(stand.channel_errors().await, ["too_late"]);
    assert_eq!(send(stand, "GET", JOB).await.status, 404);
    assert_eq!(open(stand, State::Confirmed).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_answer_never_exceeds_a_budget() {
    on(Engine::all(), async |engine| {
        let other = async |stand: &Stand| takes_the_room(stand, "a dog").await;
        let (stand, answer) = given_up(&engine, tight, other).await;
        has_no_room(&engine, &stand, &answer).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_answer_never_exceeds_a_budget_that_came_after_its_request() {
    on(Engine::all(), async |engine| {
        let (stand, answer) = given_up(
            &engine,
            |setup| setup,
            async |stand| {
                takes_the_room(stand, "a dog").await;
                let tight = tight(Setup::default());
                stand.handle.reload(tight.config_for(stand.mock.addr()));
            },
        )
        .await;
        has_no_room(&engine, &stand, &answer).await;
    })
    .await;
}
