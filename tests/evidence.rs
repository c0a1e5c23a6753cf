//! What an operator has in hand when a client asks about a charge: one id in the client's answer,
//! the log, the ledger and at the channel, and one command that tells the rest. And what stands
//! in none of these: keys, credentials, prompts.
//!
//! `TOLLGATE_EVIDENCE_REQUESTS=1000000` makes as many random requests for the latter.

#[path = "support/engines.rs"]
mod engines;
#[path = "operating/gate.rs"]
mod gate;
mod support;
#[path = "support/upstream.rs"]
mod upstream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use engines::Engine;
use gate::{Gate, configuration, run};
use serde_json::Value;
use support::client::{Answer, Body, Connection, Request};
use support::folder::Folder;
use support::{CREDENTIAL, KEY, STUDIO, form, form_type, mock_options, start_mock, until};
use tollgate::mock::{Fault, Mock};
use upstream::{Upstream, json};

/// A gate in a process of its own, with a mock channel behind it and a log of JSON.
struct Stand {
    gate: Gate,
    mock: Mock,
    config: PathBuf,
    _folder: Folder,
}

impl Stand {
    async fn start(ledger: &str) -> Self {
        Self::start_with(ledger, &[]).await
    }

    /// With further changes of the configuration.
    async fn start_with(ledger: &str, replace: &[(&str, &str)]) -> Self {
        let (folder, mock) = (Folder::new(), start_mock(mock_options()).await);
        let channel = format!("http://{}\n    answer_timeout: 3s", mock.addr());
        let ledger = format!("ledger: {ledger}");
        let own = [
            ("http://127.0.0.1:8081", &*channel),
            ("ledger: memory", &*ledger),
            ("", "\nlog: { format: json }\n"),
            (
                "",
                "\njobs: { poll_after: 100ms, polls_per_second: 100, unknown_grace: 2s }\n",
            ),
        ];
        let all: Vec<_> = own.iter().chain(replace).copied().collect();
        let config = configuration(&folder, &all);
        Self {
            gate: Gate::start(&config, ""),
            mock,
            config,
            _folder: folder,
        }
    }

    /// Makes a create with that prompt.
    async fn create(&self, prompt: &str, id: Option<&str>) -> Answer {
        let body = form(&[
            ("prompt", prompt.as_bytes()),
            ("model", b"sora-2"),
            ("seconds", b"8"),
        ]);
        let mut create = Request::create(&form_type(), Body::Length(body, vec![]));
        if let Some(id) = id {
            create = create.header("x-request-id", id);
        }
        create.send(self.gate.address).await.unwrap()
    }

