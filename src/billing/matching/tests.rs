//! Rows of reservations, jobs and the expected decisions, in a short notation, and properties of all
//! decisions.
//!
//! | text | meaning |
//! |---|---|
//! | `u1 A cat 4s 1280x720 @0` | an unknown reservation 1 of key A: prompt, seconds, size, second of its making |
//! | `p`, `v` | a pending one; one that was voided |
//! | `+30` | found to be unknown, or voided, 30 s after it was made; 10 s where that is left out |
//! | `clock=9`, `clock=-` | what the channel's clock showed when it was made, if that is not the time of its making; not known |
//! | `k=x`, `of=v`, `m=n` | the fingerprint of its idempotency key; its source; its model |
//! | `j1 cat 4s 1280x720 @0` | a job: prompt (`-` where it is not told), seconds, size, second |
//! | `u1<j1`, `void 1` | the job is the reservation's; the reservation is voided |
//! | `u1?j1` | the job may be the reservation's or another key's |
//! | `u1~j1`, `u1!j1` | not told from another request; held for that |
//! | `u1^j1` | held, because the job may be the reservation's and the list tells too little of it |
//! | `half`, `at=9`, `unseen=9` | how the list was read: not to its end; when; without reservations since |
//! | `ahead=9`, `undated` | the channel's clock, as its answers tell it or not |
//! | `timeout=9` | how long a create can be under way |
//! | `j1 of A` | the job is charged to no reservation of A |

mod asked;
mod best;
mod listed;
mod outages;
mod promptless;
mod properties;
mod wrong_clocks;

use std::sync::Arc;

use super::*;
use crate::ledger::{PromptDigest, ReservationId};
use crate::policy::Timestamp;

/// The time that second 0 of the notation stands for, in seconds since 1970.
const START: u64 = 1_000_000;
const SKEW: u64 = 120;
const GRACE: u64 = 180;

fn rules(text: &str) -> Rules {
    let mut rules = Rules {
        listed_at: Timestamp((START + 300) * 1000),
        complete: true,
        clock_ahead: Some(0),
        skew: SKEW * 1000,
        grace: GRACE * 1000,
        create_timeout: 0,
        unseen_from: None,
    };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("half", _) => rules.complete = false,
            ("at", s) => rules.listed_at = at(s),
            ("ahead", s) => rules.clock_ahead = Some(s.parse::<i64>().unwrap() * 1000),
            ("undated", _) => rules.clock_ahead = None,
            ("timeout", s) => rules.create_timeout = s.parse::<u64>().unwrap() * 1000,
            ("unseen", s) => rules.unseen_from = Some(at(s)),
            _ => panic!("{word}"),
        }
    }
    rules
}

fn at(second: &str) -> Timestamp {
    let second: i64 = second.parse().unwrap();
    Timestamp(START.saturating_add_signed(second) * 1000)
}

fn prompt(text: &str) -> PromptDigest {
    let mut digest = [0; 32];
    digest[..text.len()].copy_from_slice(text.as_bytes());
    PromptDigest(digest)
}

fn candidate(text: &str) -> Candidate {
    let mut words = text.split_whitespace();
    let (state, id) = words.next().unwrap().split_at(1);
    let mut candidate = Candidate {
        id: ReservationId(id.parse().unwrap()),
        key: words.next().unwrap().into(),
        model: "sora-2".into(),
        prompt: prompt(words.next().unwrap()),
        size: "1280x720".into(),
        seconds: 4,
        source: None,
        state: match state {
            "u" => State::Unknown,
            "p" => State::Pending,
            "v" => State::Voided,
            _ => panic!("{text}"),
        },
        fingerprint: None,
        created: at("0"),
        since: at("0"),
        channel_clock: None,
    };
    let (mut since, mut clock) = (10, None);
    for word in words {
        if let Some(second) = word.strip_prefix('@') {
            candidate.created = at(second);
        } else if let Some(seconds) = word.strip_prefix('+') {
            since = seconds.parse().unwrap();
        } else if let Some(second) = word.strip_prefix("clock=") {
            clock = Some((second != "-").then(|| at(second)));
        } else if let Some(name) = word.strip_prefix("k=") {
            candidate.fingerprint = Some(prompt(name).0);
        } else if let Some(source) = word.strip_prefix("of=") {
            candidate.source = Some(source.into());
        } else if let Some(model) = word.strip_prefix("m=") {
            candidate.model = model.into();
        } else if let Some(seconds) = word.strip_suffix('s') {
            candidate.seconds = seconds.parse().unwrap();
        } else {
            candidate.size = word.into();
        }
    }
    candidate.since = Timestamp(candidate.created.0 + since * 1000);
    candidate.channel_clock = clock.unwrap_or(Some(candidate.created));
    candidate
}

fn job(text: &str) -> ListedJob {
    let mut words = text.split_whitespace();
    let mut job = ListedJob {
        id: words.next().unwrap().into(),
        prompt: words.next().filter(|word| *word != "-").map(prompt),
        ..ListedJob::default()
    };
    for word in words {
        if let Some(second) = word.strip_prefix('@') {
            job.created = Some(at(second));
        } else if let Some(source) = word.strip_prefix("of=") {
            job.source = Some(source.into());
        } else if let Some(model) = word.strip_prefix("m=") {
            job.model = Some(model.into());
            job.offered = model.strip_suffix("-2025").map(Arc::from);
        } else if let Some(seconds) = word.strip_suffix('s') {
            job.seconds = Some(seconds.parse().unwrap());
        } else {
            job.size = Some(word.into());
        }
    }
    job
}

fn written(decision: &Decision) -> String {
    match decision {
        Decision::Assign { reservation, job } => format!("u{}<{job}", reservation.0),
        Decision::Void { reservation } => format!("void {}", reservation.0),
        Decision::Ambiguous {
            reservation,
            job,
            why,
        } => {
            let mark = match why {
                Ambiguity::Keys => '?',
                Ambiguity::Evidence => '^',
                Ambiguity::Requests => '~',
                Ambiguity::TooFewJobs => '!',
            };
            format!("u{}{mark}{job}", reservation.0)
        }
        Decision::Unclaimed { key, job } => format!("{job} of {key}"),
    }
}

fn decided(candidates: &[Candidate], jobs: &[ListedJob], rules: Rules) -> String {
    let decisions = Matcher::new(candidates, rules).decide(jobs, &[]);
    let written: Vec<_> = decisions.iter().map(written).collect();
    written.join(", ")
}

/// A row: what it shows, the reservations, the jobs, how the list was read, and the expected decisions.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    &'static str,
);

fn check(rows: &[Row]) {
    for (what, candidates, jobs, read, expected) in rows {
        let mut candidates: Vec<_> = candidates.iter().map(|text| candidate(text)).collect();
        let mut jobs: Vec<_> = jobs.iter().map(|text| job(text)).collect();
        for _ in 0..2 {
            let decided = decided(&candidates, &jobs, rules(read));
            assert_eq!(decided, *expected, "{what}");
            // The decisions must not depend on the order of the input.
            candidates.reverse();
            jobs.reverse();
        }
    }
}
