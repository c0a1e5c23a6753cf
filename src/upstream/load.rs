//! Measures how busy a channel is: by the number of its requests in flight, and by how long creates have
//! waited without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::policy::Timestamp;

/// The step of a wait in milliseconds. A wait of one step without any answer counts as much as one request
/// in flight, a wait of two steps as much as four, of three as nine, and so on. The longer a channel gives no
/// answer, the likelier it hangs. With this load it gets no more creates long before one of them times out,
/// if another channel answers.
const STEP_MS: u64 = 100;

/// The load of a channel: its requests in flight and its waiting creates.
#[derive(Debug, Default)]
pub(super) struct Load {
    in_flight: AtomicUsize,
    /// The number of complete creates whose answer has not begun.
    waiting: AtomicUsize,
    /// The time at which the first of the waiting creates was complete, or the last answer to a create
    /// came, whichever is later.
    since: AtomicU64,
}

impl Load {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request as in flight until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Counts a complete create as waiting for its answer until the returned guard is dropped.
    pub(super) fn begin_wait(self: &Arc<Self>, now: Timestamp) -> WaitingCreate {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since.store(now.0, Ordering::Relaxed);
        }
        WaitingCreate(self.clone())
    }

    /// Returns the load at `now`, to be compared with that of other channels: the number of requests in
    /// flight, plus the square of the number of steps of `STEP_MS` for which no waiting create has been
    /// answered.
    pub(super) fn at(&self, now: Timestamp) -> usize {
        let waited = match self.waiting.load(Ordering::Relaxed) {
            0 => 0,
            _ => now.since(Timestamp(self.since.load(Ordering::Relaxed))),
        };
        let steps = usize::try_from(waited / STEP_MS).unwrap_or(usize::MAX);
        self.in_flight().saturating_add(steps.saturating_mul(steps))
    }
}

/// A guard that counts a request as in flight on its channel until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A guard that counts a create as waiting for its answer until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitingCreate(Arc<Load>);

impl WaitingCreate {
    /// Notes that the answer to the create has come.
    pub(crate) fn answered(self, now: Timestamp) {
        self.0.since.store(now.0, Ordering::Relaxed);
    }
}

impl Drop for WaitingCreate {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_an_answer_counts_as_load() {
        let load = Arc::<Load>::default();
        let at = |ms: u64| Timestamp(5_000 + ms);
        assert_eq!(load.at(at(0)), 0);
        let (hangs, hanging) = (load.begin(), load.begin_wait(at(0)));
        assert_eq!(
            [0, 99, 100, 250, 2000].map(|ms| load.at(at(ms))),
            [1, 1, 2, 5, 401]
        );
        // Another create is answered: the channel works.
        let (other, waiting) = (load.begin(), load.begin_wait(at(1500)));
        assert_eq!(load.at(at(1600)), 258);
        waiting.answered(at(1600));
        drop(other);
        assert_eq!([1600, 1700].map(|ms| load.at(at(ms))), [1, 2]);
        // The create is given up.
        drop((hangs, hanging));
        assert_eq!(load.at(at(9000)), 0);
        // A clock that was set back counts as no time.
        let _waiting = load.begin_wait(at(9000));
        assert_eq!(load.at(at(0)), 0);
    }
}
