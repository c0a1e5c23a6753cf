//! Properties of every matching: no job is assigned twice, and no owner is guessed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_candidate()(
        state in prop::sample::select(vec!["u", "u", "u", "p", "v"]),
        key in prop::sample::select(vec!["A", "A", "B"]),
        prompt in prop::sample::select(vec!["cat", "cat", "dog"]),
        seconds in prop::sample::select(vec![4, 8]),
        at in prop_oneof![4 => 0..600_i64, 1 => -3600..-3000_i64],
        clock in prop::sample::select(vec!["", "", "clock=-", "clock=300"]),
        since in 1..60,
        fingerprint in prop::sample::select(vec!["", "k=x", "k=y"]),
    ) -> String {
        format!("{state}# {key} {prompt} {seconds}s @{at} {clock} +{since} {fingerprint}")
    }
}

prop_compose! {
    fn any_job()(
        prompt in prop::sample::select(vec!["cat", "cat", "dog", "-"]),
        seconds in prop::sample::select(vec!["", "4s", "8s", "12s"]),
        at in prop::option::weighted(0.9, -100..700_i64),
    ) -> String {
        let at = at.map_or(String::new(), |at| format!("@{at}"));
        format!("{prompt} {seconds} {at}")
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
        clock in prop::sample::select(vec!["", "", "undated", "ahead=90", "ahead=400"]),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let (mut candidates, mut jobs) = numbered(&candidates, &jobs);
        let rules = rules(&format!("at={listed} {clock} {}", if half { "half" } else { "" }));
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
                    prop_assert!(rules.is_evidence(job, owner), "guessed");
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
        // No free job is left that a voided reservation could have had.
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
