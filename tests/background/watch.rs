//! Jobs that nobody polls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::engines::{Engine, on};
use crate::support::client::Request;
use crate::support::{KEY, STUDIO, Setup, Stand};
use crate::{POLLS, after_chances, asked, created, open, send, soon, until_cents, until_ended};
use tollgate::ledger::State;

/// Jobs that take longer than a test.
fn endless(mut setup: Setup) -> Setup {
    setup.mock.rendering = Duration::from_secs(3600);
    setup
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_nobody_polls_is_followed_to_its_end() {
    on(Engine::all(), async |engine| {
        let mut setup = soon("  poll_after: 100ms\n  polls_per_second: 100\n");
        setup.ledger = engine.open();
        let stand = setup.start().await;
        created(stand.gate, KEY, "a cat").await;
        created(stand.gate, STUDIO, "a dog").await;
        for fault in ["fail", "moderated", "cancelled"] {
            created(stand.gate, KEY, &format!("a cat [mock:{fault}]")).await;
        }
        stand.until_resolved().await;
        until_cents(&stand, [200, 80, 120]).await;
        for (status, jobs) in [("completed", 2.0), ("failed", 2.0), ("cancelled", 1.0)] {
            until_ended(&stand, status, jobs).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_jobs_can_be_charged() {
    let lines = "  charge_failed_jobs: true\n  poll_after: 100ms\n  polls_per_second: 100\n";
    let stand = soon(lines).start().await;
    for prompt in ["a cat", "a cat [mock:fail]", "a cat [mock:cancelled]"] {
        created(stand.gate, KEY, prompt).await;
    }
    stand.until_resolved().await;
    until_cents(&stand, [120, 120, 0]).await;
    until_ended(&stand, "failed", 1.0).await;
}

/// Polls that are not the client's.
fn own_polls(stand: &Stand, id: &str) -> usize {
    let requests = stand.mock.requests();
    let polls = requests.iter().filter(|record| {
        let agent = record.headers.iter().find(|(name, _)| name == "user-agent");
        let own = agent.is_some_and(|(_, agent)| agent.starts_with("tollgate/"));
        own && record.method == "GET" && record.path == format!("/v1/videos/{id}")
    });
    polls.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_polls_is_left_to_it() {
    let setup = soon("  poll_after: 1s\n  polls_per_second: 100\n");
    let stand = endless(setup).start().await;
    let (began, mut last, mut pause) = (Instant::now(), Instant::now(), Duration::ZERO);
    let [polled, other] = [
        created(stand.gate, KEY, "a cat").await,
        created(stand.gate, KEY, "a dog").await,
    ];
    let poll = Request::get(&format!("/v1/videos/{polled}")).header("User-Agent", "client");
    while own_polls(&stand, &other) < 3 {
        assert_eq!(send(stand.gate, KEY, poll.clone()).await.status, 200);
        pause = pause.max(last.elapsed());
        last = Instant::now();
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A machine that stood still has let the client be late.
    let late = pause > Duration::from_millis(800);
    let own = own_polls(&stand, &polled);
    assert!(own == 0 || late, "{own} polls, the client paused {pause:?}");
    stand
        .until("the client is relieved", async || {
            own_polls(&stand, &polled) > 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_of_a_channel_holds() {
    let setup = soon("  poll_after: 50ms\n  polls_per_second: 20\n");
    let stand = endless(setup).start().await;
    let mut ids = BTreeSet::new();
    for n in 0..40 {
        ids.insert(created(stand.gate, KEY, &format!("a cat {n}")).await);
    }
    let (began, before) = (Instant::now(), asked(&stand.mock, POLLS));
    after_chances(&stand, POLLS, 50, Duration::ZERO).await;
    let polls = asked(&stand.mock, POLLS) - before;
    // A poll may have been on its way, and the rate may catch up a tenth of a second.
    let max = 20.0 * (began.elapsed().as_secs_f64() + 0.1) + 2.0;
    assert!((polls as f64) <= max, "{polls} of at most {max}");
    // Forty jobs at that rate: none is forgotten over the others.
    let mut polls = BTreeMap::<String, u64>::new();
    for record in stand.mock.requests() {
        if record.method == "GET" && record.path != "/v1/videos" {
            *polls.entry(record.path).or_default() += 1;
        }
    }
    assert_eq!(polls.len(), ids.len(), "{polls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_asked_again_when_it_wants_to_be() {
    // The mock says `openai-poll-after-ms: 1000` of jobs that take long.
    let setup = soon("  poll_after: 50ms\n  polls_per_second: 100\n");
    let stand = endless(setup).start().await;
    let began = Instant::now();
    let id = created(stand.gate, KEY, "a cat").await;
    stand
        .until("it was polled four times", async || {
            own_polls(&stand, &id) >= 4
        })
        .await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3), "four polls in {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_end_is_not_seen_in_time_stays_charged() {
    on(Engine::all(), async |engine| {
        let mut setup = soon("  poll_after: 50ms\n  expire_after: 500ms\n");
        setup.ledger = engine.open();
        let stand = endless(setup).start().await;
        let began = Instant::now();
        let first = created(stand.gate, KEY, "a cat").await;
        stand.until_resolved().await;
        assert!(began.elapsed() >= Duration::from_millis(500));
        until_cents(&stand, [40, 40, 0]).await;
        until_ended(&stand, "expired", 1.0).await;
        // It is not asked for any more.
        let polls = own_polls(&stand, &first);
        created(stand.gate, KEY, "a dog").await;
        stand.until_resolved().await;
        assert_eq!(own_polls(&stand, &first), polls);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_polls_keeps_no_job_from_expiring() {
    // The client polls more often than the gate would, also on a busy machine.
    let setup = soon("  poll_after: 3s\n  expire_after: 1500ms\n");
    let stand = endless(setup).start().await;
    let id = created(stand.gate, KEY, "a cat").await;
    let (began, poll) = (Instant::now(), Request::get(&format!("/v1/videos/{id}")));
    while stand.has_open().await {
        assert_eq!(send(stand.gate, KEY, poll.clone()).await.status, 200);
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it never expires"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(1500));
    until_cents(&stand, [40, 40, 0]).await;
    until_ended(&stand, "expired", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_job_is_resolved() {
    on(Engine::all(), async |engine| {
        // Nobody but the deletion looks at them.
        let mut setup = soon("  poll_after: 1h\n");
        setup.ledger = engine.open();
        setup.mock.queued = Duration::ZERO;
        setup.mock.rendering = Duration::from_secs(4);
        let stand = setup.start().await;
        let delete = async |id: &str| {
            let delete = Request::new("DELETE", &format!("/v1/videos/{id}"));
            assert_eq!(send(stand.gate, KEY, delete).await.status, 200);
        };
        let unfinished = created(stand.gate, KEY, "a cat [mock:fail]").await;
        delete(&unfinished).await;
        until_cents(&stand, [40, 40, 0]).await;
        until_ended(&stand, "deleted", 1.0).await;

        // What has ended is what it is, though nobody has seen it until now.
        let completed = created(stand.gate, KEY, "a cat").await;
        let failed = created(stand.gate, KEY, "a dog [mock:fail]").await;
        stand
            .until("they have ended", async || {
                let stats = stand.mock.stats();
                !stats.jobs_by_status.contains_key("in_progress")
            })
            .await;
        delete(&completed).await;
        delete(&failed).await;
        until_cents(&stand, [120, 80, 40]).await;
        let ledger = stand.handle.ledger();
        assert_eq!(open(&**ledger, State::Confirmed).await, 0);
        let list = send(stand.gate, KEY, Request::get("/v1/videos")).await;
        assert_eq!(list.json()["data"], serde_json::json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_channel_that_is_gone_is_given_up_in_the_end() {
    on(Engine::all(), async |engine| {
        let lines = "  poll_after: 100ms\n  expire_after: 2s\n";
        let mut setup = endless(soon(lines));
        setup.ledger = engine.open();
        let stand = setup.start().await;
        created(stand.gate, KEY, "a cat").await;
        let renamed = soon(lines).replacing("  mock:\n", "  other:\n");
        stand.handle.reload(renamed.config_for(stand.mock.addr()));
        stand.until_resolved().await;
        until_cents(&stand, [40, 40, 0]).await;
    })
    .await;
}
