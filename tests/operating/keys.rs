//! The life of a client key: made by a command, replaced while clients use it, and ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tollgate::clock::Clock;
use tollgate::key::KeyDigest;
use tollgate::policy::Timestamp;

use crate::gate::{Gate, configuration, run};
use crate::support::client::{Answer, Body, Connection, Request};
use crate::support::folder::Folder;
use crate::support::{
    KEY, STUDIO, Setup, Stand, form_type, mock_options, plain_form, start_mock, until,
};

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

    // What is left out has to be filled in, as is said.
    let said = String::from_utf8(key_new(&["fresh"]).stdout).unwrap();
    assert!(
        said.contains("Replace <GROUP> by the name of one of its `groups`"),
        "{said}"
    );
    assert!(!said.contains("<NAME>"), "{said}");
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

const KEYS: usize = 100;

/// The key of that number, as of a rotation.
fn fleet_key(number: usize, rotation: usize) -> String {
    format!("sk-fleet-{number}-{rotation}")
}

/// Writes a file of all keys with the digests of these rotations.
fn write_keys(folder: &Path, rotations: &[usize]) {
    let mut text = "keys:\n".to_owned();
    for number in 0..KEYS {
        text += &format!("  - name: k{number:02}\n    group: sora2\n    digests:\n");
        for rotation in rotations {
            let digest = KeyDigest::of(fleet_key(number, *rotation).as_bytes()).to_hex();
            text += &format!("      - {{ sha256: {digest}, until: 2199-01-01T00:00:00Z }}\n");
        }
    }
    replace(&folder.join("fleet.yaml"), &text);
}

/// Puts a file in place as a whole.
fn replace(path: &Path, text: &str) {
    let unfinished = path.with_extension("tmp");
    std::fs::write(&unfinished, text).unwrap();
    std::fs::rename(&unfinished, path).unwrap();
}

/// Clients that create and list with the keys of the rotations that they may use.
#[derive(Default)]
struct Load {
    turns: Mutex<Turns>,
    answered: AtomicUsize,
    refused: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Turns {
    /// The rotations that clients may use.
    rotations: [usize; 2],
    begun: usize,
    /// How many requests are under way with the keys of each rotation.
    under_way: BTreeMap<usize, usize>,
}

impl Load {
    async fn run(&self, gate: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            let mut connection = Connection::open(gate).await.unwrap();
            for _ in 0..50 {
                let (turn, rotation) = {
                    let mut turns = self.turns.lock().unwrap();
                    let turn = turns.begun;
                    let rotation = turns.rotations[turn / KEYS % 2];
                    turns.begun += 1;
                    *turns.under_way.entry(rotation).or_default() += 1;
                    (turn, rotation)
                };
                let key = fleet_key(turn % KEYS, rotation);
                let request = match turn % 7 {
                    0 => Request::create(&form_type(), Body::Length(plain_form(), vec![])),
                    _ => Request::get("/v1/videos?limit=1"),
                };
                let answer = connection.send(&request.by(&key)).await.unwrap();
                *self
                    .turns
                    .lock()
                    .unwrap()
                    .under_way
                    .entry(rotation)
                    .or_default() -= 1;
                self.answered.fetch_add(1, Ordering::Relaxed);
                if answer.status != 200 {
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    self.refused.lock().unwrap().push(text);
                    // A refusal in mid-upload ends the connection.
                    break;
                }
            }
        }
    }

    /// Lets clients use these rotations, and waits until no request of others is under way and
    /// all keys of these were used.
    async fn use_rotations(&self, rotations: [usize; 2]) {
        let begun = {
            let mut turns = self.turns.lock().unwrap();
            turns.rotations = rotations;
            turns.begun
        };
        until("all keys are used", async || {
            let turns = self.turns.lock().unwrap();
            let mut others = turns.under_way.iter();
            let is_rest = others.all(|(rotation, n)| *n == 0 || rotations.contains(rotation));
            is_rest && self.answered.load(Ordering::Relaxed) >= begun + 3 * KEYS
        })
        .await;
    }
}

const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_a_hundred_keys_under_load_refuses_no_request() {
    let mock = start_mock(mock_options()).await;
    let folder = Folder::new();
    std::fs::create_dir(folder.join("keys.d")).unwrap();
    write_keys(&folder.join("keys.d"), &[0]);
    let channel = format!("http://{}", mock.addr());
    let watch = "\nkeys_from: keys.d\nreload: { watch: 100ms }\n";
    let replace = [("http://127.0.0.1:8081", &*channel), ("", watch)];
    let gate = Gate::start(&configuration(&folder, &replace), "");
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (load, address) = (load.clone(), gate.address);
            tokio::spawn(async move { load.run(address).await })
        })
        .collect();
    let reloads = async |count: usize| {
        until("it is loaded anew", async || {
            gate.log().matches("configuration loaded anew").count() == count
        })
        .await;
    };
    load.use_rotations([0, 0]).await;
    for rotation in 1..=3 {
        let old = rotation - 1;
        write_keys(&folder.join("keys.d"), &[old, rotation]);
        reloads(2 * old + 1).await;
        load.use_rotations([old, rotation]).await;
        load.use_rotations([rotation, rotation]).await;
        write_keys(&folder.join("keys.d"), &[rotation]);
        reloads(2 * rotation).await;
        let list = Request::get("/v1/videos").key(&fleet_key(7, old));
        assert_eq!(list.send(gate.address).await.unwrap().status, 401);
    }
    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(*load.refused.lock().unwrap(), Vec::<String>::new());
    let line = "; keys rotated: k00, k01, k02, k03, k04, k05, k06, k07, k08, k09 and 90 more";
    assert_eq!(gate.log().matches(line).count(), 6);
    assert!(!gate.log().contains("sk-fleet"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_loaded_when_they_change_and_a_bad_one_replaces_nothing() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("keys.d")).unwrap();
    write_keys(&folder.join("keys.d"), &[0]);
    let watch = "\nkeys_from: keys.d\nreload: { watch: 100ms }\n";
    let config = configuration(&folder, &[("", watch)]);
    let gate = Gate::start(&config, "");
    let status = async |key: &str| {
        let list = Request::get("/v1/videos").key(key);
        list.send(gate.address).await.unwrap().status
    };
    let more = folder.join("keys.d/more.yaml");
    replace(&more, "keys: [");
    gate.logged("more.yaml:1:").await;
    gate.logged("the old one stays in force").await;
    assert_eq!(status(&fleet_key(0, 0)).await, 200);
    let digest = KeyDigest::of(b"sk-more").to_hex();
    let entry = format!("keys:\n  - {{ name: more, group: sora2, sha256: {digest} }}\n");
    replace(&more, &entry);
    gate.logged("; keys added: more").await;
    gate.logged("configuration loaded anew").await;
    assert_eq!(status("sk-more").await, 200);
    // Touched only: nothing is loaded. What comes next is.
    replace(&more, &entry);
    let text = std::fs::read_to_string(&config).unwrap();
    replace(&config, &text.replace("multiplier: 5", "multiplier: 6"));
    gate.logged("; prices changed of groups: sora2").await;
    replace(&more, &entry.replace(" }", ", disabled: true }"));
    gate.logged("; keys disabled: more").await;
    std::fs::remove_file(&more).unwrap();
    gate.logged("; keys removed: more").await;
    assert_eq!(status("sk-more").await, 401);
    gate.signal("HUP");
    gate.logged("; nothing changed").await;
    let loaded = gate.log().matches("(before it ").count();
    assert_eq!(loaded, 5, "{}", gate.log());
    assert_eq!(gate.log().matches("the old one stays in force").count(), 1);
}
