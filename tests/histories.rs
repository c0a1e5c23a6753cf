//! Random histories against the real gate, each checked after every step by a model that adds
//! everything up anew.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_HISTORIES` | how many histories each engine gets |
//! | `TOLLGATE_HISTORY_FIRST` | the seed of the first one, for a long run in slices |
//! | `TOLLGATE_HISTORY_SEED` | replays the history of that seed alone, and tells its steps |
//! | `TOLLGATE_HISTORY_WORKERS` | how many run side by side on one engine |
//! | `TOLLGATE_HISTORY_KINDS` | the kinds of steps that are on, by the names in `enabled.rs`, or `all` |

#[path = "histories/answers.rs"]
mod answers;
#[path = "histories/channel.rs"]
mod channel;
#[path = "histories/clients.rs"]
mod clients;
#[path = "histories/dice.rs"]
mod dice;
#[path = "histories/enabled.rs"]
mod enabled;
#[path = "histories/excuses.rs"]
mod excuses;
#[path = "histories/look.rs"]
mod look;
#[path = "histories/metered.rs"]
mod metered;
#[path = "histories/model.rs"]
mod model;
#[path = "histories/owners.rs"]
mod owners;
#[path = "histories/plan.rs"]
mod plan;
#[path = "histories/requests.rs"]
mod requests;
#[path = "histories/row.rs"]
mod row;
#[path = "histories/run.rs"]
mod run;
#[path = "histories/said.rs"]
mod said;
#[path = "histories/step.rs"]
mod step;
#[path = "histories/store.rs"]
mod store;
mod support;
#[path = "histories/tampered.rs"]
mod tampered;
#[path = "histories/way.rs"]
mod way;
#[path = "histories/world.rs"]
mod world;

use dice::Allowed;
use run::{Found, run_all};
use store::Store;
use support::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_in_memory() {
    let allowed = Allowed {
        gates: 1,
        restarts: true,
        cuts: false,
    };
    tell(run_all(allowed, async || Store::memory()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_on_sqlite() {
    let allowed = Allowed {
        gates: 1,
        restarts: true,
        cuts: false,
    };
    tell(run_all(allowed, async || Store::sqlite()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_on_postgres() {
    let Some(cluster) = Postgres::start_with(&["fsync=off"]) else {
        return;
    };
    let allowed = Allowed {
        gates: 2,
        restarts: true,
        cuts: true,
    };
    tell(run_all(allowed, async || Store::postgres(&cluster).await).await);
}

fn tell(found: Vec<Found>) {
    assert!(
        found.is_empty(),
        "{} histories with a difference",
        found.len()
    );
}
