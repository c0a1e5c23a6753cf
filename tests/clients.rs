//! The official SDKs, curl and promtool against a gate on real sockets.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_PYTHON` | an interpreter that has `tests/clients/requirements.txt` |
//! | `TOLLGATE_PYTHON_OLDER` | one that has `tests/clients/requirements-older.txt` |
//! | `TOLLGATE_NODE_MODULES` | the folder into which `tests/clients/package.json` is installed |
//! | `TOLLGATE_CURL`, `TOLLGATE_PROMTOOL` | curl and promtool, where they are not on the PATH |
//! | `TOLLGATE_REQUIRE_CLIENTS` | 1: what is missing fails rather than being skipped aloud |
//! | `TOLLGATE_ROUNDS` | refused uploads of each kind (3) |
#![forbid(unsafe_code)]

#[path = "clients/curl.rs"]
mod curl;
#[path = "clients/programs.rs"]
mod programs;
#[path = "clients/promtool.rs"]
mod promtool;
#[path = "clients/refusals.rs"]
mod refusals;
mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use programs::Sdk;
use serde_json::{Value, json};
use support::{KEY, STUDIO, Stand, png};
use tollgate::mock::{Outcome, Record};

/// A reference image of `bytes` bytes and the pixels that are asked for.
fn image(bytes: usize) -> &'static Path {
    static IMAGES: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let large = bytes > 20_000_000;
    IMAGES[usize::from(large)].get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("{}-{bytes}.png", std::process::id()));
        std::fs::write(&path, png(bytes)).unwrap();
        path
    })
}

/// 5 MB, an ordinary picture.
fn ordinary() -> &'static str {
    image(5_000_000).to_str().unwrap()
}

fn header<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    let found = record.headers.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_of_every_shape_arrive() {
    for sdk in Sdk::all() {
        let shapes: &[&str] = match sdk {
            Sdk::Node => &[
                "plain",
                "json",
                "url",
                "file-last",
                "file-first",
                "documented",
                "stream",
            ],
            Sdk::Python => &[
                "plain",
                "json",
                "url",
                "file-last",
                "bytes",
                "file-first",
                "documented",
                "stream",
            ],
            Sdk::OlderPython => &[
                "plain",
                "json",
                "file-last",
                "file-first",
                "documented",
                "stream",
            ],
        };
        let stand = Stand::start().await;
        for shape in shapes {
            let got = sdk
                .play(stand.gate, KEY, &["create", shape, ordinary()])
                .await;
            let what = format!("{sdk:?} {shape}: {got}");
            assert_eq!(
                (&got["model"], &got["seconds"], &got["size"]),
                (&json!("sora-2"), &json!("8"), &json!("1280x720")),
                "{what}"
            );
            let record = stand.mock.requests().pop().unwrap();
            assert_eq!(record.outcome, Outcome::Complete, "{what}");
            assert_eq!(record.job_id.as_deref(), got["id"].as_str(), "{what}");
            let read = &record.fields;
            let prompt = read.prompt.as_deref().map(|p| p.replace("\r\n", "\n"));
            assert_eq!(prompt.as_deref(), Some(PROMPT), "{what}");
            assert_eq!(read.seconds.as_deref(), Some("8"), "{what}");
            // What the program was to send is what the test is about.
            let kind = header(&record, "content-type").unwrap();
            let json = *shape == "json" || (sdk == Sdk::OlderPython && *shape == "plain");
            assert_eq!(kind.starts_with("application/json"), json, "{what} {kind}");
            let chunked = header(&record, "transfer-encoding") == Some("chunked");
            assert_eq!(chunked, *shape == "stream", "{what}");
            let has_file = !matches!(*shape, "plain" | "json" | "url");
            assert_eq!(record.body_bytes > 5_000_000, has_file, "{what}");
            assert_eq!(header(&record, "authorization"), Some("ok"), "{what}");
        }
        let stats = stand.mock.stats();
        assert_eq!(stats.creates_accepted, shapes.len() as u64);
        assert_eq!(stats.creates_broken, 0);
    }
}

