//! Several lost answers, as an outage causes them.

use super::*;

/// The case behind this module: one key, one prompt, two lost answers, in any order.
#[test]
fn two_lost_answers_in_any_order() {
    let candidates = ["u1 A cat 4s @0", "u2 A cat 12s @0"].map(candidate);
    for jobs in [
        ["j1 cat 12s @0", "j2 cat 4s @0"],
        ["j1 cat 12s @9", "j2 cat 4s @0"],
        ["j1 cat 12s @0", "j2 cat 4s @9"],
        ["j2 cat 4s @5", "j1 cat 12s @5"],
    ] {
        let decided = decided(&candidates, &jobs.map(job), rules(""));
        assert_eq!(decided, "u1<j2, u2<j1", "{jobs:?}");
    }
}

/// A reservation that stays unknown in one round also does in later rounds, after the others have got their
/// jobs.
#[test]
fn what_was_found_before() {
    let decided = |left: &str, owner: &str, of: &str| {
        let owner = Candidate {
            state: State::Confirmed,
            ..candidate(owner)
        };
        let reconciled = ReconciledJob {
            job: job(of),
            owner,
        };
        let candidates = [candidate(left)];
        let decisions = Matcher::new(&candidates, rules("at=9999")).decide(&[], &[reconciled]);
        decisions.iter().map(written).collect::<Vec<_>>().join(", ")
    };
    let owner = "u2 A cat k=y";
    for (left, job, expected) in [
        ("u1 A cat k=x", "j1 cat 4s @0", "u1!j1"),
        ("u1 A cat k=x", "j1 cat 4s @500", "void 1"),
        ("u1 A cat k=x 8s", "j1 cat 4s @0", "void 1"),
        ("u1 A cat k=y", "j1 cat 4s @0", "void 1"),
        ("u1 A cat", "j1 cat 4s @0", "void 1"),
        ("u1 A dog k=x", "j1 cat 4s @0", "void 1"),
        ("u1 B cat k=x", "j1 cat 4s @0", "void 1"),
    ] {
        assert_eq!(decided(left, owner, job), expected, "{left} {job}");
    }
    // The job's owner asked for other seconds, and another reservation for exactly these.
    let job = "j1 cat 12s @5";
    for (left, owner, expected) in [
        ("u1 A cat 12s k=x @-3600 clock=-", "u2 A cat 4s", "u1!j1"),
        // Though in time, it may be later than the job: see the owner's first round.
        ("u1 A cat 12s k=x @0", "u2 A cat 4s", "void 1"),
        ("u1 A cat 12s @-3600 clock=-", "u2 A cat 4s", "void 1"),
        ("u1 A cat 12s k=x @-3600", "u2 A cat 4s", "void 1"),
        ("u1 A cat 8s k=x @-3600 clock=-", "u2 A cat 4s", "void 1"),
        (
            "u1 A cat 12s k=x @-3600 clock=-",
            "u2 A cat 4s k=x",
            "void 1",
        ),
        ("u1 A cat 12s k=x @-3600 clock=-", "u2 B cat 4s", "void 1"),
        ("u1 A cat 12s k=x @-3600 clock=-", "u2 A cat 12s", "void 1"),
    ] {
        assert_eq!(decided(left, owner, job), expected, "{left} {owner}");
    }
}

/// An outage in which all requests are the same is decided quickly.
#[test]
fn thousands_of_the_same_prompt() {
    let candidates: Vec<_> = (0..2000)
        .map(|n| candidate(&format!("u{n} A cat {}s @{} k={n}", 4 + n % 3, n / 20)))
        .collect();
    let jobs: Vec<_> = (0..2000)
        .map(|n| job(&format!("j{n} cat {}s @{}", 4 + n % 2, n / 20)))
        .collect();
    let decisions = Matcher::new(&candidates, rules("at=9999")).decide(&jobs, &[]);
    let assigned = |d: &&Decision| matches!(d, Decision::Assign { .. });
    assert_eq!(decisions.iter().filter(assigned).count(), 2000);
}
