//! Each `Content-Disposition` that some server reads differently from another.

use super::*;

#[test]
fn dispositions() {
    let filename = || Error::Filename {
        field: "model".to_owned(),
    };
    let extended = || Error::ExtendedFilename {
        field: "model".to_owned(),
    };
    for (value, error) in [
        ("form-data", Error::Disposition),
        ("form-data;", Error::Disposition),
        ("form-data; name", Error::Disposition),
        ("form-data; Name=\"model\"", Error::Disposition),
        ("form-data; NAME=\"model\"", Error::Disposition),
        ("form-data; name =\"model\"", Error::Disposition),
        ("form-data; name*=utf-8''model", Error::Disposition),
        (
            "form-data; name*0=\"mo\"; name*1=\"del\"",
            Error::Disposition,
        ),
        (
            "form-data; filename=\"a\"; name=\"model\"",
            Error::Disposition,
        ),
        (
            "form-data; x=\"; name=model\"; name=\"size\"",
            Error::Disposition,
        ),
        ("form-data;name=\"model\"", Error::Disposition),
        ("form-data;  name=\"model\"", Error::Disposition),
        ("form-data , name=\"model\"", Error::Disposition),
        ("Form-Data; name=\"model\"", Error::Disposition),
        ("attachment; name=\"model\"", Error::Disposition),
        ("\"form-data\"; name=\"model\"", Error::Disposition),
        (
            "form-data; name=\"model\"; name=\"size\"",
            Error::Disposition,
        ),
        (
            "form-data; name=\"model\"; name*=utf-8''size",
            Error::Disposition,
        ),
        ("form-data; name=\"model\"; size=1", Error::Disposition),
        ("form-data; name=\"model\";", Error::Disposition),
        ("form-data; name=\"model\"; filename", Error::Disposition),
        (
            "form-data; name=\"model\";filename=\"a\"",
            Error::Disposition,
        ),
        (
            "form-data; name=\"model\"; Filename=\"a\"",
            Error::Disposition,
        ),
        ("form-data; name=\"model\"x", Error::Disposition),
        (
            "form-data; name=\"model\" ; filename=\"a\"",
            Error::Disposition,
        ),
        (
            "form-data; name=\"model\"; filename=\"a\"; name=\"size\"",
            Error::Disposition,
        ),
        (
            "form-data; name=\"model\"; filename=\"a\"; filename=\"b\"",
            Error::Disposition,
        ),
        (
            "form-data; name=\"model\"; filename=\"a\"b",
            Error::Disposition,
        ),
        ("form-data; name=", Error::FieldName),
        ("form-data; name=; filename=a", Error::FieldName),
        ("form-data; name=\"\"", Error::FieldName),
        ("form-data; name=\"model", Error::FieldName),
        ("form-data; name= \"model\"", Error::FieldName),
        ("form-data; name=\" model\"", Error::FieldName),
        ("form-data; name=\"model \"", Error::FieldName),
        ("form-data; name='model'", Error::FieldName),
        ("form-data; name=mo\"del\"", Error::FieldName),
        ("form-data; name=model x", Error::FieldName),
        ("form-data; name=a[b]", Error::FieldName),
        ("form-data; name=\"mo\\del\"", Error::FieldName),
        ("form-data; name=\"mo\\\"del\"", Error::FieldName),
        ("form-data; name=\"mod%65l\"", Error::FieldName),
        ("form-data; name=\"model%00\"", Error::FieldName),
        ("form-data; name=\"=?utf-8?Q?model?=\"", Error::FieldName),
        ("form-data; name=\"prompt; name=model\"", Error::FieldName),
        ("form-data; name=\"mödel\"", Error::FieldName),
        ("form-data; name=\"model\u{ff}\"", Error::FieldName),
        ("form-data; name=\"model\"; filename=", filename()),
        (
            "form-data; name=\"model\"; filename=; filename*=utf-8''a",
            filename(),
        ),
        ("form-data; name=\"model\"; filename=\"a", filename()),
        ("form-data; name=\"model\"; filename=\"a\\\"", filename()),
        (
            "form-data; name=\"model\"; filename=\"a\\\\\\\"",
            filename(),
        ),
        (
            "form-data; name=\"model\"; filename=\"C:\\temp\\a.png\"",
            filename(),
        ),
        ("form-data; name=\"model\"; filename=\"a;b=c\"", filename()),
        (
            "form-data; name=\"model\"; filename=\"a; name=size\"",
            filename(),
        ),
        (
            "form-data; name=\"model\"; filename=\"a\\\"; name=size\"",
            filename(),
        ),
        (
            "form-data; name=\"model\"; filename=\"a\\\\; b\"",
            filename(),
        ),
        (
            "form-data; name=\"model\"; filename=\"a\u{85}b\"",
            filename(),
        ),
        (
            "form-data; name=\"model\"; filename=\"a\u{2028}b\"",
            filename(),
        ),
        ("form-data; name=\"model\"; filename=bü", filename()),
        ("form-data; name=\"model\"; filename=a b", filename()),
        ("form-data; name=\"model\"; filename=a\"b\"", filename()),
        ("form-data; name=\"model\"; filename*=utf-8''a", extended()),
        (
            "form-data; name=\"model\"; filename*=utf-8''a; filename=\"a\"",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=\"\"; filename*=utf-8''a",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=a",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8'en'a",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=UTF-16''a",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%2",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a'b",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a*b",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%+1",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%ff",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%00",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%0d%0a",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a%3bb%3dc",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=utf-8''a; name=size",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*=\"utf-8''a\"",
            extended(),
        ),
        (
            "form-data; name=\"model\"; filename=a; filename*0=b",
            Error::Disposition,
        ),
    ] {
        refused(
            form(&[(&format!("Content-Disposition: {value}"), "sora-2")]),
            error,
        );
    }
    let latin =
        b"--X.b-X\r\nContent-Disposition: form-data; name=\"model\"; filename=\"\xfc\"\r\n\r\n";
    refused(*latin, filename());
    refused(
        *b"--X.b-X\r\nContent-Disposition: form-data; name=\"model\xff\"\r\n\r\n",
        Error::FieldName,
    );
}
