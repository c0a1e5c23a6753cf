//! Tests which bodies are refused, and the reasons.

use super::scan_every_way;
use crate::form::Stop;
use crate::json::{Error, Expected};

const fn unexpected(at: u64, expected: Expected) -> Error {
    Error::Unexpected { at, expected }
}

/// Bodies that break a rule outside of any value, with the error.
const REFUSED: &[(&[u8], Error)] = &[
    (b"", Error::Incomplete),
    (b"  ", Error::Incomplete),
    (br#"{"a":"b""#, Error::Incomplete),
    (br#"{"a":"b"#, Error::Incomplete),
    (br#"{"a":tru"#, Error::Incomplete),
    (b"{\"a\":\"\xe4\xb8", Error::Incomplete),
    (b"\xef\xbb\xbf{}", Error::ByteOrderMark),
    (b"\xff\xfe{\0", Error::ByteOrderMark),
    (b"\xfe\xff\0{", Error::ByteOrderMark),
    (b" \xef\xbb\xbf{}", Error::NotAnObject),
    (b"[]", Error::NotAnObject),
    (b"\"model\"", Error::NotAnObject),
    (b"null", Error::NotAnObject),
    (b"\0{", Error::NotAnObject),
    (b"/**/{}", Error::NotAnObject),
    (b"{\0}\0", unexpected(1, Expected::KeyOrEnd)),
    (b"{a:1}", unexpected(1, Expected::KeyOrEnd)),
    (b"{'a':1}", unexpected(1, Expected::KeyOrEnd)),
    (b"{/**/}", unexpected(1, Expected::KeyOrEnd)),
    (b"{,}", unexpected(1, Expected::KeyOrEnd)),
    (b"{\x0b}", unexpected(1, Expected::KeyOrEnd)),
    (b"{\xc2\xa0}", unexpected(1, Expected::KeyOrEnd)),
    (br#"{"a":1,,"b":1}"#, unexpected(7, Expected::Key)),
    (b"{\"a\":1,//\n\"b\":1}", unexpected(7, Expected::Key)),
    (br#"{"a" "b"}"#, unexpected(5, Expected::Colon)),
    (br#"{"a"="b"}"#, unexpected(4, Expected::Colon)),
    (br#"{"a"}"#, unexpected(4, Expected::Colon)),
    (br#"{"a":}"#, unexpected(5, Expected::Value)),
    (br#"{"a":'b'}"#, unexpected(5, Expected::Value)),
    (br#"{"a":NaN}"#, unexpected(5, Expected::Value)),
    (br#"{"a":Infinity}"#, unexpected(5, Expected::Value)),
    (br#"{"a":+1}"#, unexpected(5, Expected::Value)),
    (br#"{"a":.5}"#, unexpected(5, Expected::Value)),
    (br#"{"a":True}"#, unexpected(5, Expected::Value)),
    (br#"{"a":nan}"#, unexpected(6, Expected::Value)),
    (br#"{"a":[,1]}"#, unexpected(6, Expected::Value)),
    (br#"{"a":[1,,1]}"#, unexpected(8, Expected::Value)),
    (br#"{"a":truex}"#, unexpected(9, Expected::CommaOrBrace)),
    (br#"{"a":0x10}"#, unexpected(6, Expected::CommaOrBrace)),
    (br#"{"a":1_0}"#, unexpected(6, Expected::CommaOrBrace)),
    (br#"{"a":"b" "c"}"#, unexpected(9, Expected::CommaOrBrace)),
    (br#"{"a":1/**/}"#, unexpected(6, Expected::CommaOrBrace)),
    (br#"{"a":1]"#, unexpected(6, Expected::CommaOrBrace)),
    (br#"{"a":[1}"#, unexpected(7, Expected::CommaOrBracket)),
    (br#"{"a":1,}"#, Error::TrailingComma { at: 7 }),
    (br#"{"a":[1,]}"#, Error::TrailingComma { at: 8 }),
    (br#"{"a":1}{}"#, Error::AfterDocument { at: 7 }),
    (b"{} \0", Error::AfterDocument { at: 3 }),
    (br#"{"":1}"#, Error::KeyEmpty { at: 2 }),
    (br#"{"a":{"":1}}"#, Error::KeyEmpty { at: 7 }),
    (br#"{"mod\u0065l":"x"}"#, Error::KeyEscape { at: 5 }),
    (br#"{"a":[[{"\/":"x"}]]}"#, Error::KeyEscape { at: 9 }),
    ("{\"ſize\":\"x\"}".as_bytes(), Error::KeyByte { at: 2 }),
    (b"{\"a\0\":\"x\"}", Error::KeyByte { at: 3 }),
    (b"{\"a\x7f\":\"x\"}", Error::KeyByte { at: 3 }),
    (b"{\"a\n\":\"x\"}", Error::KeyByte { at: 3 }),
    (br#"{"l[]":"x"}"#, Error::KeyByte { at: 3 }),
    (br#"{"a":{"b]":"x"}}"#, Error::KeyByte { at: 8 }),
];

/// A function that makes the error about a field.
type OfField = fn(String) -> Error;

/// Bodies that break a rule within a field, with the field and the error.
const REFUSED_IN_A_FIELD: &[(&[u8], &str, OfField)] = &[
    (br#"{"model":"a","model":"b"}"#, "model", |field| {
        Error::DuplicateKey { field }
    }),
    (br#"{"model":"a","Model":"b"}"#, "Model", |field| {
        Error::DuplicateKey { field }
    }),
    (br#"{"r":{"id":"a","id":"b"}}"#, "r[id]", |field| {
        Error::DuplicateKey { field }
    }),
    (
        br#"{"r":[{"id":"a","x":{"y":1},"ID":"b"}]}"#,
        "r[][ID]",
        |field| Error::DuplicateKey { field },
    ),
    (br#"{"r":{"x":{"y":1,"y":1}}}"#, "r[x]", |field| {
        Error::DuplicateKey { field }
    }),
    (b"{\"a\":\"b\nc\"}", "a", |field| Error::ControlCharacter {
        field,
    }),
    (b"{\"a\":[\"b\0\"]}", "a[]", |field| {
        Error::ControlCharacter { field }
    }),
    (br#"{"a":"\x41"}"#, "a", |field| Error::BadEscape { field }),
    (br#"{"a":"\'"}"#, "a", |field| Error::BadEscape { field }),
    (br#"{"a":"\u00g0"}"#, "a", |field| Error::BadEscape {
        field,
    }),
    (br#"{"a":"\u+041"}"#, "a", |field| Error::BadEscape {
        field,
    }),
    (br#"{"a":"\U0041"}"#, "a", |field| Error::BadEscape {
        field,
    }),
    (br#"{"a":"\u41"}"#, "a", |field| Error::BadEscape { field }),
    (br#"{"a":"\ud800"}"#, "a", |field| Error::LoneSurrogate {
        field,
    }),
    (br#"{"a":"\ud800x"}"#, "a", |field| Error::LoneSurrogate {
        field,
    }),
    (br#"{"a":"\ud800\n"}"#, "a", |field| Error::LoneSurrogate {
        field,
    }),
    (br#"{"a":"\ud800\u0041"}"#, "a", |field| {
        Error::LoneSurrogate { field }
    }),
    (br#"{"a":"\ud800\ud800"}"#, "a", |field| {
        Error::LoneSurrogate { field }
    }),
    (br#"{"a":"\udc00\ud800"}"#, "a", |field| {
        Error::LoneSurrogate { field }
    }),
    (br#"{"a":{"b":["\uDFFF"]}}"#, "a[b]", |field| {
        Error::LoneSurrogate { field }
    }),
    (br#"{"model":"a\u0000b"}"#, "model", |field| {
        Error::NulEscape { field }
    }),
    (br#"{"a":01}"#, "a", |field| Error::BadNumber { field }),
    (br#"{"a":-01}"#, "a", |field| Error::BadNumber { field }),
    (br#"{"a":-}"#, "a", |field| Error::BadNumber { field }),
    (br#"{"a":-Infinity}"#, "a", |field| Error::BadNumber {
        field,
    }),
    (br#"{"a":1.}"#, "a", |field| Error::BadNumber { field }),
    (br#"{"a":1.e5}"#, "a", |field| Error::BadNumber { field }),
    (br#"{"a":1e}"#, "a", |field| Error::BadNumber { field }),
    (br#"{"a":[1e+]}"#, "a[]", |field| Error::BadNumber { field }),
    (br#"{"a":1e100}"#, "a", |field| Error::NumberTooLong {
        field,
        limit: 64,
    }),
];

fn refused(body: &[u8], error: &Error) {
    let shown = String::from_utf8_lossy(body);
    let (_, result) = scan_every_way(body);
    assert_eq!(result, Err(Stop::Syntax(error.clone())), "{shown}");
}

#[test]
fn refused_bodies() {
    for (body, error) in REFUSED {
        refused(body, error);
    }
    for (body, field, error) in REFUSED_IN_A_FIELD {
        refused(body, &error((*field).to_owned()));
    }
}

#[test]
fn strings_that_are_not_utf8() {
    for bytes in [
        &b"\x80"[..],
        b"\xbf",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xc3",
        b"\xc3\x28",
        b"\xc3\n",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xe4\xb8",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x9f\x98",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
        b"\xfe",
        b"\xe4\xb8\\u0041",
    ] {
        for before in ["", "é", &"x".repeat(70)] {
            let body = [b"{\"a\":\"", before.as_bytes(), bytes, b"\"}"].concat();
            let (_, result) = scan_every_way(&body);
            let field = "a".to_owned();
            assert_eq!(
                result,
                Err(Stop::Syntax(Error::InvalidUtf8 { field })),
                "{bytes:x?}"
            );
        }
    }
}

#[test]
fn every_control_character() {
    for control in 0..0x20_u8 {
        for before in [0, 1, 63, 64, 100] {
            let body = [b"{\"a\":\"", &b"x".repeat(before)[..], &[control], b"\"}"].concat();
            let field = "a".to_owned();
            let error = Stop::Syntax(Error::ControlCharacter { field });
            assert_eq!(scan_every_way(&body).1, Err(error), "{control:x}");
        }
    }
}

#[test]
fn limits() {
    let members = |n: usize| {
        let members: Vec<String> = (0..n).map(|i| format!("\"k{i}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
    let split = |n: usize| format!("{{\"a\":1{0},{0}\"b\":1}}", " ".repeat(n));
    let refused = |body: String| scan_every_way(body.as_bytes()).1.expect_err("accepted");
    let accepted = |body: String| scan_every_way(body.as_bytes()).1.expect("refused");

    accepted(members(64));
    let limit = 64;
    let error = Stop::Syntax(Error::TooManyMembers { limit });
    assert_eq!(refused(members(65)), error);
    // Objects that are closed no longer count; those that are open do.
    accepted(format!("{{\"a\":[{0},{0}]}}", members(63)));
    assert_eq!(refused(format!("{{\"a\":{}}}", members(64))), error);

    accepted(deep(16));
    let field = "a[]".to_owned();
    let error = Error::TooDeep { field, limit: 16 };
    assert_eq!(refused(deep(17)), Stop::Syntax(error));

    accepted(split(512));
    let limit = 1024;
    let error = Error::WhitespaceTooLong { limit };
    assert_eq!(refused(split(513)), Stop::Syntax(error.clone()));
    assert_eq!(
        refused(format!("{{}}{}", " ".repeat(1025))),
        Stop::Syntax(error)
    );

    let limit = 256;
    let error = Error::KeyTooLong { limit };
    let body = format!("{{\"{}\":1}}", "k".repeat(257));
    assert_eq!(refused(body), Stop::Syntax(error));

    let (field, limit) = ("a".to_owned(), 64);
    let error = Error::NumberTooLong { field, limit };
    let body = format!("{{\"a\":{}}}", "9".repeat(65));
    assert_eq!(refused(body), Stop::Syntax(error));
}

#[test]
fn errors_name_the_field_and_say_what_to_do() {
    let field = "prompt".to_owned();
    let error = Error::InvalidUtf8 { field };
    assert_eq!(error.field(), Some("prompt"));
    assert_eq!(
        error.to_string(),
        "'prompt' has a string that is not valid UTF-8; encode the body as UTF-8."
    );
    let expected = Expected::Colon;
    let error = Error::Unexpected { at: 7, expected };
    assert_eq!(error.field(), None);
    assert_eq!(
        error.to_string(),
        "Invalid JSON at byte 7: expected a colon behind the key."
    );
}
