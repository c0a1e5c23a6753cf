//! Tests random bodies, and compares those that are accepted with what a lenient parser reads.

use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// The pieces of syntax that values and mutations are made of.
const TOKENS: [&str; 24] = [
    "\r\n",
    "\r",
    "\n",
    "--",
    "-",
    "X",
    "X.b",
    "X.b-",
    "\r\n--X.b-",
    "\r\n--",
    "\r\n\r\n",
    " ",
    "\"",
    ";",
    "=",
    "\\",
    "a",
    "\0",
    "ü",
    ": ",
    "; filename=\"b\"",
    "Content-Type: text/plain",
    "Content-Disposition: form-data; name=\"model\"",
    "sora-2-pro",
];

/// The pieces of syntax that only a mutation may insert.
const DELIMITERS: [&str; 6] = [
    "X.b-X",
    "--X.b-X",
    "\r\n--X.b-X",
    "\r\n--X.b-X\r\n",
    "\r\n--X.b-X--\r\n",
    "\n--X.b-X\n",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => select(&TOKENS[..]).prop_map(|token| token.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..8)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("a value must not hold the boundary", |value| {
            let text: Vec<u8> = value
                .iter()
                .copied()
                .filter(|b| !b"\r\n".contains(b))
                .collect();
            memmem::find(&text, BOUNDARY.as_bytes()).is_none()
        })
}

/// Generates a part that follows the grammar, with the field that should be seen.
fn part() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    let text = (
        select(&["prompt", "characters[][id]"][..]),
        select(
            &[
                "",
                "\r\nContent-Type: text/plain; charset=utf-8",
                "\r\nContent-Length: {L}",
            ][..],
        ),
    )
        .prop_map(|(name, more)| {
            let lines = format!("Content-Disposition: form-data; name=\"{name}\"{more}");
            (lines, name, Kind::Text)
        });
    let file = (
        select(
            &[
                "\"a.png\"",
                "a.png",
                "\"a\\\"b\"",
                "\"ü; %22\"",
                "a; filename*=utf-8''%C3%BC",
            ][..],
        ),
        select(&["image/png", "application/octet-stream"][..]),
    )
        .prop_map(|(filename, media_type)| {
            let lines = format!(
                "content-type: {media_type}\r\n\
                 Content-Disposition: form-data; name=input_reference; filename={filename}"
            );
            (lines, "input_reference", Kind::File)
        });
    (prop_oneof![3 => text, 1 => file], value()).prop_map(|((lines, name, kind), mut value)| {
        if name == "characters[][id]" {
            value.truncate(POLICY_BYTES);
        }
        let lines = lines.replace("{L}", &value.len().to_string());
        let head = format!("--{BOUNDARY}\r\n{lines}\r\n\r\n");
        let written = [head.as_bytes(), &value, b"\r\n"].concat();
        (written, Seen::new(name, kind, &value))
    })
}

/// Generates a body that follows the grammar, with the fields that should be seen.
fn body() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let start = select(&["", "\r\n"][..]);
    let end = select(&["", "\r\n", "\r\n\r\n"][..]);
    let parts = prop::collection::vec(part(), 1..6).prop_map(|mut parts| {
        let mut names = Vec::new();
        parts.retain(|(_, seen)| {
            let fresh = seen.name == "characters[][id]" || !names.contains(&seen.name);
            names.push(seen.name.clone());
            fresh
        });
        parts
    });
    (start, parts, end).prop_map(|(start, parts, end)| {
        let close = format!("--{BOUNDARY}--{end}");
        let (written, seen): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let body = [start.as_bytes(), &written.concat(), close.as_bytes()].concat();
        (body, seen)
    })
}

/// Changes a body at a random place.
#[derive(Debug, Clone)]
enum Mutation {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Replace(Index, u8),
    Repeat(Index, usize),
}

