//! What a request's `Content-Type` may be, and what it is refused for.

use super::*;

#[test]
fn content_types() {
    use Error::{Boundary as Malformed, ContentTypeParameter as Parameter};
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    let table: [(&str, Error); 47] = [
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
        ("multipart/form-data;", Parameter),
        ("multipart/form-data; ", Parameter),
        ("multipart/form-data; boundary", Parameter),
        ("multipart/form-data; boundary=b;", Parameter),
        ("multipart/form-data; boundary=b; ", Parameter),
        ("multipart/form-data;  boundary=b", Parameter),
        ("multipart/form-data;\tboundary=b", Parameter),
        ("multipart/form-data; boundary=b; boundary=c", Parameter),
        ("multipart/form-data; boundary=b; boundary=b", Parameter),
        ("multipart/form-data; boundary=b; Boundary=c", Parameter),
        ("multipart/form-data; BOUNDARY=b", Parameter),
        ("multipart/form-data; boundary =b", Parameter),
        ("multipart/form-data; boundary*=utf-8''b", Parameter),
        ("multipart/form-data; boundary*0=b; boundary*1=c", Parameter),
        ("multipart/form-data; xboundary=b; boundary=c", Parameter),
        (
            "multipart/form-data; a=\"; boundary=b\"; boundary=c",
            Parameter,
        ),
        (
            "multipart/form-data; boundary=b; charset=utf-8; charset=utf-8",
            Parameter,
        ),
        ("multipart/form-data; boundary=\"b\"c", Parameter),
        ("multipart/form-data; boundary=b, c", Malformed),
        ("multipart/form-data; boundary=", Malformed),
        ("multipart/form-data; boundary=\"\"", Malformed),
        ("multipart/form-data; boundary=\"b", Malformed),
        ("multipart/form-data; boundary=\"b\\\"c\"", Malformed),
        ("multipart/form-data; boundary=\"b c\"", Malformed),
        ("multipart/form-data; boundary=\"b \"", Malformed),
        ("multipart/form-data; boundary= b", Malformed),
        ("multipart/form-data; boundary=b ", Malformed),
        ("multipart/form-data; boundary=b=c", Malformed),
        ("multipart/form-data; boundary='b'", Malformed),
        // npm parse-multipart-data 1.5.0 ends it at the `=`.
        ("multipart/form-data; boundary=\"a=b\"", Malformed),
        ("multipart/form-data; boundary=\"a:b\"", Malformed),
        ("multipart/form-data; boundary=bü", Malformed),
        ("multipart/form-data; boundary=----", Malformed),
        (&long, Malformed),
        (
            "multipart/form-data; boundary=b; charset=utf-7",
            Error::RequestCharset,
        ),
    ];
    for (value, error) in table {
        assert_eq!(Boundary::from_content_type(value), Err(error), "{value}");
    }
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
