//! Tests properties for arbitrary input: there is no panic, the result does not depend on the pieces, and
//! documents that another implementation accepts are read the same way.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Generates pieces of answers, and pieces that break an answer.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b" ",
        b"\"id\":",
        b"\"data\":[",
        b"\"status\":",
        b"\"failed\"",
        b"\"task_id\":\"t\"",
        b"\"prompt\":\"",
        b"\\ud83d",
        b"\\udfac",
        b"\\u0041",
        b"\xe6\xbc\xa2",
        b"\xff",
        b"1e400",
        b"null",
        b"true",
        b"\"error\":",
        b"\"code\":\"c\"",
        b"\"has_more\":true",
        b"\"last_id\":\"z\"",
        b"\n",
        b"\"a\"",
        b"12.5",
    ];
    let known = prop::sample::select(pieces).prop_map(<[u8]>::to_vec);
    prop_oneof![9 => known, 1 => prop::collection::vec(any::<u8>(), 0..4)]
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(fragment(), 0..40).prop_map(|pieces| pieces.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_pieces_do_not_matter(body in document()) {
        let _ = page(&body);
        read_anything(&body, body.len() / 2);
    }

    #[test]
    fn what_is_no_json_is_no_job(body in document()) {
        // Leniency is about values: a document that another implementation reads has a structure that is
        // followed here.
        if let Ok(Value::Object(object)) = serde_json::from_slice(&body) {
            let read = job(&body);
            prop_assert!(read.is_some());
            let status = object.get("status").and_then(Value::as_str);
            let twice = body.windows(8).filter(|w| *w == b"\"status\"").count() > 1;
            if !twice {
                prop_assert_eq!(read.unwrap().status, status.and_then(|s| StatusWords::default().find(s)));
            }
        }
    }

    #[test]
    fn what_another_implementation_writes_is_read(
        id in ".{1,20}", prompt in ".{0,40}", other in json_value(), pretty: bool,
    ) {
        let entry = json!({ "x": other, "id": id, "prompt": prompt, "status": "done", "y": other });
        let list = json!({ "a": other, "data": [entry, other, entry], "has_more": false });
        let text = match pretty {
            true => serde_json::to_string_pretty(&list).unwrap(),
            false => list.to_string(),
        };
        let read = page(&text).unwrap();
        let digest = crate::sha256::Sha256::of(&prompt);
        prop_assert_eq!((read.whole, read.entries), (true, 3));
        for job in [read.jobs.first().unwrap(), read.jobs.last().unwrap()] {
            prop_assert_eq!(job.id.as_deref(), Some(&*id));
            prop_assert_eq!(job.prompt, Some(digest));
            prop_assert_eq!(job.status, Some(Status::Completed));
        }
    }
}
