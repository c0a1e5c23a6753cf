//! Single requests, and what a list tells of a job.

use super::check;

#[test]
fn a_single_request() {
    check(&[
        ("nothing is known", &[], &[], "", ""),
        ("its job", &["u1 A cat"], &["j1 cat 4s"], "", "u1<j1"),
        ("no job", &["u1 A cat"], &[], "", "void 1"),
        ("the grace has begun", &["u1 A cat"], &[], "at=189", ""),
        ("the grace is over", &["u1 A cat"], &[], "at=190", "void 1"),
        ("half a list", &["u1 A cat"], &[], "half", ""),
        (
            "a job on half a list",
            &["u1 A cat"],
            &["j1 cat"],
            "half",
            "u1<j1",
        ),
        ("another prompt", &["u1 A cat"], &["j1 dog"], "", "void 1"),
        ("a pending one waits", &["p1 A cat"], &[], "at=9999", ""),
        ("so does its job", &["p1 A cat"], &["j1 cat"], "", ""),
        ("a voided one stays so", &["v1 A cat"], &[], "", ""),
        (
            "the job of a voided one",
            &["v1 A cat"],
            &["j1 cat"],
            "",
            "j1 of A",
        ),
        (
            "rendered otherwise",
            &["u1 A cat 4s"],
            &["j1 cat 8s 1024x1808"],
            "",
            "u1<j1",
        ),
        (
            "two jobs of one request: the exact one",
            &["u1 A cat 4s"],
            &["j1 cat 8s @0", "j2 cat 4s @9"],
            "",
            "u1<j2, j1 of A",
        ),
        (
            "the same job on two pages",
            &["u1 A cat"],
            &["j1 cat @0", "j1 cat @0"],
            "",
            "u1<j1",
        ),
    ]);
}

#[test]
fn what_a_list_tells() {
    check(&[
        (
            "another model",
            &["u1 A cat m=sora-2"],
            &["j1 cat m=sora-2-pro"],
            "",
            "void 1",
        ),
        (
            "a snapshot",
            &["u1 A cat m=sora-2"],
            &["j1 cat m=sora-2-2025"],
            "",
            "u1<j1",
        ),
        (
            "another source",
            &["u1 A cat of=v1"],
            &["j1 cat of=v2"],
            "",
            "void 1",
        ),
        (
            "a source where none was asked for",
            &["u1 A cat"],
            &["j1 cat of=v2"],
            "",
            "void 1",
        ),
        (
            "no word of sources",
            &["u1 A cat of=v1"],
            &["j1 cat"],
            "",
            "u1<j1",
        ),
        (
            "the remix and the create",
            &["u1 A cat of=v1", "u2 A cat"],
            &["j1 cat"],
            "",
            "u2<j1, void 1",
        ),
        (
            "an entry that tells nothing, and one that tells all",
            &["u1 A cat 4s @0"],
            &["j1 -", "j2 cat 4s 1280x720 @-3"],
            "at=1",
            "u1<j2",
        ),
        (
            "an entry that tells nothing, and one that was rendered otherwise",
            &["u1 A cat 4s @0"],
            &["j1 -", "j2 cat 8s 1280x720 @-3"],
            "at=1",
            "u1<j2",
        ),
    ]);
}

#[test]
fn a_list_without_prompts() {
    check(&[
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
    ]);
}

/// Without a prompt, only a time that does not depend on whose clock is right is evidence.
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

#[test]
fn when_a_job_was_created() {
    check(&[
        (
            "long before",
            &["u1 A cat"],
            &["j1 cat @-121"],
            "",
            "void 1",
        ),
        ("just before", &["u1 A cat"], &["j1 cat @-120"], "", "u1<j1"),
        ("late", &["u1 A cat"], &["j1 cat @310"], "at=500", "u1<j1"),
        (
            "too late",
            &["u1 A cat"],
            &["j1 cat @311"],
            "at=500",
            "void 1",
        ),
        (
            "by a clock an hour behind that says so",
            &["u1 A cat"],
            &["j1 cat @-3600"],
            "ahead=-3600",
            "u1<j1",
        ),
        (
            "by a clock an hour ahead that says so",
            &["u1 A cat"],
            &["j1 cat @3605"],
            "ahead=3600",
            "u1<j1",
        ),
        (
            "by a right clock, behind a wrong one that dates answers",
            &["u1 A cat"],
            &["j1 cat @5"],
            "ahead=-3600",
            "u1<j1",
        ),
        (
            "by a clock an hour behind that says nothing",
            &["u1 A cat"],
            &["j1 cat @-3600"],
            "",
            "void 1",
        ),
        (
            "the closer request of the same key",
            &["u1 A cat @0", "u2 A cat @100"],
            &["j1 cat @99"],
            "at=999",
            "u2<j1, void 1",
        ),
        (
            "each to the closest",
            &["u1 A cat @0", "u2 A cat @100"],
            &["j1 cat @101", "j2 cat @1"],
            "",
            "u1<j2, u2<j1",
        ),
        (
            "only one of two requests was early enough for both jobs",
            &["u1 A cat @0", "u2 A cat @200"],
            &["j1 cat @150", "j2 cat @500"],
            "at=999",
            "u1<j1, u2<j2",
        ),
        (
            "the closest is given up to the one that has no other",
            &["u1 A cat @0", "u2 A cat @400"],
            &["j1 cat @300", "j2 cat @100"],
            "at=999",
            "u1<j2, u2<j1",
        ),
    ]);
}

/// A gate that has stalled, or whose ledger was away, is taken for dead while its create is under
/// way.
#[test]
fn a_create_that_may_still_be_under_way() {
    check(&[
        (
            "the grace is over, the create is not",
            &["u1 A cat +20"],
            &[],
            "timeout=242 at=421",
            "",
        ),
        (
            "both are over",
            &["u1 A cat +20"],
            &[],
            "timeout=242 at=422",
            "void 1",
        ),
        (
            "found to be unknown later than that",
            &["u1 A cat +300"],
            &[],
            "timeout=242 at=479",
            "",
        ),
        (
            "and the grace is over",
            &["u1 A cat +300"],
            &[],
            "timeout=242 at=480",
            "void 1",
        ),
        (
            "its job comes late",
            &["u1 A cat +20"],
            &["j1 cat @400"],
            "timeout=242 at=422",
            "u1<j1",
        ),
        (
            "and is not another key's",
            &["u1 A cat +20", "u2 B cat @395"],
            &["j1 cat @400"],
            "timeout=242 at=999",
            "u1?j1, u2?j1",
        ),
        (
            "a rival keeps what it asked for as long",
            &["u1 A cat 4s +20", "v2 A cat 12s"],
            &["j1 cat 12s"],
            "timeout=242 at=421",
            "j1 of A",
        ),
    ]);
}
