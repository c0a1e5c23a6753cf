//! The margin by key, model and channel: by one statement on the bill, by the expression for
//! Prometheus, and by hand from the jobs of the channels. Both are those of docs/billing.md.

#[path = "support/engines.rs"]
mod engines;
mod support;

use std::collections::BTreeMap;

use engines::Engine;
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use support::client::{Body, Request};
use support::{KEY, Setup, Stand, form, form_type, mock_options, start_mock, until};
use tollgate::mock::{Fault, Mock};

/// The keys: the name, the secret, what it pays times the list price in thousandths, and whether it
/// pays in the currency of the purchases.
const CLIENTS: [(&str, &str, i128, bool); 3] = [
    ("export-a", "sk-tollgate-export-a", 1050, true),
    ("resale-a", "sk-tollgate-resale-a", 1500, true),
    ("demo", KEY, 5000, false),
];

/// Model, size, and in thousandths of a dollar for one second: the list price, and that of `second`.
/// One is dearer there than what a key pays.
const PRICES: [(&str, &str, i128, i128); 6] = [
    ("sora-2", "720x1280", 100, 70),
    ("sora-2", "1280x720", 100, 75),
    ("sora-2-pro", "720x1280", 300, 250),
    ("sora-2-pro", "1280x720", 300, 260),
    ("sora-2-pro", "1024x1792", 500, 420),
    ("sora-2-pro", "1792x1024", 500, 550),
];
/// What `first` is paid, times the list price, in thousandths.
const FACTOR: i128 = 800;

/// What becomes of jobs: what is rendered, and so charged, may be other than what was asked for.
const FATES: [&str; 7] = [
    "",
    "",
    "fail",
    "other-seconds=12",
    "moderated",
    "other-size",
    "cancelled",
];

/// In what ways `first` refuses creates, which move to `second`.
const REFUSALS: [&str; 4] = [
    "create:402",
    "create:429=none",
    "create:503",
    "create:quota",
];

/// By key, model and channel: what is billed and what is paid, in whole billionths.
type Sums = BTreeMap<[String; 3], [i128; 2]>;

fn prices_of(model: &str) -> String {
    let sizes = PRICES.iter().filter(|(of, ..)| *of == model);
    let sizes = sizes.map(|(_, size, _, price)| format!("{size}: 0.{price:03}"));
    sizes.collect::<Vec<_>>().join(", ")
}

