//! What the channel answers, what the client sees of it, and what it means for the charge.

use crate::support::client::{Answer, Body, Connection, Request};
use crate::support::{CREDENTIAL, KEY, STUDIO, Setup, Stand};
use crate::support::{form, form_type, mock_options, plain_form, png, start_mock};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tollgate::ledger::{Ledger, MemoryLedger};

pub fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

/// A create that makes the mock channel misbehave.
pub fn create_with(fault: &str) -> Request {
    let prompt = format!("a cat [mock:{fault}]");
    let body = form(&[
        ("prompt", prompt.as_bytes()),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ]);
    Request::create(&form_type(), Body::Length(body, vec![]))
}

/// List cost by what became of it: reserved, posted, voided.
async fn list_cost(stand: &Stand) -> [f64; 3] {
    let metrics = stand.metrics().await;
    ["reserved", "posted", "voided"].map(|event| {
        let event = format!("event=\"{event}\"");
        let family = metrics.iter().filter(|(name, _)| {
            name.starts_with("tollgate_list_cost_usd_total") && name.contains(&event)
        });
        family.map(|(_, value)| value).sum()
    })
}

async fn unresolved(stand: &Stand) -> f64 {
    stand
        .metric("tollgate_unresolved_reservations{channel=\"mock\"}")
        .await
}

async fn in_flight(stand: &Stand, key: &str) -> f64 {
    let sample = format!("tollgate_jobs_in_flight{{key=\"{key}\"}}");
    stand.metric(&sample).await
}

