//! Several requests: of one key and of several.

use super::{Row, check};

#[test]
fn what_was_asked_for_comes_first() {
    check(&[
        (
            "one job: whoever asked for it",
            &["u1 A cat 4s", "u2 A cat 12s @1"],
            &["j1 cat 12s @0"],
            "",
            "u2<j1, void 1",
        ),
        (
            "the same with the grace not over",
            &["u1 A cat 4s", "u2 A cat 12s @1"],
            &["j1 cat 12s @0"],
            "at=20",
            "u2<j1",
        ),
        (
            "both jobs",
            &["u1 A cat 4s", "u2 A cat 12s"],
            &["j1 cat 12s @0", "j2 cat 4s @9"],
            "",
            "u1<j2, u2<j1",
        ),
        (
            "by size",
            &["u1 A cat 720x1280", "u2 A cat 1280x720"],
            &["j1 cat 1280x720 4s"],
            "",
            "u2<j1, void 1",
        ),
        (
            "by source",
            &["u1 A cat", "u2 A cat of=v1"],
            &["j1 cat of=v1", "j2 cat"],
            "",
            "u1<j2, u2<j1",
        ),
        (
            "nearly what was asked for",
            &["u1 A cat 4s 720x1280", "u2 A cat 12s 720x1280"],
            &["j1 cat 12s 1280x720"],
            "",
            "u2<j1, void 1",
        ),
        (
            "one exact, the other otherwise",
            &["u1 A cat 4s", "u2 A cat 12s"],
            &["j1 cat 12s", "j2 cat 16s"],
            "",
            "u1<j2, u2<j1",
        ),
        (
            "an exact one makes room where else a job is lost",
            &["u1 A cat 4s @0", "u2 A cat 12s @200"],
            &["j1 cat 12s @100", "j2 cat 12s @450"],
            "at=999",
            "u1<j1, u2<j2",
        ),
        (
            "what does not say seconds fits both",
            &["u1 A cat 4s", "u2 A cat 12s"],
            &["j1 cat", "j2 cat 12s"],
            "",
            "u1<j1, u2<j2",
        ),
        (
            "three of three",
            &["u1 A cat 4s", "u2 A cat 8s", "u3 A cat 12s"],
            &["j1 cat 8s", "j2 cat 12s", "j3 cat 4s"],
            "",
            "u1<j3, u2<j1, u3<j2",
        ),
    ]);
}

#[test]
fn what_was_asked_for_is_given_up_for_nothing_worse() {
    check(&[
        (
            "an exact one makes no room for one that can be repeated",
            &["u1 A cat @0", "u2 A cat @9", "u3 A cat of=v k=x @5"],
            &["j1 cat 4s @1", "j2 cat 4s 720x1280 @10"],
            "",
            "u1<j1, u2<j2, void 3",
        ),
        (
            "it makes room for one that asked for the same",
            &["u1 A cat @0", "u2 A cat @200", "u3 A cat 8s k=x @300"],
            &["j1 cat 4s @150", "j2 cat 8s 720x1280 @-100"],
            "at=999",
            "u1<j2, u2<j1, void 3",
        ),
    ]);
}

#[test]
fn what_a_list_never_shows() {
    check(&[
        (
            "no idempotency keys: any",
            &["u1 A cat @0", "u2 A cat @20"],
            &["j1 cat @1"],
            "",
            "u1<j1, void 2",
        ),
        (
            "one idempotency key: it is the one that could be repeated",
            &["u1 A cat @0", "u2 A cat @20 k=x"],
            &["j1 cat @1"],
            "",
            "u2<j1, void 1, u2~j1",
        ),
        (
            "two, as many jobs: all are reached, none is doubled",
            &["u1 A cat k=x", "u2 A cat k=y @9"],
            &["j1 cat @0", "j2 cat @9"],
            "",
            "u1<j1, u2<j2, u1~j1, u2~j2",
        ),
        (
            "two, and one job: the other is held",
            &["u1 A cat k=x", "u2 A cat k=y @9"],
            &["j1 cat @0"],
            "at=9999",
            "u1<j1, u1~j1, u2!j1",
        ),
        (
            "two of the same content are interchangeable",
            &["u1 A cat k=x", "u2 A cat k=x @9"],
            &["j1 cat @0"],
            "",
            "u1<j1, void 2",
        ),
        (
            "two that the list tells apart",
            &["u1 A cat k=x 4s", "u2 A cat k=y 8s"],
            &["j1 cat 8s"],
            "",
            "u2<j1, void 1",
        ),
        (
            "two of which neither asked for it",
            &["u1 A cat k=x 4s", "u2 A cat k=y 8s @9"],
            &["j1 cat 16s @0"],
            "",
            "u1<j1, u1~j1, u2!j1",
        ),
        (
            "no job at all",
            &["u1 A cat k=x", "u2 A cat k=y"],
            &[],
            "",
            "void 1, void 2",
        ),
    ]);
}

