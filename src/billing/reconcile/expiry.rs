//! Decides which outcomes are given up: those that stayed unknown for longer than `jobs.expire_after`.

use std::time::Duration;

use super::MAX_CLOCK_SKEW;
use crate::billing::matching::Candidate;
use crate::clock::millis;
use crate::ledger::State;
use crate::policy::Timestamp;

/// The longest time for which overdue outcomes are kept because no complete list could be read, or because
/// another request's outcome must be known first: one hour.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// The times that decide whether outcomes are given up. An outcome is *overdue* once it was unknown for
/// longer than `expire_after`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    pub(super) now: Timestamp,
    /// The value of `jobs.expire_after`.
    pub(super) expire_after: Duration,
    /// The value of `jobs.unknown_grace`.
    pub(super) grace: Duration,
    /// The maximum duration of a create.
    pub(super) create_timeout: Duration,
}

/// A complete list with which reservations were matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompleteList {
    /// The time when its first page was requested.
    pub(super) began: Timestamp,
    /// The creation time from which on reservations may have been missing; `None` if none was missing.
    pub(super) unseen_from: Option<Timestamp>,
}

impl Expiry {
    /// Returns whether the outcome of a reservation is overdue.
    pub(super) fn is_overdue(&self, candidate: &Candidate) -> bool {
        let age = self.now.since(candidate.since);
        candidate.state == State::Unknown && age > millis(self.expire_after)
    }

    /// Returns whether an outcome is given up without a complete list: it has been overdue for the maximum
    /// wait, and `waited`, the time for which this gate has known overdue outcomes, is as long.
    pub(super) fn is_waited_for(&self, candidate: &Candidate, waited: Duration) -> bool {
        let max = MAX_WAIT.min(self.expire_after);
        let age = self.now.since(candidate.since);
        let is_old = age > millis(self.expire_after + max);
        self.is_overdue(candidate) && is_old && waited >= max
    }

    /// Returns whether the outcome of a reservation is given up because `list` does not tell it. `all` are
    /// the candidates that were matched with the list.
    ///
    /// The outcome is kept while another request may turn out to be the owner of a job that `candidate` could
    /// have: a pending request, or one whose job need not be listed yet. Such a request is decided soon. One
    /// that was made too late for these jobs, by its gate's clock, counts only if it has the same prompt or if it
    /// is not known what the channel's clock showed then: the gate's clock may have been wrong.
    pub(super) fn is_over(
        &self,
        candidate: &Candidate,
        list: &CompleteList,
        all: &[Candidate],
    ) -> bool {
        let over = self.over(candidate);
        let latest = Timestamp(
            over.0
                .saturating_add(millis(self.grace + MAX_CLOCK_SKEW * 2)),
        );
        let is_rival = |other: &Candidate| {
            let is_open = match other.state {
                State::Pending => true,
                State::Unknown => !self.is_listed(other, list),
                _ => false,
            };
            let may_be_in_time = other.channel_clock.is_none() || other.created <= latest;
            is_open && (may_be_in_time || other.prompt == candidate.prompt)
        };
        self.is_overdue(candidate)
            && self.is_listed(candidate, list)
            && list.unseen_from.is_none_or(|from| latest < from)
            && !all.iter().any(is_rival)
    }

    /// Returns whether the grace of a request was over when `list` was requested, so that the list has the
    /// request's job if one was created.
    fn is_listed(&self, candidate: &Candidate, list: &CompleteList) -> bool {
        list.began.0 >= self.over(candidate).0.saturating_add(millis(self.grace))
    }

