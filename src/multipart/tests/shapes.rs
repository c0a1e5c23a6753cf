//! Tests that bodies as real clients write them are accepted.

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0";

/// Replaces `PNG` in a body written as text by the bytes of an image.
fn with_image(body: &str) -> Vec<u8> {
    let at = body.find("PNG").expect("the place of the image");
    let body = body.as_bytes();
    [&body[..at], PNG, &body[at + 3..]].concat()
}

#[track_caller]
fn passes(content_type: &str, body: impl Into<Vec<u8>>, seen: &[Seen]) {
    let outcome = Case::with_type(content_type, body).check();
    assert_eq!(outcome.verdict, Ok(()));
    assert_eq!(outcome.seen, seen);
}

#[test]
fn curl() {
    let b = "------------------------569cc4d4eb54ea74";
    passes(
        &format!("multipart/form-data; boundary={b}"),
        with_image(&format!(
            "--{b}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nhi\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
             filename=\"img.png\"\r\nContent-Type: image/jpeg\r\n\r\nPNG\r\n--{b}--\r\n"
        )),
        &[
            Seen::text("prompt", "hi"),
            Seen::text("model", "sora-2"),
            Seen::new("input_reference", Kind::File, PNG),
        ],
    );
}

#[test]
fn openai_python_through_httpx() {
    let b = "60c2df07b91db0f242253574ca96b005";
    let prompt = "A calico cat playing a piano, café \"quoted\"\nline2";
    passes(
        &format!("multipart/form-data; boundary={b}"),
        with_image(&format!(
            "--{b}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n{prompt}\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"seconds\"\r\n\r\n8\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n1280x720\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
             filename=\"bild ü %22x%22.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--{b}--\r\n"
        )),
        &[
            Seen::text("prompt", prompt),
            Seen::text("model", "sora-2"),
            Seen::text("seconds", "8"),
            Seen::text("size", "1280x720"),
            Seen::new("input_reference", Kind::File, PNG),
        ],
    );
}

#[test]
fn openai_node_with_the_file_first() {
    for b in ["----formdata-undici-062330248602", "openai-7y8ntm3mk5n"] {
        passes(
            &format!("multipart/form-data; boundary={b}"),
            with_image(&format!(
                "--{b}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
                 filename=\"img.png\"\r\nContent-Type: application/octet-stream\r\n\r\nPNG\r\n\
                 --{b}\r\nContent-Disposition: form-data; name=\"input_reference[file_id]\"\
                 \r\n\r\nfile_1\r\n\
                 --{b}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n\
                 --{b}--\r\n\r\n"
            )),
            &[
                Seen::new("input_reference", Kind::File, PNG),
                Seen::text("input_reference[file_id]", "file_1"),
                Seen::text("model", "sora-2"),
            ],
        );
    }
}

#[test]
fn go_and_ruby_escape_quotes() {
    for name in [
        r#"a \"b\".png"#,
        r"a \\b.png",
        "a; b.png",
        "a=b.png",
        "'a'.png",
    ] {
        passes(
            "multipart/form-data; boundary=0a1b2c",
            with_image(&format!(
                "--0a1b2c\r\nContent-Disposition: form-data; name=\"input_reference\"; \
                 filename=\"{name}\"\r\nContent-Type: image/webp\r\n\r\nPNG\r\n--0a1b2c--\r\n"
            )),
            &[Seen::new("input_reference", Kind::File, PNG)],
        );
    }
}

#[test]
fn aiohttp_types_its_text_first() {
    passes(
        "multipart/form-data; boundary=3a5d6e1f",
        "--3a5d6e1f\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n--3a5d6e1f--\r\n",
        &[Seen::text("model", "sora-2")],
    );
}

#[test]
fn okhttp_3_declares_lengths() {
    let b = "b8f0c5d0-3d1e-4c5b-9b9e-0d6a3a0c2f11";
    passes(
        &format!("multipart/form-data; boundary={b}"),
        with_image(&format!(
            "--{b}\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Length: 6\
             \r\n\r\nsora-2\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"prompt\"\r\nContent-Length: 0\
             \r\n\r\n\r\n\
             --{b}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
             filename=\"a.png\"\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\nPNG\r\n\
             --{b}--\r\n",
            PNG.len()
        )),
        &[
            Seen::text("model", "sora-2"),
            Seen::text("prompt", ""),
            Seen::new("input_reference", Kind::File, PNG),
        ],
    );
}

#[test]
fn apache_httpmime_names_charset_and_encoding() {
    for (charset, encoding) in [
        ("ISO-8859-1", "8bit"),
        ("US-ASCII", "7bit"),
        ("UTF-8", "8bit"),
    ] {
        passes(
            "multipart/form-data; boundary=vMkq_4tC-Zg; charset=UTF-8",
            with_image(&format!(
                "--vMkq_4tC-Zg\r\nContent-Disposition: form-data; name=\"model\"\r\n\
                 Content-Type: text/plain; charset={charset}\r\n\
                 Content-Transfer-Encoding: {encoding}\r\n\r\nsora-2\r\n\
                 --vMkq_4tC-Zg\r\nContent-Disposition: form-data; name=\"input_reference\"; \
                 filename=\"a.png\"\r\nContent-Type: application/octet-stream\r\n\
                 Content-Transfer-Encoding: binary\r\n\r\nPNG\r\n--vMkq_4tC-Zg--\r\n"
            )),
            &[
                Seen::text("model", "sora-2"),
                Seen::new("input_reference", Kind::File, PNG),
            ],
        );
    }
}

