//! Logs when the ledger becomes unavailable and when it is back.

use crate::ledger::Unavailable;

/// A logger of ledger outages: it logs once when the ledger becomes unavailable and once when it is back.
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
