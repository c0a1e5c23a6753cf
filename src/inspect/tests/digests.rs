//! Tests the digest of the prompt, and the fingerprint: equal for requests that ask for the same, however
//! they are written and cut, and different for all others.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sha2::{Digest, Sha256};

use super::*;

/// The content of one request.
#[derive(Debug, Clone, PartialEq)]
struct Ask {
    prompt: String,
    seconds: Option<&'static str>,
    metadata: Vec<(String, String)>,
    characters: Vec<String>,
    file: Option<Vec<u8>>,
}

impl Ask {
    fn fields(&self) -> Vec<(String, Vec<u8>)> {
        // A model whose reference may be any bytes.
        let mut fields = vec![("model".to_owned(), b"open-model".to_vec())];
        let mut add = |name: &str, value: &[u8]| fields.push((name.to_owned(), value.to_vec()));
        add("prompt", self.prompt.as_bytes());
        if let Some(seconds) = self.seconds {
            add("seconds", seconds.as_bytes());
        }
        for (name, value) in &self.metadata {
            add(&format!("metadata[{name}]"), value.as_bytes());
        }
        for id in &self.characters {
            add("characters[][id]", id.as_bytes());
        }
        if let Some(file) = &self.file {
            add("input_reference@", file);
        }
        fields
    }

    /// Writes the request as JSON, which holds no file: its members rotated by `turn` places, and each
    /// string written by `text`.
    fn json(&self, turn: usize, text: fn(&str) -> String) -> String {
        let member = |name: &str, value: String| format!("\"{name}\" : {value}");
        let mut members = vec![
            member("model", text("open-model")),
            member("prompt", text(&self.prompt)),
        ];
        if let Some(seconds) = self.seconds {
            members.push(member("seconds", text(seconds)));
        }
        if !self.metadata.is_empty() {
            let inner = self.metadata.iter().map(|(k, v)| member(k, text(v)));
            let inner: Vec<String> = inner.collect();
            members.push(member("metadata", format!("{{{}}}", inner.join(","))));
        }
        if !self.characters.is_empty() {
            let ids = self.characters.iter().map(|id| member("id", text(id)));
            let ids: Vec<String> = ids.map(|id| format!("{{{id}}}")).collect();
            members.push(member("characters", format!("[{}]", ids.join(", "))));
        }
        let turn = turn % members.len();
        members.rotate_left(turn);
        format!("{{{}}}", members.join(","))
    }
}