#[test]
fn dotnet_quotes_the_boundary_alone() {
    let b = "7a1fe1b4-4f45-4c1b-a4b5-1a2b3c4d5e6f";
    passes(
        &format!("multipart/form-data; boundary=\"{b}\""),
        with_image(&format!(
            "--{b}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Disposition: form-data; name=model\r\n\r\nsora-2\r\n\
             --{b}\r\nContent-Disposition: form-data; name=input_reference; filename=a.png; \
             filename*=utf-8''a.png\r\n\r\nPNG\r\n--{b}--\r\n"
        )),
        &[
            Seen::text("model", "sora-2"),
            Seen::new("input_reference", Kind::File, PNG),
        ],
    );
    passes(
        &format!("multipart/form-data; boundary=\"{b}\""),
        with_image(&format!(
            "--{b}\r\nContent-Disposition: form-data; name=input_reference; \
             filename=\"=?utf-8?B?ZsO8LnBuZw==?=\"; filename*=utf-8''f%C3%BC.png\r\n\r\n\
             PNG\r\n--{b}--"
        )),
        &[Seen::new("input_reference", Kind::File, PNG)],
    );
}

#[test]
fn dart_writes_header_names_in_lower_case() {
    passes(
        "multipart/form-data; boundary=dart-http-boundary-Yz1+w_.8",
        with_image(
            "--dart-http-boundary-Yz1+w_.8\r\n\
             content-disposition: form-data; name=\"characters[][id]\"\r\n\r\na\r\n\
             --dart-http-boundary-Yz1+w_.8\r\n\
             content-disposition: form-data; name=\"characters[][id]\"\r\n\
             content-type: text/plain; charset=utf-8\r\n\
             content-transfer-encoding: binary\r\n\r\nb\r\n\
             --dart-http-boundary-Yz1+w_.8\r\ncontent-type: image/png\r\n\
             content-disposition: form-data; name=\"input_reference\"; filename=\"a.png\"\r\n\r\n\
             PNG\r\n--dart-http-boundary-Yz1+w_.8--\r\n",
        ),
        &[
            Seen::text("characters[][id]", "a"),
            Seen::text("characters[][id]", "b"),
            Seen::new("input_reference", Kind::File, PNG),
        ],
    );
}

#[test]
fn spring_leaves_out_the_space() {
    for content_type in [
        "multipart/form-data;boundary=oKjHgFdS",
        "multipart/form-data;charset=UTF-8;boundary=oKjHgFdS",
    ] {
        passes(
            content_type,
            "--oKjHgFdS\r\nContent-Disposition: form-data; name=\"model\"\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 6\r\n\r\nsora-2\r\n\
             --oKjHgFdS--\r\n",
            &[Seen::text("model", "sora-2")],
        );
    }
}

#[test]
fn browsers_send_empty_file_inputs() {
    for b in [
        "----WebKitFormBoundaryAbC123dEf456GhIj",
        "----geckoformboundary15b1b6e0a2f7",
        "---------------------------9051914041544843365972754266",
    ] {
        passes(
            &format!("multipart/form-data; boundary={b}"),
            format!(
                "--{b}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
                 filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n\
                 --{b}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n\
                 --{b}--\r\n"
            ),
            &[
                Seen::new("input_reference", Kind::EmptyFile, b""),
                Seen::text("model", "sora-2"),
            ],
        );
    }
}

#[test]
fn one_line_end_may_come_before_the_first_delimiter() {
    passes(
        &format!("multipart/form-data; boundary={BOUNDARY}"),
        "\r\n--X.b-X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2\r\n--X.b-X--",
        &[Seen::text("model", "sora-2")],
    );
}

#[test]
fn values_may_come_close_to_a_delimiter() {
    for value in [
        "\r\n--X.b-",
        "\r\n--X.b-\r\n--X.b-",
        "\r",
        "\n",
        "\r\n",
        "\r\n\r\n",
        "--",
        "\r\n--",
        "X",
        "X.b",
        "\r\r\n",
        "-X.b--",
        "\r\n--x.b-x",
        "X.b-\r\n-",
        "\r\n\r\n-",
        "",
    ] {
        passes(
            &format!("multipart/form-data; boundary={BOUNDARY}"),
            form(&[("Content-Disposition: form-data; name=\"prompt\"", value)]),
            &[Seen::text("prompt", value)],
        );
    }
}

#[test]
fn boundaries_that_repeat_themselves() {
    for b in [
        "-a-", "--a--", "aa", "aaaa", "-----a", "abab", "aabaaa", "/", "a/a/",
    ] {
        for value in [
            "",
            "b",
            "\r\n-",
            "\r\n--",
            "-\r\n--",
            "\r\n---",
            "\r\n------",
            "-----",
            "=",
            "aba",
            "aabaab",
            "\r\n--aabaabaa",
        ] {
            if value.replace(['\r', '\n'], "").contains(b) {
                continue;
            }
            passes(
                &format!("multipart/form-data; boundary=\"{b}\""),
                format!(
                    "--{b}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\
                     {value}\r\n--{b}--"
                ),
                &[Seen::text("prompt", value)],
            );
        }
    }
}

#[test]
fn a_boundary_is_found_after_a_false_start() {
    for (value, b) in [
        ("aabaabaaa", "aabaaa"),
        ("\r\n--aabaabaaa", "aabaaa"),
        ("aabaaabaaac", "aabaaac"),
        ("ababab", "abab"),
        ("\r\n--\r\n-abab", "abab"),
    ] {
        let outcome = Case::with_type(
            &format!("multipart/form-data; boundary={b}"),
            format!(
                "--{b}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\
                 {value}\r\n--{b}--"
            ),
        )
        .check();
        let field = Some("prompt".to_owned());
        assert_eq!(outcome.verdict, syntax(Error::StrayBoundary { field }));
    }
}
