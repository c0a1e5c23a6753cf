//! Tests the digests of keys, and the times during which each is valid.

use super::*;
use crate::policy::{KeyEntry, Timestamp, Validity};

/// The SHA-256 of `abc`. It is the digest of a key in `BASE`.
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
    // A key without these settings is valid without limit, as before there were any.
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

/// Makes a file with one key named `name`, whose digest is that of its name.
fn keys_file(name: &str) -> String {
    let digest = KeyDigest::of(name.as_bytes()).to_hex();
    format!("keys:\n  - {{ name: {name}, sha256: {digest}, group: g }}\n")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new();
    std::fs::create_dir(dir.0.join("keys.d")).unwrap();
    let write = |dir: TempDir, (name, text): &(&str, &str)| dir.with(name, text);
    files.iter().fold(dir, write)
}

#[test]
fn a_folder_has_the_keys_of_its_finished_files() {
    let [b, c, d] = ["b", "c", "d"].map(keys_file);
    let half = "keys:\n  - { name: half";
    let files = [
        ("keys.d/20-c.yaml", &*c),
        ("keys.d/10-b.yml", &*b),
        ("more.yaml", &*d),
        ("keys.d/.30.yaml", half),
        ("keys.d/.30.yaml.swp", half),
        ("keys.d/30.yaml~", half),
        ("keys.d/#30.yaml#", half),
        ("keys.d/30.yaml.tmp", half),
        ("keys.d/README", half),
    ];
    let dir = folder(&files);
    let names = |keys_from: &str| {
        let text = format!("{BASE}keys_from: {keys_from}\n");
        let config = parse_in(&dir.0, &text).unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<_> = config.keys.keys().map(|name| name.to_string()).collect();
        (names.join(" "), config.hash)
    };
    assert_eq!(names("keys.d").0, "a b c");
    assert_eq!(names("[keys.d]").0, "a b c");
    assert_eq!(names("[keys.d/, more.yaml]").0, "a b c d");
    assert_eq!(names("more.yaml").0, "a d");
    let hash = names("keys.d").1;
    std::fs::write(dir.0.join("keys.d/20-c.yaml"), format!("{c}\n")).unwrap();
    assert_ne!(
        names("keys.d").1,
        hash,
        "the hash is of the files of keys as well"
    );
}

#[test]
fn problems_of_a_folder_name_its_files_in_order() {
    let files = [
        (
            "keys.d/2.yaml",
            "keys:\n  - { name: a, sha256: 1, group: h }\n",
        ),
        ("keys.d/1.yaml", "keys: {}\n"),
        ("keys.d/3.yaml", "keys: ["),
    ];
    let dir = folder(&files);
    let error = parse_in(&dir.0, &format!("{BASE}keys_from: keys.d\n")).unwrap_err();
    let (shown, text) = (dir.0.join("keys.d"), error.to_string());
    let starts = [
        "1.yaml:1:7: a list is expected here",
        "2.yaml:2:13: two keys have this name",
        "2.yaml:2:24: write the 64 hex digits",
        "2.yaml:2:34: there is no group `h`",
        "3.yaml:",
    ];
    assert_eq!(text.lines().count(), starts.len(), "{text}");
    for (line, start) in text.lines().zip(starts) {
        let start = shown.join(start).display().to_string();
        assert!(line.starts_with(&start), "{line}\nwanted: {start}");
    }

    let empty = folder(&[("keys.d/keys.json", "{}")]);
    let refused = |keys_from: &str, wanted: &str| {
        refused_in(
            &empty.0,
            &format!("{BASE}keys_from: {keys_from}\n"),
            &[wanted],
        );
    };
    refused("§keys.d", "has no *.yaml or *.yml file (put one there");
    refused("[§keys.d]", "has no *.yaml or *.yml file");
    refused("§none.d", "cannot read `");
    refused("§{}", "write a path, or a list of paths");
    std::fs::create_dir(empty.0.join("keys.d/folder.yaml")).unwrap();
    refused("§keys.d", "folder.yaml`: ");
    for n in 0..4097 {
        std::fs::write(empty.0.join(format!("keys.d/{n}.yaml")), "keys: []\n").unwrap();
    }
    std::fs::remove_dir(empty.0.join("keys.d/folder.yaml")).unwrap();
    refused(
        "§keys.d",
        "too many client keys: at most 4096 files and 256 MiB are read",
    );
}

#[test]
fn what_is_read_is_told_so_that_it_can_be_watched() {
    let b = keys_file("b");
    let text = format!("{BASE}keys_from: keys.d\nreload: {{ watch: 2s }}\n");
    let text = text.replace("{ env: CRED }", "{ file: credential }");
    let files = [
        ("keys.d/b.yaml", &*b),
        ("credential", SECRET),
        ("t.yaml", &*text),
    ];
    let dir = folder(&files);
    let main = dir.0.join("t.yaml");
    let paths = || load_files(&main, &env).paths;
    let expected = ["t.yaml", "credential", "keys.d", "keys.d/b.yaml"];
    let expected: BTreeSet<_> = expected.iter().map(|name| dir.0.join(name)).collect();
    assert_eq!(paths(), expected);
    let config = load_with(&main, &env).unwrap();
    assert_eq!(config.reload.watch, Some(std::time::Duration::from_secs(2)));
    // Also files that are wrong or missing.
    std::fs::write(dir.0.join("keys.d/b.yaml"), "keys: [").unwrap();
    std::fs::remove_file(dir.0.join("credential")).unwrap();
    assert_eq!(paths(), expected);
    refused_with(&[
        ("reload: { watch: §99ms }", &["write at least 100ms"]),
        ("reload: { watch: §never }", &["this is no duration"]),
    ]);
    assert_eq!(
        accepted(&format!("{BASE}reload: {{ watch: off }}\n")).reload,
        Reload::default()
    );
}