impl Mutation {
    fn apply(&self, body: &mut Vec<u8>) {
        if body.is_empty() {
            return;
        }
        match self {
            Self::Insert(at, token) => {
                let at = at.index(body.len());
                body.splice(at..at, token.bytes());
            }
            Self::Remove(at, count) => {
                let at = at.index(body.len());
                body.drain(at..body.len().min(at + count));
            }
            Self::Replace(at, byte) => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Self::Repeat(at, count) => {
                let at = at.index(body.len());
                let again = body[at..body.len().min(at + count)].to_vec();
                body.splice(at..at, again);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let tokens = [&TOKENS[..], &DELIMITERS[..]].concat();
    prop_oneof![
        (any::<Index>(), select(tokens)).prop_map(|(at, token)| Mutation::Insert(at, token)),
        (any::<Index>(), 1..24_usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (any::<Index>(), 1..90_usize).prop_map(|(at, count)| Mutation::Repeat(at, count)),
    ]
}

/// Returns the fields that the parser of another crate reads from a body.
fn read_by_multer(case: &Case) -> Result<Vec<(String, bool, Vec<u8>)>, multer::Error> {
    let stream = BodyDataStream::new(Full::new(Bytes::copy_from_slice(&case.body)));
    let boundary = std::str::from_utf8(case.boundary.as_bytes()).expect("ASCII");
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(async {
            let mut form = multer::Multipart::new(stream, boundary);
            let mut fields = Vec::new();
            while let Some(field) = form.next_field().await? {
                let name = field.name().unwrap_or_default().to_owned();
                let file = field.file_name().is_some();
                fields.push((name, file, field.bytes().await?.to_vec()));
            }
            Ok(fields)
        })
}

fn check_random(case: Case, cuts: &[Index]) -> Outcome {
    let (expected, safe) = case.byte_by_byte();
    let mut cuts: Vec<usize> = cuts
        .iter()
        .map(|cut| cut.index(case.body.len() + 1))
        .collect();
    cuts.sort_unstable();
    assert_eq!(case.cut_at(&[], &safe), expected);
    assert_eq!(case.cut_at(&cuts, &safe), expected);
    if expected.verdict.is_ok() {
        case.check_release(&expected, &safe);
        let seen: Vec<_> = expected
            .seen
            .iter()
            .map(|seen| {
                (
                    seen.name.clone(),
                    seen.kind != Kind::Text,
                    seen.value.clone(),
                )
            })
            .collect();
        let read = read_by_multer(&case).expect("what is accepted here is accepted there");
        assert_eq!(read, seen);
    }
    expected
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_well_passes(
        (body, seen) in body(),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let outcome = check_random(Case::new(body), &cuts);
        prop_assert_eq!(outcome.verdict, Ok(()));
        prop_assert_eq!(outcome.seen, seen);
    }

    #[test]
    fn mutations_do_not_depend_on_the_cut(
        (mut body, _) in body(),
        mutations in prop::collection::vec(mutation(), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        for mutation in &mutations {
            mutation.apply(&mut body);
        }
        check_random(Case::new(body), &cuts);
    }

    #[test]
    fn soup_does_not_depend_on_the_cut(
        tokens in prop::collection::vec(
            prop_oneof![9 => select(&TOKENS[..]), 1 => select(&DELIMITERS[..])], 0..20),
        tail in select(&["", "\r\n--X.b-X--"][..]),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let head = "--X.b-X\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n";
        check_random(Case::new([head, &tokens.concat(), tail].concat()), &cuts);
    }

    #[test]
    fn boundaries_that_repeat_themselves(
        boundary in "-{0,3}[ab][-ab]{0,7}",
        value in "(a|b|-|\r\n|\r\n--){0,40}",
        tail in select(&["\r\n--", "--", ""][..]),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let head = "\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n";
        let body = format!("--{boundary}{head}{value}{tail}{boundary}--");
        let content_type = format!("multipart/form-data; boundary={boundary}");
        check_random(Case::with_type(&content_type, body), &cuts);
    }

    #[test]
    fn content_types_never_panic(value in "(multipart/form-data)?[;= a-z\"\\\\-]{0,40}") {
        if let Ok(boundary) = Boundary::from_content_type(&value) {
            prop_assert!((1..=70).contains(&boundary.as_bytes().len()));
        }
    }
}
