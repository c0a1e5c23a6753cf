//! Logs changes of whether the ledger can be used.

use crate::ledger::Unavailable;

/// Logs once that the ledger is away, and once that it is back.
#[derive(Default)]
pub(super) struct Reachability {
    is_away: bool,
}

impl Reachability {
    pub(super) fn note<T>(&mut self, outcome: &Result<T, Unavailable>) {
        match outcome {
            Ok(_) if self.is_away => log::info!("the ledger is back"),
            Err(error) if !self.is_away => log::error!("{error}"),
            _ => {}
        }
        self.is_away = outcome.is_err();
    }
}
