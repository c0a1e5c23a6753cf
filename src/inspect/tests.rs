//! Tests whole bodies, as forms and as JSON, and in pieces: permits, refusals, and the safe offsets.

mod digests;
mod images;
mod values;

use super::*;
use crate::catalog::{Model, Seconds, Size};
use crate::policy::{Allow, Group};

fn model(name: &str, price: &str, sizes: &[&str], check_image: bool) -> Model {
    let price = price.parse().unwrap();
    let seconds = ["4", "8", "12"];
    Model::new(
        name,
        seconds.iter().map(|t| Seconds::parse(t).unwrap()).collect(),
        "4",
        sizes
            .iter()
            .map(|n| Size::parse(n, price).unwrap())
            .collect(),
        sizes[0],
        check_image,
    )
    .unwrap()
}

fn plan() -> Arc<Plan> {
    let small = ["720x1280", "1280x720"];
    let fields = [
        "prompt",
        "input_reference",
        "input_reference[file_id]",
        "input_reference[image_url]",
        "characters[][id]",
        "metadata",
    ];
    Arc::new(Plan {
        catalog: Arc::new(
            Catalog::new(vec![
                model("sora-2", "0.10", &small, true),
                model("sora-2-pro", "0.30", &small, true),
                model("open-model", "0.01", &small, false),
            ])
            .unwrap(),
        ),
        fields: fields.into_iter().map(Arc::from).collect(),
        prompt_chars: 20,
        seconds_type: SecondsType::String,
        multipart: multipart::Limits::default(),
        json: json::Limits::default(),
    })
}

fn key() -> Arc<Key> {
    let models = ["sora-2", "open-model"];
    Arc::new(Key {
        name: "studio".into(),
        group: Arc::new(Group {
            name: "sora2".into(),
            multiplier: "5".parse().unwrap(),
            currency: "CNY".into(),
            limits: vec![],
            channels: None,
        }),
        allow: Allow {
            models: Some(models.into_iter().map(Arc::from).collect()),
            ..Allow::default()
        },
        limits: vec![],
        channels: None,
    })
}

const FORM: &str = "multipart/form-data; boundary=xx";

/// Makes a part from its name and value; a name with `@` is a file.
fn part(name: &str, value: &[u8]) -> Vec<u8> {
    let head = match name.strip_suffix('@') {
        Some(name) => format!(
            "--xx\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\n\r\n"
        ),
        None => format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n"),
    };
    [head.as_bytes(), value, b"\r\n"].concat()
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let parts: Vec<u8> = parts.iter().flat_map(|(n, v)| part(n, v)).collect();
    [&parts[..], b"--xx--\r\n"].concat()
}

