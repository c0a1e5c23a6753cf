//! Digests of keys, and when each lets its client in.

use super::*;
use crate::policy::{KeyEntry, Timestamp, Validity};

/// SHA-256 of `abc`, which `BASE` has, and of nothing that anybody knows.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "1931e83dd823d76523d6ca08b28b851b9806b94e4f11885cea19873c4a3eca0a";

fn entry<'a>(config: &'a Config, digest: &str) -> &'a KeyEntry {
    &config.digests[&digest.parse().unwrap()]
}

#[test]
fn a_key_has_several_digests_each_with_its_time() {
    let config = accepted(&changed(&[(
        "    group: g",
        &format!(
            "    digests: [{{ sha256: {OTHER}, until: 2026-11-28T05:40:33+01:00 }}]\n    \
             not_after: \"2027-01-01T00:00:00Z\"\n    group: g"
        ),
    )]));
    assert_eq!((config.keys.len(), config.digests.len()), (1, 2));
    let (kept, replaced) = (entry(&config, ABC), entry(&config, OTHER));
    assert!(Arc::ptr_eq(&kept.key, &replaced.key));
    assert!(Arc::ptr_eq(&kept.key, config.key_named("a").unwrap()));
    let not_after = Some(Timestamp(1_798_761_600_000));
    let expected = Validity {
        not_after,
        ..Validity::default()
    };
    assert_eq!(kept.validity, expected);
    let until = Some(Timestamp(1_795_840_833_000));
    assert_eq!(replaced.validity, Validity { until, ..expected });
}

#[test]
fn one_list_of_digests_is_enough_and_a_key_can_be_disabled() {
    let sha256 = format!("    sha256: {ABC}");
    let digests = format!("    disabled: true\n    digests: [{{ sha256: {ABC} }}]");
    let config = accepted(&changed(&[(&sha256, &digests)]));
    let disabled = Validity {
        disabled: true,
        ..Validity::default()
    };
    assert_eq!(entry(&config, ABC).validity, disabled);
    // Who says nothing of all that gets what there always was.
    assert_eq!(entry(&accepted(BASE), ABC).validity, Validity::default());
}

#[test]
fn digests_and_times_that_make_no_sense() {
    let sha256 = &*format!("    sha256: {ABC}");
    let no_time = &["this is no time: write date, time and zone"][..];
    let none = &["this key has no digest"][..];
    refused(&[
        (
            "    group: g",
            "    not_after: §2026-12-31\n    group: g",
            no_time,
        ),
        (
            "    group: g",
            "    not_after: §2026-12-31T18:00:00\n    group: g",
            no_time,
        ),
        (sha256, "    digests: §[]", none),
        (
            &format!("a\n{sha256}"),
            "§a",
            &["this key has no digest, so that nobody can use it (write `sha256: ...`"],
        ),
        (
            sha256,
            &format!(
                "    digests:\n      - {{ sha256: {ABC}, until: §tomorrow }}\n      - {{ sha256: §1 }}"
            ),
            &["this is no time", "write the 64 hex digits"],
        ),
        (
            sha256,
            &format!("{sha256}\n    digests: [{{ sha256: §{ABC}, until: 2026-12-31T18:00:00Z }}]"),
            &["this key has this sha256 twice (the first is at t.yaml:18:13)"],
        ),
        (
            sha256,
            &format!(
                "{sha256}\n    digests: [{{ sha256: {OTHER} }}]\n    group: g\n  - name: b\n    sha256: §{OTHER}"
            ),
            &["two keys have this sha256 (the first is at t.yaml:19:25)"],
        ),
    ]);
}
