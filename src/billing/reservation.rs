//! The guard of a reservation while its request is under way.

use std::sync::Arc;
use std::time::Duration;

use super::pending_writes::PendingWrites;
use crate::clock::Clock;
use crate::ledger::{Charge, Draft, Ledger, ReservationId};
use crate::policy::{Key, Timestamp};

/// The guard of a pending reservation. If it is dropped without having been resolved (the request's task
/// was cancelled, or panicked), the outcome is marked as unknown.
pub(crate) struct Reservation {
    pub(super) draft: Draft,
    /// The client key whose limits the reservation counts against.
    pub(super) key: Arc<Key>,
    pub(super) created: Timestamp,
    /// The used amount of each limit of the key, and then of its group, this reservation included; empty if
    /// the ledger has not reported it.
    pub(super) used: Box<[u64]>,
    /// The time of the reservation, by [`Clock::running`].
    made: Duration,
    guard: Arc<Guard>,
    is_open: bool,
}

/// The services that mark a dropped reservation as unknown, shared by all reservations of a gate.
pub(super) struct Guard {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Clock,
    pub(super) writes: PendingWrites,
}

impl Reservation {
    /// Makes the guard of a reservation that the ledger has made pending at `created`. `made` is the same
    /// moment by [`Clock::running`], from which the reservation's age counts.
    pub(super) fn new(
        draft: Draft,
        key: Arc<Key>,
        created: Timestamp,
        made: Duration,
        guard: Arc<Guard>,
    ) -> Self {
        Self {
            draft,
            key,
            created,
            used: Box::default(),
            made,
            guard,
            is_open: true,
        }
    }

    /// Returns the id of the reservation.
    pub(crate) fn id(&self) -> ReservationId {
        self.draft.id
    }

    /// Returns the charge of the reservation.
    pub(crate) fn charge(&self) -> &Arc<Charge> {
        &self.draft.charge
    }

    /// Returns the used amount of each limit of the key and its group, the reservation included, and the
    /// time of the reservation. The amounts are moved out of the guard: a second call returns no amounts.
    pub(crate) fn take_used(&mut self) -> (Box<[u64]>, Timestamp) {
        (std::mem::take(&mut self.used), self.created)
    }

    /// Closes the guard: dropping it then no longer marks the reservation as unknown.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// Returns the age of the reservation, by a clock that goes on while the machine is suspended.
    pub(crate) fn age(&self) -> Duration {
        self.guard.clock.running().saturating_sub(self.made)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let Guard {
            ledger,
            clock,
            writes,
        } = &*self.guard;
        let (ledger, clock, id) = (ledger.clone(), clock.clone(), self.id());
        // Without a runtime the process is ending: the next process finds the reservation pending.
        if tokio::runtime::Handle::try_current().is_ok() {
            writes.spawn(async move {
                if let Err(error) = ledger.mark_unknown(id, clock.now()).await {
                    log::error!("reservation {id} not marked: {error}");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{MemoryLedger, Placement, PromptDigest};
    use crate::money::Multiplier;
    use crate::policy::{Allow, Group};

    /// A gate that was resumed after another gate had voided its reservation does not send the last byte:
    /// see `gate/create_end.rs`.
    #[tokio::test]
    async fn a_reservation_grows_old_while_the_machine_is_suspended() {
        let clock = Clock::manual(Timestamp(0));
        let name = || Arc::<str>::from("x");
        let draft = Draft {
            id: ReservationId(1),
            request_id: None,
            charge: Charge::of_nothing(),
            prompt: PromptDigest([0; 32]),
            remix_of: None,
            claim: None,
            next_poll: Timestamp(0),
            placement: Placement::default(),
        };
        let key = Arc::new(Key {
            name: name(),
            group: Arc::new(Group {
                name: name(),
                multiplier: Multiplier::from_thousandths(1000).unwrap(),
                currency: name(),
                limits: vec![],
                channels: None,
            }),
            allow: Allow::default(),
            limits: vec![],
            channels: None,
        });
        let (created, made) = (clock.now(), clock.running());
        let guard = Arc::new(Guard {
            ledger: Arc::new(MemoryLedger::default()),
            clock: clock.clone(),
            writes: PendingWrites::default(),
        });
        let mut reservation = Reservation::new(draft, key, created, made, guard);
        reservation.close();
        let grace = Duration::from_secs(180);
        assert!(reservation.age() < grace);
        clock.suspend(grace);
        assert!(reservation.age() >= grace);
    }
}
