//! `Idempotency-Key`: the same request makes one job, and gets the same answer.

#[path = "support/engines.rs"]
mod engines;
#[path = "support/gates.rs"]
mod gates;
mod support;

use std::time::{Duration, Instant};

use engines::{Engine, on};
use gates::{OneGate, channel};
use serde_json::json;
use support::client::{Answer, Body, Request};
use support::{BOUNDARY, KEY, STUDIO, Setup, Stand, form, form_type, png};

const HEADER: &str = "Idempotency-Key";

/// A stand on that engine, with lines of `jobs:`.
async fn stand(engine: &Engine, lines: &str) -> Stand {
    // No reservation is voided before its channel's timeouts are over.
    let timeouts = "    answer_timeout: 2s\n    read_timeout: 1s\n    credential: ";
    let mut setup = Setup::default().replacing("    credential: ", timeouts);
    if !lines.is_empty() {
        setup = setup.with(&format!("jobs: {{ {lines} }}\n"));
    }
    setup.ledger = engine.open();
    setup.start().await
}

fn post(path: &str, content_type: &str, body: Vec<u8>) -> Request {
    let mut request = Request::new("POST", path).header("Content-Type", content_type);
    request.body = Some(Body::Length(body, vec![]));
    request
}

/// A create by a form.
fn create(prompt: &str) -> Request {
    let fields: [(&str, &[u8]); 3] = [
        ("prompt", prompt.as_bytes()),
        ("model", b"sora-2"),
        ("seconds", b"4"),
    ];
    post("/v1/videos", &form_type(), form(&fields))
}

/// The same form as an SDK writes it the next time.
fn other_boundary(mut request: Request) -> Request {
    const OTHER: &str = "another-boundary-of-another-length";
    let Some(Body::Length(body, cuts)) = request.body.take() else {
        panic!("no form")
    };
    let mut other = Vec::with_capacity(body.len());
    let mut rest = &body[..];
    while let Some(at) = rest
        .windows(BOUNDARY.len())
        .position(|window| window == BOUNDARY.as_bytes())
    {
        other.extend_from_slice(&rest[..at]);
        other.extend_from_slice(OTHER.as_bytes());
        rest = &rest[at + BOUNDARY.len()..];
    }
    other.extend_from_slice(rest);
    request.body = Some(Body::Length(other, cuts));
    request.headers.retain(|(name, _)| name != "Content-Type");
    request.header(
        "Content-Type",
        &format!("multipart/form-data; boundary={OTHER}"),
    )
}

fn chunked(mut request: Request) -> Request {
    if let Some(Body::Length(body, _)) = request.body.take() {
        request.body = Some(Body::Chunked(body, vec![7, 100, 1]));
    }
    request
}

async fn send(stand: &Stand, key: &str, name: &str, request: Request) -> Answer {
    let request = request.key(key).header(HEADER, name);
    request.send(stand.gate).await.unwrap()
}

/// The first answer.
async fn first(stand: &Stand, key: &str, name: &str, request: Request) -> Answer {
    let answer = send(stand, key, name, request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("idempotent-replayed"), None);
    answer
}

/// The same answer once more.
async fn replayed(stand: &Stand, key: &str, name: &str, request: Request, first: &Answer) {
    let answer = send(stand, key, name, request).await;
    is_replayed(&answer, first);
}

fn is_replayed(answer: &Answer, first: &Answer) {
    assert_eq!(answer.status, first.status, "{answer:?}");
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body, first.body);
}

