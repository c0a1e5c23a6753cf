//! Tests values as clients write them: `null`, numbers for texts, URLs and pictures.

use super::*;

#[test]
fn an_image_url_is_of_the_web_or_holds_the_image() {
    let url = |url: &str| inspect("application/json", &url_body(url));
    for good in ["http://a/b.png", "HTTPS://a/b?c=d,e", "https://"] {
        assert_eq!(url(good), permitted(), "{good}");
    }
    for bad in [
        "",
        "file:///etc/passwd",
        "ftp://a/b.png",
        "s3://a/b.png",
        "javascript:alert(1)",
        "a.png",
        "//a/b.png",
        " https://a/b.png",
        "http",
        "https:/",
        "https:a.png",
        "dat",
        "blob:https://a/b",
    ] {
        assert_eq!(url(bad), Err(Refusal::UrlScheme), "{bad}");
    }
    let part = form(&[
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("input_reference[image_url]", b"gopher://a"),
    ]);
    assert_eq!(refused(FORM, &part), Refusal::UrlScheme);
}

/// Makes a JPEG with `fill` bytes of EXIF before its size, and with an orientation.
fn jpeg_with_exif(orientation: u8, fill: usize) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0]);
    exif.extend(vec![7; fill]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let frame = b"\xff\xc0\0\x11\x08\x02\xd0\x05\0\x03\x01\x22\0\x02\x11\x01\x03\x11\x01";
    [b"\xff\xd8\xff\xe1", &length[..], &exif, frame].concat()
}

/// Checks that a line break in the Base64 is refused at every place. Once, one behind the size of a PNG
/// passed, and one within the EXIF of a JPEG did not.
#[test]
fn one_rule_for_line_breaks_in_the_base64_of_all_pictures() {
    let mut webp =
        b"RIFF\x9c\x06\0\0WEBPVP8 \x90\x06\0\0\xf0\xc4\0\x9d\x01\x2a\0\x05\xd0\x02".to_vec();
    webp.resize(300, 9);
    let mut png = png(1280, 720);
    png.resize(300, 9);
    for image in [png, jpeg_with_exif(1, 3000), webp] {
        let text = encode(&image);
        let url = |text: &str| {
            let body = url_body(&format!("data:image/x;base64,{text}"));
            inspect("application/json", &body)
        };
        assert_eq!(url(&text), permitted());
        for ending in ["\\n", "\\r\\n"] {
            let lines: Vec<_> = text.as_bytes().chunks(76).collect();
            let wrapped = lines.join(ending.as_bytes());
            let wrapped = String::from_utf8(wrapped).unwrap();
            let last = format!("{text}{ending}");
            for broken in [wrapped, last, format!("{ending}{text}")] {
                let refusal = url(&broken).unwrap_err();
                assert_eq!(refusal, Refusal::BadBase64(Base64Fault::LineBreak));
                assert!(refusal.to_string().contains("line break"), "{refusal}");
            }
        }
        let cut = &text[..text.trim_end_matches('=').len() - 1];
        let end = Err(Refusal::BadBase64(Base64Fault::End));
        assert_eq!(url(cut), end);
        assert_eq!(url(&format!("{cut}=A")), end);
        let odd = Err(Refusal::BadBase64(Base64Fault::Character));
        assert_eq!(url(&text.replacen('A', " ", 1)), odd);
        assert_eq!(url(&format!("{}-_--", &text[..200])), odd);
    }
}

#[test]
fn a_picture_that_exif_turns_is_named_so() {
    let wanted = "1280x720";
    let body = |image: &[u8]| {
        form(&[
            ("prompt", b"a cat"),
            ("model", b"sora-2"),
            ("size", b"720x1280"),
            ("input_reference@", image),
        ])
    };
    let plain = refused(FORM, &body(&jpeg_with_exif(1, 0))).to_string();
    assert!(plain.contains(wanted) && !plain.contains("EXIF"), "{plain}");
    let turned = refused(FORM, &body(&jpeg_with_exif(6, 0))).to_string();
    assert!(
        turned.contains("EXIF") && turned.contains("rotate"),
        "{turned}"
    );
}

