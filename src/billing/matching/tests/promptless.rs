//! Lists that do not show the prompts of jobs.

use super::{Row, check};

const A_LIST_WITHOUT_PROMPTS: &[Row] = &[
    (
        "the time, and all else that it tells",
        &["u1 A cat 4s"],
        &["j1 - 4s 1280x720 @5"],
        "",
        "u1<j1",
    ),
    (
        "the time alone",
        &["u1 A cat 4s"],
        &["j1 - @5"],
        "",
        "u1<j1",
    ),
    (
        "not at that time",
        &["u1 A cat 4s"],
        &["j1 - 4s @999"],
        "at=9999",
        "void 1",
    ),
    (
        "no time",
        &["u1 A cat 4s"],
        &["j1 - 4s 1280x720"],
        "",
        "u1^j1",
    ),
    (
        "nothing but an id",
        &["u1 A cat 4s"],
        &["j1 -"],
        "",
        "u1^j1",
    ),
    (
        "nothing but an id, long after",
        &["u1 A cat 4s"],
        &["j1 -"],
        "at=9999",
        "u1^j1",
    ),
    (
        "nothing but an id, while the channel may list others",
        &["u1 A cat 4s"],
        &["j1 -"],
        "at=9",
        "",
    ),
    (
        "nothing but an id, of another model",
        &["u1 A cat 4s"],
        &["j1 - m=sora-2-pro"],
        "",
        "void 1",
    ),
    (
        "nothing but an id, and an answer that is awaited",
        &["u1 A cat 4s", "p2 B dog 4s @290"],
        &["j1 -"],
        "",
        "",
    ),
    (
        "another shape",
        &["u1 A cat 4s"],
        &["j1 - 8s @5"],
        "",
        "u1^j1",
    ),
    (
        "two keys",
        &["u1 A cat 4s", "u2 B dog 4s"],
        &["j1 - 4s @5"],
        "",
        "u1?j1, u2?j1",
    ),
    (
        "two keys, of which another asked for that shape",
        &["u1 A cat 4s", "u2 B dog 8s"],
        &["j1 - 8s 1280x720 @5"],
        "",
        "u1?j1, u2?j1",
    ),
    (
        "another key's that was voided, of another shape",
        &["u1 A cat 4s", "v2 B dog 8s"],
        &["j1 - 4s @5"],
        "",
        "u1?j1",
    ),
    (
        "two keys at different times",
        &["u1 A cat 4s @0", "u2 B dog 4s @600"],
        &["j1 - 4s @5", "j2 - 4s @605"],
        "at=9999",
        "u1<j1, u2<j2",
    ),
    (
        "the shape, of one key",
        &["u1 A cat 4s", "u2 A dog 8s"],
        &["j1 - 8s @5"],
        "",
        "u2<j1, void 1",
    ),
    (
        "one more than has the shape, of one key",
        &["u1 A cat 4s", "u2 A dog 8s"],
        &["j1 - 8s @5", "j2 - 8s @10"],
        "",
        "u2<j1, u1^j2",
    ),
    (
        "and one with a prompt",
        &["u1 A cat 4s", "u2 A dog 8s"],
        &["j1 - @0", "j2 dog 8s @0"],
        "",
        "u1<j1, u2<j2",
    ),
];

#[test]
fn a_list_without_prompts() {
    check(A_LIST_WITHOUT_PROMPTS);
}

/// Reservations of different keys are distinguished by the channel's clock, since the clock of a gate may be
/// wrong by hours when it reserves.
#[test]
fn keys_are_told_apart_by_the_channels_clock() {
    check(&[
        (
            "the time of the other key's was wrong, by the channel's clock it fits",
            &["u1 A cat 4s @0", "u2 B dog 4s @-3600 clock=2"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1?j1, u2?j1",
        ),
        (
            "by the channel's clock it does not fit either",
            &["u1 A cat 4s @0", "u2 B dog 4s @-3600"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1<j1, void 2",
        ),
        (
            "what the channel's clock showed is not known of the other key's",
            &["u1 A cat 4s @0", "u2 B dog 4s @-3600 clock=-"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1?j1, u2?j1",
        ),
        (
            "nor of one that was voided",
            &["u1 A cat 4s @0", "v2 B dog 4s @-3600 clock=-"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1?j1",
        ),
        (
            "nor of one that is under way",
            &["u1 A cat 4s @0", "p2 B dog 4s @-3600 clock=-"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "",
        ),
        (
            "of another model it does not matter",
            &["u1 A cat 4s @0", "u2 B dog 4s @-3600 clock=- m=other"],
            &["j1 - 4s 1280x720 @5 m=sora-2"],
            "",
            "u1<j1, void 2",
        ),
        (
            "nor of the same key",
            &["u1 A cat 4s @0", "u2 A dog 4s @-3600 clock=-"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1<j1, void 2",
        ),
        (
            "the same prompt of two keys, too",
            &["u1 A cat 4s @0", "u2 B cat 4s @-3600 clock=-"],
            &["j1 cat 4s 1280x720 @5"],
            "",
            "u1?j1, u2?j1",
        ),
    ]);
}

#[test]
fn a_time_is_evidence_by_the_channels_clock() {
    check(&[
        (
            "a job is no evidence for what was made by a wrong clock",
            &["u1 A cat 4s @0 clock=3600"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1^j1",
        ),
        (
            "nor where the channel's clock is not known",
            &["u1 A cat 4s @0 clock=-"],
            &["j1 - 4s 1280x720 @5"],
            "",
            "u1^j1",
        ),
        (
            "a prompt is, whatever the gate's clock was",
            &["u1 A cat 4s @-3600 clock=0"],
            &["j1 cat 4s 1280x720 @5"],
            "",
            "u1<j1",
        ),
    ]);
}

/// Without a prompt, a time is evidence only if it does not depend on whose clock is right.
#[test]
fn a_list_without_prompts_and_clocks_apart() {
    check(&[
        (
            "the channel does not tell its clock",
            &["u1 A cat 4s"],
            &["j1 - 4s @5"],
            "undated",
            "u1^j1",
        ),
        (
            "nor is that needed where there are prompts",
            &["u1 A cat 4s"],
            &["j1 cat 4s @5"],
            "undated",
            "u1<j1",
        ),
        (
            "clocks that are a little apart",
            &["u1 A cat 4s"],
            &["j1 - 4s @65"],
            "ahead=60",
            "u1<j1",
        ),
        (
            "by a clock an hour behind that says so",
            &["u1 A cat 4s"],
            &["j1 - 4s @-3595"],
            "ahead=-3600",
            "u1^j1",
        ),
        (
            "by a right clock, behind a wrong one that dates answers",
            &["u1 A cat 4s"],
            &["j1 - 4s @5"],
            "ahead=-3600",
            "u1^j1",
        ),
        (
            "the gate's clock was set back, and another key's was rendered otherwise",
            &["u1 A cat 8s @0", "u2 B dog 12s @-3600"],
            &["j1 - 8s @5"],
            "ahead=3600 at=9999",
            "u1^j1, u2^j1",
        ),
    ]);
}
