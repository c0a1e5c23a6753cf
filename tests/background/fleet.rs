//! Gates that come and go over one ledger.

use std::sync::Arc;
use std::time::Duration;

use crate::engines::{Engine, on};
use crate::gates::{OneGate, channel};
use crate::support::{KEY, Setup, until};
use crate::{POLLS, asked, created, created_behind, open, soon};
use sha2::{Digest as _, Sha256};
use tollgate::catalog::PriceList;
use tollgate::clock::now;
use tollgate::ledger::{
    Charge, Draft, Ledger, Payer, Placement, PromptDigest, ReservationId, Reserved, State,
};
use tollgate::mock::Mock;
use tollgate::money::Amount;

/// Reserves as a gate does that then dies, or whose request is under way.
pub async fn reserve(
    setup: &Setup,
    mock: &Mock,
    ledger: &dyn Ledger,
    (number, key, prompt): (u128, &str, &str),
) {
    let config = setup.config_for(mock.addr());
    let key = config.key_named(key).unwrap();
    let draft = Draft {
        id: ReservationId(number),
        request_id: None,
        charge: Arc::new(Charge {
            payer: Payer::from(&**key),
            channel: "mock".into(),
            model: "sora-2".into(),
            size: "1280x720".into(),
            seconds: 4,
            list: Amount::from_nanos(400_000_000).unwrap(),
            billed: Amount::from_nanos(2_000_000_000).unwrap(),
            prices: PriceList::default(),
            purchase: None,
        }),
        prompt: PromptDigest(Sha256::digest(prompt).into()),
        remix_of: None,
        claim: None,
        next_poll: now(),
        placement: Placement::default(),
    };
    assert_eq!(
        ledger.reserve(&draft, key, now()).await.unwrap(),
        Reserved::Done
    );
}

/// What a gate that is gone held, it holds for some seconds more: these pass.
fn let_leases_end(engine: &Engine) {
    if matches!(engine, Engine::Postgres(_)) {
        engine.rows("UPDATE lease SET until = now()");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_gate_left_pending_is_resolved() {
    on(Engine::durable(), async |engine| {
        let setup = soon("  poll_after: 100ms\n  unknown_grace: 4s\n");
        let mock = channel(Duration::ZERO).await;
        let dead = engine.open();
        for (number, prompt) in [(1, "a cat"), (2, "a dog")] {
            reserve(&setup, &mock, &*dead, (number, "demo", prompt)).await;
        }
        drop(dead);
        let_leases_end(&engine);
        let id = created_behind(&mock, "a cat", "8").await;

        let ledger = engine.open();
        assert_eq!(open(&*ledger, State::Pending).await, 2, "{}", engine.name());
        let gate = OneGate::start(&setup, &mock, ledger.clone());
        until("nothing is open", async || {
            ledger.count_unresolved().await.unwrap().is_empty()
        })
        .await;
        let rows = engine.rows("SELECT job, key, state, seconds FROM reservation ORDER BY state");
        let expected = [
            [id.as_str(), "demo", "posted", "8"],
            ["", "demo", "voided", "4"],
        ];
        assert_eq!(rows, expected, "{}", engine.name());
        gate.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_starts_again_goes_on() {
    on(Engine::durable(), async |engine| {
        let setup = soon("  poll_after: 100ms\n  unknown_grace: 4s\n");
        let mock = channel(Duration::from_millis(300)).await;
        let gate = OneGate::start(&setup, &mock, engine.open());
        let id = created(gate.address, KEY, "a cat").await;
        gate.stop().await;
        let_leases_end(&engine);
        let gate = OneGate::start(&setup, &mock, engine.open());
        let state = "SELECT job, state FROM reservation";
        until("it is posted", async || {
            engine.rows(state) == [[id.as_str(), "posted"]]
        })
        .await;
        gate.stop().await;
    })
    .await;
}

/// How often a gate has asked its channel for a job.
async fn looks(gate: &OneGate) -> f64 {
    let labels = "channel=\"mock\",route=\"retrieve\"";
    let sample = format!("tollgate_upstream_response_seconds_count{{{labels}}}");
    gate.metric(&sample).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_is_watched_by_one_gate_at_a_time() {
    let Some(engine) = Engine::postgres() else {
        return;
    };
    let setup = soon("  poll_after: 100ms\n  polls_per_second: 10\n");
    let mock = channel(Duration::from_secs(3600)).await;
    let mut gates: Vec<_> = (0..2)
        .map(|_| OneGate::start(&setup, &mock, engine.open()))
        .collect();
    for n in 0..20 {
        created(gates[n % 2].address, KEY, &format!("a cat {n}")).await;
    }
    let (began, before) = (std::time::Instant::now(), asked(&mock, POLLS));
    until("each is polled", async || {
        asked(&mock, POLLS) >= before + 25
    })
    .await;
    // The rate of the channel holds for both together.
    let polls = (asked(&mock, POLLS) - before) as f64;
    // A poll may have been on its way, and the rate may catch up a tenth of a second.
    let max = 10.0 * (began.elapsed().as_secs_f64() + 0.1) + 2.0;
    assert!(polls <= max, "{polls} of at most {max}");
    let looked = [looks(&gates[0]).await, looks(&gates[1]).await];
    let watching = usize::from(looked[1] > looked[0]);
    assert_eq!(looked[1 - watching], 0.0, "{looked:?}");

    // The one that watches goes away, and what it held runs out.
    let gone = gates.remove(watching);
    gone.stop().await;
    let left = gates.remove(0);
    assert_eq!(looks(&left).await, 0.0);
    let_leases_end(&engine);
    until("the other watches", async || looks(&left).await > 20.0).await;
    left.stop().await;
}
