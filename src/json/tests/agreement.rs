//! Tests that the scanner agrees with `serde_json` on random bodies and mutations of them.

use proptest::prelude::*;
use serde_json::Value;

use super::{Seen, raw, scan, text};
use crate::form::Stop;
use crate::json::Error;

/// Returns the fields of a body that another parser has read: raw values in one spelling, sorted.
fn fields_of(body: &Value) -> Vec<Seen> {
    fn leaf(name: String, value: &Value) -> Seen {
        match value {
            Value::String(string) => text(&name, string),
            other => raw(&name, &other.to_string()),
        }
    }
    fn members(name: &str, value: &Value, seen: &mut Vec<Seen>) -> bool {
        let Value::Object(map) = value else {
            return false;
        };
        seen.extend(map.iter().map(|(k, v)| leaf(format!("{name}[{k}]"), v)));
        !map.is_empty()
    }
    let mut seen = Vec::new();
    for (name, value) in body.as_object().expect("an object") {
        match value {
            Value::Array(elements) if !elements.is_empty() => {
                let name = format!("{name}[]");
                for element in elements {
                    if !members(&name, element, &mut seen) {
                        seen.push(leaf(name.clone(), element));
                    }
                }
            }
            _ if members(name, value, &mut seen) => {}
            _ => seen.push(leaf(name.clone(), value)),
        }
    }
    seen.sort();
    seen
}

/// Returns the fields that the scanner has reported, in the same form: raw values in one spelling,
/// sorted.
fn normal(mut seen: Vec<Seen>) -> Vec<Seen> {
    for field in seen.iter_mut().filter(|field| !field.is_text) {
        let value: Value = serde_json::from_slice(&field.data).expect("raw JSON");
        field.data = value.to_string().into_bytes();
    }
    seen.sort();
    seen
}

/// Generates JSON values with an object outside, few and short keys (so that some are the same but for
/// letter case) and any strings.
fn values() -> impl Strategy<Value = Value> {
    let key = "[a-dA-D]|[ -!#-Z^-~]{1,6}";
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::from),
        "[ -~é中😀\n]{0,80}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let tree = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(key, tree, 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// Writes `value` with spaces and escapes that `choices` decides on, over and over.
fn write(value: &Value, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    fn space(choices: &mut impl Iterator<Item = u8>, out: &mut String) {
        let choice = usize::from(choices.next().unwrap_or(0));
        out.push_str(["", "", "", " ", "\n  ", "\t", "\r\n", ""][choice % 8]);
    }
    fn string(string: &str, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
        out.push('"');
        for character in string.chars() {
            let must = matches!(character, '"' | '\\' | '\0'..='\x1f');
            if must || choices.next().unwrap_or(0).is_multiple_of(8) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(character);
            }
        }
        out.push('"');
    }
    space(choices, out);
    match value {
        Value::String(content) => string(content, choices, out),
        Value::Array(elements) => {
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write(element, choices, out);
            }
            space(choices, out);
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (i, (key, member)) in members.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                space(choices, out);
                out.push_str(&format!("\"{key}\""));
                space(choices, out);
                out.push(':');
                write(member, choices, out);
            }
            space(choices, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
    space(choices, out);
}

fn bodies() -> impl Strategy<Value = (Value, String)> {
    (values(), prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(value, choices)| {
        let mut body = String::new();
        write(&value, &mut choices.iter().copied().cycle(), &mut body);
        (value, body)
    })
}

/// Returns whether a value has a key twice, letter case aside, or U+0000 in a string.
fn is_ambiguous(value: &Value) -> bool {
    match value {
        Value::String(string) => string.contains('\0'),
        Value::Array(elements) => elements.iter().any(is_ambiguous),
        Value::Object(members) => {
            let mut keys: Vec<String> = members.keys().map(|k| k.to_ascii_lowercase()).collect();
            keys.sort();
            keys.dedup();
            keys.len() < members.len() || members.values().any(is_ambiguous)
        }
        _ => false,
    }
}

fn cuts(len: usize, seeds: &[u16]) -> Vec<usize> {
    let mut cuts: Vec<usize> = seeds.iter().map(|&s| usize::from(s) % (len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_bodies_are_read_as_serde_reads_them(
        (value, body) in bodies(),
        seeds in prop::collection::vec(any::<u16>(), 0..8),
    ) {
        let (seen, result) = scan(body.as_bytes(), &[]);
        prop_assert_eq!(&scan(body.as_bytes(), &cuts(body.len(), &seeds)), &(seen.clone(), result.clone()));
        let is_taken = seen.iter().all(|field| field.name != "short" && field.name != "refused");
        prop_assume!(is_taken);
        if is_ambiguous(&value) {
            prop_assert!(matches!(
                result,
                Err(Stop::Syntax(Error::DuplicateKey { .. } | Error::NulEscape { .. }))
            ), "{}: {:?}", body, result);
        } else {
            prop_assert_eq!(result, Ok(()), "{}", body);
            let value: Value = serde_json::from_str(&body).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(normal(seen), fields_of(&value));
        }
    }

    #[test]
    fn what_is_accepted_after_mutations_serde_reads_the_same(
        (_, body) in bodies(),
        mutations in prop::collection::vec((any::<u16>(), 0_u8..3, any::<prop::sample::Index>(), any::<u8>()), 1..4),
        seeds in prop::collection::vec(any::<u16>(), 0..8),
    ) {
        const BYTES: &[u8] = b"\"\"\\{}[]:,,.-+e0123456789truefalsn/*'ud8dc \n\0\t\x7f\xc3\xa9\xed\xa0\x80\xef\xbb\xbf\xff";
        let mut body = body.into_bytes();
        for (at, how, pick, any) in mutations {
            let at = usize::from(at) % (body.len() + 1);
            let byte = if any < 32 { any } else { BYTES[pick.index(BYTES.len())] };
            match how {
                0 => body.insert(at, byte),
                1 if at < body.len() => body[at] = byte,
                _ if at < body.len() => { body.remove(at); }
                _ => {}
            }
        }
        let (seen, result) = scan(&body, &[]);
        prop_assert_eq!(&scan(&body, &cuts(body.len(), &seeds)), &(seen.clone(), result.clone()));
        if result.is_ok() {
            let value: Value = serde_json::from_slice(&body).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(normal(seen), fields_of(&value));
        }
    }
}
