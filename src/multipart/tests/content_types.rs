//! Tests which `Content-Type` headers of requests are accepted, and the errors for others.

use super::*;

const REFUSED: &[(&str, Error)] = &[
    ("", Error::MediaType),
    ("text/plain", Error::MediaType),
    ("application/x-www-form-urlencoded", Error::MediaType),
    ("multipart/mixed; boundary=b", Error::MediaType),
    ("Multipart/Form-Data; boundary=b", Error::MediaType),
    ("multipart/form-DATA; boundary=b", Error::MediaType),
    ("multipart/form-data ; boundary=b", Error::MediaType),
    (" multipart/form-data; boundary=b", Error::MediaType),
    (
        "multipart/form-data, multipart/form-data; boundary=b",
        Error::MediaType,
    ),
    ("multipart/form-data boundary=b", Error::MediaType),
    ("multipart/form-data", Error::MissingBoundary),
    ("multipart/form-data; charset=utf-8", Error::MissingBoundary),
    ("multipart/form-data;", Error::ContentTypeParameter),
    ("multipart/form-data; ", Error::ContentTypeParameter),
    ("multipart/form-data; boundary", Error::ContentTypeParameter),
    (
        "multipart/form-data; boundary=b;",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary=b; ",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data;  boundary=b",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data;\tboundary=b",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary=b; boundary=c",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary=b; boundary=b",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary=b; Boundary=c",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; BOUNDARY=b",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary =b",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary*=utf-8''b",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary*0=b; boundary*1=c",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; xboundary=b; boundary=c",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; a=\"; boundary=b\"; boundary=c",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary=b; charset=utf-8; charset=utf-8",
        Error::ContentTypeParameter,
    ),
    (
        "multipart/form-data; boundary=\"b\"c",
        Error::ContentTypeParameter,
    ),
    ("multipart/form-data; boundary=b, c", Error::Boundary),
    ("multipart/form-data; boundary=", Error::Boundary),
    ("multipart/form-data; boundary=\"\"", Error::Boundary),
    ("multipart/form-data; boundary=\"b", Error::Boundary),
    ("multipart/form-data; boundary=\"b\\\"c\"", Error::Boundary),
    ("multipart/form-data; boundary=\"b c\"", Error::Boundary),
    ("multipart/form-data; boundary=\"b \"", Error::Boundary),
    ("multipart/form-data; boundary= b", Error::Boundary),
    ("multipart/form-data; boundary=b ", Error::Boundary),
    ("multipart/form-data; boundary=b=c", Error::Boundary),
    ("multipart/form-data; boundary='b'", Error::Boundary),
    // npm parse-multipart-data 1.5.0 ends the boundary at the `=`.
    ("multipart/form-data; boundary=\"a=b\"", Error::Boundary),
    ("multipart/form-data; boundary=\"a:b\"", Error::Boundary),
    ("multipart/form-data; boundary=bü", Error::Boundary),
    ("multipart/form-data; boundary=----", Error::Boundary),
    (
        "multipart/form-data; boundary=b; charset=utf-7",
        Error::RequestCharset,
    ),
];

#[test]
fn content_types() {
    for (value, error) in REFUSED {
        let found = Boundary::from_content_type(value);
        assert_eq!(found, Err(error.clone()), "{value}");
    }
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    assert_eq!(Boundary::from_content_type(&long), Err(Error::Boundary));
    for charset in [
        "cp037",
        "utf-16",
        "iso-8859-15",
        "latin1",
        "\"utf-8\"",
        "",
        "utf-8 ",
    ] {
        let value = format!("multipart/form-data; boundary=b; charset={charset}");
        assert_eq!(
            Boundary::from_content_type(&value),
            Err(Error::RequestCharset)
        );
    }
}

#[test]
fn content_types_in_use() {
    let longest = "b".repeat(70);
    for (value, boundary) in [
        ("multipart/form-data; boundary=b".to_owned(), "b"),
        (
            // Qt: Base64.
            "multipart/form-data; boundary=\"boundary_.oOo._x/Y+z\"".to_owned(),
            "boundary_.oOo._x/Y+z",
        ),
        (
            // Apache HttpClient 5.0 to 5.3.
            "multipart/form-data; charset=ISO-8859-1; boundary=b".to_owned(),
            "b",
        ),
        (
            "multipart/form-data; charset=US-ASCII; boundary=b".to_owned(),
            "b",
        ),
        (
            "multipart/form-data; boundary=\"b\"; charset=utf-8".to_owned(),
            "b",
        ),
        (format!("multipart/form-data; boundary={longest}"), &longest),
        (
            "multipart/form-data; boundary=charset".to_owned(),
            "charset",
        ),
    ] {
        let found = Boundary::from_content_type(&value).expect(&value);
        assert_eq!(found.as_bytes(), boundary.as_bytes());
    }
}
