//! Tests which creates the mock accepts, and with which credentials.

use serde_json::json;

use super::*;
use crate::mock::Auth;

#[tokio::test]
async fn what_is_wrong_with_a_create_is_said() {
    let mock = start(finished()).await;
    let cases = [
        (r"{}", "prompt", "missing_required_parameter"),
        (r#"{"prompt":""}"#, "prompt", "string_below_min_length"),
        (r#"{"prompt":1}"#, "prompt", "invalid_type"),
        (r#"{"prompt":"x","seconds":4}"#, "seconds", "invalid_type"),
        (
            r#"{"prompt":"x","seconds":"5"}"#,
            "seconds",
            "invalid_value",
        ),
        (
            r#"{"prompt":"x","size":"1024x1792"}"#,
            "size",
            "invalid_value",
        ),
        (
            r#"{"prompt":"x","model":"sora-9"}"#,
            "model",
            "invalid_value",
        ),
        (r#"{"prompt":"x","n":2}"#, "n", "unknown_parameter"),
        (
            r#"{"prompt":"x","characters":{}}"#,
            "characters",
            "invalid_type",
        ),
        (
            r#"{"prompt":"x","characters":[{"id":1}]}"#,
            "characters",
            "invalid_value",
        ),
        (
            r#"{"prompt":"x","input_reference":"u"}"#,
            "input_reference",
            "invalid_value",
        ),
        (
            r#"{"prompt":"x","input_reference":{"file_id":"f","image_url":"u"}}"#,
            "input_reference",
            "invalid_value",
        ),
    ];
    for (body, param, code) in cases {
        let error = Ask::json(body).to(&mock).await.error();
        assert_eq!(
            error,
            (400, Some(param.into()), Some(code.into())),
            "{body}"
        );
    }
    let long = "x".repeat(32_001);
    let error = Ask::form(&[("prompt", &long)]).to(&mock).await.error();
    assert_eq!(error.2.as_deref(), Some("string_above_max_length"));
    let fits = Ask::form(&[("prompt", &"é".repeat(32_000))])
        .to(&mock)
        .await;
    assert_eq!(fits.status, 200);
    for ask in [
        Ask::json("{"),
        Ask::json("[]"),
        Ask::new("POST /v1/videos").header("Content-Type: text/plain"),
        Ask::new("POST /v1/videos"),
        Ask::form(&[]).body(b"--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nx"),
    ] {
        assert_eq!(ask.to(&mock).await.error().0, 400);
    }
    let stats = mock.stats();
    assert_eq!(stats.creates_complete, cases.len() as u64 + 7);
    assert_eq!((stats.creates_accepted, stats.creates_broken), (1, 0));
}

#[tokio::test]
async fn object_fields_of_forms_are_understood() {
    let mock = start(finished()).await;
    for fields in [
        [("prompt", "x"), ("input_reference[file_id]", "file-1")],
        [("prompt", "x"), ("characters[][id]", "char_1")],
        [("prompt", "x"), ("characters[0][id]", "char_1")],
    ] {
        assert_eq!(Ask::form(&fields).to(&mock).await.status, 200, "{fields:?}");
    }
    let both = [
        ("input_reference[file_id]", "f"),
        ("input_reference[image_url]", "u"),
    ];
    let both = Ask::form(&[("prompt", "x"), both[0], both[1]]);
    assert_eq!(
        both.to(&mock).await.error().1.as_deref(),
        Some("input_reference")
    );
}

#[tokio::test]
async fn an_image_must_have_the_size_of_the_video() {
    let png = |width: u32, height: u32| {
        let start: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        [
            start,
            &width.to_be_bytes(),
            &height.to_be_bytes(),
            b"\x08\x06\0\0\0",
        ]
        .concat()
    };
    let jpeg = |width: u16, height: u16| {
        let metadata = [b"\xff\xd8\xff\xe1\xff\xff".as_slice(), &[7; 65_533]].concat();
        let frame: &[u8] = b"\xff\xc0\0\x11\x08";
        [
            &metadata,
            frame,
            &height.to_be_bytes(),
            &width.to_be_bytes(),
            &[3; 8],
        ]
        .concat()
    };
    let mock = start(finished()).await;
    for (content_type, image, status) in [
        ("image/png", png(1280, 720), 200),
        ("image/png", png(720, 1280), 400),
        ("image/jpeg", jpeg(1280, 720), 200),
        ("image/jpeg", jpeg(1279, 720), 400),
        ("application/octet-stream", jpeg(4, 4), 400),
        ("image/webp", b"RIFF????WEBP".to_vec(), 200),
        ("text/plain", png(1280, 720), 400),
    ] {
        let ask = Ask::form_with_file("input_reference", content_type, &image);
        assert_eq!(ask.to(&mock).await.status, status, "{content_type}");
    }
    let elsewhere = Ask::form_with_file("prompt", "image/png", &png(1280, 720));
    assert_eq!(
        elsewhere.to(&mock).await.error().2.as_deref(),
        Some("invalid_type")
    );
    for (side, status) in [(1280, 200), (1281, 400)] {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(png(side, 720));
        let url = format!("data:image/png;base64,{data}");
        let body =
            json!({"prompt": "x", "size": "1280x720", "input_reference": {"image_url": url}});
        assert_eq!(
            Ask::json(&body.to_string()).to(&mock).await.status,
            status,
            "{side}"
        );
    }
}

#[tokio::test]
async fn a_wrong_credential_is_refused_and_never_shown() {
    let mock = start(finished()).await;
    for (header, code) in [
        ("", None),
        (
            "Authorization: Bearer sk-client-secret-0000",
            Some("invalid_api_key"),
        ),
        (
            "Authorization: Basic mock-channel-key",
            Some("invalid_api_key"),
        ),
        ("api-key: mock-channel-key", None),
        (
            "Authorization: Bearer mock-channel-key\r\nAuthorization: Bearer other-credential",
            Some("invalid_api_key"),
        ),
    ] {
        let mut ask = Ask::json(r#"{"prompt":"x"}"#);
        ask.headers = format!(
            "Host: mock\r\n{header}{}",
            if header.is_empty() { "" } else { "\r\n" }
        );
        let error = ask.to(&mock).await.error();
        assert_eq!((error.0, error.2.as_deref()), (401, code), "{header}");
    }
    let stats = mock.stats();
    assert_eq!(
        (
            stats.unauthorized,
            stats.credentials_wrong,
            stats.credentials_ok
        ),
        (5, 5, 0)
    );
    assert_eq!((stats.creates_complete, stats.creates_accepted), (5, 0));
    assert_eq!(stats.last_credential, Some("wrong"));
    Ask::json(r#"{"prompt":"x"}"#).to(&mock).await;
    let requests = get(&mock, "/mock/requests").await.body;
    let requests = String::from_utf8(requests).unwrap();
    assert!(requests.contains(r#"["authorization","ok"]"#));
    assert!(requests.contains(r#"["authorization","wrong"]"#));
    for secret in ["mock-channel-key", "sk-client-secret", "other-credential"] {
        assert!(!requests.contains(secret));
        assert!(!format!("{mock:?}").contains(secret));
    }
}

#[tokio::test]
async fn the_credential_can_have_its_own_header_and_the_api_its_prefix() {
    let options = Options {
        auth: Auth::Header("api-key".parse().unwrap()),
        prefix: "/openai".into(),
        ..finished()
    };
    let mock = start(options).await;
    let ask = Ask::json(r#"{"prompt":"x"}"#).line("POST /openai/v1/videos");
    assert_eq!(ask.to(&mock).await.status, 401);
    let ask = ask.header("api-key: mock-channel-key");
    assert_eq!(ask.to(&mock).await.status, 200);
    assert_eq!(ask.line("POST /v1/videos").to(&mock).await.status, 404);
}