async fn start(engine: &Engine) -> (Stand, Mock) {
    let second = start_mock(mock_options()).await;
    let factor = format!("    purchase: {{ currency: USD, factor: 0.{FACTOR} }}\n");
    let table = format!(
        "    purchase:\n      currency: USD\n      prices: {{ sora-2: {{ {} }}, sora-2-pro: {{ {} }} }}\n",
        prices_of("sora-2"),
        prices_of("sora-2-pro"),
    );
    let digest = |key: &str| {
        let digest = Sha256::digest(key).into_iter();
        digest.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let key = |(name, secret, ..): (&str, &str, i128, bool), group: &str| {
        let digest = digest(secret);
        format!("  - {{ name: {name}, sha256: {digest}, group: {group} }}\n")
    };
    let lines = format!(
        "{}{}jobs: {{ poll_after: 200ms, polls_per_second: 1000, unknown_grace: 2s }}\n",
        key(CLIENTS[0], "export"),
        key(CLIENTS[1], "resale"),
    );
    let groups = "groups:\n  export: { multiplier: 1.05, currency: USD }\n  \
                  resale: { multiplier: 1.5, currency: USD }\n";
    let mut setup = Setup::default()
        .replacing("  mock:\n", "  first:\n")
        .beside(&factor, ("second", second.addr()), &table)
        .replacing("groups:\n", groups)
        .with(&lines);
    setup.ledger = engine.open();
    (setup.start().await, second)
}

/// One create of each kind in each round, and in each round `first` refuses some.
async fn run(stand: &Stand) {
    for (round, refusal) in REFUSALS.into_iter().enumerate() {
        let restore = Request::new("POST", "/channels/first/restore");
        assert_eq!(restore.send(stand.admin).await.unwrap().status, 200);
        stand
            .mock
            .set_faults(Fault::parse_list(refusal).unwrap(), Some(2));
        let kinds = FATES.iter().flat_map(|fate| {
            let clients = CLIENTS.iter();
            clients.map(move |(name, secret, ..)| (fate, name, secret))
        });
        let creates = kinds.enumerate().map(|(n, (fate, name, secret))| {
            let (model, size, ..) = PRICES[(n + round) % PRICES.len()];
            let prompt = format!("key={name} [mock:{fate}]");
            let body = form(&[
                ("prompt", prompt.as_bytes()),
                ("model", model.as_bytes()),
                ("seconds", if n % 2 == 0 { b"4" } else { b"8" }),
                ("size", size.as_bytes()),
            ]);
            let create = Request::create(&form_type(), Body::Length(body, vec![])).by(secret);
            async move { create.send(stand.gate).await.unwrap() }
        });
        for answer in join_all(creates).await {
            assert_eq!(answer.status, 200, "{refusal}: {answer:?}");
        }
    }
    stand.until_resolved().await;
}

/// From the jobs that are completed, and the two lists of prices.
fn by_hand(stand: &Stand, second: &Mock) -> Sums {
    let mut sums = Sums::new();
    for (channel, mock) in [("first", &stand.mock), ("second", second)] {
        for job in mock.jobs().into_iter().map(|record| record.job) {
            let mut clients = CLIENTS.iter();
            let client = clients.find(|(name, ..)| job.prompt.starts_with(&format!("key={name} ")));
            let (key, _, multiplier, same_currency) = client.unwrap();
            if job.status != "completed" || !same_currency {
                continue;
            }
            let mut prices = PRICES.iter();
            let price = prices.find(|(model, size, ..)| (*model, *size) == (&job.model, &job.size));
            let (_, _, list, purchase) = price.unwrap();
            let seconds: i128 = job.seconds.parse().unwrap();
            let paid = match channel {
                "first" => list * FACTOR,
                _ => purchase * 1000,
            };
            let line = sums
                .entry([*key, &job.model, channel].map(String::from))
                .or_default();
            for (sum, price) in line.iter_mut().zip([list * multiplier, paid]) {
                *sum += price * seconds * 1000;
            }
        }
    }
    sums
}

/// Returns what stands between two texts in the section on margins.
fn documented(from: &str, to: &str) -> &'static str {
    let (_, section) = include_str!("../docs/billing.md")
        .split_once("### Margin")
        .unwrap();
    let (_, rest) = section.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

/// Reads a decimal as whole billionths.
fn nanos(decimal: &str) -> i128 {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    assert!(fraction.len() <= 9, "{decimal}");
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

fn by_sql(engine: &Engine) -> Sums {
    let (sql, nanos): (_, fn(&str) -> i128) = match engine {
        Engine::Postgres(_) => (documented("psql \"$URL\" -c \"", "\""), nanos),
        _ => {
            let sql = documented("sqlite3 conf/tollgate.db \"", "\"");
            (sql, |text| text.parse().unwrap())
        }
    };
    let mut sums = Sums::new();
    for row in engine.rows(sql) {
        let [key, model, channel, currency, billed, paid_in, paid, margin] = &row[..] else {
            panic!("{row:?}");
        };
        assert_eq!(paid_in, "USD", "{row:?}");
        if currency != "USD" {
            assert_eq!((&**key, &**margin), ("demo", ""), "{row:?}");
            continue;
        }
        let (billed, paid) = (nanos(billed), nanos(paid));
        assert_eq!(nanos(margin), billed - paid, "{row:?}");
        let line = [key, model, channel].map(String::clone);
        assert_eq!(sums.insert(line, [billed, paid]), None, "{row:?}");
    }
    sums
}

/// Evaluates `sum by (LABEL, ...) (FAMILY{LABEL="VALUE", ...})`.
fn sum_by(expression: &str, metrics: &BTreeMap<String, f64>) -> BTreeMap<[String; 3], i128> {
    let expression = expression.trim().strip_prefix("sum by (").unwrap();
    let (labels, selector) = expression.split_once(") (").unwrap();
    assert_eq!(labels, "key, model, channel");
    let (family, matchers) = selector
        .strip_suffix("})")
        .unwrap()
        .split_once('{')
        .unwrap();
    let mut sums = BTreeMap::new();
    for (sample, value) in metrics {
        let labelled = sample.strip_prefix(family).filter(|s| s.starts_with('{'));
        let Some(labelled) = labelled else { continue };
        if !matchers
            .split(", ")
            .all(|matcher| labelled.contains(matcher))
        {
            continue;
        }
        let label = |name: &str| {
            let (_, rest) = labelled.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let line = ["key", "model", "channel"].map(label);
        // As far as a float tells: far below a cent, and these sums are not large.
        *sums.entry(line).or_insert(0) += (value * 1e9).round() as i128;
    }
    assert!(!sums.is_empty(), "{family} has no such series");
    sums
}

/// A difference has the lines that are on both sides. Those that began at zero and stayed there are
/// not on the bill.
async fn by_metrics(stand: &Stand) -> Sums {
    let expression = documented("began to count:\n\n```\n", "\n```");
    let (billed, paid) = expression.split_once("- sum").unwrap();
    let metrics = stand.metrics().await;
    let paid = sum_by(&format!("sum{paid}"), &metrics);
    let both = sum_by(billed, &metrics)
        .into_iter()
        .filter_map(|(line, billed)| {
            let sums = [billed, *paid.get(&line)?];
            (sums != [0, 0]).then_some((line, sums))
        });
    both.collect()
}

/// A counter moves right after the ledger has.
async fn counters_follow(stand: &Stand) {
    until("the counters say what became of all", async || {
        let metrics = stand.metrics().await;
        ["tollgate_billed_cost_total", "tollgate_channel_cost_total"]
            .iter()
            .all(|family| {
                let of = metrics.iter().filter(|(name, _)| name.starts_with(family));
                let open = of.map(|(name, value)| match name.contains("\"reserved\"") {
                    true => *value,
                    false => -value,
                });
                open.sum::<f64>().abs() < 1e-6
            })
    })
    .await;
}

async fn the_margin_is_told_alike(engine: Engine) {
    let (stand, second) = start(&engine).await;
    run(&stand).await;
    counters_follow(&stand).await;

    let moved = engine.rows("SELECT channel, refused_by FROM reservation WHERE refused_by <> ''");
    assert!(moved.len() >= REFUSALS.len(), "{moved:?}");
    for row in &moved {
        assert_eq!(row[0], "second", "{row:?}");
        assert!(row[1].starts_with("first:"), "{row:?}");
    }
    let jobs = stand.mock.jobs().into_iter().chain(second.jobs());
    let failed = jobs.filter(|record| record.job.status != "completed");
    let voided = engine.rows("SELECT count(*) FROM reservation WHERE state = 'voided'");
    assert_eq!(voided[0][0], failed.count().to_string());

    let by_hand = by_hand(&stand, &second);
    let channels = |name: &str| {
        by_hand
            .keys()
            .filter(|[.., channel]| channel == name)
            .count()
    };
    assert!(
        channels("first") > 0 && channels("second") > 0,
        "{by_hand:?}"
    );
    assert_eq!(by_sql(&engine), by_hand, "the bill of {}", engine.name());
    assert_eq!(by_metrics(&stand).await, by_hand, "the counters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_margin_is_told_alike_on_sqlite() {
    the_margin_is_told_alike(Engine::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_margin_is_told_alike_on_postgres() {
    if let Some(engine) = Engine::postgres() {
        the_margin_is_told_alike(engine).await;
    }
}
