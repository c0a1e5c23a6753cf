//! Tests part headers that some server reads differently from another.

use super::*;

const FILE: &str = "Content-Disposition: form-data; name=\"input_reference\"; filename=\"a.png\"";

const HEADER_LINES: &[(&str, Error)] = &[
    ("", Error::MissingDisposition),
    ("Content-Type: text/plain", Error::MissingDisposition),
    (
        "X-Content-Disposition: form-data; name=\"model\"",
        Error::UnknownHeader,
    ),
    (
        "Content-Disposition2: form-data; name=\"model\"",
        Error::UnknownHeader,
    ),
    (
        "CONTENT-DISPOSITION: form-data; name=\"model\"",
        Error::UnknownHeader,
    ),
    (
        "Content-disposition: form-data; name=\"model\"",
        Error::UnknownHeader,
    ),
    ("{M}\r\nCONTENT-TYPE: text/plain", Error::UnknownHeader),
    ("{M}\r\nX-Request: a", Error::UnknownHeader),
    ("{M}\r\nContent-ID: a", Error::UnknownHeader),
    (
        "{M}\r\n{M}",
        Error::DuplicateHeader {
            header: "Content-Disposition",
        },
    ),
    (
        "{M}\r\ncontent-disposition: form-data; name=\"size\"",
        Error::DuplicateHeader {
            header: "Content-Disposition",
        },
    ),
    (
        "Content-Type: text/plain\r\n{M}\r\ncontent-type: text/plain",
        Error::DuplicateHeader {
            header: "Content-Type",
        },
    ),
    (
        "Content-Disposition : form-data; name=\"model\"",
        Error::HeaderLine,
    ),
    (" {M}", Error::HeaderLine),
    ("{M} ", Error::HeaderLine),
    (
        "Content-Disposition:form-data; name=\"model\"",
        Error::HeaderLine,
    ),
    (
        "Content-Disposition:  form-data; name=\"model\"",
        Error::HeaderLine,
    ),
    (
        "Content-Disposition: form-data;\r\n name=\"model\"",
        Error::HeaderLine,
    ),
    ("{M}\r\n ; filename=\"a\"", Error::HeaderLine),
    ("{M}\r\nContent-Type:", Error::HeaderLine),
    ("{M}\r\nContent-Type: ", Error::HeaderLine),
    ("{M}\r\nContent-Type", Error::HeaderLine),
    ("{M}\r\n: text/plain", Error::HeaderLine),
    ("{M}\r\nContent(Type): a", Error::HeaderLine),
    ("{M}\r\nContent-Týpe: a", Error::HeaderLine),
    (
        "Content-Disposition:\tform-data; name=\"model\"",
        Error::HeaderControl,
    ),
    (
        "Content-Disposition: form-data; name=\"mo\0del\"",
        Error::HeaderControl,
    ),
    (
        "Content-Disposition: form-data; name=\"model\x0b\"",
        Error::HeaderControl,
    ),
    (
        "Content-Disposition: form-data; name=\"model\x1c\"",
        Error::HeaderControl,
    ),
    (
        "Content-Disposition: form-data; name=\"model\x7f\"",
        Error::HeaderControl,
    ),
    (
        "Content-Disposition: form-data;\r\n\tname=\"model\"",
        Error::HeaderControl,
    ),
    ("{M}\nContent-Type: text/plain", Error::HeaderLineEnding),
    ("{M}\rContent-Type: text/plain", Error::HeaderLineEnding),
    ("{M}\n\nsora-2-pro", Error::HeaderLineEnding),
    ("{M}\r\n\nsora-2-pro", Error::HeaderLineEnding),
    ("{M}\n\r\nsora-2-pro", Error::HeaderLineEnding),
    ("{M}\r\rsora-2-pro", Error::HeaderLineEnding),
    ("{M}\r\r\nContent-Type: text/plain", Error::HeaderLineEnding),
    ("\n{M}", Error::HeaderLineEnding),
];

#[test]
fn header_lines() {
    for (headers, error) in HEADER_LINES {
        let headers = headers.replace("{M}", MODEL);
        let lines = if headers.is_empty() {
            headers
        } else {
            format!("{headers}\r\n")
        };
        refused(
            format!("--X.b-X\r\n{lines}\r\nsora-2\r\n--X.b-X--\r\n"),
            error.clone(),
        );
    }
}