fn plain(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn escaped(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

/// The choices in writing one request.
#[derive(Debug)]
struct Writing {
    boundary: String,
    filename: String,
    ranks: Vec<u32>,
    cuts: Vec<Index>,
}

impl Writing {
    fn form(&self, ask: &Ask) -> (String, Vec<u8>) {
        let mut fields = ask.fields();
        // Different fields come in any order, but a list's elements in theirs.
        let rank = |name: &str| {
            let digest = Sha256::digest(name);
            self.ranks[usize::from(digest[0]) % self.ranks.len()]
        };
        fields.sort_by_key(|(name, _)| rank(name));
        let boundary = &self.boundary;
        let mut body = Vec::new();
        for (name, value) in &fields {
            let head = match name.strip_suffix('@') {
                Some(name) => format!(
                    "name=\"{name}\"; filename=\"{}\"\r\nContent-Type: image/png",
                    self.filename
                ),
                None => format!("name=\"{name}\""),
            };
            body.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n")
                    .as_bytes(),
            );
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={boundary}"), body)
    }

    fn cut<'a>(&self, body: &'a [u8]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = self.cuts.iter().map(|i| i.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|w| &body[w[0]..w[1]]).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Digests {
    prompt: [u8; 32],
    fingerprint: [u8; 32],
}

#[track_caller]
fn digests(content_type: &str, pieces: &[&[u8]]) -> Digests {
    let syntax = Syntax::from_content_type(content_type).unwrap();
    let mut inspector = Inspector::new(plan(), key(), syntax, None).fingerprinting();
    for piece in pieces {
        inspector.push(piece).unwrap();
        assert_eq!(inspector.fingerprint(), None, "not before the end");
    }
    inspector.finish().unwrap();
    Digests {
        prompt: inspector.prompt_digest().unwrap(),
        fingerprint: inspector.fingerprint().unwrap(),
    }
}

fn of_form(ask: &Ask) -> Digests {
    let writing = Writing {
        boundary: "xx-1".into(),
        filename: "a.png".into(),
        ranks: vec![0],
        cuts: vec![],
    };
    let (content_type, body) = writing.form(ask);
    digests(&content_type, &[&body])
}

#[track_caller]
fn of_json(body: &str) -> Digests {
    let whole = digests("application/json", &[body.as_bytes()]);
    let single: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(digests("application/json", &single), whole);
    whole
}

fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        3 => select(&['a', ' ', '\n', '"', '\\', '-', 'é', '猫', '😀'][..]),
        1 => any::<char>().prop_filter("JSON may not hold it", |c| *c != '\0'),
    ];
    vec(character, 0..12).prop_map(String::from_iter)
}

fn ask() -> impl Strategy<Value = Ask> {
    let prompt = text().prop_map(|text| format!("p{text}"));
    let file = option::of(vec(any::<u8>(), 0..200));
    let seconds = select(&[None, Some("4"), Some("8")][..]);
    let metadata = btree_map("[a-z]{1,3}", text(), 0..4);
    (prompt, seconds, metadata, vec(text(), 0..4), file).prop_map(
        |(prompt, seconds, metadata, characters, file)| Ask {
            prompt,
            seconds,
            metadata: metadata.into_iter().collect(),
            characters,
            file,
        },
    )
}

/// Generates requests from so small a range that two requests are often almost equal, and sometimes equal.
fn small_ask() -> impl Strategy<Value = Ask> {
    let text = || "[ab]{0,2}";
    let file = option::of(vec(0..2u8, 0..3));
    let metadata = btree_map("[ab]{1,2}", text(), 0..3);
    let seconds = select(&[None, Some("4")][..]);
    ("[ab]", seconds, metadata, vec(text(), 0..3), file).prop_map(
        |(prompt, seconds, metadata, characters, file)| Ask {
            prompt,
            seconds,
            metadata: metadata.into_iter().collect(),
            characters,
            file,
        },
    )
}

fn writing() -> impl Strategy<Value = Writing> {
    let parts = ("-{0,4}[A-Za-z0-9]{16,32}", "[a-z]{1,8}\\.png");
    let order = (vec(any::<u32>(), 1..16), vec(any::<Index>(), 0..12));
    (parts, order).prop_map(|((boundary, filename), (ranks, cuts))| Writing {
        boundary,
        filename,
        ranks,
        cuts,
    })
}

/// Changes one thing of a request, chosen by `what` and `at`.
fn change(ask: &mut Ask, what: usize, at: Index) {
    let longer = |text: &mut String| text.push('x');
    match what {
        0 => longer(&mut ask.prompt),
        1 => ask.seconds = (ask.seconds != Some("4")).then_some("4"),
        2 if !ask.metadata.is_empty() => {
            let at = at.index(ask.metadata.len());
            longer(&mut ask.metadata[at].1);
        }
        3 if !ask.metadata.is_empty() => {
            let at = at.index(ask.metadata.len());
            ask.metadata[at].0.push_str("_other");
        }
        4 if !ask.metadata.is_empty() => {
            ask.metadata.remove(at.index(ask.metadata.len()));
        }
        5 if !ask.characters.is_empty() => {
            let at = at.index(ask.characters.len());
            longer(&mut ask.characters[at]);
        }
        6 => ask.characters.push("x".into()),
        7 if ask.file.as_ref().is_some_and(|file| !file.is_empty()) => {
            if let Some(file) = &mut ask.file {
                let at = at.index(file.len());
                file[at] ^= 1;
            }
        }
        8 => ask.file = ask.file.is_none().then(Vec::new),
        _ => ask.metadata.push(("xxxx".into(), String::new())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_writing_of_a_form_does_not_count(ask in ask(), writing in writing()) {
        let expected = of_form(&ask);
        let prompt: [u8; 32] = Sha256::digest(&ask.prompt).into();
        prop_assert_eq!(expected.prompt, prompt);
        let (content_type, body) = writing.form(&ask);
        prop_assert_eq!(digests(&content_type, &writing.cut(&body)), expected);
        let single: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(digests(&content_type, &single), expected);
    }

    #[test]
    fn json_says_the_same_as_a_form(
        mut ask in ask(),
        writing in writing(),
        turn in 0..5usize,
    ) {
        ask.file = None;
        let expected = of_form(&ask);
        for body in [ask.json(turn, plain), ask.json(turn, escaped)] {
            let pieces = writing.cut(body.as_bytes());
            prop_assert_eq!(digests("application/json", &pieces), expected, "{}", body);
        }
    }

    #[test]
    fn whatever_is_changed_makes_another_request(
        ask in ask(),
        what in 0..10usize,
        at in any::<Index>(),
    ) {
        let mut other = ask.clone();
        change(&mut other, what, at);
        let (ask_digests, other_digests) = (of_form(&ask), of_form(&other));
        prop_assert_ne!(ask_digests.fingerprint, other_digests.fingerprint);
        prop_assert_eq!(ask_digests.prompt == other_digests.prompt, ask.prompt == other.prompt);
    }

    #[test]
    fn equal_fingerprints_are_equal_requests(a in small_ask(), b in small_ask()) {
        prop_assert_eq!(of_form(&a).fingerprint == of_form(&b).fingerprint, a == b);
    }
}

fn with(members: &str) -> Digests {
    of_json(&format!(
        r#"{{"model":"sora-2","prompt":"a cat",{members}}}"#
    ))
}

/// Checks lists with several members and elements, in which nothing marks where an element ends.
#[test]
fn the_order_of_a_list_counts_but_not_that_of_an_elements_members() {
    let metadata = |list: &str| with(&format!(r#""metadata":{list}"#)).fingerprint;
    let expected = metadata(r#"[{"a":"1","b":"2"},{"a":"3"}]"#);
    assert_eq!(metadata(r#"[{"b":"2","a":"1"},{"a":"3"}]"#), expected);
    let other = [
        r#"[{"a":"3","b":"2"},{"a":"1"}]"#,
        r#"[{"a":"1"},{"a":"3","b":"2"}]"#,
        r#"[{"a":"3"},{"a":"1","b":"2"}]"#,
        r#"[{"a":"1","b":"2"},{"a":"3"},{"a":"3"}]"#,
        r#"[{"a":"1","b":"2"},"3"]"#,
        r#"["3",{"a":"1","b":"2"}]"#,
        r#"["1","2"]"#,
        r#"["2","1"]"#,
        r#"["2"]"#,
        r#"[2]"#,
        r#"[]"#,
        r#"[{}]"#,
        r#"{}"#,
        r#"null"#,
        r#""null""#,
        r#""""#,
    ];
    let mut all: Vec<[u8; 32]> = other.into_iter().map(metadata).collect();
    all.push(expected);
    for (i, a) in all.iter().enumerate() {
        assert!(!all[..i].contains(a), "{i} is like another");
    }
    // Elements of different lists do not mix.
    let two = |first, second| with(&format!("{first},{second}")).fingerprint;
    let (a, b) = (r#""metadata":["1","2"]"#, r#""characters":[{"id":"1"}]"#);
    assert_eq!(two(a, b), two(b, a));
}

#[test]
fn what_a_form_cannot_write_is_another_value() {
    assert_ne!(with(r#""metadata":1"#), with(r#""metadata":"1""#));
    assert_ne!(
        with(r#""seconds":"4""#).fingerprint,
        of_json(r#"{"model":"sora-2","prompt":"a cat"}"#).fingerprint,
        "a default that is spelt out"
    );
}

#[test]
fn an_empty_file_input_counts_as_absent() {
    let base = [part("prompt", b"a cat"), part("model", b"sora-2")].concat();
    let absent = [&base[..], b"--xx--\r\n"].concat();
    let empty = [
        &base[..],
        b"--xx\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"\"\r\n\
          Content-Type: application/octet-stream\r\n\r\n\r\n--xx--\r\n",
    ]
    .concat();
    assert_eq!(digests(FORM, &[&empty]), digests(FORM, &[&absent]));
}

/// Checks that fingerprints do not change, since ledgers keep them over an update of the gate.
#[test]
fn fingerprints_stay_as_they_are() {
    let got = with(r#""characters":[{"id":"x"},{"id":"y"}]"#).fingerprint;
    let hex: String = got.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "eafc0d854d7f00d19dfba25138eb7f965291bc6addc4b946fecf420668615878"
    );
}

#[test]
fn there_is_none_before_its_time_nor_unasked() {
    let syntax = || Syntax::from_content_type(FORM).unwrap();
    let body = form(&[("prompt", b"a cat"), ("model", b"sora-2")]);
    let mut inspector = Inspector::new(plan(), key(), syntax(), None);
    let behind_prompt = part("prompt", b"a cat").len() + b"--xx".len();
    inspector.push(&body[..behind_prompt - 3]).unwrap();
    assert_eq!(inspector.prompt_digest(), None);
    inspector.push(&body[behind_prompt - 3..]).unwrap();
    let prompt: [u8; 32] = Sha256::digest("a cat").into();
    assert_eq!(inspector.prompt_digest(), Some(prompt));
    inspector.finish().unwrap();
    assert_eq!(inspector.fingerprint(), None, "not asked for");

    // Refused for a reason outside the policy: there is no prompt.
    let refused = form(&[("model", b"sora-2")]);
    let mut inspector = Inspector::new(plan(), key(), syntax(), None).fingerprinting();
    inspector.push(&refused).unwrap();
    inspector.finish().unwrap_err();
    assert_eq!(inspector.fingerprint(), None, "refused");
}
