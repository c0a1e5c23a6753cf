//! One suite for every ledger.

mod support;

#[path = "ledger/channels.rs"]
mod channels;
#[path = "ledger/history.rs"]
mod history;
#[path = "ledger/postgres/mod.rs"]
mod on_postgres;
#[path = "ledger/suite.rs"]
mod suite;
#[path = "ledger/windows.rs"]
mod windows;

/// The tests that every engine runs.
mod all {
    pub use crate::channels::*;
    pub use crate::history::*;
    pub use crate::suite::*;
    pub use crate::windows::*;
}

use std::sync::Arc;

use support::folder::Folder;
use tollgate::ledger::{MemoryLedger, SqliteLedger};

/// Runs a test on one engine: `ledger` makes one, or answers `None` where it cannot be had.
macro_rules! on {
    ($engine:ident, $ledger:expr, $($name:ident)*) => {
        mod $engine {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = Folder::new();
                    let Some(ledger) = $ledger(&folder) else { return };
                    all::$name(Arc::new(ledger)).await;
                }
            )*
        }
    };
}

fn in_memory(_: &Folder) -> Option<MemoryLedger> {
    Some(MemoryLedger::default())
}

fn on_sqlite(folder: &Folder) -> Option<SqliteLedger> {
    Some(SqliteLedger::open(&folder.join("tollgate.db")).unwrap())
}

/// Runs a test on every engine.
macro_rules! on_every_ledger {
    ($($name:ident)*) => {
        on! { memory, in_memory, $($name)* }
        on! { sqlite, on_sqlite, $($name)* }
        on! { postgres, on_postgres::fresh, $($name)* }
        on! { pgbouncer, on_postgres::fresh_behind_pgbouncer, $($name)* }
    };
}

on_every_ledger! {
    a_charge_is_resolved_once
    what_became_no_job_gives_back_what_was_taken
    a_failed_job_gives_back_what_was_taken
    limits_are_decided_in_one_step
    windows_pass
    groups_share_their_limits
    a_sum_beyond_what_is_counted_refuses
    a_limit_that_is_configured_later_counts_what_was_before
    a_confirmation_ties_the_job_and_corrects_the_charge
    a_correction_counts_in_the_window_of_its_reservation
    a_correction_never_exceeds_a_limit
    a_window_that_has_passed_binds_no_correction
    corrections_are_bound_by_the_limits_of_their_payer
    unknown_outcomes_stay_pending
    what_a_corrected_charge_was_before_stays_known
    an_upstream_id_is_taken_once
    upstream_ids_are_opaque_and_of_their_channel
    what_was_voided_without_a_proof_stays_a_rival
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
    clocks_that_differ_count_in_windows_of_their_own
    a_clock_that_is_far_ahead_heals
    new_counters_know_of_windows_to_come
    windows_that_are_over_are_forgotten_and_summed_up_again
    limits_of_money_count_one_currency
    repetitions_at_once_are_never_refused_by_a_limit
    claims_are_told_by_what_was_asked
    random_histories_agree_with_a_recount
    channels_share_their_limits_among_keys
    a_key_is_refused_before_its_channel
    a_channels_first_limit_counts_what_was_before
    a_reservation_moves_to_another_channel
    what_is_not_pending_moves_no_more
    a_moved_reservation_is_voided_where_it_is
    a_correction_changes_what_a_channel_is_paid
    a_correction_may_change_only_what_a_channel_is_paid
}
