//! One suite for every ledger.

#[path = "support/folder.rs"]
mod folder;
#[path = "ledger/suite.rs"]
mod suite;

use std::sync::Arc;

use folder::Folder;
use tollgate::ledger::{MemoryLedger, SqliteLedger};

/// Runs a test on every engine.
macro_rules! on_every_ledger {
    ($($name:ident)*) => {
        mod memory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    suite::$name(Arc::new(MemoryLedger::default())).await;
                }
            )*
        }

        mod sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = Folder::new();
                    let ledger = SqliteLedger::open(&folder.join("tollgate.db")).unwrap();
                    suite::$name(Arc::new(ledger)).await;
                }
            )*
        }
    };
}

on_every_ledger! {
    a_charge_is_resolved_once
    what_became_no_job_gives_back_what_was_taken
    a_failed_job_gives_back_what_was_taken
    limits_are_decided_in_one_step
    windows_pass
    a_clock_that_is_put_back_opens_no_limit
    groups_share_their_limits
    a_limit_that_is_configured_later_counts_what_was_before
    a_confirmation_ties_the_job_and_corrects_the_charge
    a_correction_counts_in_the_window_of_its_reservation
    a_correction_never_exceeds_a_limit
    unknown_outcomes_stay_pending
    a_job_id_is_taken_once
    an_idempotency_key_stands_for_one_request
    an_idempotency_key_is_free_again
    a_repetition_takes_nothing_from_a_limit
    idempotency_keys_are_decided_in_one_step
    jobs_come_in_the_order_of_their_confirmation
    pages_miss_and_repeat_none_while_jobs_are_added
    deleted_jobs_keep_their_charge_and_leave_the_list
    lost_reservations_become_unknown
    due_jobs_are_found_until_they_end
    open_reservations_are_counted
}
