//! Which bodies are accepted, as what, and why others are refused.

use super::{Seen, raw, scan_every_way, text};
use crate::form::Stop;
use crate::json::{Error, Expected};

#[test]
fn accepted_bodies() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(15), "]".repeat(15));
    let padded = format!("{{{0}\"a\":1{0}}}", " ".repeat(1024));
    let long_key = "k".repeat(256);
    let table: Vec<(String, Vec<Seen>)> = [
        ("{}", vec![]),
        (" \t\r\n{ } \n", vec![]),
        (r#"{"model":"sora-2"}"#, vec![text("model", "sora-2")]),
        (
            "{\n  \"prompt\" : \"a \u{7f} b\" ,\n  \"seconds\" : \"4\"\n}\n",
            vec![text("prompt", "a \u{7f} b"), text("seconds", "4")],
        ),
        (r#"{"prompt":""}"#, vec![text("prompt", "")]),
        (
            r#"{"prompt":"\"\\\/\b\f\n\r\t\u00e9\u4E2D\ud83D\uDE00x"}"#,
            vec![text("prompt", "\"\\/\u{8}\u{c}\n\r\té中😀x")],
        ),
        (
            "{\"prompt\":\"é中😀\u{10ffff}\u{ffff}\u{d7ff}\u{e000}\u{800}\u{80}\"}",
            vec![text(
                "prompt",
                "é中😀\u{10ffff}\u{ffff}\u{d7ff}\u{e000}\u{800}\u{80}",
            )],
        ),
        (
            r#"{"a":1,"b":-0.5e+10,"c":true,"d":false,"e":null,"f":0,"g":1E99,"h":-0 }"#,
            vec![
                raw("a", "1"),
                raw("b", "-0.5e+10"),
                raw("c", "true"),
                raw("d", "false"),
                raw("e", "null"),
                raw("f", "0"),
                raw("g", "1E99"),
                raw("h", "-0"),
            ],
        ),
        (
            r#"{"input_reference":{"file_id":"f","image_url":"u"},"model":"m"}"#,
            vec![
                text("input_reference[file_id]", "f"),
                text("input_reference[image_url]", "u"),
                text("model", "m"),
            ],
        ),
        (
            r#"{"input_reference": { "n" : 1 , "o" : { "p" : "q" } , "r" : [ "s" ] }}"#,
            vec![
                raw("input_reference[n]", "1"),
                raw("input_reference[o]", r#"{ "p" : "q" }"#),
                raw("input_reference[r]", r#"[ "s" ]"#),
            ],
        ),
        (
            r#"{"characters":[{"id":"a"},{"id":"b","x":{"id":"c"}}]}"#,
            vec![
                text("characters[][id]", "a"),
                text("characters[][id]", "b"),
                raw("characters[][x]", r#"{"id":"c"}"#),
            ],
        ),
        (
            r#"{"l":["s",1,null,[ "t" ],{},[]]}"#,
            vec![
                text("l[]", "s"),
                raw("l[]", "1"),
                raw("l[]", "null"),
                raw("l[]", r#"[ "t" ]"#),
                raw("l[]", "{}"),
                raw("l[]", "[]"),
            ],
        ),
        (
            "{\"a\":{ },\"b\":[\n],\"c\":\"d\"}",
            vec![raw("a", "{}"), raw("b", "[]"), text("c", "d")],
        ),
        // A raw string keeps its escapes; keys are told apart object by object.
        (
            r#"{"a":[[{"k":"\u0041\n","l":{"k":1}},{"k":2}]],"k":"v"}"#,
            vec![
                raw("a[]", r#"[{"k":"\u0041\n","l":{"k":1}},{"k":2}]"#),
                text("k", "v"),
            ],
        ),
        (
            r#"{"short":"0123456789","a.b":"c","d e":"f"}"#,
            vec![
                text("short", "0123456789"),
                text("a.b", "c"),
                text("d e", "f"),
            ],
        ),
    ]
    .into_iter()
    .map(|(body, seen)| (body.to_owned(), seen))
    .chain([
        (
            deep,
            vec![raw(
                "a[]",
                &format!("{}1{}", "[".repeat(14), "]".repeat(14)),
            )],
        ),
        (padded, vec![raw("a", "1")]),
        (
            format!("{{\"{long_key}\":\"v\"}}"),
            vec![text(&long_key, "v")],
        ),
        (
            format!("{{\"n\":{}}}", "9".repeat(64)),
            vec![raw("n", &"9".repeat(64))],
        ),
    ])
    .collect();
    for (body, seen) in table {
        assert_eq!(scan_every_way(body.as_bytes()), (seen, Ok(())), "{body}");
    }
}

#[test]
fn refused_bodies() {
    let f = |name: &str| name.to_owned();
    let unexpected = |at, expected| Error::Unexpected { at, expected };
    let table: Vec<(&[u8], Error)> = vec![
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
        (
            br#"{"model":"a","model":"b"}"#,
            Error::DuplicateKey { field: f("model") },
        ),
        (
            br#"{"model":"a","Model":"b"}"#,
            Error::DuplicateKey { field: f("Model") },
        ),
        (
            br#"{"r":{"id":"a","id":"b"}}"#,
            Error::DuplicateKey { field: f("r[id]") },
        ),
        (
            br#"{"r":[{"id":"a","x":{"y":1},"ID":"b"}]}"#,
            Error::DuplicateKey {
                field: f("r[][ID]"),
            },
        ),
        (
            br#"{"r":{"x":{"y":1,"y":1}}}"#,
            Error::DuplicateKey { field: f("r[x]") },
        ),
        (
            b"{\"a\":\"b\nc\"}",
            Error::ControlCharacter { field: f("a") },
        ),
        (
            b"{\"a\":[\"b\0\"]}",
            Error::ControlCharacter { field: f("a[]") },
        ),
        (br#"{"a":"\x41"}"#, Error::BadEscape { field: f("a") }),
        (br#"{"a":"\'"}"#, Error::BadEscape { field: f("a") }),
        (br#"{"a":"\u00g0"}"#, Error::BadEscape { field: f("a") }),
        (br#"{"a":"\u+041"}"#, Error::BadEscape { field: f("a") }),
        (br#"{"a":"\U0041"}"#, Error::BadEscape { field: f("a") }),
        (br#"{"a":"\u41"}"#, Error::BadEscape { field: f("a") }),
        (br#"{"a":"\ud800"}"#, Error::LoneSurrogate { field: f("a") }),
        (
            br#"{"a":"\ud800x"}"#,
            Error::LoneSurrogate { field: f("a") },
        ),
        (
            br#"{"a":"\ud800\n"}"#,
            Error::LoneSurrogate { field: f("a") },
        ),
        (
            br#"{"a":"\ud800\u0041"}"#,
            Error::LoneSurrogate { field: f("a") },
        ),
        (
            br#"{"a":"\ud800\ud800"}"#,
            Error::LoneSurrogate { field: f("a") },
        ),
        (
            br#"{"a":"\udc00\ud800"}"#,
            Error::LoneSurrogate { field: f("a") },
        ),
        (
            br#"{"a":{"b":["\uDFFF"]}}"#,
            Error::LoneSurrogate { field: f("a[b]") },
        ),
        (
            br#"{"model":"a\u0000b"}"#,
            Error::NulEscape { field: f("model") },
        ),
        (br#"{"a":01}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":-01}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":-}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":-Infinity}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":1.}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":1.e5}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":1e}"#, Error::BadNumber { field: f("a") }),
        (br#"{"a":[1e+]}"#, Error::BadNumber { field: f("a[]") }),
        (
            br#"{"a":1e100}"#,
            Error::NumberTooLong {
                field: f("a"),
                limit: 64,
            },
        ),
    ];
    for (body, error) in table {
        let shown = String::from_utf8_lossy(body);
        let (_, result) = scan_every_way(body);
        assert_eq!(result, Err(Stop::Syntax(error)), "{shown}");
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
