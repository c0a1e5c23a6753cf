//! Requests without an answer: found in the channel's list, or voided.

use std::time::{Duration, Instant};

use crate::engines::{Engine, on};
use crate::support::client::Request;
use crate::support::{KEY, STUDIO, Setup, Stand};
use crate::{
    LISTS, after_chances, asked, cents, create, created, created_behind, open, send, soon,
    until_cents,
};
use tollgate::ledger::State;
use tollgate::mock::Fault;

/// Longer than a loaded machine stands still: a gate that does gives a request up.
const GRACE: Duration = Duration::from_millis(1500);

fn resolving() -> Setup {
    soon("  poll_after: 100ms\n  polls_per_second: 100\n  unknown_grace: 4s\n")
}

fn fault(name: &str) -> Vec<Fault> {
    vec![name.parse().unwrap()]
}

/// A create that the channel does not answer as it should.
async fn lost(stand: &Stand, key: &str, prompt: &str) {
    let answer = send(stand.gate, key, create(prompt)).await;
    assert_eq!(answer.status, 502, "{answer:?}");
}

async fn sees(stand: &Stand, key: &str, id: &str) -> u16 {
    let poll = Request::get(&format!("/v1/videos/{id}"));
    send(stand.gate, key, poll).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_for_its_owner() {
    on(Engine::all(), async |engine| {
        let mut setup = resolving();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        for fault in ["drop-after", "drop-answer", "no-id"] {
            lost(&stand, KEY, &format!("a cat [mock:{fault}]")).await;
            lost(&stand, STUDIO, &format!("a dog [mock:{fault}]")).await;
        }
        stand.until_resolved().await;
        until_cents(&stand, [240, 240, 0]).await;
        for record in stand.mock.jobs() {
            let id = record.job.id.unwrap();
            let cat = record.job.prompt.starts_with("a cat");
            let (owner, other) = if cat { (KEY, STUDIO) } else { (STUDIO, KEY) };
            assert_eq!(sees(&stand, owner, &id).await, 200, "{}", engine.name());
            assert_eq!(sees(&stand, other, &id).await, 404, "{}", engine.name());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_is_charged_as_it_is_rendered() {
    on(Engine::all(), async |engine| {
        let mut setup = resolving();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        let prompt = "a cat [mock:drop-before]";
        lost(&stand, KEY, prompt).await;
        let id = created_behind(&stand.mock, prompt, "8").await;
        stand.until_resolved().await;
        // What it was to cost is voided, what it costs is reserved.
        until_cents(&stand, [120, 80, 40]).await;
        let job = stand.handle.ledger().job(&id).await.unwrap().unwrap();
        assert_eq!(job.charge.seconds, 8, "{}", engine.name());
        assert_eq!(&*job.charge.payer.key, "demo", "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_arrived_is_voided_after_the_grace_and_not_before() {
    on(Engine::all(), async |engine| {
        let mut setup = resolving();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        // The head only, half of the body, and all of it for nothing.
        for (n, name) in ["drop-before", "drop-body", "garbage"]
            .into_iter()
            .enumerate()
        {
            stand.mock.set_faults(fault(name), Some(1));
            let began = Instant::now();
            lost(&stand, KEY, "a cat").await;
            stand
                .until("it is voided", async || {
                    let n = n as i64;
                    cents(&stand).await == [40 * (n + 1), 0, 40 * (n + 1)]
                })
                .await;
            let took = began.elapsed();
            assert!(took >= GRACE, "{name} on {}: {took:?}", engine.name());
        }
        assert!(stand.mock.jobs().is_empty());
        assert!(asked(&stand.mock, LISTS) >= 3);
    })
    .await;
}

/// The channel may have listed its job as a remix of an id that only the record had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remix_of_a_job_without_a_record_is_held() {
    on(Engine::durable(), async |engine| {
        let mut setup = resolving();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        let unlisted = ["drop-before", "list:500"].map(|name| name.parse().unwrap());
        stand.mock.set_faults(unlisted.into(), None);
        lost(&stand, KEY, "a cat").await;
        engine.change("UPDATE reservation SET remix_of = 'video_pruned'");
        lost(&stand, KEY, "a dog").await;
        stand.mock.set_faults(vec![], None);
        // The later one, which is no remix, is voided.
        until_cents(&stand, [80, 0, 40]).await;
        let held = engine.rows("SELECT remix_of, state FROM reservation WHERE state <> 'voided'");
        assert_eq!(held, [["video_pruned", "unknown"]], "{}", engine.name());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_prompt_of_two_keys_is_not_guessed() {
    on(Engine::all(), async |engine| {
        let mut setup = resolving();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        for (key, name) in [(KEY, "drop-after"), (STUDIO, "drop-before")] {
            // Without a list, the first is not found before there is the second.
            let both = [name, "list:500"].map(|name| name.parse().unwrap());
            stand.mock.set_faults(both.into(), None);
            lost(&stand, key, "a cat").await;
        }
        stand.mock.set_faults(vec![], None);
        after_chances(&stand, LISTS, 4, 2 * GRACE).await;
        let ledger = stand.handle.ledger();
        assert_eq!(
            open(&**ledger, State::Unknown).await,
            2,
            "{}",
            engine.name()
        );
        until_cents(&stand, [80, 0, 0]).await;
        let id = stand.mock.jobs()[0].job.id.clone().unwrap();
        assert_eq!(sees(&stand, KEY, &id).await, 404);
        assert_eq!(sees(&stand, STUDIO, &id).await, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_prompt_of_one_key_is_told_apart_by_number() {
    let stand = resolving().start().await;
    for name in ["drop-before", "drop-after", "drop-before", "drop-after"] {
        stand.mock.set_faults(fault(name), Some(1));
        lost(&stand, KEY, "a cat").await;
    }
    stand.until_resolved().await;
    until_cents(&stand, [160, 80, 80]).await;
    let [first, second] = [0, 1].map(|n| stand.mock.jobs()[n].job.id.clone().unwrap());
    assert_eq!(sees(&stand, KEY, &first).await, 200);
    assert_eq!(sees(&stand, KEY, &second).await, 200);
}

/// A job of which the answer is on its way is on the list already, and could be taken for
/// what became of another key's request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_answer_is_awaited_is_nobody_elses() {
    on(Engine::all(), async |engine| {
        let mut setup = resolving();
        setup.ledger = engine.open();
        let stand = setup.start().await;
        stand.mock.set_faults(fault("drop-before"), Some(1));
        lost(&stand, KEY, "a cat").await;
        let faults = ["create:slow=2500"].map(|name| name.parse().unwrap());
        stand.mock.set_faults(faults.into(), None);
        let id = created(stand.gate, STUDIO, "a cat").await;
        stand.mock.set_faults(vec![], None);
        stand.until_resolved().await;
        assert_eq!(sees(&stand, STUDIO, &id).await, 200, "{}", engine.name());
        assert_eq!(sees(&stand, KEY, &id).await, 404, "{}", engine.name());
        until_cents(&stand, [80, 40, 40]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_voided_while_the_channel_gives_no_list() {
    let stand = resolving().start().await;
    stand.mock.set_faults(fault("list:500"), None);
    lost(&stand, KEY, "a cat [mock:drop-before]").await;
    lost(&stand, KEY, "a dog [mock:drop-after]").await;
    after_chances(&stand, LISTS, 4, 2 * GRACE).await;
    assert_eq!(open(&**stand.handle.ledger(), State::Unknown).await, 2);
    until_cents(&stand, [80, 0, 0]).await;
    stand.mock.set_faults(vec![], None);
    stand.until_resolved().await;
    until_cents(&stand, [80, 40, 40]).await;
}

/// One of two that cannot be told apart expires first: the other is not what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_prompt_of_two_keys_is_not_guessed_when_time_is_up() {
    let stand = soon("  poll_after: 1h\n  unknown_grace: 4s\n  expire_after: 4s\n")
        .start()
        .await;
    let began = Instant::now();
    for (key, name) in [(KEY, "drop-after"), (STUDIO, "drop-before")] {
        let both = [name, "list:500"].map(|name| name.parse().unwrap());
        stand.mock.set_faults(both.into(), None);
        lost(&stand, key, "a cat").await;
        stand
            .until("a second has passed", async || {
                began.elapsed() > Duration::from_secs(1)
            })
            .await;
    }
    stand.mock.set_faults(vec![], None);
    stand.until_resolved().await;
    until_cents(&stand, [80, 0, 80]).await;
    let id = stand.mock.jobs()[0].job.id.clone().unwrap();
    assert_eq!(sees(&stand, STUDIO, &id).await, 404);
}