#[test]
fn types_encodings_and_lengths() {
    let field = || "model".to_owned();
    let text = || Error::TextType { field: field() };
    let encoding = || Error::TransferEncoding { field: field() };
    let length = || Error::PartLength { field: field() };
    for (header, error) in [
        ("Content-Type: text/plain; charset=utf-16", text()),
        ("Content-Type: text/plain; charset=utf-7", text()),
        ("Content-Type: text/plain; charset=cp037", text()),
        ("Content-Type: text/plain; charset=", text()),
        (
            "Content-Type: text/plain; charset=utf-8; charset=utf-16",
            text(),
        ),
        ("Content-Type: text/plain; charset=\"utf-16\"", text()),
        ("Content-Type: text/plain; format=flowed", text()),
        ("Content-Type: text/plain;", text()),
        ("Content-Type: text/html", text()),
        ("Content-Type: application/json", text()),
        ("Content-Type: application/octet-stream", text()),
        ("Content-Type: application/x-www-form-urlencoded", text()),
        ("Content-Type: multipart/mixed; boundary=inner", text()),
        ("Content-Type: image/png", text()),
        ("Content-Transfer-Encoding: base64", encoding()),
        ("Content-Transfer-Encoding: quoted-printable", encoding()),
        ("Content-Transfer-Encoding: 8bit; x", encoding()),
        ("Content-Length: -1", length()),
        ("Content-Length: +6", length()),
        ("Content-Length: 06", length()),
        ("Content-Length: 0x6", length()),
        ("Content-Length: 6, 6", length()),
        ("Content-Length: 99999999999999999999", length()),
        (
            "Content-Length: 5",
            Error::LengthMismatch {
                field: field(),
                declared: 5,
                received: 6,
            },
        ),
        (
            "Content-Length: 7",
            Error::LengthMismatch {
                field: field(),
                declared: 7,
                received: 6,
            },
        ),
        (
            "Content-Length: 0",
            Error::LengthMismatch {
                field: field(),
                declared: 0,
                received: 6,
            },
        ),
    ] {
        refused(
            form(&[(&format!("{MODEL}\r\n{header}"), "sora-2")]),
            error.clone(),
        );
        refused(
            form(&[(&format!("{header}\r\n{MODEL}"), "sora-2")]),
            error.clone(),
        );
        assert_eq!(error.field(), Some("model"));
        assert!(error.to_string().contains("`model`"));
    }
}

#[test]
fn types_of_files() {
    for media_type in [
        "text/plain",
        "image",
        "image/",
        "image/a b",
        "image/png; charset=utf-8",
        "multipart/mixed",
        "application/x-www-form-urlencoded",
        "application/octet-stream2",
        "video/mp4",
    ] {
        refused(
            form(&[(&format!("{FILE}\r\nContent-Type: {media_type}"), "a")]),
            Error::FileType {
                field: "input_reference".to_owned(),
            },
        );
    }
}

#[test]
fn an_empty_filename_has_no_bytes() {
    let headers = "Content-Disposition: form-data; name=\"prompt\"; filename=\"\"";
    for value in ["a", "\r\n", "\r", "X.b-", "sora-2-pro"] {
        refused(
            form(&[(headers, value)]),
            Error::EmptyFilename {
                field: "prompt".to_owned(),
            },
        );
    }
}

/// Checks that these two fields may be of the type octet-stream, as the official Java SDK sends them. The
/// fields of the policy may not be.
#[test]
fn references_by_id_and_url_may_be_octets() {
    let part = |name: &str| {
        let headers = format!(
            "Content-Disposition: form-data; name=\"{name}\"\r\nContent-Type: application/octet-stream"
        );
        Case::new(form(&[(&headers, "file_1")])).check().verdict
    };
    assert_eq!(part("input_reference[file_id]"), Ok(()));
    for name in ["model", "seconds", "size", "prompt", "characters[][id]"] {
        let field = name.to_owned();
        assert_eq!(part(name), syntax(Error::TextType { field }), "{name}");
    }
}