const SEVERAL_KEYS: &[Row] = &[
    (
        "two keys, one job",
        &["u1 A cat", "u2 B cat"],
        &["j1 cat"],
        "at=9999",
        "u1?j1, u2?j1",
    ),
    (
        "not told by what was asked for",
        &["u1 A cat 4s", "u2 B cat 12s"],
        &["j1 cat 12s"],
        "",
        "u1?j1, u2?j1",
    ),
    (
        "two keys, two jobs",
        &["u1 A cat", "u2 B cat"],
        &["j1 cat @0", "j2 cat @1"],
        "",
        "u1?j1, u1?j2, u2?j1, u2?j2",
    ),
    (
        "another key's answer is awaited",
        &["u1 A cat", "p2 B cat"],
        &["j1 cat"],
        "at=9999",
        "",
    ),
    (
        "one's own answer is awaited",
        &["u1 A cat", "p2 A cat"],
        &["j1 cat"],
        "at=9999",
        "",
    ),
    (
        "another key's was voided, and is a candidate",
        &["u1 A cat", "v2 B cat"],
        &["j1 cat"],
        "at=9999",
        "u1?j1",
    ),
    (
        "two keys' were voided",
        &["v1 A cat", "v2 B cat"],
        &["j1 cat"],
        "",
        "",
    ),
    (
        "one that was voided long ago is no candidate",
        &["u1 A cat @1000", "v2 B cat @0"],
        &["j1 cat @1000"],
        "at=1300",
        "u1<j1",
    ),
    (
        "other prompts are nobody's business",
        &["u1 A cat", "u2 B dog"],
        &["j1 dog"],
        "",
        "u2<j1, void 1",
    ),
    (
        "one job is sure, and tells nothing of the other yet",
        &["u1 A cat @0", "u2 B cat @400"],
        &["j1 cat @-50", "j2 cat @290"],
        "at=999",
        "u1<j1, u1?j2, u2?j2",
    ),
    (
        "two of one key are no choice while one may be another key's",
        &["u1 A cat @0", "u2 A cat @200", "u3 B cat @450"],
        &["j1 cat @150", "j2 cat @375"],
        "at=1999",
        "u2?j2, u3?j2",
    ),
    (
        "beyond those that were given",
        &["u1 A cat"],
        &["j1 cat @5"],
        "unseen=100",
        "",
    ),
    (
        "without a job, beyond those that were given",
        &["u1 A cat @0", "u2 A dog @100"],
        &[],
        "unseen=100 at=999",
        "void 1",
    ),
    (
        "before those that were not given",
        &["u1 A cat"],
        &["j1 cat @5"],
        "unseen=200",
        "u1<j1",
    ),
];

#[test]
fn several_keys() {
    check(SEVERAL_KEYS);
}

#[test]
fn voided_ones_of_the_same_key() {
    check(&[
        (
            "the job goes to the one that is left",
            &["u1 A cat @9", "v2 A cat"],
            &["j1 cat @0"],
            "at=20",
            "u1<j1",
        ),
        (
            "what the voided one asked for is left to it",
            &["u1 A cat 4s @9", "v2 A cat 12s"],
            &["j1 cat 12s"],
            "at=20",
            "j1 of A",
        ),
        (
            "until nothing else can come",
            &["u1 A cat 4s @9", "v2 A cat 12s"],
            &["j1 cat 12s"],
            "at=999",
            "u1<j1",
        ),
        (
            "each its own",
            &["u1 A cat 4s @9", "v2 A cat 12s"],
            &["j1 cat 12s", "j2 cat 4s"],
            "at=999",
            "u1<j2, j1 of A",
        ),
        (
            "what the voided one asked for makes room, where else a job is lost",
            &["u1 A cat 4s @200", "v2 A cat 12s @100", "u3 A cat 4s @0"],
            &["j1 cat 12s @150", "j2 cat 8s 720x1280 @0"],
            "",
            "u1<j1, u3<j2",
        ),
    ]);
}
