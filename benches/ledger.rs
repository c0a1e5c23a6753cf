//! Whether the durable ledgers hold their speed when they are full: the same calls on an
//! empty one and on one with many resolved reservations, in the same run.
//!
//! Environment: `TOLLGATE_BENCH_ROWS` (100,000), `TOLLGATE_BENCH_ROUND_MS` (2000),
//! `TOLLGATE_BENCH_ONLY` (sqlite or postgres).

#[path = "support/filled.rs"]
mod filled;
#[path = "../tests/support/postgres.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod postgres;
#[path = "../tests/support/programs.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod programs;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use filled::{Engine, key_name};
use tokio::task::JoinSet;
use tollgate::catalog::PriceList;
use tollgate::ledger::{
    BindingLimits, ChannelAnswer, Charge, Confirmation, Draft, JobsAfter, Ledger, Payer, Placement,
    PromptDigest, ReservationId, Resolution,
};
use tollgate::money::Amount;
use tollgate::policy::{Allow, Group, Key, Limit, Measure, Timestamp};

fn main() {
    // Without `cargo bench` this is a trial that everything still works.
    let measures = env::args().any(|argument| argument == "--bench");
    let (rows, millis) = if measures {
        (100_000, 2000)
    } else {
        (2000, 20)
    };
    let rows = number("TOLLGATE_BENCH_ROWS", rows);
    let lasts = Duration::from_millis(number("TOLLGATE_BENCH_ROUND_MS", millis));
    let only = env::var("TOLLGATE_BENCH_ONLY").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for engine in Engine::all().filter(|engine| engine.name().contains(&only)) {
            let empty = measure(&engine, 0, lasts).await;
            let full = measure(&engine, rows, lasts).await;
            print(engine.name(), rows, &empty, &full);
        }
    });
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What was measured, and in what unit.
type Measured = Vec<(&'static str, f64)>;

fn print(engine: &str, rows: u64, empty: &Measured, full: &Measured) {
    println!("\n| {engine} | empty | with {rows} reservations | ratio |\n|---|---|---|---|");
    for ((what, empty), (_, full)) in empty.iter().zip(full) {
        println!("| {what} | {empty:.1} | {full:.1} | {:.2} |", full / empty);
    }
}

async fn measure(engine: &Engine, rows: u64, lasts: Duration) -> Measured {
    let database = engine.database();
    // The schema: a database is connected to when it is first asked.
    database.open().ready().await.expect("a ledger");
    database.fill(rows, now());
    let started = Instant::now();
    let ledger = database.open();
    ledger.ready().await.expect("a ledger");
    let mut measured = vec![("opening, ms", ms(started))];
    let key = key();
    let started = Instant::now();
    ledger.usage(&key, now()).await.expect("its usage");
    measured.push(("first use of new limits of a key, ms", ms(started)));
    for tasks in [1, 64] {
        let lives = lives(&ledger, &key, tasks, lasts).await;
        let what = match tasks {
            1 => "reserve, confirm, settle: one after the other, per second",
            _ => "reserve, confirm, settle: 64 at once, per second",
        };
        measured.push((what, lives));
    }
    measured.push((
        "first page of a key's list, per second",
        pages(&ledger, false, lasts).await,
    ));
    measured.push((
        "page after an old job, per second",
        pages(&ledger, rows > 0, lasts).await,
    ));
    let started = Instant::now();
    ledger.due("official", now(), 50).await.expect("due jobs");
    measured.push(("jobs that are due, ms", ms(started)));
    let started = Instant::now();
    ledger.count_unresolved().await.expect("open ones");
    measured.push(("open reservations for the metrics, ms", ms(started)));
    let started = Instant::now();
    database.bill(now());
    measured.push(("bill of a key for a month by SQL, ms", ms(started)));
    measured
}

fn ms(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.expect("a clock").as_millis();
    Timestamp(u64::try_from(millis).expect("a time"))
}

/// One of those that the filled ledger knows.
fn key() -> Arc<Key> {
    let limit = |measure, text| Limit::parse(measure, text).expect("a limit");
    Arc::new(Key {
        name: key_name(1).into(),
        group: Arc::new(Group {
            name: "group-1".into(),
            multiplier: "5".parse().expect("a multiplier"),
            currency: "CNY".into(),
            limits: vec![limit(Measure::Requests, "1000000000/day")],
            channels: None,
        }),
        allow: Allow::default(),
        limits: vec![
            limit(Measure::Requests, "1000000000/min"),
            limit(Measure::BilledCost, "1000000000/month"),
            limit(Measure::ListCost, "1000000000/total"),
            limit(Measure::InFlight, "1000000000"),
        ],
        channels: None,
    })
}

/// How many reservations a second are made, confirmed and settled, by so many tasks.
async fn lives(ledger: &Arc<dyn Ledger>, key: &Arc<Key>, tasks: u64, lasts: Duration) -> f64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (ledger, key) = (ledger.clone(), key.clone());
        running.spawn(async move {
            let mut lives = 0_u32;
            while started.elapsed() < lasts {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                live(&*ledger, &key, number).await;
                lives += 1;
            }
            lives
        });
    }
    let lives: u32 = running.join_all().await.into_iter().sum();
    f64::from(lives) / started.elapsed().as_secs_f64()
}

async fn live(ledger: &dyn Ledger, key: &Key, number: u64) {
    let at = now();
    let id = ReservationId(u128::from(at.0) << 80 | u128::from(number) << 16 | 0xbe);
    let charge = Arc::new(Charge {
        payer: Payer::from(key),
        channel: "official".into(),
        model: "sora-2".into(),
        size: "1280x720".into(),
        seconds: 4,
        list: Amount::from_nanos(400_000_000).expect("an amount"),
        billed: Amount::from_nanos(2_000_000_000).expect("an amount"),
        prices: PriceList::from_text("1280x720=0.10,720x1280=0.10"),
        purchase: None,
    });
    let draft = Draft {
        id,
        request_id: None,
        charge: charge.clone(),
        prompt: PromptDigest([1; 32]),
        remix_of: None,
        claim: None,
        next_poll: Timestamp(at.0 + 30_000),
        placement: Placement::default(),
    };
    ledger
        .reserve(&draft, key, at)
        .await
        .expect("a reservation");
    let job: Arc<str> = format!("video_{:032x}", id.0.swap_bytes()).into();
    let confirmation = Confirmation {
        channel_answer: ChannelAnswer::default(),
        upstream_id: job.clone(),
        job,
        charge,
        answer: None,
    };
    let limits = BindingLimits::default();
    let confirmed = ledger.confirm(id, &confirmation, &limits, at);
    confirmed.await.expect("a confirmation");
    let settled = ledger.settle(id, Resolution::Posted, "completed", at);
    assert!(settled.await.expect("an end").is_some());
}

/// Pages a second of a key's list, from its newest job or from an old one.
async fn pages(ledger: &Arc<dyn Ledger>, from_old: bool, lasts: Duration) -> f64 {
    let old = filled::job_name(filled::KEYS + 1);
    let page = JobsAfter {
        after: from_old.then_some(old.as_str()),
        ascending: from_old,
        limit: 21,
    };
    let (started, mut pages) = (Instant::now(), 0_u32);
    while started.elapsed() < lasts / 4 {
        let jobs = ledger.jobs(&key_name(1), &page).await.expect("a page");
        assert!(jobs.is_some());
        pages += 1;
    }
    f64::from(pages) / started.elapsed().as_secs_f64()
}