fn is_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_gets_the_same_answer() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let plain = json!({"model": "sora-2", "prompt": "a cat", "seconds": "4"}).to_string();
        // Written otherwise, it asks for the same.
        let escaped = r#"{ "seconds":"4",  "prompt":"a c\u0061t","model":"sora-2" }"#;
        let picture = png(200_000);
        let upload = form(&[
            ("prompt", b"a cat"),
            ("input_reference", &picture),
            ("model", b"sora-2"),
            ("size", b"1280x720"),
        ]);
        let upload = || post("/v1/videos", &form_type(), upload.clone());
        let json = |body: &str| post("/v1/videos", "application/json", body.into());
        let shuffled = form(&[
            ("seconds", b"4"),
            ("model", b"sora-2"),
            ("prompt", b"a cat"),
        ]);
        let shuffled = post("/v1/videos", &form_type(), shuffled);
        let cases = [
            (
                "form",
                create("a cat"),
                vec![other_boundary(create("a cat")), shuffled],
            ),
            ("json", json(&plain), vec![json(escaped)]),
            (
                "file",
                upload(),
                vec![other_boundary(upload()), chunked(upload())],
            ),
        ];
        for (n, (name, request, same)) in cases.into_iter().enumerate() {
            let answer = first(&stand, KEY, name, request.clone()).await;
            replayed(&stand, KEY, name, request.clone(), &answer).await;
            replayed(&stand, KEY, name, chunked(request), &answer).await;
            for request in same {
                replayed(&stand, KEY, name, request, &answer).await;
            }
            assert_eq!(
                stand.mock.stats().requests_total,
                n as u64 + 1,
                "{}",
                engine.name()
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_first_is_under_way_there_is_no_second() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let request = || create("a cat [mock:slow=1000]");
        // The first cannot end earlier than the mock's time after this.
        let began = Instant::now();
        let second = async {
            stand
                .until("the channel has it", async || {
                    stand.mock.stats().creates_accepted == 1
                })
                .await;
            for request in [request(), other_boundary(request()), chunked(request())] {
                let answer = send(&stand, KEY, "a", request).await;
                // A machine that stood still has let the first one end.
                if began.elapsed() < Duration::from_secs(1) {
                    is_refused(&answer, 409, "idempotency_conflict");
                    assert_eq!(answer.header("retry-after"), Some("1"));
                }
            }
        };
        let (answer, ()) = tokio::join!(first(&stand, KEY, "a", request()), second);
        replayed(&stand, KEY, "a", request(), &answer).await;
        assert_eq!(stand.mock.stats().requests_total, 1, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_request_is_refused() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let picture = png(150_000);
        let upload = |picture: &[u8]| {
            let body = form(&[
                ("prompt", b"a cat"),
                ("input_reference", picture),
                ("model", b"sora-2"),
                ("size", b"1280x720"),
            ]);
            post("/v1/videos", &form_type(), body)
        };
        let answer = first(&stand, KEY, "a", upload(&picture)).await;
        let mut last_byte = picture.clone();
        *last_byte.last_mut().unwrap() ^= 1;
        let shorter = &picture[..picture.len() - 1];
        let requests = [
            upload(&last_byte),
            upload(shorter),
            create("a cat"),
            create("a dog"),
            post(
                "/v1/videos",
                "application/json",
                br#"{"model":"sora-2","prompt":"a"}"#.into(),
            ),
        ];
        for request in requests {
            let answer = send(&stand, KEY, "a", request).await;
            is_refused(&answer, 422, "idempotency_key_reused");
        }
        // The first still stands, and other names are free.
        replayed(&stand, KEY, "a", upload(&picture), &answer).await;
        assert_eq!(stand.mock.stats().requests_total, 1, "{}", engine.name());
        first(&stand, KEY, "b", create("a dog")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_has_its_own() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let mine = first(&stand, KEY, "a", create("a cat")).await;
        let other = first(&stand, STUDIO, "a", create("a cat")).await;
        assert_ne!(mine.json()["id"], other.json()["id"]);
        first(&stand, STUDIO, "b", create("a dog")).await;
        replayed(&stand, KEY, "a", create("a cat"), &mine).await;
        replayed(&stand, STUDIO, "a", create("a cat"), &other).await;
        // The same letters in another case are another name.
        first(&stand, KEY, "A", create("a cat")).await;
        assert_eq!(stand.mock.jobs().len(), 4, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remixes_are_repeated_too() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let mut sources = vec![];
        for name in ["a", "b"] {
            let answer = first(&stand, KEY, name, create("a cat")).await;
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            let poll = Request::get(&format!("/v1/videos/{id}")).key(KEY);
            stand
                .until("it is completed", async || {
                    poll.send(stand.gate).await.unwrap().json()["status"] == "completed"
                })
                .await;
            sources.push(id);
        }
        let remix = |source: &str, prompt: &str| {
            let path = format!("/v1/videos/{source}/remix");
            post(&path, &form_type(), form(&[("prompt", prompt.as_bytes())]))
        };
        let answer = first(&stand, KEY, "r", remix(&sources[0], "a hat")).await;
        let again = other_boundary(remix(&sources[0], "a hat"));
        replayed(&stand, KEY, "r", again, &answer).await;
        let just_prompt = post("/v1/videos", &form_type(), form(&[("prompt", b"a hat")]));
        for other in [remix(&sources[1], "a hat"), remix(&sources[0], "a coat")] {
            let answer = send(&stand, KEY, "r", other).await;
            is_refused(&answer, 422, "idempotency_key_reused");
        }
        // A create may lack what a remix may; it is not taken for one.
        let answer = send(&stand, KEY, "r", just_prompt).await;
        assert!(matches!(answer.status, 400 | 422), "{answer:?}");
        let answer = send(&stand, KEY, "a", remix(&sources[0], "a cat")).await;
        is_refused(&answer, 422, "idempotency_key_reused");
        assert_eq!(stand.mock.stats().remixes_complete, 1, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_that_repeats_is_not_forwarded() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let picture = png(5_000_000);
        let upload = |picture: &[u8]| {
            let body = form(&[
                ("prompt", b"a cat"),
                ("model", b"sora-2"),
                ("size", b"1280x720"),
                ("input_reference", picture),
            ]);
            post("/v1/videos", &form_type(), body)
        };
        let answer = first(&stand, KEY, "a", upload(&picture)).await;
        let before = stand.mock.stats();
        replayed(&stand, KEY, "a", other_boundary(upload(&picture)), &answer).await;
        replayed(&stand, KEY, "a", chunked(upload(&picture)), &answer).await;
        let mut other = picture.clone();
        *other.last_mut().unwrap() ^= 1;
        let answer = send(&stand, KEY, "a", upload(&other)).await;
        is_refused(&answer, 422, "idempotency_key_reused");
        // Not a byte, not a connection.
        let after = stand.mock.stats();
        assert_eq!(
            after.requests_total,
            before.requests_total,
            "{}",
            engine.name()
        );
        assert_eq!(
            after.connections_total,
            before.connections_total,
            "{}",
            engine.name()
        );
        assert_eq!(
            after.body_bytes_total,
            before.body_bytes_total,
            "{}",
            engine.name()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_is_checked_and_stays_here() {
    let stand = stand(&Engine::Memory, "").await;
    let long = "k".repeat(255);
    let marks = "!#$%&'*+-.^_`|~:/?@[]{}\"(),;<=>\\";
    for name in [long.as_str(), "a", marks] {
        first(&stand, KEY, name, create("a cat")).await;
    }
    let before = stand.mock.stats().requests_total;
    for name in ["", " ", "a b", "a\tb", "caf\u{e9}", &format!("{long}k")] {
        let answer = send(&stand, KEY, name, create("a cat")).await;
        is_refused(&answer, 400, "invalid_header");
    }
    for other in ["a", "b"] {
        let twice = create("a cat").header(HEADER, other);
        let answer = send(&stand, KEY, "a", twice).await;
        is_refused(&answer, 400, "invalid_header");
    }
    assert_eq!(stand.mock.stats().requests_total, before);
    // Where it means nothing, it goes nowhere either.
    let id = stand.mock.jobs()[0].job.id.clone().unwrap();
    for path in ["", "/content"] {
        let request = Request::get(&format!("/v1/videos/{id}{path}"));
        send(&stand, KEY, "a", request).await;
    }
    let delete = Request::new("DELETE", &format!("/v1/videos/{id}"));
    assert_eq!(send(&stand, KEY, "a", delete).await.status, 200);
    let records = stand.mock.requests();
    assert!(records.len() >= 6, "{}", records.len());
    for record in records {
        let names = record.headers.iter().map(|(name, _)| name.as_str());
        assert!(
            names.into_iter().all(|name| !name.contains("idempotency")),
            "{record:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_takes_nothing_from_a_limit() {
    on(Engine::all(), async |engine| {
        let mut setup = Setup::default().replacing("requests: 60/min", "requests: 2/day");
        setup.ledger = engine.open();
        let stand = setup.start().await;
        let cat = first(&stand, STUDIO, "a", create("a cat")).await;
        for _ in 0..3 {
            replayed(&stand, STUDIO, "a", create("a cat"), &cat).await;
        }
        let dog = first(&stand, STUDIO, "b", create("a dog")).await;
        let answer = send(&stand, STUDIO, "c", create("an owl")).await;
        is_refused(&answer, 429, "rate_limit_exceeded");
        // At its limit, a key still gets its answers; also where the refusal would come
        // before the upload.
        replayed(&stand, STUDIO, "a", create("a cat"), &cat).await;
        replayed(&stand, STUDIO, "b", chunked(create("a dog")), &dog).await;
        let expecting = create("a dog").header("Expect", "100-continue");
        replayed(&stand, STUDIO, "b", expecting, &dog).await;
        assert_eq!(stand.mock.stats().creates_complete, 2, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_made_nothing_frees_its_name() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "").await;
        let refused = |extra: (&str, &[u8])| {
            let body = form(&[("prompt", b"a cat"), extra]);
            post("/v1/videos", &form_type(), body)
        };
        for (name, request, status) in [
            // By the gate.
            ("a", refused(("model", b"no-model")), 400),
            ("b", refused(("seconds", b"5")), 400),
            // By the channel.
            ("c", create("a cat [mock:400]"), 400),
            ("d", create("a cat [mock:429]"), 429),
            ("e", create("a cat [mock:503]"), 503),
            ("f", create("a cat [mock:quota]"), 502),
        ] {
            for _ in 0..2 {
                let answer = send(&stand, KEY, name, request.clone()).await;
                assert_eq!(answer.status, status, "{name}: {answer:?}");
                assert_eq!(answer.header("idempotent-replayed"), None, "{name}");
            }
            // It does not stand for the one that failed.
            let answer = first(&stand, KEY, name, create("a dog")).await;
            replayed(&stand, KEY, name, create("a dog"), &answer).await;
        }
        assert_eq!(stand.mock.jobs().len(), 6, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_waited_for() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "unknown_grace: 2s").await;
        for (name, fault) in [("a", "drop-after"), ("b", "drop-before")] {
            let list = "list:500".parse().unwrap();
            stand.mock.set_faults(vec![list], None);
            let request = || create(&format!("a cat [mock:{fault}]"));
            let answer = send(&stand, KEY, name, request()).await;
            is_refused(&answer, 502, "upstream_error");
            let answer = send(&stand, KEY, name, other_boundary(request())).await;
            is_refused(&answer, 409, "idempotency_conflict");
            stand.mock.set_faults(vec![], None);
        }
        // What was made is handed out; what was not can be made.
        let lost = || create("a cat [mock:drop-after]");
        stand
            .until("the lost job is found", async || {
                send(&stand, KEY, "a", lost()).await.status == 200
            })
            .await;
        let answer = send(&stand, KEY, "a", lost()).await;
        assert_eq!(answer.header("idempotent-replayed"), Some("true"));
        let id = stand.mock.jobs()[0].job.id.clone().unwrap();
        assert_eq!(answer.json()["id"], id, "{}", engine.name());
        stand
            .until("the other's name is free", async || {
                let answer = send(&stand, KEY, "b", create("a dog")).await;
                assert!(matches!(answer.status, 200 | 409 | 422), "{answer:?}");
                answer.status == 200
            })
            .await;
        assert_eq!(stand.mock.jobs().len(), 2, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_expires() {
    on(Engine::all(), async |engine| {
        let stand = stand(&engine, "idempotency_for: 1s").await;
        let began = Instant::now();
        let answer = first(&stand, KEY, "a", create("a cat")).await;
        stand
            .until("the same request makes another job", async || {
                let again = send(&stand, KEY, "a", create("a cat")).await;
                assert_eq!(again.status, 200, "{again:?}");
                again.body != answer.body
            })
            .await;
        let took = began.elapsed();
        assert!(
            took >= Duration::from_secs(1),
            "{}: {took:?}",
            engine.name()
        );
        assert_eq!(stand.mock.jobs().len(), 2, "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gate_and_the_next_run_know_it() {
    on(Engine::durable(), async |engine| {
        let (setup, mock) = (Setup::default(), channel(Duration::ZERO).await);
        let ask = async |gate: &OneGate| {
            let request = other_boundary(create("a cat")).key(KEY).header(HEADER, "a");
            request.send(gate.address).await.unwrap()
        };
        let gate = OneGate::start(&setup, &mock, engine.open());
        let answer = ask(&gate).await;
        assert_eq!(answer.status, 200);
        let second = OneGate::start(&setup, &mock, gate.handle.ledger().clone());
        is_replayed(&ask(&second).await, &answer);
        second.stop().await;
        gate.stop().await;
        let gate = OneGate::start(&setup, &mock, engine.open());
        is_replayed(&ask(&gate).await, &answer);
        assert_eq!(mock.jobs().len(), 1, "{}", engine.name());
        gate.stop().await;
    })
    .await;
}

/// The first answer stands, whatever the configuration says by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_changed_refuses_no_repetition() {
    on(Engine::all(), async |engine| {
        let roomy = || Setup::default().replacing("in_flight: 4", "in_flight: 40");
        let mut setup = roomy();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        let with_seconds = |seconds: &[u8], picture: &[u8]| {
            let mut fields: Vec<(&str, &[u8])> = vec![("prompt", b"a cat"), ("model", b"sora-2")];
            if !picture.is_empty() {
                // What is refused may come before a file or after it.
                fields.push(("size", b"1280x720"));
                fields.push(("seconds", seconds));
                fields.push(("input_reference", picture));
            } else {
                fields.push(("seconds", seconds));
            }
            post("/v1/videos", &form_type(), form(&fields))
        };
        let picture = png(2_000_000);
        let mut late = form(&[
            ("prompt", b"a cat"),
            ("size", b"1280x720"),
            ("input_reference", &picture),
            ("model", b"sora-2"),
            ("seconds", b"8"),
        ]);
        let late = post("/v1/videos", &form_type(), std::mem::take(&mut late));
        let json = json!({"model": "sora-2", "prompt": "a cat", "seconds": "8"}).to_string();
        let cases = [
            ("small", with_seconds(b"8", b"")),
            ("large", with_seconds(b"8", &picture)),
            ("late", late),
            ("json", post("/v1/videos", "application/json", json.into())),
        ];
        let mut answers = Vec::new();
        for (name, request) in &cases {
            answers.push(first(&stand, STUDIO, name, request.clone()).await);
        }
        let changes = [
            ("seconds: [\"4\", \"8\"]", "seconds: [\"4\"]"),
            ("allowed: [\"4\", \"8\", \"12\"]", "allowed: [\"4\"]"),
        ];
        for (nth, (from, to)) in (0..).zip(changes) {
            let changed = changes
                .iter()
                .take(nth)
                .fold(roomy(), |setup, (from, to)| setup.replacing(from, to));
            let changed = changed.replacing(from, to);
            stand.handle.reload(changed.config_for(stand.mock.addr()));
            let creates = stand.mock.stats().creates_complete;
            for ((name, request), answer) in cases.iter().zip(&answers) {
                replayed(&stand, STUDIO, name, request.clone(), answer).await;
                replayed(&stand, STUDIO, name, chunked(request.clone()), answer).await;
                let refused = send(&stand, STUDIO, "new", request.clone()).await;
                assert!(matches!(refused.status, 400 | 403), "{refused:?}");
            }
            // Another request under a name that is taken, refused by the policy too.
            let other = send(&stand, STUDIO, "small", with_seconds(b"12", b"")).await;
            is_refused(&other, 422, "idempotency_key_reused");
            let after = stand.mock.stats().creates_complete;
            assert_eq!(after, creates, "{}", engine.name());
        }
    })
    .await;
}

/// Identical creates at once, with a limit for one: the others are told to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repetitions_at_once_are_never_told_that_a_budget_is_spent() {
    on(Engine::all(), async |engine| {
        let setup = Setup::default().replacing("100/day", "0.4/total");
        let mut setup = setup.replacing("in_flight: 4", "in_flight: 40");
        setup.ledger = engine.open();
        let stand = std::sync::Arc::new(setup.start().await);
        let creates = (0..16).map(|nth| {
            let (stand, request) = (stand.clone(), create("a cat"));
            let request = match nth % 2 {
                0 => request,
                _ => chunked(request),
            };
            tokio::spawn(async move { send(&stand, STUDIO, "a", request).await })
        });
        let mut done = 0;
        for create in creates.collect::<Vec<_>>() {
            let answer = create.await.unwrap();
            match answer.status {
                200 => done += 1,
                _ => is_refused(&answer, 409, "idempotency_conflict"),
            }
        }
        assert!(done >= 1);
        assert_eq!(stand.mock.stats().creates_complete, 1, "{}", engine.name());
        let other = send(&stand, STUDIO, "b", create("a cat")).await;
        is_refused(&other, 429, "insufficient_quota");
    })
    .await;
}
