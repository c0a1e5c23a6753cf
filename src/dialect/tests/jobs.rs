//! Tests how single jobs are read from answers and rewritten.

use super::*;

#[test]
fn jobs_are_read_leniently() {
    let whole = br#"{"id":"video_1","object":"video","status":"queued","seconds":"8","size":"1280x720","created_at":1795373043,"completed_at":null,"error":null}"#;
    let expected = JobAnswer {
        id: Some("video_1".into()),
        status: Some(Status::Queued),
        size: Some("1280x720".into()),
        seconds: Some(8),
        created: Some(1_795_373_043),
        id_spans: [Some(6..15), None],
        ..JobAnswer::default()
    };
    assert_eq!(job(whole), Some(expected));
    let odd = job(br#"{"id":7,"status":"melting","seconds":8,"size":null}"#).unwrap();
    assert_eq!(odd.id.as_deref(), Some("7"));
    assert_eq!((odd.status, odd.seconds, odd.size), (None, Some(8), None));
    assert_eq!(odd.unknown_word.as_deref(), Some("melting"));
    // Members that a channel adds are skipped, and members of another JSON type are ignored.
    let shapes = br#"{"id":{"a":[1]},"x":[{}],"status":[],"size":"a\"b","seconds":-4.5}"#;
    let expected = JobAnswer {
        size: Some("a\"b".into()),
        ..JobAnswer::default()
    };
    assert_eq!(job(shapes), Some(expected));
}

#[test]
fn what_is_no_object_is_no_job() {
    for body in [
        "",
        "<html>",
        "[]",
        "null",
        "\"id\"",
        "7",
        "{",
        "{\"id\":\"a\"",
        "{\"id\" \"a\"}",
        "{\"id\":\"a\"}{",
        "{\"id\":\"a\"} x",
        "{\"id\":\"a\",}",
        "{\"id\":\"a\"]",
        "{id:1}",
        "{\"x\":[}",
        "{\"status\":{]}",
    ] {
        assert_eq!(job(body), None, "{body}");
    }
    assert!(job("\u{feff} {\"id\":\"a\"}\n").is_some());
}

/// Documents with a value that no decoder accepts, in an unwanted member or in a wanted one.
const UNREADABLE: &[&[u8]] = &[
    br#""\ud83d""#,
    br#""\udc00""#,
    br#""\ud83d\u0041""#,
    br#""\ud83d\"""#,
    br#""\ud83d\\""#,
    br#""\ud83dx""#,
    br#""\ud83d\n""#,
    br#""\x""#,
    br#""\u12G4""#,
    b"\"\xe9\"",
    b"\"\xed\xa0\x80\"",
    b"\"a\xf0\x9f\x8e\"",
    b"1e400",
    b"NaN",
    b"-Infinity",
    b"undefined",
];

#[test]
fn a_value_that_nobody_can_read_says_nothing_about_the_others() {
    let deep = [b"[".repeat(50_000), b"]".repeat(50_000)].concat();
    let objects = [
        b"{\"a\":".repeat(50_000),
        b"1".to_vec(),
        b"}".repeat(50_000),
    ]
    .concat();
    let long = format!("\"{}\"", "x".repeat(100_000)).into_bytes();
    let mut values = UNREADABLE.to_vec();
    values.extend([&*deep, &*objects, &*long]);
    for value in values {
        for member in ["prompt", "size", "id", "seconds"] {
            let body = [
                b"{\"x\":1,\"".as_slice(),
                member.as_bytes(),
                b"\":",
                value,
                br#","status":"failed","error":{"message":""#,
                b"\xff\"}}",
            ]
            .concat();
            let read = job(&body).unwrap_or_else(|| panic!("{}", body.escape_ascii()));
            assert_eq!(read.status, Some(Status::Failed), "{}", body.escape_ascii());
            assert_eq!((read.id, read.size, read.seconds), (None, None, None));
        }
    }
}

#[test]
fn times_are_seconds_or_rfc_3339() {
    for (text, expected) in [
        ("1795844433", Some(1_795_844_433)),
        ("1795844433.75", Some(1_795_844_433)),
        ("\"1795844433\"", Some(1_795_844_433)),
        ("\"2026-11-28T05:40:33Z\"", Some(1_795_844_433)),
        ("\"2026-11-28T06:40:33.123456+01:00\"", Some(1_795_844_433)),
        ("\"2026-11-28 05:40:33\"", None),
        ("\"Sat, 28 Nov 2026 05:40:33 GMT\"", None),
        ("null", None),
        ("[]", None),
    ] {
        let read = job(format!("{{\"created_at\":{text},\"completed_at\":{text}}}")).unwrap();
        assert_eq!(
            (read.created, read.completed),
            (expected, expected),
            "{text}"
        );
    }
}

#[test]
fn of_two_that_differ_neither_is_believed() {
    let twice = |second: &str| job(format!("{{\"id\":\"a\",\"status\":\"failed\",{second}}}"));
    assert_eq!(twice("\"id\":\"b\"").unwrap().id, None);
    assert_eq!(twice("\"id\":\"a\"").unwrap().id.as_deref(), Some("a"));
    assert_eq!(twice("\"status\":\"completed\"").unwrap().status, None);
    assert_eq!(
        twice("\"st\\u0061tus\":\"completed\"").unwrap().status,
        None
    );
}

#[test]
fn an_id_is_any_text() {
    let id = |value: &str| job(format!("{{\"id\":{value}}}")).unwrap().id;
    for (value, read) in [
        (r#""video_abc""#, Some("video_abc")),
        (r#""a:b/c=+ \u00e4""#, Some("a:b/c=+ ä")),
        (r#""\ud83c\udfac""#, Some("🎬")),
        ("12345678901234567890", Some("12345678901234567890")),
        ("1.5", None),
        ("true", None),
        ("\"\"", None),
        ("null", None),
    ] {
        assert_eq!(id(value).as_deref(), read, "{value}");
    }
    let long = "a".repeat(MAX_ID);
    assert_eq!(id(&format!("\"{long}\"")).as_deref(), Some(&*long));
    assert_eq!(id(&format!("\"{long}a\"")), None);
}

#[test]
fn an_id_may_be_called_task_id() {
    let id = |body: &str| job(body).unwrap().id;
    assert_eq!(id(r#"{"task_id":"t"}"#).as_deref(), Some("t"));
    assert_eq!(id(r#"{"task_id":"t","id":"i"}"#).as_deref(), Some("i"));
    assert_eq!(id(r#"{"id":null,"task_id":"t"}"#).as_deref(), Some("t"));
    // An `id` that is there and cannot be read is not replaced by `task_id`.
    assert_eq!(id(r#"{"id":"\ud800","task_id":"t"}"#), None);
}

#[test]
fn seconds_are_a_whole_number_in_either_form() {
    let seconds = |value: &str| job(format!("{{\"seconds\":{value}}}")).unwrap().seconds;
    for (value, read) in [
        ("8", Some(8)),
        ("\"8\"", Some(8)),
        ("8.0", Some(8)),
        ("\"12.00\"", Some(12)),
        ("8.5", None),
        ("-8", None),
        ("8e0", None),
        ("\"8s\"", None),
        ("\" 8\"", None),
        ("\"8.\"", None),
        ("0", None),
        ("4294967295", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(seconds(value), read, "{value}");
    }
}

#[test]
fn another_word_is_respelled_and_nothing_else() {
    let respelled = |body: &str| {
        let read = job(body).unwrap();
        let bytes = read.rewritten(body.as_bytes(), None, None);
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(respelled(r#"{"status":"queued"}"#), None);
    assert_eq!(respelled(r#"{"status":"cancelled"}"#), None);
    assert_eq!(respelled(r#"{"status":"melting"}"#), None);
    assert_eq!(
        respelled(r#"{"é":[1, 2] ,"status" : "SUCC\u0045SS" ,"x":1e400}"#).as_deref(),
        Some(r#"{"é":[1, 2] ,"status" : "completed" ,"x":1e400}"#)
    );
    assert_eq!(
        respelled(r#"{"status":"expired"}"#).as_deref(),
        Some(r#"{"status":"failed"}"#)
    );
}

#[test]
fn an_id_is_put_in_place_of_the_channels() {
    let body = br#"{"task_id":"x:1","a":["x:1"],"status":"done","id" : "x:1"}"#;
    let read = job(body).unwrap();
    let rewritten = read.rewritten(body, Some("video_1"), None).unwrap();
    assert_eq!(
        std::str::from_utf8(&rewritten).unwrap(),
        r#"{"task_id":"video_1","a":["x:1"],"status":"completed","id" : "video_1"}"#
    );
    let same = br#"{"id":"video_1","status":"queued"}"#;
    assert_eq!(
        job(same).unwrap().rewritten(same, Some("video_1"), None),
        None
    );
    assert_eq!(
        job("{\"id\":7}")
            .unwrap()
            .rewritten(b"{\"id\":7}", Some("a"), None),
        Some(br#"{"id":"a"}"#.to_vec())
    );
}

#[test]
fn a_source_is_put_in_place_of_the_channels() {
    let body = br#"{"remixed_from_video_id":"x:0","big":1e400,"id":"x:1"}"#;
    let read = job(body).unwrap();
    assert_eq!(read.source.as_deref(), Some("x:0"));
    let rewritten = read
        .rewritten(body, Some("video_1"), Some("video_0"))
        .unwrap();
    assert_eq!(
        std::str::from_utf8(&rewritten).unwrap(),
        r#"{"remixed_from_video_id":"video_0","big":1e400,"id":"video_1"}"#
    );
    // A missing source is not added.
    let without = br#"{"remixed_from_video_id":null,"id":"video_1"}"#;
    let read = job(without).unwrap();
    assert_eq!(
        read.rewritten(without, Some("video_1"), Some("video_0")),
        None
    );
}
