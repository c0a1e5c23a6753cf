//! The bill: `tollgate bill`, the SQL of docs/billing.md and the count of the channel say the same, whatever
//! went wrong, was voided and was credited; and a month that is over does not change.
//!
//! `TOLLGATE_BILL_REQUESTS=10000` makes it long.

#[path = "support/engines.rs"]
mod engines;
#[path = "operating/gate.rs"]
mod gate;
#[path = "bill/ledger.rs"]
mod ledger;
#[path = "bill/names.rs"]
mod names;
#[path = "ledger/suite.rs"]
#[allow(dead_code, reason = "its helpers alone are used")]
mod suite;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engines::Engine;
use futures_util::future::join_all;
use gate::{Gate, configuration, run};
use ledger::Adjusting as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::client::{Body, Connection, Request};
use support::folder::Folder;
use support::{KEY, Setup, Stand, form, form_type, mock_options, start_mock, until};
use tokio::io::AsyncWriteExt as _;
use tollgate::ledger::{VoidDecision, VoidRefusal};

/// The keys: name, secret, currency, and what it pays times the list price, in thousandths.
const CLIENTS: [(&str, &str, &str, i128); 2] = [
    ("demo", KEY, "CNY", 5000),
    ("export-a", "sk-tollgate-export-a", "USD", 1050),
];
const GROUPS: &str = "groups:\n  export: { multiplier: 1.05, currency: USD }\n";

/// So that what has no answer is given up soon.
const TIMEOUTS: &str = "    answer_timeout: 1s\n    read_timeout: 1s\n    credential: ";

/// Model, size, and in thousandths of a dollar the list price of one second.
const PRICES: [(&str, &str, i128); 3] = [
    ("sora-2", "720x1280", 100),
    ("sora-2", "1280x720", 100),
    ("sora-2-pro", "1792x1024", 500),
];

/// What goes wrong: with the answer, with the job, or with what is rendered.
const FAULTS: [&str; 16] = [
    "",
    "",
    "",
    "",
    "fail",
    "moderated",
    "cancelled",
    "400",
    "500",
    "503",
    "drop-before",
    "drop-body",
    "drop-after",
    "drop-answer",
    "other-seconds=12",
    "other-size",
];

/// By key, currency, model and size: jobs, seconds, list and billed nanos.
type Sums = BTreeMap<[String; 4], [i128; 4]>;

fn requests() -> usize {
    let number = std::env::var("TOLLGATE_BILL_REQUESTS");
    number.map_or(240, |text| text.parse().unwrap())
}

fn further_lines() -> String {
    let digest = Sha256::digest(CLIENTS[1].1).into_iter();
    let digest: String = digest.map(|byte| format!("{byte:02x}")).collect();
    format!(
        "  - {{ name: export-a, sha256: {digest}, group: export }}\n\
         jobs: {{ poll_after: 100ms, polls_per_second: 1000, unknown_grace: 10s }}\n"
    )
}

/// The configuration that the commands read: of the same ledger as the gate's.
fn command_configuration(folder: &Folder, engine: &Engine) -> PathBuf {
    let ledger = match engine {
        Engine::Sqlite(of) => format!("ledger: sqlite:{}", of.join("tollgate.db").display()),
        Engine::Postgres(url) => format!("ledger: {url}"),
        Engine::Memory => "ledger: memory".into(),
    };
    let replace = [
        ("groups:\n", GROUPS),
        ("ledger: memory", &ledger),
        ("", &further_lines()),
    ];
    configuration(folder, &replace)
}

