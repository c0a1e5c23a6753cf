//! What is shown of rounds, and of how long outcomes are unknown.

use std::time::Duration;

use tollgate::clock::{self, Clock};
use tollgate::mock::Fault;
use tollgate::policy::Timestamp;

use crate::support::KEY;
use crate::{LISTS, after_chances, create, send, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_does_not_get_done_is_late() {
    let began = clock::now();
    let clock = Clock::manual(began);
    let setup = soon("  poll_after: 100ms\n  unknown_grace: 1s\n");
    let stand = setup.start_with_clock(clock.clone()).await;
    stand
        .mock
        .set_faults(Fault::parse_list("list:500").unwrap(), None);
    let lost = send(stand.gate, KEY, create("[mock:drop-after] a cat")).await;
    assert_eq!(lost.status, 502);
    let later = Timestamp(began.0 + 60_000);
    clock.set(later);
    let last = async |task: &str| {
        let labels = format!("channel=\"mock\",task=\"{task}\"");
        let sample = format!("tollgate_last_round_timestamp_seconds{{{labels}}}");
        stand.metric(&sample).await as u64
    };
    let age = "tollgate_unresolved_reservation_age_seconds{channel=\"mock\"}";
    let polled = async || last("poll").await == later.seconds();
    stand.until("the jobs are polled", polled).await;
    after_chances(&stand, LISTS, 3, Duration::ZERO).await;
    assert_eq!(last("reconcile").await, began.seconds());
    assert!((stand.metric(age).await - 60.0).abs() < 0.5);

    stand.mock.set_faults(vec![], None);
    let read = async || last("reconcile").await == later.seconds();
    stand.until("the list is read", read).await;
    let none = async || stand.metric(age).await < 0.5;
    stand.until("no outcome is unknown", none).await;
}
