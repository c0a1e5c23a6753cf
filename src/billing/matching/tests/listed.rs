//! Single requests, and lists that show more or less of a job.

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

/// A gate that has stalled, or whose ledger was unavailable, is considered dead while its create is under
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
            "a voided one keeps what it asked for as long",
            &["u1 A cat 4s +20", "v2 A cat 12s"],
            &["j1 cat 12s"],
            "timeout=242 at=421",
            "j1 of A",
        ),
    ]);
}
