//! Requests whose gate's clock may have been wrong: what the channel's clock showed is not known.

use super::*;

#[test]
fn what_was_asked_for_counts_more_than_a_time_that_is_not_known() {
    check(&[
        (
            "the job is of the one that asked for it, not of the one in time",
            &["u1 A cat 4s @0", "u2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "",
            "u2<j1, void 1",
        ),
        (
            "the same of a clock ahead, with the grace not over",
            &["u1 A cat 4s @0", "u2 A cat 12s @3600 clock=-"],
            &["j1 cat 12s @5"],
            "at=20",
            "u2<j1",
        ),
        (
            "by size",
            &["u1 A cat 720x1280 @0", "u2 A cat @-3600 clock=-"],
            &["j1 cat 4s 1280x720 @5"],
            "",
            "u2<j1, void 1",
        ),
        (
            "by source",
            &["u1 A cat of=v1 @0", "u2 A cat @-3600 clock=-"],
            &["j1 cat @5"],
            "",
            "u2<j1, void 1",
        ),
        (
            "each its own",
            &["u1 A cat 4s @0", "u2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5", "j2 cat 4s @0"],
            "",
            "u1<j2, u2<j1",
        ),
        (
            "one whose time is known for sure is not meant",
            &["u1 A cat 4s @0", "u2 A cat 12s @-3600"],
            &["j1 cat 12s @5"],
            "",
            "u1<j1, void 2",
        ),
        (
            "nor another prompt",
            &["u1 A cat 4s @0", "u2 A dog 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "",
            "u1<j1, void 2",
        ),
        (
            "nor where one in time asked for just that",
            &["u1 A cat 12s @0", "u2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "",
            "u1<j1, void 2",
        ),
        (
            "nor one that asked for something else, too",
            &["u1 A cat 4s @0", "u2 A cat 8s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "",
            "u1<j1, void 2",
        ),
        (
            "a job at no reservation's time is none of theirs",
            &["u2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "",
            "void 2",
        ),
    ]);
}

#[test]
fn others_of_an_unknown_time() {
    check(&[
        (
            "its answer is awaited",
            &["u1 A cat 4s @0", "p2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "at=9999",
            "",
        ),
        (
            "its answer is awaited, but one in time asked for it",
            &["u1 A cat 12s @0", "p2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "",
            "u1<j1",
        ),
        (
            "it was voided: the job is left to it",
            &["u1 A cat 4s @0", "v2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "at=20",
            "j1 of A",
        ),
        (
            "until nothing else can come",
            &["u1 A cat 4s @0", "v2 A cat 12s @-3600 clock=-"],
            &["j1 cat 12s @5"],
            "at=999",
            "u1<j1",
        ),
        (
            "two that a list does not tell apart: one is held",
            &[
                "u1 A cat 4s @0",
                "u2 A cat 12s k=x @-3600 clock=-",
                "u3 A cat 12s k=y @-3600 clock=-",
            ],
            &["j1 cat 12s @5"],
            "",
            "u2<j1, void 1, u2~j1, u3!j1",
        ),
        (
            "as many jobs as can be have a reservation",
            &[
                "u1 A cat 4s @0",
                "u2 A cat 12s @-3600 clock=-",
                "u3 A cat 12s @-7200 clock=-",
            ],
            &["j1 cat 12s @5", "j2 cat 8s @-3595", "j3 cat 4s @0"],
            "",
            "u1<j3, u2<j2, u3<j1",
        ),
    ]);
}

#[test]
fn among_several_keys() {
    check(&[
        (
            "another key's makes it uncertain",
            &[
                "u1 A cat 4s @0",
                "u2 A cat 12s @-3600 clock=-",
                "u3 B cat 12s @-3600 clock=-",
            ],
            &["j1 cat 12s @5"],
            "",
            "u1?j1, u2?j1, u3?j1",
        ),
        (
            "among several keys the one in time has it: it is reached, and charged",
            &[
                "u1 A cat 4s @0",
                "u2 A cat 12s @-3600 clock=-",
                "u3 B cat 4s @400",
            ],
            &["j1 cat 12s @5", "j2 cat 4s @290"],
            "at=999",
            "u1<j1, u1?j2, u2?j2, u3?j2",
        ),
        (
            "the same with one that was voided",
            &[
                "u1 A cat 4s @0",
                "v2 A cat 12s @-3600 clock=-",
                "u3 B cat 4s @400",
            ],
            &["j1 cat 12s @5", "j2 cat 4s @290"],
            "at=999",
            "u1<j1, u1?j2, u3?j2",
        ),
    ]);
}

#[test]
fn what_waits_or_is_held_among_several_keys() {
    check(&[
        (
            "one that was voided may have it until the one in time can get no other",
            &[
                "u1 A cat 4s @0",
                "v2 A cat 12s @-3600 clock=-",
                "u3 B cat 4s @150",
            ],
            &["j1 cat 12s @5", "j2 cat 4s @100"],
            "at=180",
            "u1?j2, u3?j2",
        ),
        (
            "and so may one that is unknown",
            &[
                "u1 A cat 4s @0",
                "u2 A cat 12s @-3600 clock=-",
                "u3 B cat 4s @150",
            ],
            &["j1 cat 12s @5", "j2 cat 4s @100"],
            "at=180",
            "u1?j2, u2?j2, u3?j2",
        ),
        (
            "one that could repeat its request is held where it came too late for its job",
            &[
                "u1 A cat of=v1 @0",
                "u2 A cat k=x @-3600 clock=-",
                "u3 B cat of=v1 @150",
            ],
            &["j1 cat @5", "j2 cat of=v1 @100"],
            "at=999",
            "u1<j1, u1?j2, u2!j1, u3?j2",
        ),
        (
            "the same with one whose answer is awaited",
            &[
                "u1 A cat 4s @0",
                "p2 A cat 12s @-3600 clock=-",
                "u3 B cat 4s @400",
            ],
            &["j1 cat 12s @5", "j2 cat 4s @290"],
            "at=999",
            "",
        ),
    ]);
}

/// A job that belongs to another reservation, though a reservation asked for exactly this job, is read again
/// in later rounds: the latter reservation stays unknown because of it.
#[test]
fn a_job_that_was_asked_for_exactly_concerns_a_reservation_at_any_time() {
    for (left, concerned) in [
        ("u2 A cat 12s k=x @-3600 clock=-", true),
        ("u2 A cat 12s k=x @-3600", false),
        ("u2 A cat 8s k=x @-3600 clock=-", false),
        ("u2 A dog 12s k=x @-3600 clock=-", false),
        ("u2 A cat 8s @0", true),
    ] {
        let candidates = [candidate(left)];
        let matcher = Matcher::new(&candidates, rules("at=9999"));
        assert_eq!(matcher.concerns(&job("j1 cat 12s @5")), concerned, "{left}");
    }
}
