//! What the gate costs: beside a bare Pingora pass-through, on the same work in the same run.
//!
//! Each server is a process of its own with one worker thread, and its CPU time and memory
//! are read from `/proc`: on a machine that others share, that says more than the clock.
//! Rounds take turns, and each ratio is of two rounds that follow each other.
//!
//! Environment: `TOLLGATE_BENCH_ROUNDS` (27), `TOLLGATE_BENCH_ROUND_MS` (300),
//! `TOLLGATE_BENCH_ONLY` (a word of a work's name).

mod support;

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use support::load::{self, Client, Done};
use support::process::Server;
use support::report::{Rounds, Spread, table};
use support::{ledgers::Ledgers, memory, scanner, servers, works};

/// As in the binary; the pass-through has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if servers::run(&arguments) {
        return;
    }
    // Without `cargo bench` this is a trial that everything still works.
    let measures = arguments.iter().any(|argument| argument == "--bench");
    // Many short rounds: what else the machine does falls on both sides of a pair.
    let (rounds, millis) = if measures { (27, 300) } else { (1, 20) };
    let rounds = number("TOLLGATE_BENCH_ROUNDS", rounds);
    let lasts = Duration::from_millis(number("TOLLGATE_BENCH_ROUND_MS", millis));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure(rounds, lasts));
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

async fn measure(rounds: u64, lasts: Duration) {
    let sink = Server::start("sink", None);
    let bare = Server::start("pass-through", Some(sink.address));
    let only = env::var("TOLLGATE_BENCH_ONLY").unwrap_or_default();
    let ledgers = Ledgers::new();
    let (mut gates, mut measured) = (HashMap::new(), Vec::new());
    for (ledger, url) in ledgers.urls() {
        let gate = Server::gate(sink.address, &url);
        let job = created(&gate).await;
        let works = works::all(ledger, &job).into_iter();
        measured.extend(
            works
                .filter(|work| work.name.contains(&only))
                .map(|work| Rounds {
                    work,
                    gate: vec![],
                    bare: vec![],
                }),
        );
        gates.insert(ledger, gate);
    }
    for work in &measured {
        for server in [&gates[&work.work.ledger], &bare] {
            load::round(server, &work.work, lasts / 4).await;
        }
    }
    for round in 0..rounds {
        for work in &mut measured {
            let gate = &gates[&work.work.ledger];
            let (gate, bare) = pair(gate, &bare, &work.work, lasts, round % 2 == 0).await;
            work.gate.push(gate);
            work.bare.push(bare);
        }
    }
    let mut kib = Vec::new();
    for _ in 0..rounds.div_ceil(9) {
        let bare = memory::per_upload("pass-through").await;
        kib.push((memory::per_upload("gate").await, bare));
    }
    let scanner = Spread::of(scanner::ratios(if rounds > 1 { 9 } else { 1 }));
    println!("{}", table(&measured, &kib, scanner));
    println!(
        "Method: {rounds} rounds of {} ms for each work and server, in turns; gate, pass-through \
         and upstream are processes of their own with one worker thread, the ledger is in \
         memory where no other is named, and PostgreSQL runs on the same machine; each ratio is \
         of two neighbouring rounds; the median, and in brackets the quartiles. Bold: the target \
         is missed.",
        lasts.as_millis()
    );
}

/// One round of each server, right after each other, in either order.
async fn pair(
    gate: &Server,
    bare: &Server,
    work: &works::Work,
    lasts: Duration,
    gate_first: bool,
) -> (Done, Done) {
    if gate_first {
        let done = load::round(gate, work, lasts).await;
        (done, load::round(bare, work, lasts).await)
    } else {
        let done = load::round(bare, work, lasts).await;
        (load::round(gate, work, lasts).await, done)
    }
}

/// A job of the gate's, for the polls.
async fn created(gate: &Server) -> String {
    let mut client = Client::open(gate.address).await;
    let answer = client.send(&works::create()).await;
    let job: serde_json::Value = serde_json::from_slice(answer).expect("a job");
    job["id"].as_str().expect("its id").to_owned()
}
