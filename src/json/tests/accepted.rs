//! Tests which bodies are accepted, and which fields they are reported as.

use super::{Seen, raw, scan_every_way, text};

/// Asserts that the body is accepted with the fields `seen`, however it is cut.
fn accepted(body: &str, seen: Vec<Seen>) {
    assert_eq!(scan_every_way(body.as_bytes()), (seen, Ok(())), "{body}");
}

#[test]
fn accepted_texts_and_scalars() {
    for (body, seen) in [
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
            r#"{"short":"0123456789","a.b":"c","d e":"f"}"#,
            vec![
                text("short", "0123456789"),
                text("a.b", "c"),
                text("d e", "f"),
            ],
        ),
    ] {
        accepted(body, seen);
    }
}

#[test]
fn accepted_objects_and_arrays() {
    for (body, seen) in [
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
        // A raw string keeps its escapes; equal keys are found within one object only.
        (
            r#"{"a":[[{"k":"\u0041\n","l":{"k":1}},{"k":2}]],"k":"v"}"#,
            vec![
                raw("a[]", r#"[{"k":"\u0041\n","l":{"k":1}},{"k":2}]"#),
                text("k", "v"),
            ],
        ),
    ] {
        accepted(body, seen);
    }
}

#[test]
fn accepted_bodies_at_the_limits() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(15), "]".repeat(15));
    let padded = format!("{{{0}\"a\":1{0}}}", " ".repeat(1024));
    let long_key = "k".repeat(256);
    for (body, seen) in [
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
    ] {
        accepted(&body, seen);
    }
}
