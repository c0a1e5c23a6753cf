//! LiteLLM's proxy as a channel, with the mock behind it: its job ids are hundreds of characters
//! of Base64, and its answers are its own.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_LITELLM` | the program of `tests/clients/requirements-litellm.txt`, where it is not on the PATH |
//! | `TOLLGATE_REQUIRE_CLIENTS` | 1: where it is missing, the test fails rather than being skipped aloud |
#![forbid(unsafe_code)]

mod support;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::client::{Answer, Body, Request};
use support::folder::Folder;
use support::programs::find;
use support::{CREDENTIAL, KEY, STUDIO, Setup, Stand, form, form_type};

/// How long the proxy may take to start: it loads hundreds of megabytes of Python.
const STARTING: Duration = Duration::from_secs(240);

/// A process that ends with the test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Proxy {
    fn start(program: &Path, folder: &Folder, port: u16, backend: SocketAddr) -> Self {
        let config = format!(
            "model_list:\n\
             - model_name: sora-2\n  \
               litellm_params: {{ model: openai/sora-2, api_base: 'http://{backend}/v1', api_key: {CREDENTIAL} }}\n\
             general_settings: {{ master_key: {CREDENTIAL} }}\n"
        );
        let file = folder.join("litellm.yaml");
        std::fs::write(&file, config).unwrap();
        let log = File::create(folder.join("litellm.log")).unwrap();
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--telemetry", "False"])
            .args(["--port", &port.to_string()])
            .arg("--config")
            .arg(&file)
            // Nothing is fetched: prices and models are what comes with it.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap_or_else(|e| panic!("{}: {e}", program.display())))
    }

    async fn until_it_answers(&mut self, address: SocketAddr, folder: &Folder) {
        let began = Instant::now();
        loop {
            let asked = Request::get("/health/liveliness").send(address).await;
            if asked.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let ended = self.0.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > STARTING {
                let log = std::fs::read_to_string(folder.join("litellm.log"));
                panic!("LiteLLM does not answer ({ended:?}): {}", log.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

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

async fn send(stand: &Stand, request: Request) -> Answer {
    request.key(KEY).send(stand.gate).await.unwrap()
}

/// List cost by what became of it: reserved, posted, voided.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_at_litellm_is_created_polled_downloaded_and_settled() {
    let Some(program) = find("litellm", "TOLLGATE_LITELLM") else {
        return;
    };
    let folder = Folder::new();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let address = address.unwrap();
    let setup = Setup::default().replacing("url: http://", &format!("url: http://{address} # "));
    let setup = setup.with("jobs:\n  poll_after: 200ms\n  polls_per_second: 20\n");
    let stand = setup.start().await;
    let mut proxy = Proxy::start(&program, &folder, address.port(), stand.mock.addr());
    proxy.until_it_answers(address, &folder).await;

    let created = send(
        &stand,
        create("a cat").header("Idempotency-Key", "order-17"),
    )
    .await;
    assert_eq!(created.status, 200, "{created:?}");
    let job = created.json();
    let id = job["id"].as_str().unwrap().to_owned();
    let hex = id.strip_prefix("video_").unwrap();
    assert!(
        hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    let again = send(
        &stand,
        create("a cat").header("Idempotency-Key", "order-17"),
    )
    .await;
    assert_eq!(again.body, created.body);
    assert_eq!(stand.mock.jobs().len(), 1);

    let poll = Request::get(&format!("/v1/videos/{id}"));
    stand
        .until("it is completed", async || {
            let polled = send(&stand, poll.clone()).await;
            assert_eq!(
                (polled.status, &polled.json()["id"]),
                (200, &id.as_str().into())
            );
            polled.json()["status"] == "completed"
        })
        .await;
    let content = Request::get(&format!("/v1/videos/{id}/content"));
    let film = send(&stand, content.clone()).await;
    assert_eq!(
        (film.status, film.header("content-type")),
        (200, Some("video/mp4"))
    );
    assert_eq!(&film.body[4..8], b"ftyp", "an MP4");
    for foreign in [poll, content] {
        let answer = foreign.key(STUDIO).send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 404);
    }
    let list = send(&stand, Request::get("/v1/videos")).await.json();
    assert_eq!(list["data"][0]["id"], id);
    assert_eq!(list["data"][0]["status"], "completed");

    // One that nobody polls, and one that fails.
    for prompt in ["a dog", "a bird [mock:fail]"] {
        assert_eq!(send(&stand, create(prompt)).await.status, 200);
    }
    stand.until_resolved().await;
    stand
        .until("and shown", async || cents(&stand).await == [120, 80, 40])
        .await;
    assert_eq!(stand.mock.jobs().len(), 3);
}