    /// Returns the earliest time at which a request was certainly over.
    fn over(&self, candidate: &Candidate) -> Timestamp {
        let deadline = candidate
            .created
            .0
            .saturating_add(millis(self.create_timeout));
        candidate.since.max(Timestamp(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{PromptDigest, ReservationId};

    const DAY: u64 = 86_400;
    /// The seconds from an outcome to the latest time of a rival: 4 min for the create, 3 min for the list,
    /// and twice 2 min between the clocks.
    const LATEST: u64 = 660;

    /// Makes a candidate with a state, created at a second, whose outcome is unknown since the same second.
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
            channel_clock: Some(Timestamp(second * 1000)),
        }
    }

    fn expiry(now: u64) -> Expiry {
        Expiry {
            now: Timestamp(now * 1000),
            expire_after: Duration::from_secs(DAY),
            grace: Duration::from_secs(180),
            create_timeout: Duration::from_secs(240),
        }
    }

    #[test]
    fn an_overdue_outcome_is_given_up_after_the_list_was_read() {
        let (unknown, pending, voided) = (State::Unknown, State::Pending, State::Voided);
        let all = None;
        for (what, now, (began, unseen), others, is_over) in [
            ("not overdue", DAY, (DAY, all), &[][..], false),
            ("overdue", DAY + 1, (DAY, all), &[], true),
            ("an old list", DAY + 1, (419, all), &[], false),
            ("not so old a list", DAY + 1, (420, all), &[], true),
            ("a rival", DAY + 1, (DAY, all), &[(pending, 0)], false),
            (
                "a later one",
                DAY + 1,
                (DAY, all),
                &[(pending, LATEST)],
                false,
            ),
            (
                "too late",
                DAY + 1,
                (DAY, all),
                &[(pending, LATEST + 1)],
                true,
            ),
            ("an unknown one", DAY + 1, (DAY, all), &[(unknown, 0)], true),
            (
                "one not listed yet",
                DAY + 1,
                (660, all),
                &[(unknown, 241)],
                false,
            ),
            (
                "one that would be listed",
                DAY + 1,
                (660, all),
                &[(unknown, 240)],
                true,
            ),
            (
                "a later one that is not",
                DAY + 1,
                (DAY, all),
                &[(unknown, DAY)],
                true,
            ),
            ("a voided one", DAY + 1, (DAY, all), &[(voided, 0)], true),
            ("unseen", DAY + 1, (DAY, Some(LATEST)), &[], false),
            ("later unseen", DAY + 1, (DAY, Some(LATEST + 1)), &[], true),
        ] {
            let at = |second| Timestamp(second * 1000);
            let list = CompleteList {
                began: at(began),
                unseen_from: unseen.map(at),
            };
            let mut all: Vec<_> = others.iter().copied().map(candidate).collect();
            all.iter_mut().for_each(|other| other.prompt.0 = [1; 32]);
            all.push(candidate((unknown, 0)));
            let one = &all[others.len()];
            assert_eq!(expiry(now).is_over(one, &list, &all), is_over, "{what}");
        }
    }

    #[test]
    fn a_request_at_a_time_that_is_not_known_may_have_any_job() {
        let list = CompleteList {
            began: Timestamp(DAY * 1000),
            unseen_from: None,
        };
        for (state, is_over) in [
            (State::Pending, false),
            (State::Unknown, false),
            (State::Voided, true),
        ] {
            let mut all = [(State::Unknown, 0), (state, DAY)].map(candidate);
            all[1].channel_clock = None;
            assert_eq!(
                expiry(DAY + 1).is_over(&all[0], &list, &all),
                is_over,
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_request_with_the_same_prompt_is_a_rival_at_any_time() {
        let list = CompleteList {
            began: Timestamp(DAY * 1000),
            unseen_from: None,
        };
        let mut all = [(State::Unknown, 0), (State::Pending, 2 * DAY)].map(candidate);
        assert!(!expiry(DAY + 1).is_over(&all[0], &list, &all));
        all[1].prompt.0 = [1; 32];
        assert!(expiry(DAY + 1).is_over(&all[0], &list, &all));
    }

    #[test]
    fn an_outcome_waits_for_an_hour_for_a_list() {
        const HOUR: u64 = 3600;
        let one = candidate((State::Unknown, 0));
        let is_given_up = |expire_after, now, waited| {
            let expiry = Expiry {
                expire_after: Duration::from_secs(expire_after),
                ..expiry(now)
            };
            expiry.is_waited_for(&one, Duration::from_secs(waited))
        };
        assert!(is_given_up(DAY, DAY + HOUR + 1, HOUR));
        assert!(!is_given_up(DAY, DAY + HOUR, HOUR), "it is not so old");
        assert!(!is_given_up(DAY, DAY + HOUR + 1, HOUR - 1), "as others");
        assert!(is_given_up(2, 5, 2));
        assert!(!is_given_up(2, 4, 2) && !is_given_up(2, 5, 1));
        let pending = candidate((State::Pending, 0));
        assert!(!expiry(2 * DAY).is_waited_for(&pending, MAX_WAIT));
    }
}
