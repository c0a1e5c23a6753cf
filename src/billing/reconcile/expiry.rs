//! Decides which outcomes are given up: those that stayed unknown for longer than `jobs.expire_after`.

use std::time::Duration;

use crate::billing::matching::Candidate;
use crate::clock::millis;
use crate::ledger::State;
use crate::policy::Timestamp;

/// The longest time for which overdue outcomes are kept because no list could be read, or because another
/// request's outcome must be known first: one hour.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// What is known at the end of a round of reconciliation. An outcome is *overdue* once it was unknown for
/// longer than `expire_after`.
///
/// An overdue outcome is not given up before the list was read: after a long time without a gate, the list can
/// still tell what became of the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    pub(super) now: Timestamp,
    /// The value of `jobs.expire_after`.
    pub(super) expire_after: Duration,
    /// The time from the end of a request within which its job can still be listed, including the maximum
    /// difference between the clocks.
    pub(super) margin: Duration,
    /// Whether the round has read the list, and has made all decisions that it allows.
    pub(super) is_complete: bool,
    /// The creation time from which on reservations may have been missing; `None` if none was missing.
    pub(super) unseen_from: Option<Timestamp>,
    /// The time for which there have been overdue outcomes.
    pub(super) waited: Duration,
}

impl Expiry {
    /// Returns whether the outcome of a reservation is overdue.
    pub(super) fn is_overdue(&self, candidate: &Candidate) -> bool {
        let age = self.now.since(candidate.since);
        candidate.state == State::Unknown && age > millis(self.expire_after)
    }

    /// Returns whether the outcome of a reservation is given up. `all` are the candidates that were matched
    /// with the list in this round.
    ///
    /// A pending reservation that is not younger may be the owner of a job that `candidate` could have too.
    /// The gate that made it has ended, and will soon be known to have. Until then neither gets a job.
    pub(super) fn is_over(&self, candidate: &Candidate, all: &[Candidate]) -> bool {
        let until = Timestamp(candidate.since.0.saturating_add(millis(self.margin)));
        let is_rival = |other: &Candidate| other.state == State::Pending && other.created <= until;
        let was_matched = || {
            self.is_complete
                && self.unseen_from.is_none_or(|from| until < from)
                && !all.iter().any(is_rival)
        };
        let has_waited = self.waited >= MAX_WAIT.min(self.expire_after);
        self.is_overdue(candidate) && (has_waited || was_matched())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{PromptDigest, ReservationId};

    const DAY: u64 = 86_400;

    /// Makes a candidate whose outcome is unknown since a second, by the state and the second.
    fn candidate((state, second): (State, u64)) -> Candidate {
        Candidate {
            id: ReservationId(second.into()),
            key: "A".into(),
            model: "sora-2".into(),
            prompt: PromptDigest([0; 32]),
            size: "1280x720".into(),
            seconds: 4,
            source: None,
            state,
            fingerprint: None,
            created: Timestamp(second * 1000),
            since: Timestamp(second * 1000),
            channel_clock: None,
        }
    }

    #[test]
    fn an_overdue_outcome_is_given_up_after_the_list_was_read() {
        let (minute, hour) = (60, 3600);
        let (unknown, pending, voided) = (State::Unknown, State::Pending, State::Voided);
        let at = |second| Some(Timestamp(second * 1000));
        let complete = (true, None, 0);
        for (what, now, (is_complete, unseen_from, waited), others, is_over) in [
            ("not overdue", DAY, (true, None, 9 * DAY), &[][..], false),
            ("read", DAY + 1, complete, &[], true),
            ("not read", 9 * DAY, (false, None, 0), &[], false),
            ("for long", DAY + 1, (false, None, hour - 1), &[], false),
            ("too long", DAY + 1, (false, None, hour), &[], true),
            ("a rival", DAY + 1, complete, &[(pending, 0)], false),
            (
                "a rival in time",
                DAY + 1,
                complete,
                &[(pending, 5 * minute)],
                false,
            ),
            (
                "a younger one",
                DAY + 1,
                complete,
                &[(pending, 5 * minute + 1)],
                true,
            ),
            ("an unknown one", DAY + 1, complete, &[(unknown, 0)], true),
            ("a voided one", DAY + 1, complete, &[(voided, 0)], true),
            (
                "a rival for too long",
                DAY + 1,
                (true, None, hour),
                &[(pending, 0)],
                true,
            ),
            (
                "too many to see",
                DAY + 1,
                (true, at(5 * minute), 0),
                &[],
                false,
            ),
            (
                "too many, but later",
                DAY + 1,
                (true, at(5 * minute + 1), 0),
                &[],
                true,
            ),
            (
                "too many for too long",
                DAY + 1,
                (true, at(0), hour),
                &[],
                true,
            ),
        ] {
            let expiry = Expiry {
                now: Timestamp(now * 1000),
                expire_after: Duration::from_secs(DAY),
                margin: Duration::from_secs(5 * minute),
                is_complete,
                unseen_from,
                waited: Duration::from_secs(waited),
            };
            let mut all: Vec<_> = others.iter().copied().map(candidate).collect();
            all.push(candidate((unknown, 0)));
            assert_eq!(expiry.is_over(&all[others.len()], &all), is_over, "{what}");
        }
        let short = Expiry {
            now: Timestamp(5000),
            expire_after: Duration::from_secs(2),
            margin: Duration::ZERO,
            is_complete: false,
            unseen_from: None,
            waited: Duration::from_secs(2),
        };
        assert!(short.is_over(&candidate((unknown, 0)), &[]));
        assert!(!short.is_over(&candidate((voided, 0)), &[]));
    }
}
