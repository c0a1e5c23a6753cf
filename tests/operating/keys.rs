//! The life of a client key: made by a command, replaced while clients use it, and ended.

use std::process::{Command, Output};

use tollgate::clock::Clock;
use tollgate::key::KeyDigest;
use tollgate::policy::Timestamp;

use crate::gate::{configuration, run};
use crate::support::client::{Answer, Body, Request};
use crate::support::folder::Folder;
use crate::support::{KEY, STUDIO, Setup, Stand, form_type, plain_form};

fn key_new(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["key", "new"])
        .args(arguments)
        .output()
        .unwrap()
}

/// A key that the command has made, and the lines that let it in.
fn made(arguments: &[&str]) -> (String, String) {
    let output = key_new(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(output.stderr, b"", "the log has nothing of it");
    let key = text.lines().find(|line| line.starts_with("sk-tollgate-"));
    let (_, entry) = text.split_once("  - name: ").unwrap();
    (key.unwrap().to_owned(), format!("  - name: {entry}"))
}

#[test]
fn the_entry_of_a_new_key_is_pasted_as_it_is() {
    let (key, entry) = made(&["fresh", "--group", "sora2"]);
    assert_ne!(made(&["fresh", "--group", "sora2"]).0, key);
    assert!(!entry.contains(&key), "{entry}");
    let folder = Folder::new();
    std::fs::write(folder.join("keys.yaml"), format!("keys:\n{entry}")).unwrap();
    let keys_from = [("", "\nkeys_from: [keys.yaml]\n")];
    let checked = run(&["check"], &configuration(&folder, &keys_from));
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("keys: 3"), "{said}");

    // What is left out has to be filled in.
    std::fs::write(folder.join("keys.yaml"), format!("keys:\n{}", made(&[]).1)).unwrap();
    let checked = run(&["check"], &configuration(&folder, &keys_from));
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.contains("keys.yaml:2:11: this is no name"), "{said}");
    assert!(said.contains("keys.yaml:4:12: there is no group"), "{said}");

    let refused = key_new(&["two words"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
}

/// `conf/demo.yaml` has this digest of the key `demo`.
const DEMO: &str = "    sha256: 179510ee3e248a7bfae1a518d344461ddef0e32bbf53b40845f2d3e157c5973f";
/// 2026-11-28T05:40:33Z, and a second.
const NOW: u64 = 1_795_844_433_000;
const SECOND: u64 = 1000;

async fn asked(stand: &Stand, key: &str, path: &str) -> Answer {
    Request::get(path).key(key).send(stand.gate).await.unwrap()
}

fn refused_with(answer: &Answer, message: &str) {
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &*answer.code()), (401, "invalid_api_key"));
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(error["message"], message);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_replaced_keeps_its_jobs_and_its_old_digest_ends() {
    let newer = "sk-tollgate-newer";
    let digest = KeyDigest::of(newer.as_bytes()).to_hex();
    let digests = format!(
        "    sha256: {digest}\n    not_after: 2026-11-28T05:40:35Z\n    digests:\n      - {{ sha256: {}, until: \
         2026-11-28T05:40:34Z }}",
        DEMO.trim_start_matches("    sha256: ")
    );
    let clock = Clock::manual(Timestamp(NOW));
    let setup = Setup::default().replacing(DEMO, &digests);
    let stand = setup.start_with_clock(clock.clone()).await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(stand.gate).await.unwrap();
    assert_eq!(created.status, 200);
    let path = format!("/v1/videos/{}", created.json()["id"].as_str().unwrap());
    for key in [KEY, newer] {
        assert_eq!(asked(&stand, key, &path).await.status, 200, "{key}");
    }

    // At the moment itself the old digest ends, and the other goes on.
    clock.set(Timestamp(NOW + SECOND));
    let message = "This API key was replaced by another, and is not valid since \
                   2026-11-28T05:40:34Z. Use the newer key that this service gave you.";
    refused_with(&asked(&stand, KEY, &path).await, message);
    assert_eq!(asked(&stand, newer, &path).await.status, 200);
    let counted = "tollgate_refusals_total{key=\"demo\",reason=\"invalid_api_key\"}";
    assert_eq!(stand.metric(counted).await, 1.0);

    clock.set(Timestamp(NOW + 2 * SECOND + 1));
    let message = "This API key expired at 2026-11-28T05:40:35Z. Ask whoever runs this service \
                   for a new one.";
    for key in [KEY, newer] {
        refused_with(&asked(&stand, key, &path).await, message);
        refused_with(
            &create.clone().by(key).send(stand.gate).await.unwrap(),
            message,
        );
    }
    assert_eq!(stand.mock.stats().creates_complete, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_key_is_refused_in_words_and_no_other() {
    let disabled = format!("{DEMO}\n    disabled: true");
    let stand = Setup::default().replacing(DEMO, &disabled).start().await;
    let message = "This API key is disabled. Ask whoever runs this service.";
    refused_with(&asked(&stand, KEY, "/v1/videos").await, message);
    assert_eq!(asked(&stand, STUDIO, "/v1/videos").await.status, 200);
    let message = "Incorrect API key. Check the key that this service gave you.";
    refused_with(&asked(&stand, "sk-other", "/v1/videos").await, message);
}