#[test]
fn null_is_a_field_that_is_left_out() {
    let with = |field: &str| {
        let body = format!(r#"{{"model":"sora-2","prompt":"a cat",{field}}}"#);
        inspect("application/json", body.as_bytes())
    };
    let without = inspect(
        "application/json",
        br#"{"model":"sora-2","prompt":"a cat"}"#,
    );
    assert!(without.is_ok());
    for field in [
        r#""size":null"#,
        r#""seconds":null,"size": null "#,
        r#""input_reference":null"#,
        r#""input_reference":{"file_id":null,"image_url":null}"#,
        r#""input_reference":{"file_id":null,"image_url":"https://a/b.png"}"#,
        r#""metadata":null"#,
    ] {
        assert_eq!(with(field), without, "{field}");
    }
    let json = "application/json";
    let no_model = refused(json, br#"{"model":null,"prompt":"a cat"}"#);
    assert!(matches!(
        no_model,
        Refusal::Policy(crate::policy::Refusal::NoModel { .. })
    ));
    let no_prompt = refused(json, br#"{"model":"sora-2","prompt":null}"#);
    assert_eq!(no_prompt, Refusal::Missing { name: "prompt" });
}

/// Returns the duration and the written type of a JSON body with `seconds`, where the channels take
/// `seconds_type`.
fn with_seconds(
    seconds_type: SecondsType,
    seconds: &str,
) -> Result<(u32, Option<Written>), Refusal> {
    let plan = Plan {
        catalog: plan().catalog.clone(),
        fields: plan().fields.clone(),
        seconds_type,
        ..*plan()
    };
    let body = format!(r#"{{"model":"sora-2","seconds":{seconds},"prompt":"a cat"}}"#);
    let mut inspector = Inspector::new(Arc::new(plan), key(), Syntax::Json, None);
    let value = body.find("seconds").unwrap() as u64 - 2;
    let end = body.find(",\"prompt").unwrap() as u64;
    for (i, byte) in body.bytes().enumerate() {
        inspector.push(&[byte])?;
        let judged = i as u64 + 1 >= end;
        assert!(judged || inspector.safe() <= value, "{seconds} at {i}");
    }
    let permit = inspector.finish()?;
    Ok((permit.seconds(), inspector.written_seconds()))
}

#[test]
fn seconds_are_a_string_or_a_number_as_the_channels_want() {
    use SecondsType as T;
    let (string, number) = (Some(Written::String), Some(Written::Number));
    assert_eq!(with_seconds(T::String, "\"4\""), Ok((4, string)));
    assert_eq!(with_seconds(T::Either, "\"4\""), Ok((4, string)));
    assert_eq!(with_seconds(T::Either, "4"), Ok((4, number)));
    assert_eq!(with_seconds(T::Number, "8"), Ok((8, number)));
    assert_eq!(with_seconds(T::Number, "null"), Ok((4, None)));
    let wrong = |seconds_type, seconds: &str| match with_seconds(seconds_type, seconds) {
        Err(Refusal::WrongKind { name, wanted }) if name == "seconds" => wanted,
        other => panic!("{seconds}: {other:?}"),
    };
    assert_eq!(wrong(T::String, "4"), "a string, in quotes");
    assert!(wrong(T::Number, "\"4\"").contains("without quotes"));
    for odd in [
        "4.0",
        "4e0",
        "4E0",
        "40e-1",
        "-4",
        "0",
        "0.4e1",
        "true",
        "false",
        "1234567890",
        "[4]",
        "{}",
    ] {
        let refused = with_seconds(T::Either, odd);
        assert!(refused.is_err(), "{odd}");
        if !odd.starts_with(['[', '{']) {
            assert!(wrong(T::Either, odd).contains("digits only"), "{odd}");
        }
    }
    for syntax in ["04", "+4", ".4", "4.", "0x4", "4_0", "NaN"] {
        let refused = with_seconds(T::Either, syntax);
        assert!(
            matches!(refused, Err(Refusal::Json(_) | Refusal::WrongKind { .. })),
            "{syntax}"
        );
    }
    assert!(matches!(
        with_seconds(T::Number, "5"),
        Err(Refusal::Policy(_))
    ));
}

#[test]
fn a_file_for_a_text_is_told_that_the_field_is_text() {
    let as_file = |content_type: &str| {
        let mut body = part("model", b"sora-2");
        body.extend_from_slice(
            format!(
                "--xx\r\nContent-Disposition: form-data; name=\"prompt\"; filename=\"p.txt\"\r\n\
                 Content-Type: {content_type}\r\n\r\na cat\r\n--xx--\r\n"
            )
            .as_bytes(),
        );
        refused(FORM, &body).to_string()
    };
    for content_type in ["text/plain", "application/octet-stream"] {
        let message = as_file(content_type);
        assert!(message.contains("text"), "{message}");
        assert!(message.contains("without a filename"), "{message}");
    }
}
