//! The bill by SQL, the counters and the channel's own count are equal after mixed requests
//! of several keys, with faults, and so is every single job.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_MIXED` | how many requests (1500) |
//! | `TOLLGATE_SEED` | of their choice |

#[path = "reconcile/books.rs"]
mod books;
#[path = "support/engines.rs"]
mod engines;
mod support;
#[path = "reconcile/traffic.rs"]
mod traffic;

use std::time::{Duration, Instant};

use engines::Engine;
use sha2::{Digest as _, Sha256};
use support::{Setup, Stand};
use traffic::{FREE, LIMITED, Traffic};

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap())
}

/// Two groups, and of each a key without limits and one that reaches its limits.
fn setup(engine: &Engine) -> Setup {
    let digest = |key: &str| {
        let digest = Sha256::digest(key).into_iter();
        digest.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let lines = format!(
        "  - {{ name: {}, sha256: {}, group: export }}\n\
         \x20 - name: {}\n    sha256: {}\n    group: export\n    \
         limits: {{ list_cost_usd: 30/total, in_flight: 3 }}\n\
         jobs:\n  poll_after: 300ms\n  polls_per_second: 1000\n  unknown_grace: 2s\n",
        FREE.name,
        digest(FREE.secret),
        LIMITED.name,
        digest(LIMITED.secret),
    );
    let groups = "groups:\n  export: { multiplier: 1.125, currency: USD }\n";
    let mut setup = Setup::default()
        .replacing("groups:\n", groups)
        .replacing("requests: 60/min", "requests: 200/min")
        .replacing(
            "    credential: ",
            "    answer_timeout: 1s\n    read_timeout: 1s\n    credential: ",
        )
        .with(&lines);
    setup.ledger = engine.open();
    setup
}

/// Waits until every reservation is resolved.
async fn settle(stand: &Stand) {
    let started = Instant::now();
    loop {
        let open = stand.handle.ledger().count_unresolved().await.unwrap();
        if open.is_empty() {
            return;
        }
        let max = Duration::from_secs(120);
        assert!(started.elapsed() < max, "still open: {open:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn the_books_agree(engine: Engine) {
    let (requests, seed) = (number("TOLLGATE_MIXED", 1500), number("TOLLGATE_SEED", 1));
    let stand = setup(&engine).start().await;
    let (began, traffic) = (Instant::now(), Traffic::new(seed));
    traffic.run(&stand, requests).await;
    let ran = began.elapsed();
    stand.mock.set_faults(vec![], None);
    settle(&stand).await;
    books::compare(&engine, &stand, &traffic).await;
    let statuses = traffic.statuses();
    println!(
        "{}: {requests} requests in {ran:.1?}, settled after {:.1?}: {statuses:?}",
        engine.name(),
        began.elapsed(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_agree_on_sqlite() {
    the_books_agree(Engine::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_agree_on_postgres() {
    if let Some(engine) = Engine::postgres() {
        the_books_agree(engine).await;
    }
}
