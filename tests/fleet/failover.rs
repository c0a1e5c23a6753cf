//! The server of the database dies, and its standby takes its place.

use crate::stage::Plan;
use crate::storm::{Storm, a_while, kills, with_budgets};
use crate::support::postgres::Postgres;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_takes_over_has_every_charge() {
    let Some(mut primary) = Postgres::start() else {
        return;
    };
    let database = primary.create_database();
    let database = database.rsplit('/').next().unwrap();
    let mut standby = tokio::task::block_in_place(|| primary.start_standby());
    let plan = Plan {
        gates: 2,
        database: Some(primary.url_of_either(&standby, database)),
        ..Plan::sqlite()
    };
    let storm = Storm::new(with_budgets(plan).start().await, false);
    let stage = storm.stage.clone();
    let (dies, takes_over) = (&mut primary, &mut standby);
    let moving = async move {
        until("there are charges to hand over", async || {
            stage.mock.stats().creates_accepted >= 40
        })
        .await;
        a_while(300).await;
        tokio::task::block_in_place(|| dies.stop_hard());
        a_while(400).await;
        tokio::task::block_in_place(|| takes_over.promote());
        for _ in 0..kills() {
            a_while(400).await;
        }
    };
    assert_eq!(storm.rage(moving).await, 0);
}
