//! The assignment within one key, compared with all possible ones.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_candidate()(
        seconds in prop::sample::select(vec![4, 8]),
        size in prop::sample::select(vec!["1280x720", "720x1280"]),
        source in prop::sample::select(vec!["", "", "of=v"]),
        at in 0..600_i64,
        fingerprint in prop::sample::select(vec!["", "k=x", "k=y"]),
    ) -> String {
        format!("u# A cat {seconds}s {size} {source} @{at} {fingerprint}")
    }
}

prop_compose! {
    fn any_job()(
        seconds in prop::sample::select(vec![4, 8, 12]),
        size in prop::sample::select(vec!["1280x720", "720x1280", "1024x1792"]),
        source in prop::sample::select(vec!["", "", "", "of=v"]),
        at in -100..700_i64,
    ) -> String {
        format!("cat {seconds}s {size} {source} @{at}")
    }
}

/// How good an assignment is: the number of its pairs, then the number of those with no difference, with
/// one, and so on.
type Worth = [usize; 5];

/// Returns the worth of the best assignment of the jobs from number `from` on, found by trying all.
fn best(pairs: &[Vec<Option<u32>>], from: usize, taken: u32) -> Worth {
    let Some(of_job) = pairs.get(from) else {
        return Worth::default();
    };
    let mut most = best(pairs, from + 1, taken);
    for (at, differences) in of_job.iter().enumerate() {
        if let Some(differences) = differences.filter(|_| taken & 1 << at == 0) {
            let mut worth = best(pairs, from + 1, taken | 1 << at);
            worth[0] += 1;
            worth[1 + differences as usize] += 1;
            most = most.max(worth);
        }
    }
    most
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn no_assignment_is_better(
        candidates in prop::collection::vec(any_candidate(), 1..7),
        jobs in prop::collection::vec(any_job(), 1..7),
    ) {
        let rules = rules("at=9999");
        let candidates: Vec<_> = (0..).zip(&candidates)
            .map(|(n, text): (usize, _)| candidate(&text.replace('#', &n.to_string())))
            .collect();
        let jobs: Vec<_> = (0..).zip(&jobs)
            .map(|(n, text): (usize, _)| job(&format!("j{n} {text}")))
            .collect();
        let of_job = |job| candidates.iter().map(|c| rules.differences(job, c)).collect();
        let pairs: Vec<Vec<_>> = jobs.iter().map(of_job).collect();
        let mut worth = Worth::default();
        for decision in Matcher::new(&candidates, rules).decide(&jobs, &[]) {
            let Decision::Assign { reservation, job } = decision else { continue };
            let job = jobs.iter().position(|j| j.id == job).unwrap();
            let at = candidates.iter().position(|c| c.id == reservation).unwrap();
            worth[0] += 1;
            worth[1 + pairs[job][at].unwrap() as usize] += 1;
        }
        prop_assert_eq!(worth, best(&pairs, 0, 0));
    }
}