/// Runs a command; returns what it printed where it did what it should, and what is wrong otherwise.
fn command(config: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = tokio::task::block_in_place(|| run(arguments, config));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Sends the creates, some at a time. Every ninth client is gone before there is an answer.
async fn send_all(stand: &Stand, count: usize) {
    let create = |n: usize| async move {
        let (key, secret, ..) = CLIENTS[n % CLIENTS.len()];
        let (model, size, _) = PRICES[n / 2 % PRICES.len()];
        let prompt = format!("key={key} {n} [mock:{}]", FAULTS[n / 6 % FAULTS.len()]);
        let body = form(&[
            ("prompt", prompt.as_bytes()),
            ("model", model.as_bytes()),
            ("seconds", if n % 4 < 2 { b"4" } else { b"8" }),
            ("size", size.as_bytes()),
        ]);
        let create = Request::create(&form_type(), Body::Length(body, vec![])).by(secret);
        if n % 9 == 8 {
            let mut connection = Connection::open(stand.gate).await.unwrap();
            for piece in create.pieces() {
                // A connection that the gate has closed before is gone as well.
                if connection.stream.write_all(&piece).await.is_err() {
                    break;
                }
            }
        } else {
            create.send(stand.gate).await.unwrap();
        }
    };
    for begin in (0..count).step_by(48) {
        join_all((begin..count.min(begin + 48)).map(create)).await;
    }
}

/// What the channel says that it has made: its jobs that are completed, with the keys of their prompts.
fn by_channel(stand: &Stand) -> Vec<(String, [String; 4], [i128; 4])> {
    let jobs = stand.mock.jobs().into_iter().map(|record| record.job);
    let completed = jobs.filter(|job| job.status == "completed");
    let lines = completed.map(|job| {
        let mut clients = CLIENTS.iter();
        let client = clients.find(|(name, ..)| job.prompt.starts_with(&format!("key={name} ")));
        let (key, _, currency, multiplier) = client.unwrap();
        let list_price = match (&*job.model, &*job.size) {
            ("sora-2", _) => 100,
            (_, "1024x1792" | "1792x1024") => 500,
            _ => 300,
        };
        let seconds: i128 = job.seconds.parse().unwrap();
        let list = list_price * seconds * 1_000_000;
        let line = [*key, currency, &job.model, &job.size].map(String::from);
        (
            job.id.unwrap(),
            line,
            [1, seconds, list, list * multiplier / 1000],
        )
    });
    lines.collect()
}

fn add(sums: &mut Sums, line: [String; 4], amounts: [i128; 4]) {
    let sum = sums.entry(line).or_default();
    for (sum, amount) in sum.iter_mut().zip(amounts) {
        *sum += amount;
    }
}

/// Reads a decimal as whole billionths.
fn nanos(decimal: &str) -> i128 {
    let (sign, digits) = match decimal.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, decimal),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 9, "{decimal}");
    sign * format!("{whole}{fraction:0<9}").parse::<i128>().unwrap()
}

/// The month of now, and its first day and that of the next one.
fn month() -> [String; 3] {
    let sql = "SELECT strftime('%Y-%m', 'now'), date('now', 'start of month'),
         date('now', 'start of month', '+1 month')";
    let db = rusqlite::Connection::open_in_memory().unwrap();
    db.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
        .unwrap()
}

/// Returns what stands between two texts in the section on the bill of a month.
fn documented(from: &str, to: &str) -> &'static str {
    let docs = include_str!("../docs/billing.md");
    let (_, section) = docs.split_once("## The bill of a month").unwrap();
    let (_, rest) = section.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

/// By the statement of the docs, of these months.
fn by_sql(engine: &Engine, months: &BTreeSet<[String; 3]>) -> Sums {
    let (sql, is_nanos) = match engine {
        Engine::Postgres(_) => (documented("psql \"$URL\" -c \"", "\""), false),
        _ => (documented("sqlite3 conf/tollgate.db \"", "\""), true),
    };
    assert!(
        sql.contains("'2026-11-01'") && sql.contains("'2026-12-01'"),
        "{sql}"
    );
    let mut sums = Sums::new();
    for [_, first, next] in months {
        let sql = sql.replace("2026-11-01", first).replace("2026-12-01", next);
        for row in engine.rows(&sql) {
            let amount = |text: &String| match is_nanos {
                true => text.parse().unwrap(),
                false => nanos(text),
            };
            let [line @ .., jobs, seconds, list, billed] = &row[..] else {
                panic!("{row:?}");
            };
            let counts = [jobs, seconds].map(|text| text.parse().unwrap());
            let amounts = [counts[0], counts[1], amount(list), amount(billed)];
            add(&mut sums, line.to_vec().try_into().unwrap(), amounts);
        }
    }
    sums
}

