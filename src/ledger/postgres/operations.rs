//! Gives each call of a decision a name (an id), by which the database recognises the repetition of a call
//! that it has not answered. A commit may take longer than any timeout and succeed all the same.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::row::Id;
use crate::ledger::charge::ReservationId;
use crate::ledger::job::State;

/// The maximum number of unanswered calls that are remembered. A repetition of an older one counts as new.
const MAX_OPERATIONS: usize = 10_000;

/// The calls that the database has not answered.
#[derive(Default)]
pub(super) struct Operations(Mutex<VecDeque<Unanswered>>);

struct Unanswered {
    reservation: ReservationId,
    /// The state that the call was to set.
    state: State,
    /// The other argument of the call: the job, the outcome, or the channels that refused the request.
    word: Box<str>,
    name: Id,
}

/// A call that has begun. It is remembered as unanswered, and may have been executed, if it is dropped
/// before [`Operation::answered`].
pub(super) struct Operation<'a> {
    operations: &'a Operations,
    reservation: ReservationId,
    state: State,
    word: &'a str,
    pub(super) name: Id,
    is_answered: bool,
}

impl Operations {
    /// Begins a call under the name `new`, or under the name of an earlier call with the same arguments
    /// that was not answered. If two repetitions run at once, one of them gets the old name, and only that
    /// one learns that the call made the change.
    pub(super) fn begin<'a>(
        &'a self,
        new: Id,
        reservation: ReservationId,
        state: State,
        word: &'a str,
    ) -> Operation<'a> {
        let mut calls = self.lock();
        let same = calls.iter().position(|call| {
            (call.reservation, call.state, &*call.word) == (reservation, state, word)
        });
        let again = same.and_then(|at| calls.remove(at));
        Operation {
            operations: self,
            reservation,
            state,
            word,
            name: again.map_or(new, |call| call.name),
            is_answered: false,
        }
    }

    /// Locks the calls, even if the mutex is poisoned: no panic can leave them half-written.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Unanswered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operation<'_> {
    /// Marks the call as answered by the database.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let mut calls = self.operations.lock();
        if calls.len() >= MAX_OPERATIONS {
            calls.pop_front();
        }
        calls.push_back(Unanswered {
            reservation: self.reservation,
            state: self.state,
            word: self.word.into(),
            name: self.name,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_name_until_it_is_answered() {
        let operations = Operations::default();
        let begin =
            |name, id, state, word| operations.begin(Id(name), ReservationId(id), state, word);
        drop(begin(1, 7, State::Posted, "completed"));
        for (id, state, word) in [
            (8, State::Posted, "completed"),
            (7, State::Voided, "completed"),
            (7, State::Posted, "deleted"),
        ] {
            let mut other = begin(2, id, state, word);
            assert_eq!(other.name, Id(2));
            other.answered();
        }
        let again = begin(3, 7, State::Posted, "completed");
        assert_eq!(again.name, Id(1));
        let mut at_once = begin(4, 7, State::Posted, "completed");
        assert_eq!(at_once.name, Id(4));
        at_once.answered();
        drop(again);
        let mut last = begin(5, 7, State::Posted, "completed");
        assert_eq!(last.name, Id(1));
        last.answered();
        drop(last);
        assert_eq!(begin(6, 7, State::Posted, "completed").name, Id(6));
    }

    #[test]
    fn memory_is_bounded() {
        let operations = Operations::default();
        for id in 0..MAX_OPERATIONS as u128 + 10 {
            drop(operations.begin(Id(id), ReservationId(id), State::Posted, "completed"));
        }
        assert_eq!(operations.lock().len(), MAX_OPERATIONS);
        let oldest = operations.begin(Id(1), ReservationId(0), State::Posted, "completed");
        assert_eq!(oldest.name, Id(1));
    }
}
