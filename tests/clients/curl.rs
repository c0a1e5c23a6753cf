//! curl, as people type it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::programs::run;
use super::refusals::{LARGE, rounds};
use super::support::programs::find;
use super::support::{KEY, STUDIO, Stand};
use super::{image, ordinary};
use serde_json::Value;
use tollgate::mock::Outcome;

/// What curl saw.
#[derive(Debug)]
struct Seen {
    status: u16,
    /// Body bytes that it sent.
    sent: u64,
    body: Value,
    /// The heads of all answers, interim ones too, and its remarks.
    log: String,
}

impl Seen {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// Runs curl against the route for creates.
async fn curl(gate: SocketAddr, key: &str, arguments: &[&str]) -> Seen {
    let mut command = Command::new(program().unwrap());
    command
        .args(["--silent", "--show-error", "--verbose", "--max-time", "60"])
        .args(["--write-out", "\n%{http_code} %{size_upload}"])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(arguments)
        .arg(format!("http://{gate}/v1/videos"));
    let ran = run(command, vec![]).await;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.success, "{arguments:?}: {text}\n{}", ran.stderr);
    let (body, numbers) = text.rsplit_once('\n').unwrap();
    let (status, sent) = numbers.split_once(' ').unwrap();
    Seen {
        status: status.parse().unwrap(),
        sent: sent.parse().unwrap(),
        body: serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text}")),
        log: ran.stderr,
    }
}

fn program() -> Option<PathBuf> {
    find("curl", "TOLLGATE_CURL")
}

fn is_missing() -> bool {
    program().is_none()
}