/// A key sees what it may ask for, at its own price, and no channel is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sees_the_models_that_it_may_use() {
    for sdk in Sdk::all() {
        let stand = Stand::start().await;
        let got = sdk.play(stand.gate, KEY, &["models", "none"]).await;
        assert_eq!(
            got["ids"],
            json!(["sora-2", "sora-2-pro"]),
            "{sdk:?}: {got}"
        );
        let got = sdk
            .play(stand.gate, STUDIO, &["models", "sora-2-pro"])
            .await;
        assert_eq!(got["ids"], json!(["sora-2"]), "{sdk:?}: {got}");
        let one = &got["one"];
        for (member, value) in [
            ("id", json!("sora-2")),
            ("object", json!("model")),
            ("seconds", json!(["4", "8"])),
            ("default_seconds", json!("4")),
            ("default_size", json!("720x1280")),
            (
                "price_per_second",
                json!({ "720x1280": "0.50", "1280x720": "0.50" }),
            ),
            ("currency", json!("CNY")),
        ] {
            assert_eq!(one[member], value, "{member} of {sdk:?}: {got}");
        }
        assert_eq!(got["other"]["code"], "model_not_found", "{sdk:?}: {got}");
        assert_eq!(stand.mock.stats().requests_total, 0);
    }
}

const PROMPT: &str = "A calico cat playing a piano, café \"quoted\"\nline 2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_is_made_seen_remixed_and_deleted() {
    for sdk in Sdk::all() {
        let stand = Stand::start().await;
        let got = sdk.play(stand.gate, KEY, &["life"]).await;
        let what = format!("{sdk:?}: {got:#}");
        assert_eq!(got["created"]["status"], "completed", "{what}");
        let start = |variant: &str| hex(got["content"][variant].as_str().unwrap());
        assert_eq!(&start("default")[4..8], b"ftyp", "{what}");
        assert_eq!(start("video"), start("default"), "{what}");
        let thumbnail = start("thumbnail");
        assert_eq!(
            (&thumbnail[..4], &thumbnail[8..12]),
            (&b"RIFF"[..], &b"WEBP"[..])
        );
        assert_eq!(start("spritesheet")[..3], [0xff, 0xd8, 0xff]);
        let source = &got["created"]["id"];
        assert_eq!(&got["remix"]["of"], source, "{what}");
        assert_eq!(got["remix"]["seconds"], "8", "{what}");
        // One page for each video.
        assert_eq!(got["paged"], got["ids"], "{what}");
        assert_eq!(got["retrieved"]["id"], got["ids"][2], "{what}");
        assert_eq!(got["deleted"]["deleted"], true, "{what}");
        assert_eq!(&got["deleted"]["id"], source, "{what}");
        assert_eq!(got["gone"]["error"], "NotFoundError", "{what}");
        let stats = stand.mock.stats();
        assert_eq!((stats.creates_accepted, stats.remixes_accepted), (2, 1));
        let list = "tollgate_list_cost_usd_total{channel=\"mock\",event=\"posted\",key=\"demo\",model=\"sora-2\",size=\"1280x720\"}";
        assert!(
            stand.metric(list).await >= 0.8,
            "{:?}",
            stand.metrics().await
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_under_one_key_is_made_once() {
    for sdk in Sdk::all() {
        let stand = Stand::start().await;
        let got = sdk.play(stand.gate, KEY, &["again", ordinary()]).await;
        let what = format!("{sdk:?}: {got:#}");
        assert!(got["first"]["id"].is_string(), "{what}");
        assert_eq!(got["first"]["id"], got["second"]["id"], "{what}");
        let other = &got["other"];
        assert_eq!(
            (&other["error"], &other["status"], &other["code"]),
            (
                &json!("UnprocessableEntityError"),
                &json!(422),
                &json!("idempotency_key_reused")
            ),
            "{what}"
        );
        assert_eq!(stand.mock.stats().creates_accepted, 1, "{what}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    digits.map(|pair| byte(pair).unwrap()).collect()
}

/// The part of an outcome that tells how an SDK reports it.
fn told(got: &Value) -> (&str, u64, &str) {
    let text = |name: &str| got[name].as_str().unwrap_or_default();
    (
        text("error"),
        got["status"].as_u64().unwrap_or_default(),
        text("code"),
    )
}