/// By `tollgate bill`: its lines, which its totals have to agree with.
fn by_command(config: &Path, months: &BTreeSet<[String; 3]>) -> Sums {
    let mut sums = Sums::new();
    for [month, ..] in months {
        let bill = command(config, &["bill", "--month", month, "--format", "json"]).unwrap();
        let bill: Value = serde_json::from_str(&bill).unwrap();
        let (mut of_month, text) = (Sums::new(), |value: &Value| {
            value.as_str().unwrap_or("").to_owned()
        });
        let amounts = |line: &Value| {
            let count = |name: &str| i128::from(line[name].as_i64().unwrap());
            let amount = |name: &str| nanos(line[name].as_str().unwrap());
            [
                count("jobs"),
                count("video_seconds"),
                amount("list_cost_usd"),
                amount("billed_cost"),
            ]
        };
        for line in bill["lines"].as_array().unwrap() {
            let names = ["key", "currency", "model", "size"].map(|name| text(&line[name]));
            let [jobs, seconds, list, billed] = amounts(line);
            if jobs != 0 {
                let price = nanos(line["list_price_usd_per_second"].as_str().unwrap());
                let multiplier = nanos(line["multiplier"].as_str().unwrap());
                assert_eq!(price * seconds, list, "{line}");
                assert_eq!(list * multiplier / 1_000_000_000, billed, "{line}");
            }
            add(&mut of_month, names, [jobs, seconds, list, billed]);
        }
        let total = |key: Option<&str>, currency: &str| {
            let lines = of_month.iter();
            let lines =
                lines.filter(|(of, _)| key.is_none_or(|key| of[0] == key) && of[1] == currency);
            let mut sum = [0; 4];
            lines.for_each(|(_, line)| sum.iter_mut().zip(line).for_each(|(sum, of)| *sum += of));
            sum
        };
        for (totals, by_key) in [("totals_by_key", true), ("totals_by_currency", false)] {
            for line in bill[totals].as_array().unwrap() {
                let (key, currency) = (line["key"].as_str(), line["currency"].as_str().unwrap());
                assert_eq!(key.is_some(), by_key);
                assert_eq!(amounts(line), total(key, currency), "{totals} {line}");
            }
        }
        of_month
            .into_iter()
            .for_each(|(line, sum)| add(&mut sums, line, sum));
    }
    sums
}

