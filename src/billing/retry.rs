//! Retries calls to the ledger that were not answered.
//!
//! The ledger reports a change only to the call that made the change, and reports to every other call that
//! nothing was left to do. So a call that was not answered may be the one whose charge must be counted in the
//! metrics, and only a repetition of this call can find out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pending_writes::PendingWrites;
use crate::ledger::{ReservationId, Unavailable};

/// The wait before the first retry of a call; it is doubled with each retry, up to [`RETRY_AFTER_MAX`].
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The maximum wait before a retry.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// The maximum number of calls that are being retried at a time.
const MAX_RETRIES: usize = 100_000;

/// The kind of a ledger call about a reservation. For each reservation, at most one call of each kind is
/// retried at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LedgerCall {
    /// The confirmation of a job of which the client has been told.
    Confirm,
    /// The confirmation of a listed job that was matched with the reservation. It does not stand in for
    /// [`Self::Confirm`], which knows the id that the client was told.
    ConfirmMatched,
    MarkUnknown,
    Void,
    Resolve,
    MarkDeleted,
    NoteAnswer,
    NoteJobError,
}

/// The set of ledger calls that are being retried. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LedgerRetries {
    calls: Arc<Mutex<Calls>>,
    writes: PendingWrites,
}

/// The reservations of which calls are being retried, by the kind of the call: whether there is any of a
/// kind is asked for each id that is in no cache.
type Calls = HashMap<LedgerCall, HashSet<ReservationId>>;

impl LedgerRetries {
    /// Makes an empty set, whose retries are counted in `writes`.
    pub(super) fn new(writes: PendingWrites) -> Self {
        Self {
            calls: Arc::default(),
            writes,
        }
    }

    /// Returns whether the call `step` of the reservation `id` is being retried.
    pub(super) fn has(&self, id: ReservationId, step: LedgerCall) -> bool {
        self.lock().get(&step).is_some_and(|ids| ids.contains(&id))
    }

    /// Returns whether a call of the kind `step` is being retried.
    pub(super) fn has_any(&self, step: LedgerCall) -> bool {
        self.lock().get(&step).is_some_and(|ids| !ids.is_empty())
    }

    /// Retries `call` until the ledger answers, unless the same step of the reservation is being retried
    /// already. Beyond `MAX_RETRIES` calls, logs an error and does not retry. If the process ends before the
    /// ledger answers, another process decides, by the state of the reservation, whether to ask its channel.
    pub(super) fn start<F, C>(&self, id: ReservationId, step: LedgerCall, mut call: F)
    where
        F: FnMut() -> C + Send + 'static,
        C: Future<Output = Result<(), Unavailable>> + Send,
    {
        {
            let mut repeated = self.lock();
            if repeated.values().map(HashSet::len).sum::<usize>() >= MAX_RETRIES {
                log::error!(
                    "reservation {id}: {MAX_RETRIES} calls to the ledger are retried already, this \
                     one is not: metrics may miss what became of it"
                );
                return;
            }
            if !repeated.entry(step).or_default().insert(id) {
                return;
            }
        }
        let retrying = Retrying(self.clone(), (id, step));
        let writes = self.writes.clone();
        self.writes.spawn(async move {
            let _retrying = retrying;
            let mut wait = RETRY_AFTER;
            loop {
                writes.pause(wait).await;
                match call().await {
                    Ok(()) => return,
                    Err(error) => wait = next_wait(wait, &error),
                }
            }
        });
    }

    /// Locks the set. No panic can leave it half-written, so the set of a poisoned lock is used unchanged.
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Computes the wait after another failure, given the `wait` before it. A call whose failure lasts until
/// somebody removes the cause is retried too, since a charge depends on it, but at the maximum wait: quick
/// retries do not help against a full disk.
fn next_wait(wait: Duration, error: &Unavailable) -> Duration {
    match error.is_transient() {
        true => (wait * 2).min(RETRY_AFTER_MAX),
        false => RETRY_AFTER_MAX,
    }
}

/// A guard that marks one call as being retried until it is dropped.
struct Retrying(LedgerRetries, (ReservationId, LedgerCall));

impl Drop for Retrying {
    fn drop(&mut self) {
        let (id, step) = self.1;
        if let Some(ids) = self.0.lock().get_mut(&step) {
            ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_is_answered_and_once_at_a_time() {
        let (retries, calls) = (LedgerRetries::default(), Arc::<AtomicU32>::default());
        let id = ReservationId(1);
        for _ in 0..3 {
            let calls = calls.clone();
            retries.start(id, LedgerCall::Resolve, move || {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                async move {
                    match call {
                        0..2 => Err(Unavailable::transient("away")),
                        _ => Ok(()),
                    }
                }
            });
        }
        assert!(retries.has(id, LedgerCall::Resolve) && !retries.has(id, LedgerCall::Void));
        assert!(retries.has_any(LedgerCall::Resolve) && !retries.has_any(LedgerCall::Void));
        while retries.has(id, LedgerCall::Resolve) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!retries.has_any(LedgerCall::Resolve));
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_confirmations_of_a_told_job_and_of_a_matched_one_are_both_retried() {
        let (retries, id) = (LedgerRetries::default(), ReservationId(1));
        let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
        for step in [LedgerCall::ConfirmMatched, LedgerCall::Confirm] {
            let called = called.clone();
            retries.start(id, step, move || {
                let sent = called.send(step);
                async move { sent.map_err(|_| Unavailable::transient("away")) }
            });
        }
        drop(called);
        let both = [calls.recv().await, calls.recv().await];
        assert!(both.contains(&Some(LedgerCall::Confirm)), "{both:?}");
        assert!(both.contains(&Some(LedgerCall::ConfirmMatched)), "{both:?}");
    }

    /// A call that waits for its turn is made when the gate stops, and not lost.
    #[tokio::test(start_paused = true)]
    async fn a_stop_retries_at_once() {
        let (writes, calls) = (PendingWrites::default(), Arc::<AtomicU32>::default());
        let retries = LedgerRetries::new(writes.clone());
        let counted = calls.clone();
        retries.start(ReservationId(1), LedgerCall::Resolve, move || {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match call {
                    0 => Err(Unavailable::permanent("full")),
                    _ => Ok(()),
                }
            }
        });
        while calls.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let began = tokio::time::Instant::now();
        assert_eq!(writes.flush(Duration::from_secs(3)).await, 0);
        assert!(
            began.elapsed() < RETRY_AFTER_MAX / 10,
            "{:?}",
            began.elapsed()
        );
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_stays_is_retried_too_but_at_the_longest_wait() {
        let (away, full) = (
            Unavailable::transient("away"),
            Unavailable::permanent("full"),
        );
        for (error, waits) in [(away, [100, 200, 400]), (full, [100, 5000, 5000])] {
            let (retries, id) = (LedgerRetries::default(), ReservationId(1));
            let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
            let mut last = tokio::time::Instant::now();
            retries.start(id, LedgerCall::Resolve, move || {
                let result = match called.send(()) {
                    Ok(()) => Err(error.clone()),
                    Err(_) => Ok(()),
                };
                async move { result }
            });
            for wait in waits {
                calls.recv().await.unwrap();
                assert_eq!(last.elapsed(), Duration::from_millis(wait));
                last = tokio::time::Instant::now();
            }
        }
    }
}
