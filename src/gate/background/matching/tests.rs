//! Rows of reservations, jobs and what is decided, in a short notation, and properties that
//! hold for any of them.
//!
//! | text | meaning |
//! |---|---|
//! | `u1 A cat 4s 1280x720 @0` | an unknown reservation 1 of key A: prompt, seconds, size, second of its making |
//! | `p`, `v` | a pending one; one that was voided |
//! | `+30` | found to be unknown, or voided, 30 s after it was made; 10 s where that is left out |
//! | `k=x`, `of=v`, `m=n` | the fingerprint of its idempotency key; its source; its model |
//! | `j1 cat 4s 1280x720 @0` | a job: prompt (`-` where it is not told), seconds, size, second |
//! | `u1<j1`, `void 1` | the job is the reservation's; the reservation is voided |
//! | `u1?j1` | the job may be the reservation's or another key's |
//! | `u1~j1`, `u1!j1` | not told from another request; held for that |
//! | `j1 of A` | the job is charged to no reservation of A |

use proptest::prelude::*;

use super::*;

/// What second 0 is.
const START: u64 = 1_000_000;
const SKEW: u64 = 120;
const GRACE: u64 = 180;

fn rules(text: &str) -> Rules {
    let mut rules = Rules {
        listed_at: Timestamp((START + 300) * 1000),
        complete: true,
        clock_ahead: 0,
        skew: SKEW * 1000,
        grace: GRACE * 1000,
        unseen_from: None,
    };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("half", _) => rules.complete = false,
            ("at", s) => rules.listed_at = at(s),
            ("ahead", s) => rules.clock_ahead = s.parse::<i64>().unwrap() * 1000,
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
    };
    let mut since = 10;
    for word in words {
        if let Some(second) = word.strip_prefix('@') {
            candidate.created = at(second);
        } else if let Some(seconds) = word.strip_prefix('+') {
            since = seconds.parse().unwrap();
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

/// What it shows, the reservations, the jobs, how the list was read, what is decided.
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
            // In whichever order they come.
            candidates.reverse();
            jobs.reverse();
        }
    }
}

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
            "no prompts: the shape",
            &["u1 A cat 4s", "u2 B dog 8s"],
            &["j1 - 8s 1280x720"],
            "",
            "u2<j1, void 1",
        ),
        (
            "no prompts, another shape",
            &["u1 A cat 4s"],
            &["j1 - 8s"],
            "",
            "void 1",
        ),
        (
            "no prompts: two keys",
            &["u1 A cat 4s", "u2 B dog 4s"],
            &["j1 - 4s"],
            "",
            "u1?j1, u2?j1",
        ),
        (
            "nothing but an id",
            &["u1 A cat 4s"],
            &["j1 -"],
            "",
            "u1<j1",
        ),
        (
            "nothing but an id, several prompts of one key",
            &["u1 A cat 4s", "u2 A dog 8s"],
            &["j1 - @0", "j2 dog 8s @0"],
            "",
            "u1<j1, u2<j2",
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

#[test]
fn several_keys() {
    check(&[
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
            "another key's was voided, and is a rival",
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
            "a rival of long ago is none",
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
    ]);
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
    ]);
}

/// What this is about: one key, one prompt, two lost answers, in any order.
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

/// One that is held stays so after the others have their jobs.
#[test]
fn what_was_found_before() {
    let decided = |left: &str, owner: &str, of: &str| {
        let owner = Candidate {
            state: State::Confirmed,
            ..candidate(owner)
        };
        let found = Found {
            job: job(of),
            owner,
        };
        let candidates = [candidate(left)];
        let decisions = Matcher::new(&candidates, rules("at=9999")).decide(&[], &[found]);
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
}

/// An outage in which all ask for the same is decided in no time worth mentioning.
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

prop_compose! {
    fn any_candidate()(
        state in prop::sample::select(vec!["u", "u", "u", "p", "v"]),
        key in prop::sample::select(vec!["A", "A", "B"]),
        prompt in prop::sample::select(vec!["cat", "cat", "dog"]),
        seconds in prop::sample::select(vec![4, 8]),
        at in 0..600_i64,
        since in 1..60,
        fingerprint in prop::sample::select(vec!["", "k=x", "k=y"]),
    ) -> String {
        format!("{state}# {key} {prompt} {seconds}s @{at} +{since} {fingerprint}")
    }
}

prop_compose! {
    fn any_job()(
        prompt in prop::sample::select(vec!["cat", "cat", "dog", "-"]),
        seconds in prop::sample::select(vec!["", "4s", "8s", "12s"]),
        at in -100..700_i64,
    ) -> String {
        format!("{prompt} {seconds} @{at}")
    }
}

fn numbered(candidates: &[String], jobs: &[String]) -> (Vec<Candidate>, Vec<ListedJob>) {
    let candidates = candidates.iter().enumerate();
    let jobs = jobs.iter().enumerate();
    (
        candidates
            .map(|(n, text)| candidate(&text.replace('#', &n.to_string())))
            .collect(),
        jobs.map(|(n, text)| job(&format!("j{n} {text}"))).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice_or_guessed(
        candidates in prop::collection::vec(any_candidate(), 0..8),
        jobs in prop::collection::vec(any_job(), 0..8),
        half in any::<bool>(),
        listed in 300..1500,
        shuffle in any::<prop::sample::Index>(),
    ) {
        let (mut candidates, mut jobs) = numbered(&candidates, &jobs);
        let rules = rules(&format!("at={listed} {}", if half { "half" } else { "" }));
        let decisions = Matcher::new(&candidates, rules).decide(&jobs, &[]);
        let (mut given, mut resolved) = (BTreeSet::new(), BTreeSet::new());
        let by_id = |id| candidates.iter().find(|c| c.id == id).unwrap();
        for decision in &decisions {
            match decision {
                Decision::Assign { reservation, job } => {
                    prop_assert!(given.insert(job.clone()), "{job} twice");
                    prop_assert!(resolved.insert(*reservation), "{reservation} twice");
                    let owner = by_id(*reservation);
                    prop_assert_eq!(owner.state, State::Unknown);
                    let job = jobs.iter().find(|j| j.id == *job).unwrap();
                    let fitting = candidates.iter().filter(|c| rules.differences(job, c).is_some());
                    for other in fitting {
                        prop_assert_eq!(&other.key, &owner.key, "across keys");
                        prop_assert!(other.state != State::Pending, "an answer is awaited");
                    }
                }
                Decision::Void { reservation } => {
                    prop_assert!(resolved.insert(*reservation), "{reservation} twice");
                    prop_assert_eq!(by_id(*reservation).state, State::Unknown);
                    prop_assert!(!half, "on the word of half a list");
                }
                Decision::Ambiguous { .. } | Decision::Unclaimed { .. } => {}
            }
        }
        // No job is left that a reservation which is voided could have had.
        for decision in &decisions {
            let Decision::Void { reservation } = decision else { continue };
            let voided = by_id(*reservation);
            for job in jobs.iter().filter(|job| rules.differences(job, voided).is_some()) {
                prop_assert!(given.contains(&job.id), "{} is left for {reservation}", job.id);
            }
        }
        let turn = |len: usize| if len == 0 { 0 } else { shuffle.index(len) };
        let (by, of) = (turn(candidates.len()), turn(jobs.len()));
        candidates.rotate_left(by);
        jobs.rotate_left(of);
        candidates.reverse();
        prop_assert_eq!(decisions, Matcher::new(&candidates, rules).decide(&jobs, &[]));
    }
}