const FIELDS: [&str; 8] = [
    "-F",
    "prompt=A calico cat",
    "-F",
    "model=sora-2",
    "-F",
    "seconds=8",
    "-F",
    "size=1280x720",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_arrive() {
    if is_missing() {
        return;
    }
    let stand = Stand::start().await;
    let file = format!("input_reference=@{}", ordinary());
    let json = r#"{"model":"sora-2","prompt":"A calico cat","seconds":"8","size":"1280x720"}"#;
    let documented = [
        "-F", FIELDS[1], "-F", &file, "-F", FIELDS[3], "-F", FIELDS[5], "-F", FIELDS[7],
    ];
    let last = [&FIELDS[..], &["-F", &file]].concat();
    let first = [&["-F", &file], &FIELDS[..]].concat();
    let chunked = [&["-H", "Transfer-Encoding: chunked"], &first[..]].concat();
    let http2 = [&["--http2-prior-knowledge"], &first[..]].concat();
    let shapes: [&[&str]; 7] = [
        &FIELDS,
        &["-H", "Content-Type: application/json", "-d", json],
        &documented,
        &last,
        &first,
        &chunked,
        &http2,
    ];
    for shape in shapes {
        let seen = curl(stand.gate, KEY, shape).await;
        assert_eq!(seen.status, 200, "{shape:?} {seen:?}");
        let record = stand.mock.requests().pop().unwrap();
        assert_eq!(record.outcome, Outcome::Complete);
        assert_eq!(record.job_id.as_deref(), seen.body["id"].as_str());
        assert_eq!(record.fields.seconds.as_deref(), Some("8"), "{shape:?}");
        if !shape.contains(&"Transfer-Encoding: chunked") {
            assert_eq!(record.body_bytes, seen.sent, "{shape:?}");
        }
    }
    let accepted = stand.mock.stats().creates_accepted;
    assert_eq!(accepted, shapes.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_form_waits_for_the_gate_to_go_on() {
    if is_missing() {
        return;
    }
    let stand = Stand::start().await;
    let file = format!("input_reference=@{}", ordinary());
    let form = [&FIELDS[..], &["-F", &file]].concat();

    // Patience enough: without the interim answer, curl would run into --max-time.
    let patient = [&["--expect100-timeout", "50"], &form[..]].concat();
    let seen = curl(stand.gate, KEY, &patient).await;
    assert!(seen.log.contains("Expect: 100-continue"), "{seen:?}");
    assert!(seen.log.contains("HTTP/1.1 100"), "{seen:?}");
    assert_eq!(seen.status, 200, "{seen:?}");
    assert!(seen.sent > 5_000_000, "{seen:?}");

    // What the head already shows costs the client no upload.
    let seen = curl(stand.gate, "sk-nobody", &patient).await;
    assert!(!seen.log.contains("HTTP/1.1 100"), "{seen:?}");
    assert_eq!(
        (seen.status, seen.code(), seen.sent),
        (401, "invalid_api_key", 0)
    );
    let gzip = [&["-H", "Content-Encoding: gzip"], &patient[..]].concat();
    let seen = curl(stand.gate, KEY, &gzip).await;
    assert_eq!((seen.status, seen.sent), (415, 0), "{seen:?}");
    assert_eq!(stand.mock.stats().requests_total, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_amid_an_upload_is_shown_every_time() {
    if is_missing() {
        return;
    }
    let stand = Stand::start().await;
    let file = format!("input_reference=@{};type=image/png", image(LARGE).display());
    let model = "model=sora-2-pro";
    let last = ["-F", FIELDS[1], "-F", &file, "-F", model, "-F", FIELDS[7]];
    let first = ["-F", FIELDS[1], "-F", model, "-F", FIELDS[7], "-F", &file];
    let framings: [&[&str]; 4] = [
        &[],
        // Does not wait to be asked.
        &["-H", "Expect:"],
        &["-H", "Expect:", "-H", "Transfer-Encoding: chunked"],
        &["--http2-prior-knowledge"],
    ];
    for framing in framings {
        for order in [&first, &last] {
            let arguments = [framing, &order[..]].concat();
            for round in 0..rounds() {
                let seen = curl(stand.gate, STUDIO, &arguments).await;
                let told = (seen.status, seen.code());
                assert_eq!(
                    told,
                    (403, "model_not_allowed"),
                    "{arguments:?} {round} {seen:?}"
                );
            }
        }
    }
    let stats = stand.mock.stats();
    assert_eq!((stats.creates_complete, stats.creates_accepted), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_mistype_is_told_or_read() {
    if is_missing() {
        return;
    }
    let stand = Stand::start().await;
    let note = format!("{}.txt", ordinary());
    std::fs::write(&note, "A calico cat").unwrap();
    let as_file = format!("prompt=@{note}");
    let form = [&["-F", &as_file], &FIELDS[2..]].concat();
    let seen = curl(stand.gate, KEY, &form).await;
    assert_eq!((seen.status, seen.code()), (400, "invalid_body"));
    let message = seen.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("`prompt=<FILE`"), "{message}");
    // As the message says.
    let as_text = format!("prompt=<{note}");
    let form = [&["-F", &as_text], &FIELDS[2..]].concat();
    assert_eq!(curl(stand.gate, KEY, &form).await.status, 200);

    // A body without bytes, in chunks, as proxies on the way frame one.
    let list = ["-X", "GET", "-H", "Transfer-Encoding: chunked", "-d", ""];
    let seen = curl(stand.gate, KEY, &list).await;
    assert!(
        seen.log.contains("> Transfer-Encoding: chunked"),
        "{seen:?}"
    );
    assert_eq!(
        (seen.status, seen.body["object"].as_str()),
        (200, Some("list"))
    );
    let null = r#"{"model":"sora-2","prompt":"A calico cat","size":null,"seconds":null}"#;
    let json = ["-H", "Content-Type: application/json", "-d", null];
    assert_eq!(curl(stand.gate, KEY, &json).await.status, 200);
    let seen = curl(stand.gate, &format!(" {KEY}"), &FIELDS).await;
    assert!(
        seen.log.contains("> Authorization: Bearer  sk-"),
        "{seen:?}"
    );
    assert_eq!(seen.status, 200);
}
