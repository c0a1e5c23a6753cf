//! The server of the database dies, and its standby takes its place.

use std::time::Duration;

use crate::stage::{Plan, create};
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
        // A machine that stands still for a moment must not leave a job untold.
        answer_timeout: "10s",
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

/// As one that is not synchronous may have missed whatever was committed last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_the_standby_has_missed_is_made_again() {
    let Some(mut primary) = Postgres::start() else {
        return;
    };
    let database = primary.create_database();
    let database = database.rsplit('/').next().unwrap();
    let mut standby = tokio::task::block_in_place(|| primary.start_standby());
    let plan = Plan {
        database: Some(primary.url_of_either(&standby, database)),
        ..Plan::sqlite()
    };
    let stage = plan.start().await;
    // The job's end is not seen before the standby is left behind.
    let no_poll = "poll:500".parse().unwrap();
    stage.mock.set_faults(vec![no_poll], None);
    let created = create("demo", "a cat").send(stage.gate(0)).await.unwrap();
    assert_eq!(created.status, 200, "{created:?}");
    let psql = |of: &Postgres, sql| tokio::task::block_in_place(|| of.psql(database, sql));
    psql(
        &primary,
        "ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()",
    );
    psql(
        &standby,
        "ALTER SYSTEM SET primary_conninfo = ''; SELECT pg_reload_conf()",
    );
    until("the standby hears nothing more", async || {
        psql(&standby, "SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    })
    .await;
    stage.mock.set_faults(vec![], None);
    stage.settled(Duration::from_secs(60)).await;
    let state = "SELECT state FROM tollgate.reservation";
    assert_eq!(psql(&primary, state), "posted");
    assert_eq!(psql(&standby, state), "confirmed");

    tokio::task::block_in_place(|| {
        primary.stop_hard();
        standby.promote();
    });
    stage.settled(Duration::from_secs(60)).await;
    assert_eq!(psql(&standby, state), "posted");
}
