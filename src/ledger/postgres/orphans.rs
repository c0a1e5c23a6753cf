//! Reservations of which nobody can tell whether they were made: the connection broke, and
//! whoever asked was told that they were not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::PostgresLedger;
use crate::ledger::charge::ReservationId;
use crate::ledger::job::State;
use crate::ledger::{Resolution, Unavailable};
use crate::policy::Timestamp;

/// The most that are remembered. Further ones wait until they count as lost.
const MOST: usize = 10_000;
/// How long a statement may still be executed whose answer did not come.
const AFTERMATH: Duration = Duration::from_secs(30);

/// Those that are to be voided.
#[derive(Default)]
pub(super) struct Orphans(Mutex<Vec<(ReservationId, Instant)>>);

impl Orphans {
    /// Remembers that one may have been made, for nothing.
    pub(super) fn add(&self, id: ReservationId) {
        let mut orphans = self.lock();
        if orphans.len() < MOST {
            orphans.push((id, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ReservationId, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresLedger {
    /// Voids those that were made. Nothing was sent to a channel for them.
    pub(super) async fn void_orphans(&self, now: Timestamp) -> Result<(), Unavailable> {
        let orphans = self.orphans.lock().clone();
        for (id, since) in orphans {
            let is_past = since.elapsed() >= AFTERMATH;
            let from = [State::Pending, State::Unknown];
            let to = Resolution::Voided.into();
            let voided = self.resolve(id, &from, to, "not reserved", now).await?;
            if voided.is_some() || is_past {
                self.orphans.lock().retain(|(orphan, _)| *orphan != id);
            }
        }
        Ok(())
    }
}