/// Returns the head of a PNG of the given size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend_from_slice(&width.to_be_bytes());
    ihdr.extend_from_slice(&height.to_be_bytes());
    ihdr.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut crc = !0u32;
    for byte in &ihdr {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    let mut image = b"\x89PNG\r\n\x1a\n\0\0\0\r".to_vec();
    image.extend_from_slice(&ihdr);
    image.extend_from_slice(&(!crc).to_be_bytes());
    image.extend_from_slice(&[7; 40]);
    image
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn url_body(url: &str) -> Vec<u8> {
    format!(
        r#"{{"prompt":"a cat","model":"sora-2","size":"1280x720","input_reference":{{"image_url":"{url}"}}}}"#
    )
    .into_bytes()
}

type Verdict = Result<(String, String, u32), Refusal>;

fn inspect_pieces(content_type: &str, pieces: &[&[u8]], source: Option<Source>) -> Verdict {
    let syntax = Syntax::from_content_type(content_type)?;
    let mut inspector = Inspector::new(plan(), key(), syntax, source);
    let (mut pushed, mut safe) = (0, 0);
    for piece in pieces {
        inspector.push(piece)?;
        pushed += piece.len() as u64;
        assert!(inspector.safe() >= safe, "what is safe stays safe");
        safe = inspector.safe();
        assert!(safe <= pushed);
    }
    let permit = inspector.finish()?;
    assert!(inspector.safe() < pushed, "the end is never safe");
    Ok((
        permit.model().name().to_string(),
        permit.size().name.to_string(),
        permit.seconds(),
    ))
}

/// Returns the verdict on a body, and checks that it is the same however the body is cut.
fn inspect(content_type: &str, body: &[u8]) -> Verdict {
    let whole = inspect_pieces(content_type, &[body], None);
    let single: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(inspect_pieces(content_type, &single, None), whole);
    for cut in 0..=body.len() {
        let (a, b) = body.split_at(cut);
        assert_eq!(
            inspect_pieces(content_type, &[a, b], None),
            whole,
            "cut at {cut}"
        );
    }
    whole
}

fn refused(content_type: &str, body: &[u8]) -> Refusal {
    inspect(content_type, body).unwrap_err()
}

fn permitted() -> Verdict {
    Ok(("sora-2".into(), "1280x720".into(), 4))
}

#[test]
fn fields_come_in_any_order_and_either_syntax() {
    let image = png(1280, 720);
    let fields: [(&str, &[u8]); 5] = [
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("size", b"1280x720"),
        ("seconds", b"4"),
        ("input_reference@", &image),
    ];
    for turn in 0..fields.len() {
        let mut turned = fields;
        turned.rotate_left(turn);
        assert_eq!(inspect(FORM, &form(&turned)), permitted());
    }
    let json = br#"{"seconds":"4","prompt":"a cat","size":"1280x720","model":"sora-2"}"#;
    assert_eq!(inspect("application/json", json), permitted());
    assert_eq!(
        inspect("application/json; charset=utf-8", json),
        permitted()
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let body = form(&[("prompt", b"a cat"), ("model", b"sora-2")]);
    assert_eq!(
        inspect(FORM, &body),
        Ok(("sora-2".into(), "720x1280".into(), 4))
    );
}

#[test]
fn each_field_is_judged() {
    let base: [(&str, &[u8]); 2] = [("prompt", b"a cat"), ("model", b"sora-2")];
    let with = |name, value| refused(FORM, &form(&[base[0], base[1], (name, value)]));
    assert!(matches!(
        with("cfg_scale", b"1"),
        Refusal::UnknownField { .. }
    ));
    assert!(matches!(
        with("Model", b"sora-2-pro"),
        Refusal::UnknownField { .. }
    ));
    assert!(matches!(
        with("model[]", b"sora-2-pro"),
        Refusal::UnknownField { .. }
    ));
    for member in ["prompt[a]", "input_reference[url]", "characters[][name]"] {
        assert!(matches!(with(member, b"x"), Refusal::UnknownField { .. }));
    }
    assert!(matches!(
        with("model", b"sora-2"),
        Refusal::DuplicateField { .. }
    ));
    assert!(matches!(with("size", b""), Refusal::Empty { .. }));
    assert!(matches!(
        with("size@", b"1280x720"),
        Refusal::WrongKind { .. }
    ));
    assert!(matches!(
        with("seconds", &[b'4'; 129]),
        Refusal::TooLong { .. }
    ));
    assert!(matches!(with("seconds", b"\xff"), Refusal::NotUtf8 { .. }));
    assert!(matches!(with("metadata", b"\xff"), Refusal::NotUtf8 { .. }));
    assert!(matches!(
        with("metadata[a]", b"\xe2\x82"),
        Refusal::NotUtf8 { .. }
    ));
    assert!(matches!(
        with("input_reference", b"text"),
        Refusal::WrongKind { .. }
    ));
    assert!(matches!(with("seconds", b"5"), Refusal::Policy(_)));
    let pro = form(&[("model", b"sora-2-pro"), ("prompt", b"a cat")]);
    assert!(matches!(refused(FORM, &pro), Refusal::Policy(_)));
    let none = form(&[("prompt", b"a cat")]);
    assert!(matches!(
        refused(FORM, &none),
        Refusal::Policy(crate::policy::Refusal::NoModel { .. })
    ));
    for (name, value) in [
        ("metadata", &b"m"[..]),
        ("metadata[shot]", b"1"),
        ("characters[][id]", b"c"),
    ] {
        let body = form(&[base[0], base[1], (name, value), ("size", b"1280x720")]);
        assert_eq!(inspect(FORM, &body), permitted(), "{name}");
    }
}

#[test]
fn prompts_are_counted_in_characters() {
    let with = |prompt: &str| form(&[("model", b"sora-2"), ("prompt", prompt.as_bytes())]);
    assert!(inspect(FORM, &with(&"é".repeat(20))).is_ok());
    assert!(matches!(
        refused(FORM, &with(&"é".repeat(21))),
        Refusal::TooLong { .. }
    ));
    assert!(matches!(refused(FORM, &with("")), Refusal::Empty { .. }));
    let missing = form(&[("model", b"sora-2")]);
    assert!(matches!(
        refused(FORM, &missing),
        Refusal::Missing { name: "prompt" }
    ));
    // A value that is too long and then no UTF-8 is too long, wherever the pieces end.
    let mut body = part("model", b"sora-2");
    body.extend(part("prompt", &[&[b'a'; 21][..], b"\xff"].concat()));
    body.extend(b"--xx--\r\n");
    assert!(matches!(refused(FORM, &body), Refusal::TooLong { .. }));
}

#[test]
fn json_texts_must_be_texts() {
    let with = |field: &str| {
        let body = format!(r#"{{"model":"sora-2","prompt":"a cat",{field}}}"#);
        inspect("application/json", body.as_bytes())
    };
    assert!(with(r#""metadata":{"shot":1,"deep":[{"x":null}]}"#).is_ok());
    assert!(with(r#""characters":[{"id":"a"},{"id":"b"}]"#).is_ok());
    for field in [
        r#""seconds":4"#,
        r#""seconds":4.0"#,
        r#""size":false"#,
        r#""prompt":7"#,
        r#""size":{"w":1}"#,
        r#""size":["1280x720"]"#,
        r#""input_reference":"file""#,
        r#""input_reference":{"file_id":7}"#,
        r#""input_reference":{"file_id":"a","image_url":"https://a/b.png"}"#,
        r#""mod\u0065l":"sora-2-pro""#,
        r#""model":"sora-2-pro""#,
        r#""Model":"sora-2-pro""#,
    ] {
        assert!(with(field).is_err(), "{field}");
    }
    assert!(
        with(r#""seconds":"\u0034""#).is_ok(),
        "escapes in values are read"
    );
}

#[test]
fn a_remix_has_a_prompt_only_and_is_judged_by_its_source() {
    let source = |model: &str| Source {
        model: model.into(),
        size: "1280x720".into(),
        seconds: "8".into(),
    };
    let remix =
        |model: &str, body: &[u8]| inspect_pieces("application/json", &[body], Some(source(model)));
    let prompt = br#"{"prompt":"x"}"#;
    assert_eq!(
        remix("sora-2", prompt),
        Ok(("sora-2".into(), "1280x720".into(), 8))
    );
    assert!(matches!(
        remix("sora-2-pro", prompt),
        Err(Refusal::Policy(_))
    ));
    let more = br#"{"prompt":"x","seconds":"4"}"#;
    assert!(matches!(
        remix("sora-2", more),
        Err(Refusal::UnknownField { .. })
    ));
    assert!(matches!(
        remix("sora-2", b"{}"),
        Err(Refusal::Missing { .. })
    ));
}

#[test]
fn nothing_of_a_policy_field_is_safe_before_it_is_judged() {
    let body = form(&[
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("seconds", b"4"),
    ]);
    let syntax = Syntax::from_content_type(FORM).unwrap();
    let mut inspector = Inspector::new(plan(), key(), syntax, None);
    let text = String::from_utf8(body.clone()).unwrap();
    let value = text.find("sora-2").unwrap() as u64;
    let part_start = text[..value as usize].rfind("\r\n--xx").unwrap() as u64;
    let value_end = value + "sora-2".len() as u64;
    for (i, byte) in body.iter().enumerate() {
        inspector.push(&[*byte]).unwrap();
        let pushed = i as u64 + 1;
        if pushed > value && pushed <= value_end + "\r\n--xx".len() as u64 {
            assert!(inspector.safe() <= part_start, "at {pushed}");
        }
    }
    assert!(inspector.safe() <= text.rfind("\r\n--xx--").unwrap() as u64);
}