async fn all_say_the_same(engine: Engine) {
    let (folder, count) = (Folder::new(), requests());
    let config = command_configuration(&folder, &engine);
    let mut setup = Setup::default()
        .replacing("groups:\n", GROUPS)
        .replacing("    credential: ", TIMEOUTS)
        .with(&further_lines());
    setup.ledger = engine.open();
    let mut months = BTreeSet::from([month()]);
    let stand = setup.start().await;
    // Half of it; then jobs are voided, and amounts credited, while the rest comes.
    send_all(&stand, count / 2).await;
    until("some are completed", async || by_channel(&stand).len() > 10).await;
    let completed = by_channel(&stand);
    let rest = send_all(&stand, count - count / 2);
    let mut adjusted = Sums::new();
    let adjust = async {
        for (n, (job, line, amounts)) in completed.iter().enumerate().filter(|(n, _)| n % 5 == 0) {
            // Its end may not have been seen yet, nor even its job where the answer was lost: then it is
            // not on the bill, and is refused.
            let voided = loop {
                let voided = engine.void(job, "it was black").await;
                match voided {
                    VoidDecision::Refuse(VoidRefusal::Open(_) | VoidRefusal::NotFound) => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    voided => break voided,
                }
            };
            assert!(matches!(voided, VoidDecision::Record(_)), "{voided:?}");
            let again = engine.void(job, "it was black").await;
            assert!(matches!(again, VoidDecision::Already(_)), "{again:?}");
            add(&mut adjusted, line.clone(), amounts.map(|amount| -amount));
            let [key, currency, ..] = line;
            let (id, amount) = (
                format!("ticket-{n}"),
                if n % 3 == 0 { "-0.07" } else { "1.23" },
            );
            for _ in 0..2 {
                engine.credit(key, currency, amount, &id).await.unwrap();
            }
            let line = [key, currency, "", ""].map(|name| name.to_string());
            add(&mut adjusted, line, [0, 0, 0, -nanos(amount)]);
        }
    };
    tokio::join!(rest, adjust);
    // However many there are.
    while stand.has_open().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    months.insert(month());

    let outcomes = engine.rows("SELECT DISTINCT outcome FROM reservation ORDER BY outcome");
    let outcomes: Vec<_> = outcomes.iter().map(|row| &*row[0]).collect();
    for outcome in ["cancelled", "completed", "failed", "not created", "refused"] {
        assert!(
            outcomes.contains(&outcome),
            "no {outcome} among {outcomes:?}"
        );
    }
    let mut expected = adjusted;
    by_channel(&stand)
        .into_iter()
        .for_each(|(_, line, amounts)| add(&mut expected, line, amounts));
    assert_eq!(
        by_sql(&engine, &months),
        expected,
        "the view on {}",
        engine.name()
    );
    assert_eq!(
        by_command(&config, &months),
        expected,
        "the command on {}",
        engine.name()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_the_view_and_the_channel_say_the_same_on_sqlite() {
    all_say_the_same(Engine::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_the_view_and_the_channel_say_the_same_on_postgres() {
    if let Some(engine) = Engine::postgres() {
        all_say_the_same(engine).await;
    }
}

/// A name that is written wrong is told from a key that owes nothing, and from one that is not
/// configured any more.
fn names_of_keys(config: &Path, month: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    let removed = text.replace("- name: demo ", "- name: newer ");
    assert_ne!(removed, text);
    let path = config.with_file_name("removed.yaml");
    std::fs::write(&path, removed).unwrap();
    let bill = |month, key| command(&path, &["bill", "--month", month, "--key", key]);
    assert!(bill(month, "demo").unwrap().contains("-1.01"));
    assert!(bill("2020-01", "demo").unwrap().contains("2020-01"));
    assert!(bill(month, "newer").is_ok());
    let said = bill(month, "nobody").unwrap_err();
    assert!(said.contains("no key named \"nobody\""), "{said}");
    let job = |key| {
        command(
            &path,
            &["job", "--key", key, "--at", "2020-01-01T00:00:00Z"],
        )
    };
    let said = job("nobody").unwrap_err();
    assert!(said.contains("no key of that name"), "{said}");
    let said = job("newer").unwrap_err();
    assert!(
        said.contains("no charge of key \"newer\"") && !said.contains("no key"),
        "{said}"
    );
}

/// As an operator has it: a gate in a process of its own, and commands beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_record_once_and_tell_what_they_did() {
    engines::on(Engine::durable(), async |engine| {
        let (folder, mock) = (Folder::new(), start_mock(mock_options()).await);
        let config = command_configuration(&folder, &engine);
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("http://127.0.0.1:8081", &format!("http://{}", mock.addr()));
        std::fs::write(&config, &text).unwrap();
        let gate = Gate::start(&config, "");
        let body = form(&[
            ("prompt", b"a cat"),
            ("model", b"sora-2"),
            ("seconds", b"8"),
        ]);
        let create = Request::create(&form_type(), Body::Length(body, vec![]));
        let created = create.send(gate.address).await.unwrap();
        let job = created.json()["id"].as_str().unwrap().to_owned();
        let job = &*job;
        let told = |arguments: &[&str]| command(&config, arguments);
        until("it is posted", async || {
            told(&["job", job]).unwrap().contains("posted: ")
        })
        .await;

        let void = ["void", job, "--reason", "black,\n\"all\" of it"];
        let said = told(&void).unwrap();
        assert!(
            said.starts_with(&format!("voided {job}: 4.00 CNY of key demo")),
            "{said}"
        );
        let again = told(&void).unwrap();
        assert!(
            again.starts_with(&format!("already voided {job}")),
            "{again}"
        );
        let story = told(&["job", job]).unwrap();
        assert!(
            story.contains("4.00 CNY not owed any more: black, \"all\" of it"),
            "{story}"
        );
        let story: Value = serde_json::from_str(&told(&["job", "--json", job]).unwrap()).unwrap();
        assert_eq!(story["void_reason"], "black, \"all\" of it");

        let credit =
            |amount, reason, id| ["credit", "demo", amount, "--reason", reason, "--id", id];
        let said = told(&credit("1.50", "late", "ticket-1")).unwrap();
        assert!(
            said.contains("credit of 1.50 CNY for key demo, id ticket-1"),
            "{said}"
        );
        let said = told(&credit("1.50", "late", "ticket-1")).unwrap();
        assert!(said.contains("already recorded"), "{said}");
        let said = told(&credit("-0.50", "too much", "ticket-2")).unwrap();
        assert!(said.contains("debit of 0.50 CNY"), "{said}");
        for (arguments, wrong) in [
            (credit("1.60", "late", "ticket-1"), "another adjustment"),
            (credit("0", "late", "ticket-3"), "a credit of nothing"),
            (credit("1", " ", "ticket-3"), "--reason is empty"),
            (credit("1", "late", "void_1"), "do not begin with void_"),
            (
                credit("1.0000000001", "late", "ticket-3"),
                "at most 9 decimals",
            ),
            (
                ["credit", "nobody", "1", "--reason", "x", "--id", "y"],
                "no key named \"nobody\"",
            ),
        ] {
            let said = told(&arguments).unwrap_err();
            assert!(said.contains(wrong), "{arguments:?}: {said}");
        }
        let by = [
            "credit",
            "demo",
            "0.01",
            "--reason",
            "x",
            "--by",
            "ticket-bot",
        ];
        told(&by).unwrap();
        let said = told(&["void", "video_no", "--reason", "x"]).unwrap_err();
        assert!(said.contains("no such charge"), "{said}");

        let [month, ..] = month();
        let csv = told(&[
            "bill", "--month", &month, "--format", "csv", "--key", "demo",
        ])
        .unwrap();
        assert!(csv.contains(",\"black, \"\"all\"\" of it\","), "{csv}");
        // 4.00 - 4.00 - 1.50 + 0.50 - 0.01
        assert!(csv.contains("total,,,,,,,0,0,0.00,-1.01,CNY,"), "{csv}");
        assert!(csv.contains(",ticket-bot,x,"), "{csv}");
        let other = told(&["bill", "--month", &month, "--key", "export-a"]).unwrap();
        assert!(!other.contains("CNY"), "{other}");
        let said = told(&["bill", "--month", "9999-01"]).unwrap_err();
        assert!(said.contains("has not begun"), "{said}");
        names_of_keys(&config, &month);
        let metrics = Request::get("/metrics").send(gate.admin).await.unwrap();
        let metrics = String::from_utf8(metrics.body).unwrap();
        for (kind, count, amount) in [("credit", 2, "1.51"), ("debit", 1, "0.5"), ("void", 1, "4")]
        {
            let labels = format!("{{currency=\"CNY\",key=\"demo\",kind=\"{kind}\"}}");
            for (family, value) in [
                ("adjustments", count.to_string()),
                ("adjustment_amount", amount.to_owned()),
            ] {
                let sample = format!("tollgate_{family}{labels} {value}\n");
                assert!(metrics.contains(&sample), "{sample}{metrics}");
            }
        }

        // What the configuration was, and what a reload made of it.
        std::fs::write(
            &config,
            text.replace("multiplier: 1.05", "multiplier: 1.06"),
        )
        .unwrap();
        gate.signal("HUP");
        let repriced = "; prices changed of groups: export";
        until("it is kept", async || {
            told(&["reloads"]).unwrap().contains(repriced)
        })
        .await;
        let reloads = told(&["reloads", "--json"]).unwrap();
        let reloads: Vec<Value> = reloads
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(reloads.len(), 2, "{reloads:?}");
        assert_eq!(
            (&reloads[0]["event"], &reloads[1]["event"]),
            (&"start".into(), &"reload".into())
        );
        assert_eq!(reloads[0]["hash"], reloads[1]["hash_before"]);
        assert_eq!(reloads[0]["process"], gate.id());
    })
    .await;
}

/// Whoever interrupts a command, or whose database does not answer, can repeat it with the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_that_may_have_been_recorded_can_be_repeated() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "postgres://a@{}/a?connect_timeout=1",
        silent.local_addr().unwrap()
    );
    let folder = Folder::new();
    let config = command_configuration(&folder, &Engine::Postgres(url));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["credit", "demo", "1", "--reason", "late", "--config"])
        .arg(&config)
        .env("TOLLGATE_MOCK_CREDENTIAL", support::CREDENTIAL)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(command.stderr.take().unwrap()).lines();
    let said = tokio::task::block_in_place(|| lines.next().unwrap().unwrap());
    // It asks, so that nothing has been done before that was said.
    let asked = tokio::task::block_in_place(|| silent.accept());
    let (_, id) = said
        .rsplit_once("--id ")
        .unwrap_or_else(|| panic!("{said}"));
    let id = id.split(' ').next().unwrap();
    assert!(
        said.starts_with(&format!("credit {id}: ")) && id.starts_with("adj_"),
        "{said}"
    );
    let rest: Vec<_> = tokio::task::block_in_place(|| lines.map_while(Result::ok).collect());
    assert!(
        rest.join(" ")
            .contains(&format!("repeat the command with --id {id}")),
        "{rest:?}"
    );
    assert!(
        !tokio::task::block_in_place(|| command.wait())
            .unwrap()
            .success()
    );
    drop(asked);
    // An id of one's own is named as well, once.
    let own = [
        "credit", "demo", "1", "--reason", "late", "--id", "ticket-1",
    ];
    let said = self::command(&config, &own).unwrap_err();
    assert!(
        !said.starts_with("credit ") && said.contains("--id ticket-1"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_its_gate_has_a_ledger_in_memory() {
    let folder = Folder::new();
    let config = command_configuration(&folder, &Engine::Memory);
    for arguments in [
        &["bill", "--month", "2023-11"][..],
        &["void", "video_1", "--reason", "x"],
        &["credit", "demo", "1", "--reason", "x"],
        &["reloads"],
    ] {
        let said = command(&config, arguments).unwrap_err();
        assert!(
            said.contains("the ledger is in memory"),
            "{arguments:?}: {said}"
        );
    }
}
