//! Retries calls to the ledger that were not answered.
//!
//! The ledger reports a change only to the call that made the change, and reports to every other call that
//! nothing was left to do. So a call that was not answered may be the one whose charge must be counted in the
//! metrics, and only a repetition of this call can find out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pending_writes::PendingWrites;
use crate::ledger::{Job, ReservationId, Unavailable};

/// The wait before the first retry of a call; it is doubled with each retry, up to [`RETRY_AFTER_MAX`].
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The maximum wait before a retry.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// The maximum number of calls that are being retried at a time.
const MAX_RETRIES: usize = 100_000;

/// The kind of a ledger call about a reservation. For each reservation and job, at most one call of each kind
/// is retried at a time.
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

/// The subjects of the calls that are being retried, by the kind of the call. Each request for a job that is not
/// cached asks whether there is any confirmation, and must not have to read all calls.
type Calls = HashMap<LedgerCall, HashSet<Subject>>;

/// The subject of a call: a reservation, and the upstream id of the job if the call records something about this
/// job alone. A reservation may have another job than the one that a client was told of while the ledger could
/// not be used, so a retry for the one job must not stand in for that of the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    reservation: ReservationId,
    job: Option<Arc<str>>,
}

impl From<ReservationId> for Subject {
    fn from(reservation: ReservationId) -> Self {
        let job = None;
        Self { reservation, job }
    }
}

impl LedgerCall {
    const CONFIRMATIONS: [Self; 2] = [Self::Confirm, Self::ConfirmMatched];
}

impl LedgerRetries {
    /// Makes an empty set, whose retries are counted in `writes`.
    pub(super) fn new(writes: PendingWrites) -> Self {
        Self {
            calls: Arc::default(),
            writes,
        }
    }

    /// Returns whether a confirmation of the reservation `id` is being retried.
    pub(super) fn has_confirmation(&self, id: ReservationId) -> bool {
        let (calls, subject) = (self.lock(), Subject::from(id));
        let is_retried = |subjects: &HashSet<_>| subjects.contains(&subject);
        (LedgerCall::CONFIRMATIONS.iter()).any(|step| calls.get(step).is_some_and(is_retried))
    }

    /// Returns whether a confirmation of any reservation is being retried.
    pub(super) fn has_any_confirmation(&self) -> bool {
        let calls = self.lock();
        let is_any_retried = |subjects: &HashSet<_>| !subjects.is_empty();
        (LedgerCall::CONFIRMATIONS.iter()).any(|step| calls.get(step).is_some_and(is_any_retried))
    }

    /// Retries `call` until the ledger answers, unless the same step of the reservation is being retried
    /// already. Beyond `MAX_RETRIES` calls, logs an error and does not retry. If the process ends before the
    /// ledger answers, another process decides, by the state of the reservation, whether to ask its channel.
    pub(super) fn start<F, C>(&self, id: ReservationId, step: LedgerCall, call: F)
    where
        F: FnMut() -> C + Send + 'static,
        C: Future<Output = Result<(), Unavailable>> + Send,
    {
        self.retry(id.into(), step, call);
    }

    /// Retries `call` as [`start`](Self::start) does, unless the same step of `job` is being retried already.
    pub(super) fn start_for_job<F, C>(&self, job: &Job, step: LedgerCall, call: F)
    where
        F: FnMut() -> C + Send + 'static,
        C: Future<Output = Result<(), Unavailable>> + Send,
    {
        let subject = Subject {
            reservation: job.reservation,
            job: Some(job.upstream_id.clone()),
        };
        self.retry(subject, step, call);
    }

    fn retry<F, C>(&self, subject: Subject, step: LedgerCall, mut call: F)
    where
        F: FnMut() -> C + Send + 'static,
        C: Future<Output = Result<(), Unavailable>> + Send,
    {
        {
            let id = subject.reservation;
            let mut repeated = self.lock();
            if repeated.values().map(HashSet::len).sum::<usize>() >= MAX_RETRIES {
                log::error!(
                    "reservation {id}: {MAX_RETRIES} calls to the ledger are retried already, this \
                     one is not: metrics may miss what became of it"
                );
                return;
            }
            if !repeated.entry(step).or_default().insert(subject.clone()) {
                return;
            }
        }
        let retrying = Retrying(self.clone(), (subject, step));
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
struct Retrying(LedgerRetries, (Subject, LedgerCall));

impl Drop for Retrying {
    fn drop(&mut self) {
        let (subject, step) = &self.1;
        if let Some(subjects) = self.0.lock().get_mut(step) {
            subjects.remove(subject);
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
        let (id, other) = (ReservationId(1), ReservationId(2));
        for _ in 0..3 {
            let calls = calls.clone();
            retries.start(id, LedgerCall::Confirm, move || {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                async move {
                    match call {
                        0..2 => Err(Unavailable::transient("away")),
                        _ => Ok(()),
                    }
                }
            });
        }
        assert!(retries.has_confirmation(id) && !retries.has_confirmation(other));
        while retries.has_any_confirmation() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!retries.has_confirmation(id));
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_about_two_jobs_of_a_reservation_are_both_retried() {
        let retries = LedgerRetries::default();
        let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
        for id in ["video_told", "video_other", "video_told"] {
            let (called, mut job) = (called.clone(), Job::numbered(1));
            job.upstream_id = id.into();
            retries.start_for_job(&job, LedgerCall::Resolve, move || {
                let sent = called.send(id);
                async move { sent.map_err(|_| Unavailable::transient("away")) }
            });
        }
        drop(called);
        assert!(!retries.has_any_confirmation());
        let mut retried = Vec::new();
        while let Some(id) = calls.recv().await {
            retried.push(id);
        }
        retried.sort_unstable();
        assert_eq!(retried, ["video_other", "video_told"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_confirmations_of_a_told_job_and_of_a_matched_one_are_both_retried() {
        let (retries, id) = (LedgerRetries::default(), ReservationId(1));
        let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
        for step in [LedgerCall::ConfirmMatched, LedgerCall::Confirm] {
            let alone = LedgerRetries::default();
            alone.start(id, step, std::future::pending);
            assert!(alone.has_confirmation(id) && alone.has_any_confirmation());
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