    /// The line of the request of that id.
    async fn line(&self, id: &str) -> Value {
        let find = || {
            let log = self.gate.log();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line: &Value| line["target"] == "tollgate::request" && line["id"] == id)
        };
        until("a line of the request", async || find().is_some()).await;
        find().unwrap()
    }

    /// What `tollgate job` prints.
    fn job(&self, arguments: &[&str]) -> String {
        let arguments: Vec<_> = ["job"].iter().chain(arguments).copied().collect();
        let output = tokio::task::block_in_place(|| run(&arguments, &self.config));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until `tollgate job` prints that.
    async fn until_job(&self, id: &str, text: &str) -> String {
        let began = Instant::now();
        loop {
            let told = self.job(&[id]);
            if told.contains(text) {
                return told;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "no {text:?} in:\n{told}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn ledger(engine: &Engine) -> String {
    match engine {
        Engine::Postgres(url) => url.clone(),
        _ => "sqlite:tollgate.db".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_is_in_the_answer_the_log_the_ledger_and_at_the_channel() {
    engines::on(Engine::durable(), async |engine| {
        let stand = Stand::start(&ledger(&engine)).await;
        let created = stand.create("a cat", Some("order-77")).await;
        assert_eq!(created.status, 200, "{}", engine.name());
        assert_eq!(created.header("x-request-id"), Some("order-77"));
        assert_eq!(stand.mock.requests()[0].name(), Some("order-77"));
        let job = created.json()["id"].as_str().unwrap().to_owned();

        let line = stand.line("order-77").await;
        for (name, value) in [
            ("route", "create"),
            ("key", "demo"),
            ("client", "127.0.0.1"),
            ("model", "sora-2"),
            ("size", "720x1280"),
            ("channel", "mock"),
            ("job", &*job),
        ] {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        assert_eq!(
            (&line["status"], &line["seconds"]),
            (&200.into(), &8.into())
        );
        for span in ["upload_ms", "reserve_ms", "channel_ms", "total_ms"] {
            assert!(line[span].as_f64().is_some(), "{span} of {line}");
        }

        // By the client's id, by the job's and by the reservation's.
        let reservation = line["reservation"].as_str().unwrap();
        let told = stand
            .until_job("order-77", "posted: 4.00 CNY owed: the job was completed")
            .await;
        assert_eq!(told, stand.job(&[&job]));
        assert_eq!(told, stand.job(&[reservation]));
        assert!(
            told.contains("reserved 4.00 CNY for key demo (list cost 0.80 USD), request order-77"),
            "{told}"
        );
        assert!(told.contains("confirmed by the channel's answer"), "{told}");
        assert!(
            told.contains("channel mock answered 200 (its request id is "),
            "{told}"
        );
        let json: Value = serde_json::from_str(&stand.job(&["--json", &job])).unwrap();
        assert_eq!(
            (&json["state"], &json["billed_cost"]),
            (&"posted".into(), &"4.00".into())
        );

        // A request without an id gets one.
        let created = stand.create("a dog", None).await;
        let id = created.header("x-request-id").unwrap().to_owned();
        assert!(id.starts_with("req_"), "{id}");
        let line = stand.line(&id).await;
        assert_eq!(line["status"], 200);
        // It names the reservation as well.
        assert_eq!(line["reservation"], id["req_".len()..]);
        assert!(stand.job(&[&id]).contains(&format!("request {id}")));
    })
    .await;
}

/// The line of a repetition leads to the charge of the first request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_of_a_repetition_names_the_job_of_the_first_request() {
    // A channel whose jobs have their id elsewhere.
    let channel = Upstream::start(|heard| match &*heard.method {
        "POST" => json(200, r#"{"task_id":"video_1","status":"queued"}"#),
        _ => json(404, "{}"),
    });
    let channel = channel.await;
    let url = format!("url: http://{} # ", channel.address);
    for replaced in [vec![], vec![("url: http://", &*url)]] {
        let stand = Stand::start_with("sqlite:tollgate.db", &replaced).await;
        let mut lines = Vec::new();
        for id in ["first", "again"] {
            let body = form(&[
                ("prompt", b"a cat"),
                ("model", b"sora-2"),
                ("seconds", b"8"),
            ]);
            let create = Request::create(&form_type(), Body::Length(body, vec![]));
            let create = create.header("Idempotency-Key", "order-77");
            let create = create.header("x-request-id", id);
            let answer = create.send(stand.gate.address).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            lines.push(stand.line(id).await);
        }
        for member in ["job", "reservation", "channel"] {
            assert!(lines[0][member].is_string(), "{}", lines[0]);
            assert_eq!(lines[0][member], lines[1][member], "{member}");
        }
        assert_eq!(lines[0]["replayed"], Value::Null);
        assert_eq!(lines[1]["replayed"], Value::Bool(true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_tells_why_a_charge_was_not_to_be() {
    engines::on(Engine::durable(), async |engine| {
        let purchase = "answer_timeout: 3s\n    purchase: { currency: USD, factor: 0.85 }";
        let replaced = [("answer_timeout: 3s", purchase)];
        let stand = Stand::start_with(&ledger(&engine), &replaced).await;
        // The channel refuses it: nothing is owed.
        let refused = stand.create("[mock:400] a cat", Some("refused-1")).await;
        assert_eq!(refused.status, 400, "{}", engine.name());
        let text = "voided: nothing owed: refused";
        let told = stand.until_job("refused-1", text).await;
        let cost = "  would have cost the account at the channel 0.68 USD\n";
        assert!(told.contains(cost), "{told}");
        // What decides nothing is kept a moment later.
        let text = "channel mock answered 400: ";
        stand.until_job("refused-1", text).await;

        // The job fails.
        assert_eq!(
            stand
                .create("[mock:moderated] a cat", Some("failed-1"))
                .await
                .status,
            200
        );
        let text = "voided: nothing owed: the job failed (moderation_blocked: ";
        stand.until_job("failed-1", text).await;

        // The answer is lost, and the job is found.
        let lost = stand
            .create("[mock:drop-after] a cat", Some("lost-1"))
            .await;
        assert_eq!(lost.status, 502);
        let told = stand.until_job("lost-1", "posted: 4.00 CNY owed").await;
        assert!(told.contains("channel mock did not answer: "), "{told}");
        let cost = "  costs the account at the channel 0.68 USD\n";
        assert!(told.contains(cost), "{told}");
        assert!(told.contains("outcome unknown: "), "{told}");
        assert!(told.contains("found in the channel's list"), "{told}");

        // The channel renders fewer seconds than were asked for.
        let other = stand.create("[mock:other-seconds=4] a cat", Some("other-1"));
        assert_eq!(other.await.status, 200);
        let told = stand.until_job("other-1", "posted: 2.00 CNY owed").await;
        assert!(
            told.contains("reserved 4.00 CNY for key demo (list cost 0.80 USD)"),
            "{told}"
        );
        let text = "corrected to 2.00 CNY (list cost 0.40 USD): charged as 720x1280 4 s, where \
            720x1280 8 s was asked for";
        assert!(told.contains(text), "{told}");
        let json: Value = serde_json::from_str(&stand.job(&["--json", "other-1"])).unwrap();
        let costs = (&json["reserved_billed_cost"], &json["billed_cost"]);
        assert_eq!(costs, (&"4.00".into(), &"2.00".into()));
        assert_eq!(
            (&json["reserved_seconds"], &json["seconds"]),
            (&8.into(), &4.into())
        );

        // By key and time: all, in their order.
        let now = stand.job(&["--json", "lost-1"]);
        let now: Value = serde_json::from_str(&now).unwrap();
        let told = stand.job(&["--key", "demo", "--at", now["reserved"].as_str().unwrap()]);
        let places: Vec<_> = ["refused-1", "failed-1", "lost-1", "other-1"]
            .iter()
            .map(|id| told.find(id).unwrap())
            .collect();
        assert!(places.is_sorted(), "{told}");

        let output = tokio::task::block_in_place(|| run(&["job", "nobody"], &stand.config));
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("has no such charge"));
    })
    .await;
}

/// What one channel has answered is not told as another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_told_of_the_channel_that_gave_it() {
    engines::on(Engine::durable(), async |engine| {
        let beta = start_mock(mock_options()).await;
        let models = "    models: [sora-2, sora-2-pro]\n";
        let both = format!(
            "{models}    tier: 1\n  beta:\n    url: http://{}\n    answer_timeout: 3s\n    \
             credential: {{ env: TOLLGATE_MOCK_CREDENTIAL }}\n{models}    tier: 2\n",
            beta.addr()
        );
        let stand = Stand::start_with(&ledger(&engine), &[(models, &both)]).await;
        let faults = Fault::parse_list("create:429=1").unwrap();
        stand.mock.set_faults(faults, None);
        assert_eq!(stand.create("a cat", Some("moved-1")).await.status, 200);
        let told = stand.until_job("moved-1", "posted: ").await;
        assert!(told.contains("before: mock:429"), "{told}");
        assert!(told.contains("channel beta answered 200"), "{told}");
        assert!(!told.contains("answered 429"), "{told}");
        // The other one does not answer: of the first one's answer nothing is left.
        beta.set_faults(Fault::parse_list("create:hang").unwrap(), None);
        assert_eq!(stand.create("a cat", Some("moved-2")).await.status, 504);
        let told = stand
            .until_job("moved-2", "channel beta did not answer")
            .await;
        assert!(!told.contains("answered 429"), "{told}");
    })
    .await;
}

/// To ask about a charge changes nothing: no schema is made or upgraded, and nobody takes the asker
/// for a gate. No credential of a channel is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_ask_changes_nothing() {
    let Some(engine) = Engine::postgres() else {
        return;
    };
    let stand = Stand::start(&ledger(&engine)).await;
    assert_eq!(stand.create("a cat", Some("asked-1")).await.status, 200);
    let ask = || {
        let mut ask = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        ask.args(["job", "asked-1", "--config"]).arg(&stand.config);
        tokio::task::block_in_place(|| ask.output().unwrap())
    };
    let gates = "SELECT count(*) FROM lease WHERE name LIKE 'gate:%'";
    let before = engine.rows(gates);
    assert!(ask().status.success());
    assert_eq!(engine.rows(gates), before);
    let version = "SELECT max(version) FROM schema_version";
    let newest = engine.rows(version);
    engine.rows(&format!(
        "DELETE FROM schema_version WHERE version = {}",
        newest[0][0]
    ));
    let older = engine.rows(version);
    let answer = ask();
    assert!(!answer.status.success());
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(said.contains("start a gate of this version"), "{said}");
    assert_eq!(engine.rows(version), older);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_an_id_and_a_line() {
    let stand = Stand::start("memory").await;
    let body = |text: &str| Body::Length(text.as_bytes().to_vec(), vec![]);
    let json = |text: &str| Request::create("application/json", body(text));
    for (number, (request, status, code)) in [
        (Request::get("/v1/videos"), 401, "invalid_api_key"),
        (
            Request::get("/v1/videos").key("sk-other"),
            401,
            "invalid_api_key",
        ),
        (
            Request::get("/v1/videos/video_no").key(KEY),
            404,
            "not_found",
        ),
        (Request::get("/nothing").key(KEY), 404, "not_found"),
        (
            Request::new("PUT", "/v1/videos").key(KEY),
            405,
            "method_not_allowed",
        ),
        (json("{"), 400, "invalid_body"),
        (
            json(r#"{"prompt":"x","model":"none"}"#),
            400,
            "invalid_value",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("refusal-{number}");
        let answer = request
            .header("x-request-id", &id)
            .send(stand.gate.address)
            .await
            .unwrap();
        assert_eq!((answer.status, &*answer.code()), (status, code));
        assert_eq!(answer.header("x-request-id"), Some(&*id));
        let line = stand.line(&id).await;
        assert_eq!(
            (&line["status"], &line["code"]),
            (&status.into(), &code.into())
        );
    }
    // A head that cannot be read has no id of its own.
    let mut connection = Connection::open(stand.gate.address).await.unwrap();
    let broken = Request::get("/v1/videos").header("bad name", "x");
    let answer = connection.send(&broken).await.unwrap();
    assert_eq!(answer.status, 400);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(stand.line(id).await["code"], "invalid_header");
}

/// Numbers that look random, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) as usize) % n
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// What must stand nowhere: it is in requests, and in what the channel sends back.
const PROMPT: &str = "secret-prompt-of-a-client";
const WRONG_KEY: &str = "sk-secret-key-of-nobody";

fn random_request(dice: &mut Dice) -> Request {
    let key = dice.one_of(&[KEY, STUDIO, WRONG_KEY]);
    let prompt = format!(
        "{} {PROMPT}",
        dice.one_of(&["", "[mock:400]", "[mock:moderated]"])
    );
    let secret = dice.one_of(&[PROMPT, KEY, STUDIO, WRONG_KEY, CREDENTIAL]);
    let value = |dice: &mut Dice, usual: &'static str| match dice.below(8) {
        0 => secret.to_owned(),
        _ => usual.to_owned(),
    };
    let (model, seconds) = (value(dice, "sora-2"), value(dice, "4"));
    let mut request = match dice.below(6) {
        0 => Request::get(&format!("/v1/videos/{secret}")),
        1 => Request::get(&format!("/v1/videos?after={secret}")),
        2 => Request::new("DELETE", &format!("/v1/videos/{secret}")),
        3 => {
            let body = format!(
                r#"{{"prompt":"{prompt}","model":"{model}","seconds":"{seconds}","{}":"x"}}"#,
                dice.one_of(&["size", "user", secret])
            );
            let mut create = Request::new("POST", "/v1/videos");
            create.body = Some(Body::Length(body.into_bytes(), vec![]));
            create.header("Content-Type", "application/json")
        }
        _ => {
            let fields = [
                ("prompt", prompt.as_bytes()),
                ("model", model.as_bytes()),
                ("seconds", seconds.as_bytes()),
            ];
            let mut create = Request::new("POST", "/v1/videos");
            create.body = Some(Body::Length(form(&fields), vec![]));
            create.header("Content-Type", &form_type())
        }
    };
    request = match dice.below(8) {
        0 => request.header("Authorization", &format!("Basic {key}")),
        1 => request,
        _ => request.key(key),
    };
    match dice.below(8) {
        // What the request shows as its credential is no id; another secret is nobody's to know.
        0 => request.header("x-request-id", key),
        1 => request.header("x-request-id", &format!("a {secret}")),
        2 => request.header("traceparent", &format!("00-{secret}-b7ad6b7169203331-01")),
        3 => request.header("Idempotency-Key", secret),
        4 => request.header("x-forwarded-for", secret),
        5 => request.header("user-agent", secret),
        _ => request,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_credential_or_prompt_is_logged_or_shown() {
    let wanted = std::env::var("TOLLGATE_EVIDENCE_REQUESTS");
    let wanted: usize = wanted.map_or(2000, |n| n.parse().unwrap());
    let stand = Stand::start("memory").await;
    let (clients, each) = (8, wanted.div_ceil(8));
    let sent = (0..clients).map(|client| {
        let gate = stand.gate.address;
        tokio::spawn(async move {
            let mut dice = Dice(client);
            let mut connection = Connection::open(gate).await.unwrap();
            for _ in 0..each {
                let request = random_request(&mut dice);
                // After some refusals the gate closes the connection.
                let answer = connection.send(&request).await;
                if !matches!(&answer, Ok(answer) if answer.header("connection") != Some("close")) {
                    connection = Connection::open(gate).await.unwrap();
                }
            }
        })
    });
    for sent in sent.collect::<Vec<_>>() {
        sent.await.unwrap();
    }
    let mut shown = vec![("log", stand.gate.log())];
    assert!(
        shown[0].1.lines().count() > wanted / 2,
        "there are lines of requests"
    );
    for page in [
        "/metrics",
        "/readyz?verbose",
        "/channels",
        "/config",
        "/status",
    ] {
        let answer = Request::get(page).send(stand.gate.admin).await.unwrap();
        shown.push((page, String::from_utf8_lossy(&answer.body).into_owned()));
    }
    for (place, text) in shown {
        for secret in [PROMPT, KEY, STUDIO, WRONG_KEY, CREDENTIAL] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in {place}");
        }
    }
}
