//! Voids orphans: reservations that may have been made although the caller of `reserve` got an error, since
//! the connection broke or the database did not answer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::PostgresLedger;
use super::connection::ANSWER;
use super::row::{Id, column};
use crate::ledger::charge::ReservationId;
use crate::ledger::job::State;
use crate::ledger::{Resolution, Unavailable};
use crate::policy::Timestamp;

/// The maximum number of orphans that are remembered. If there are more, the oldest are forgotten: they stay
/// pending until they count as lost.
const MAX_ORPHANS: usize = 10_000;
/// The time for which an orphan is remembered. Its statement may still be executed in that time: a commit
/// waits for as long as a standby is away. An orphan that is made later is voided like any reservation that
/// a gate has lost, and then appears in the metrics, which never counted it as reserved.
const ORPHAN_RETENTION: Duration = Duration::from_secs(3600);

/// The statement that selects the orphans that were made. They are few, and one query sorts out all others.
const MADE: &str = "SELECT id FROM tollgate.reservation \
     WHERE id = ANY ($1) AND state IN ('pending', 'unknown')";

/// The orphans, each with the time at which its `reserve` failed. They are voided if they were made.
#[derive(Default)]
pub(super) struct Orphans(Mutex<VecDeque<(ReservationId, Instant)>>);

impl Orphans {
    /// Remembers a reservation that may have been made.
    pub(super) fn add(&self, id: ReservationId, now: Instant) {
        let mut orphans = self.lock();
        if orphans.len() >= MAX_ORPHANS {
            orphans.pop_front();
        }
        orphans.push_back((id, now));
    }

    /// Forgets the orphans that are older than [`ORPHAN_RETENTION`], and lists the others.
    fn remaining(&self, now: Instant) -> Vec<ReservationId> {
        let mut orphans = self.lock();
        orphans.retain(|(_, since)| now.saturating_duration_since(*since) < ORPHAN_RETENTION);
        orphans.iter().map(|(id, _)| *id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(ReservationId, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresLedger {
    /// Voids the orphans that were made. No request was sent to a channel for them.
    pub(super) async fn void_orphans(&self, now: Timestamp) -> Result<(), Unavailable> {
        let orphans = self.orphans.remaining(Instant::now());
        if orphans.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = orphans.into_iter().map(|id| Id(id.0)).collect();
        let parameters = [(&ids as _, Type::UUID_ARRAY)];
        for row in self.database.query(MADE, &parameters, ANSWER).await? {
            let Id(id) = column(&row, "id")?;
            let id = ReservationId(id);
            let from = [State::Pending, State::Unknown];
            let to = Resolution::Voided.into();
            self.resolve(id, &from, to, "not reserved", now).await?;
            self.orphans.lock().retain(|(orphan, _)| *orphan != id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_commits_are_awaited_and_the_oldest_make_room() {
        let (orphans, began) = (Orphans::default(), Instant::now());
        let minutes = |n: u64| began + Duration::from_secs(60 * n);
        let [first, second] = [1, 2].map(ReservationId);
        orphans.add(first, began);
        orphans.add(second, minutes(10));
        assert_eq!(orphans.remaining(minutes(59)), [first, second]);
        assert_eq!(orphans.remaining(minutes(60)), [second]);
        for id in 0..MAX_ORPHANS {
            orphans.add(ReservationId(100 + id as u128), minutes(61));
        }
        let remaining = orphans.remaining(minutes(61));
        assert_eq!(
            (remaining.len(), remaining.first()),
            (MAX_ORPHANS, Some(&ReservationId(100)))
        );
        assert_eq!(orphans.remaining(minutes(121)), []);
    }
}
