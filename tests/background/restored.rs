//! A database that is put back to an earlier state under a gate that runs.

use crate::engines::Engine;
use crate::support::KEY;
use crate::{cents, created, soon, until_cents, until_ended};

/// As a standby has it that takes over and has missed the last of what was written.
const NOT_SETTLED: &str = "UPDATE reservation SET state = 'confirmed', outcome = NULL, \
     resolved_ms = NULL, last_operation = NULL, look_at_ms = 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_the_ledger_has_lost_is_made_again() {
    let Some(engine) = Engine::postgres() else {
        return;
    };
    let mut setup = soon("  poll_after: 100ms\n  polls_per_second: 100\n");
    setup.ledger = engine.open();
    let stand = setup.start().await;
    let job = created(stand.gate, KEY, "a cat").await;
    let failed = created(stand.gate, KEY, "a dog [mock:fail]").await;
    stand.until_resolved().await;
    until_cents(&stand, [80, 40, 40]).await;

    engine.rows(NOT_SETTLED);
    stand.until_resolved().await;
    let mut rows = engine.rows("SELECT job, state, outcome FROM reservation");
    rows.sort();
    let mut expected = [[&job, "posted", "completed"], [&failed, "voided", "failed"]];
    expected.sort();
    assert_eq!(rows, expected);
    // Each is one charge to this gate, however often the ledger has been told.
    assert_eq!(cents(&stand).await, [80, 40, 40]);
    until_ended(&stand, "completed", 1.0).await;
}