fn leaks_nothing(answer: &Answer) {
    let text = format!("{}{}", answer.head, String::from_utf8_lossy(&answer.body));
    assert!(
        !text.contains(CREDENTIAL) && !text.contains(&CREDENTIAL[..8]),
        "{text}"
    );
    assert!(!text.contains(KEY), "{text}");
    for name in [
        "set-cookie",
        "openai-organization",
        "x-ratelimit-limit-requests",
    ] {
        assert!(answer.header(name).is_none(), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clear_no_voids_the_charge() {
    let stand = Stand::start().await;
    for (i, (fault, status, code, retry)) in [
        ("400", 400, "", None),
        ("429", 429, "rate_limit_exceeded", None),
        ("501", 501, "", None),
        ("503", 503, "unavailable", None),
        ("401", 502, "upstream_error", Some("false")),
        ("quota", 502, "upstream_error", Some("false")),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = create_with(fault).send(stand.gate).await.unwrap();
        assert_eq!(answer.status, status, "{fault}");
        if !code.is_empty() {
            assert_eq!(answer.code(), code, "{fault}");
        }
        assert_eq!(answer.header("x-should-retry"), retry, "{fault}");
        let wait = match fault {
            "429" => Some("2"),
            "503" => Some("1"),
            _ => None,
        };
        assert_eq!(answer.header("retry-after"), wait, "{fault}");
        leaks_nothing(&answer);
        let reserved = 0.4 * (i + 1) as f64;
        let [list, posted, voided] = list_cost(&stand).await;
        assert!(
            (list - reserved).abs() < 1e-9 && (voided - reserved).abs() < 1e-9,
            "{fault}"
        );
        assert_eq!((posted, unresolved(&stand).await), (0.0, 0.0), "{fault}");
        assert_eq!(in_flight(&stand, "demo").await, 0.0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_leaves_the_charge_pending() {
    let setup = Setup::default().replacing(
        "    credential: ",
        "    answer_timeout: 2s\n    credential: ",
    );
    let stand = setup.start().await;
    for (i, (fault, status, code)) in [
        ("slow=60000", 504, "upstream_timeout"),
        ("drop-after", 502, "upstream_error"),
        ("408", 502, "upstream_error"),
        ("409", 502, "upstream_error"),
        ("500", 502, "upstream_error"),
        ("502", 502, "upstream_error"),
        ("drop-answer", 502, "upstream_error"),
        ("no-id", 502, "upstream_error"),
        ("garbage", 502, "upstream_error"),
        ("huge", 502, "upstream_error"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = create_with(fault).send(stand.gate).await.unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (status, code.into()),
            "{fault}"
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{fault}");
        leaks_nothing(&answer);
        assert_eq!(unresolved(&stand).await, (i + 1) as f64, "{fault}");
        let [_, posted, voided] = list_cost(&stand).await;
        assert_eq!((posted, voided), (0.0, 0.0), "{fault}");
        assert_eq!(in_flight(&stand, "demo").await, (i + 1) as f64, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_charge_follows_what_is_rendered() {
    let stand = Stand::start().await;
    let answer = create_with("other-seconds=8")
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.json()["seconds"].as_str()),
        (200, Some("8"))
    );
    let [reserved, _, voided] = list_cost(&stand).await;
    assert!(
        (reserved - voided - 0.8).abs() < 1e-9,
        "{reserved} - {voided}"
    );
    let trickle = create_with("trickle").send(stand.gate).await.unwrap();
    assert_eq!(trickle.status, 200);
}

async fn job_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn poll_until_ended(stand: &Stand, job: &str) -> String {
    let poll = Request::get(&format!("/v1/videos/{job}")).key(KEY);
    loop {
        let answer = poll.send(stand.gate).await.unwrap();
        let status = answer.json()["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !["queued", "in_progress"].contains(&status.as_str()) {
            return status;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_job_resolves_its_charge_once() {
    let stand = Stand::start().await;
    let labels = "channel=\"mock\",model=\"sora-2\"";
    for (n, (fault, status, ended)) in [
        ("none", "completed", "completed"),
        ("fail", "failed", "failed"),
        ("moderated", "failed", "failed"),
        ("cancelled", "cancelled", "cancelled"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = if fault == "none" {
            create()
        } else {
            create_with(fault)
        };
        let job = job_of(&request.send(stand.gate).await.unwrap()).await;
        for _ in 0..3 {
            assert_eq!(poll_until_ended(&stand, &job).await, status);
        }
        let sample = format!("tollgate_jobs_total{{{labels},status=\"{ended}\"}}");
        stand
            .until(fault, async || stand.metric(&sample).await >= 1.0)
            .await;
        let [reserved, posted, voided] = list_cost(&stand).await;
        assert!((reserved - 0.4 * (n + 1) as f64).abs() < 1e-9);
        assert!((posted - 0.4).abs() < 1e-9, "{fault}: {posted}");
        assert!((voided - 0.4 * n as f64).abs() < 1e-9, "{fault}: {voided}");
        assert_eq!(in_flight(&stand, "demo").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_client_that_has_gone_is_known() {
    let stand = Stand::start().await;
    let mut connection = Connection::open(stand.gate).await.unwrap();
    for piece in create_with("slow=200").pieces() {
        connection.stream.write_all(&piece).await.unwrap();
    }
    drop(connection);
    stand
        .until("the job exists", async || !stand.mock.jobs().is_empty())
        .await;
    let job = stand.mock.jobs()[0].job.id.clone().unwrap();
    stand
        .until("the gate knows it", async || {
            stand.handle.ledger().job(&job).await.unwrap().is_some()
        })
        .await;
    assert_eq!(poll_until_ended(&stand, &job).await, "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_mid_upload_reaches_the_client() {
    let stand = Stand::start().await;
    stand
        .mock
        .set_faults(vec!["early=413".parse().unwrap()], None);
    // The larger one is more than sockets hold: it is read on, or the answer would be lost.
    let bodies = [600_000, 12_000_000].map(|bytes| {
        let image = png(bytes);
        let body = form(&[
            ("prompt", b"a cat"),
            ("input_reference", &image),
            ("model", b"sora-2"),
            ("size", b"1280x720"),
        ]);
        let pieces = vec![100_000; bytes / 100_000];
        [
            Body::Length(body.clone(), pieces.clone()),
            Body::Chunked(body, pieces),
        ]
    });
    for body in bodies.into_iter().flatten() {
        let answer = Request::create(&form_type(), body)
            .send(stand.gate)
            .await
            .unwrap();
        assert_eq!(answer.status, 413, "{answer:?}");
        assert_eq!(list_cost(&stand).await[0], list_cost(&stand).await[2]);
    }
    assert_eq!(stand.mock.jobs().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_down_is_said_to_be() {
    let stand = Stand::start().await;
    let Stand {
        mock,
        gate,
        admin,
        handle: _handle,
        server: _server,
    } = stand;
    mock.stop().await;
    let answer = create().send(gate).await.unwrap();
    assert_eq!((answer.status, answer.code()), (503, "unavailable".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let ready = Request::get("/readyz").send(admin).await.unwrap();
    let text = String::from_utf8(ready.body).unwrap();
    assert_eq!(
        (ready.status, text.as_str()),
        (503, "no channel can be reached\n")
    );
    assert_eq!(
        Request::get("/livez").send(admin).await.unwrap().status,
        200
    );
    let metrics = Request::get("/metrics").send(admin).await.unwrap();
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(
        text.contains("tollgate_channel_up{channel=\"mock\"} 0\n"),
        "{text}"
    );
    assert!(text.contains("tollgate_channel_errors_total{channel=\"mock\",kind=\"connect\"} 1\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_that_fail_change_nothing() {
    let stand = Stand::start().await;
    let job = job_of(&create().send(stand.gate).await.unwrap()).await;
    let poll = Request::get(&format!("/v1/videos/{job}")).key(KEY);
    for (fault, status) in [
        ("poll:500", 500),
        ("poll:401", 502),
        ("poll:429", 429),
        ("poll:drop-before", 502),
        ("poll:garbage", 200),
    ] {
        stand.mock.set_faults(vec![fault.parse().unwrap()], None);
        let answer = poll.send(stand.gate).await.unwrap();
        assert_eq!(answer.status, status, "{fault}: {answer:?}");
        leaks_nothing(&answer);
        if status == 502 {
            assert_eq!(answer.code(), "upstream_error");
        }
        assert_eq!(in_flight(&stand, "demo").await, 1.0, "{fault}");
    }
    stand.mock.set_faults(vec![], None);
    assert_eq!(poll_until_ended(&stand, &job).await, "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_reaches_its_own_jobs_only() {
    let stand = Stand::start().await;
    let job = job_of(&create().send(stand.gate).await.unwrap()).await;
    assert_eq!(poll_until_ended(&stand, &job).await, "completed");
    let before = stand.mock.stats().requests_total;
    let mut remix = Request::new("POST", &format!("/v1/videos/{job}/remix"));
    remix.body = Some(Body::Length(br#"{"prompt":"x"}"#.to_vec(), vec![]));
    let remix = remix.header("Content-Type", "application/json");
    let requests = [
        Request::get(&format!("/v1/videos/{job}")),
        Request::get(&format!("/v1/videos/{job}/content")),
        Request::new("DELETE", &format!("/v1/videos/{job}")),
        remix.clone(),
    ];
    for request in requests {
        let foreign = request.clone().key(STUDIO).send(stand.gate).await.unwrap();
        let mut unknown = request.clone().key(STUDIO);
        unknown.path = request.path.replace(&job, "video_unknown");
        let unknown = unknown.send(stand.gate).await.unwrap();
        assert_eq!((foreign.status, foreign.code()), (404, "not_found".into()));
        assert_eq!(foreign.body, unknown.body, "the two are told apart");
    }
    assert_eq!(
        stand.mock.stats().requests_total,
        before,
        "no channel was asked"
    );

    let answer = remix.key(KEY).send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["remixed_from_video_id"].as_str(), Some(&*job));
    let [reserved, ..] = list_cost(&stand).await;
    assert!(
        (reserved - 0.8).abs() < 1e-9,
        "a remix costs what its source did"
    );
}

/// A channel may render seconds that are not on offer: its job can be remixed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_other_seconds_can_be_remixed() {
    let stand = Stand::start().await;
    let body = form(&[
        ("prompt", b"a cat [mock:other-seconds=10]"),
        ("model", b"sora-2"),
        ("seconds", b"8"),
        ("size", b"1280x720"),
    ]);
    let create = Request::create(&form_type(), Body::Length(body, vec![]));
    let job = job_of(&create.send(stand.gate).await.unwrap()).await;
    assert_eq!(poll_until_ended(&stand, &job).await, "completed");
    let mut remix = Request::new("POST", &format!("/v1/videos/{job}/remix"));
    remix.body = Some(Body::Length(br#"{"prompt":"x"}"#.to_vec(), vec![]));
    let remix = remix.header("Content-Type", "application/json").key(KEY);
    let answer = remix.send(stand.gate).await.unwrap();
    assert_eq!(
        (answer.status, &answer.json()["seconds"]),
        (200, &"10".into())
    );
    // 0.80 was reserved, voided, and reserved as 1.00; so was the remix.
    let [reserved, ..] = list_cost(&stand).await;
    assert!((reserved - 2.8).abs() < 1e-9, "{reserved}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_pass_with_ranges_and_are_nobody_elses() {
    let stand = Stand::start().await;
    let job = job_of(&create().send(stand.gate).await.unwrap()).await;
    assert_eq!(poll_until_ended(&stand, &job).await, "completed");
    let content = Request::get(&format!("/v1/videos/{job}/content")).key(KEY);
    let whole = content.send(stand.gate).await.unwrap();
    assert_eq!(whole.header("content-type"), Some("video/mp4"));
    assert_eq!(whole.header("cache-control"), Some("private, no-store"));
    let part = content
        .clone()
        .header("Range", "bytes=4-7")
        .send(stand.gate)
        .await
        .unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &b"ftyp"[..]));
    let mut thumbnail = content;
    thumbnail.path.push_str("?variant=thumbnail");
    let thumbnail = thumbnail.send(stand.gate).await.unwrap();
    assert_eq!(thumbnail.header("content-type"), Some("image/webp"));
    let gone = Request::new("DELETE", &format!("/v1/videos/{job}")).key(KEY);
    let gone = gone.send(stand.gate).await.unwrap();
    assert_eq!(
        (gone.status, gone.json()["deleted"].as_bool()),
        (200, Some(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_does_not_fail_because_a_channel_does() {
    let stand = Stand::start().await;
    let job = job_of(&create().send(stand.gate).await.unwrap()).await;
    let list = Request::get("/v1/videos").key(KEY);
    for (fault, kind) in [
        ("poll:401", "account"),
        ("poll:500", "status"),
        ("poll:drop-before", "broken"),
        ("poll:garbage", "no_job"),
    ] {
        stand.mock.set_faults(vec![fault.parse().unwrap()], None);
        let answer = list.send(stand.gate).await.unwrap();
        let jobs = answer.json();
        assert_eq!(
            (answer.status, &jobs["first_id"]),
            (200, &job.as_str().into())
        );
        // What the channel does not tell, the ledger does.
        let told = &jobs["data"][0];
        assert_eq!(
            (&told["status"], &told["size"]),
            (&"in_progress".into(), &"1280x720".into())
        );
        leaks_nothing(&answer);
        let sample = format!("tollgate_channel_errors_total{{channel=\"mock\",kind=\"{kind}\"}}");
        assert_eq!(stand.metric(&sample).await, 1.0, "{fault}");
    }
    stand.mock.set_faults(vec![], None);
    let answer = list.send(stand.gate).await.unwrap();
    assert_eq!(
        answer.json()["data"][0]["prompt"],
        "A calico cat playing a piano"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_channel_that_is_gone_is_not_tried_for_ever() {
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
    let setup = || Setup {
        ledger: ledger.clone(),
        ..Setup::default()
    };
    let stand = setup().start().await;
    let job = job_of(&create().send(stand.gate).await.unwrap()).await;
    // As after a restart.
    let renamed = setup().replacing("  mock:\n", "  other:\n").start().await;
    let poll = Request::get(&format!("/v1/videos/{job}")).key(KEY);
    let answer = poll.send(renamed.gate).await.unwrap();
    assert_eq!((answer.status, answer.code()), (503, "unavailable".into()));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

/// The process that loads a configuration without a channel goes on to follow the jobs of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_channel_that_was_removed_are_followed() {
    let setup = || Setup::default().with("\njobs: { poll_after: 200ms, polls_per_second: 1000 }\n");
    let stand = setup().start().await;
    let job = job_of(&create().send(stand.gate).await.unwrap()).await;
    let other = start_mock(mock_options()).await;
    let renamed = setup().replacing("  mock:\n", "  other:\n");
    stand.handle.reload(renamed.config_for(other.addr()));
    let poll = Request::get(&format!("/v1/videos/{job}")).key(KEY);
    assert_eq!(poll.send(stand.gate).await.unwrap().status, 200);
    let before = stand.mock.jobs().len();
    assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
    assert_eq!((stand.mock.jobs().len(), other.jobs().len()), (before, 1));
    let posted = "tollgate_jobs_total{channel=\"mock\",model=\"sora-2\",status=\"completed\"}";
    stand
        .until("it is settled", async || stand.metric(posted).await == 1.0)
        .await;
    let state = "tollgate_channel_state{channel=\"mock\",state=\"drain\"}";
    assert_eq!(stand.metric(state).await, 1.0);
    // Configured again, it takes creates as before.
    let both = setup().config_for(stand.mock.addr());
    stand.handle.reload(both);
    assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
    assert_eq!(stand.mock.jobs().len(), before + 1);
}
