//! A configuration that is replaced between a reservation and the correction of its charge.

use serde_json::{Value, json};

use crate::engines::{Engine, on};
use crate::scripted::Scripted;
use crate::support::{KEY, Setup};
use crate::told_apart::{job, list, seconds_now};
use crate::{create, send, soon, until_cents};

/// A gate whose keys share a budget of 1.20 USD.
fn with_budget() -> Setup {
    let group = "sora2: { multiplier: 5, currency: CNY }";
    let limited = "sora2: { multiplier: 5, currency: CNY, limits: { list_cost_usd: 1.2/total } }";
    let jobs = "  poll_after: 1h\n  polls_per_second: 100\n  unknown_grace: 4s\n";
    soon(jobs).replacing(group, limited)
}

/// A job of eight seconds, of which four were asked for.
fn rendered(id: &str, prompt: &str) -> Value {
    let mut job = job(id, prompt, seconds_now());
    job["seconds"] = json!("8");
    job
}

/// Two lost answers of a key that is removed before their jobs are found, while the price has
/// doubled: what was reserved at the old price is charged at it, and the group's budget holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_no_charge_that_was_reserved_before() {
    on(Engine::all(), async |engine| {
        let channel = Scripted::start(false).await;
        let mut setup = channel.behind(with_budget());
        setup.ledger = engine.open();
        let stand = setup.start().await;
        for prompt in ["a cat", "a dog"] {
            assert_eq!(send(stand.gate, KEY, create(prompt)).await.status, 502);
        }
        let changed = channel.behind(with_budget());
        let changed = changed.replacing("1280x720: 0.10", "1280x720: 0.20");
        let changed = changed.replacing("  - name: demo  ", "  - name: another");
        stand.handle.reload(changed.config_for(stand.mock.addr()));
        // Beside one that nobody can ask for: so nothing is voided on the word of this list.
        let nameless = json!({"object": "video", "created_at": seconds_now()});
        let (cat, dog) = (rendered("video_1", "a cat"), rendered("video_2", "a dog"));
        let first = list(&[cat.clone(), nameless.clone()], false);
        channel.says(move |_| (200, first.clone()));
        // 0.80 USD in place of 0.40.
        until_cents(&stand, [160, 80, 40]).await;
        let both = list(&[dog, cat, nameless], false);
        channel.says(move |_| (200, both.clone()));
        // For eight seconds of the other one there is no room, so it stays at 0.40 USD.
        until_cents(&stand, [160, 120, 40]).await;
        let left_out = "tollgate_corrections_left_out_total{channel=\"mock\",key=\"demo\"}";
        assert_eq!(stand.metric(left_out).await, 1.0, "{}", engine.name());
        for (id, seconds, cost) in [("video_1", 8, "0.80"), ("video_2", 4, "0.40")] {
            let job = stand.handle.ledger().job(id).await.unwrap().unwrap();
            let charge = (job.charge.seconds, job.charge.list.to_string());
            assert_eq!(charge, (seconds, cost.into()), "{id}, {}", engine.name());
        }
    })
    .await;
}

/// Labels of costs that a configuration leaves out are empty from its reload on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_costs_are_those_of_the_configuration_in_force() {
    let setup = || soon("  poll_after: 1h\n");
    let stand = setup().start().await;
    let cost = |channel: &str, key: &str, size: &str| {
        format!(
            "tollgate_list_cost_usd_total{{channel=\"{channel}\",event=\"reserved\",key=\"{key}\",\
             model=\"sora-2\",size=\"{size}\"}}"
        )
    };
    let (all, some) = (cost("mock", "demo", "1280x720"), cost("", "", ""));
    assert_eq!(send(stand.gate, KEY, create("a cat")).await.status, 200);
    assert_eq!(
        (stand.metric(&all).await, stand.metric(&some).await),
        (0.4, 0.0)
    );
    let fewer = setup().with("metrics: { cost_labels: [model] }\n");
    stand.handle.reload(fewer.config_for(stand.mock.addr()));
    assert_eq!(send(stand.gate, KEY, create("a dog")).await.status, 200);
    assert_eq!(
        (stand.metric(&all).await, stand.metric(&some).await),
        (0.4, 0.4)
    );
}
