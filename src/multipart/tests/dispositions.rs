//! Tests each `Content-Disposition` that some server reads differently from another.

use super::*;

/// Values that are not in the one form that is accepted.
const DISPOSITION: &[&str] = &[
    "form-data",
    "form-data;",
    "form-data; name",
    "form-data; Name=\"model\"",
    "form-data; NAME=\"model\"",
    "form-data; name =\"model\"",
    "form-data; name*=utf-8''model",
    "form-data; name*0=\"mo\"; name*1=\"del\"",
    "form-data; filename=\"a\"; name=\"model\"",
    "form-data; x=\"; name=model\"; name=\"size\"",
    "form-data;name=\"model\"",
    "form-data;  name=\"model\"",
    "form-data , name=\"model\"",
    "Form-Data; name=\"model\"",
    "attachment; name=\"model\"",
    "\"form-data\"; name=\"model\"",
    "form-data; name=\"model\"; name=\"size\"",
    "form-data; name=\"model\"; name*=utf-8''size",
    "form-data; name=\"model\"; size=1",
    "form-data; name=\"model\";",
    "form-data; name=\"model\"; filename",
    "form-data; name=\"model\";filename=\"a\"",
    "form-data; name=\"model\"; Filename=\"a\"",
    "form-data; name=\"model\"x",
    "form-data; name=\"model\" ; filename=\"a\"",
    "form-data; name=\"model\"; filename=\"a\"; name=\"size\"",
    "form-data; name=\"model\"; filename=\"a\"; filename=\"b\"",
    "form-data; name=\"model\"; filename=\"a\"b",
    "form-data; name=\"model\"; filename=a; filename*0=b",
];

/// Field names that are empty or that servers read differently.
const FIELD_NAME: &[&str] = &[
    "form-data; name=",
    "form-data; name=; filename=a",
    "form-data; name=\"\"",
    "form-data; name=\"model",
    "form-data; name= \"model\"",
    "form-data; name=\" model\"",
    "form-data; name=\"model \"",
    "form-data; name='model'",
    "form-data; name=mo\"del\"",
    "form-data; name=model x",
    "form-data; name=a[b]",
    "form-data; name=\"mo\\del\"",
    "form-data; name=\"mo\\\"del\"",
    "form-data; name=\"mod%65l\"",
    "form-data; name=\"model%00\"",
    "form-data; name=\"=?utf-8?Q?model?=\"",
    "form-data; name=\"prompt; name=model\"",
    "form-data; name=\"mödel\"",
    "form-data; name=\"model\u{ff}\"",
];

/// Filenames that servers read differently.
const FILENAME: &[&str] = &[
    "form-data; name=\"model\"; filename=",
    "form-data; name=\"model\"; filename=; filename*=utf-8''a",
    "form-data; name=\"model\"; filename=\"a",
    "form-data; name=\"model\"; filename=\"a\\\"",
    "form-data; name=\"model\"; filename=\"a\\\\\\\"",
    "form-data; name=\"model\"; filename=\"C:\\a;b.png\"",
    "form-data; name=\"model\"; filename=\"C:\\a\\\"b.png\"",
    "form-data; name=\"model\"; filename=\"C:\\a\\\"; name=size\"",
    "form-data; name=\"model\"; filename=\"C:\\a\\\"",
    "form-data; name=\"model\"; filename=\"a;b=c\"",
    "form-data; name=\"model\"; filename=\"a; name=size\"",
    "form-data; name=\"model\"; filename=\"a\\\"; name=size\"",
    "form-data; name=\"model\"; filename=\"a\\\\; b\"",
    "form-data; name=\"model\"; filename=\"a\u{85}b\"",
    "form-data; name=\"model\"; filename=\"a\u{2028}b\"",
    "form-data; name=\"model\"; filename=bü",
    "form-data; name=\"model\"; filename=a b",
    "form-data; name=\"model\"; filename=a\"b\"",
];

/// Filenames of which nothing is left after a server has cleaned them.
const BLANK_FILENAME: &[&str] = &[
    "form-data; name=\"model\"; filename=\"a\"; filename*=utf-8''%2e",
    "form-data; name=\"model\"; filename=.",
    "form-data; name=\"model\"; filename=\".\"",
];

/// Values of `filename*` that come without a `filename`, or are malformed.
const EXTENDED_FILENAME: &[&str] = &[
    "form-data; name=\"model\"; filename*=utf-8''a",
    "form-data; name=\"model\"; filename*=utf-8''a; filename=\"a\"",
    "form-data; name=\"model\"; filename=\"\"; filename*=utf-8''a",
    "form-data; name=\"model\"; filename=a; filename*=",
    "form-data; name=\"model\"; filename=a; filename*=a",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''",
    "form-data; name=\"model\"; filename=a; filename*=utf-8'en'a",
    "form-data; name=\"model\"; filename=a; filename*=UTF-16''a",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%2",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a'b",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a*b",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%+1",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%ff",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%00",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%0d%0a",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a%3bb%3dc",
    "form-data; name=\"model\"; filename=a; filename*=utf-8''a; name=size",
    "form-data; name=\"model\"; filename=a; filename*=\"utf-8''a\"",
];

#[test]
fn dispositions() {
    let field = || "model".to_owned();
    let filename = Error::Filename { field: field() };
    let blank = Error::BlankFilename { field: field() };
    let extended = Error::ExtendedFilename { field: field() };
    for (values, error) in [
        (DISPOSITION, Error::Disposition),
        (FIELD_NAME, Error::FieldName),
        (FILENAME, filename.clone()),
        (BLANK_FILENAME, blank),
        (EXTENDED_FILENAME, extended),
    ] {
        for value in values {
            let headers = format!("Content-Disposition: {value}");
            refused(form(&[(&headers, "sora-2")]), error.clone());
        }
    }
    let latin =
        b"--X.b-X\r\nContent-Disposition: form-data; name=\"model\"; filename=\"\xfc\"\r\n\r\n";
    refused(*latin, filename);
    refused(
        *b"--X.b-X\r\nContent-Disposition: form-data; name=\"model\xff\"\r\n\r\n",
        Error::FieldName,
    );
}

/// Checks filenames that are empty after Django has cleaned them. Django does not read such a file to its
/// end.
#[test]
fn filenames_that_name_nothing() {
    let blank = syntax(Error::BlankFilename {
        field: "input_reference".to_owned(),
    });
    let file = |filenames: &str| {
        let disposition = "Content-Disposition: form-data; name=\"input_reference\"";
        Case::new(form(&[(&format!("{disposition}; {filenames}"), "a")]))
            .check()
            .verdict
    };
    for name in [
        ".",
        "..",
        "...",
        " ",
        " . ",
        "/",
        "a/",
        "a.png/",
        "a/..",
        "a/.",
        r"\\",
        r"a\\",
        r"C:\tmp\\",
        r"a\.",
        r"C:\tmp\..",
        "\u{ad}",
        "\u{200b}",
        "\u{feff}",
        "\u{a0}",
        "\u{3000}",
        "\u{3164}",
        "\u{e000}",
        "\u{378}",
        "a/\u{200e}.",
        "&sol;",
        "a&sol;",
        "a.png&bsol;",
        "&#47;",
        "a&#47",
        "a&#x2f",
        "a&#X2F;",
        "a&#x5c;",
        "&#46;",
        "&#8203;",
        "&period;",
        "&ZeroWidthSpace;",
        "&nbsp",
        "&nbsp;",
        "&shy&nbsp.",
        "&SHY",
        "a&sol;&shy;.",
        "a&#47;.&#46;",
        "&amp;",
        "%2e",
        "%2E%2e",
        "a%2f",
        "a%5C",
        "a%26%2347",
        "%20",
        "%00",
        "%ff",
        "'",
        "\\\"",
        "a/\\\".\\\"",
    ] {
        let quoted = format!("filename=\"{name}\"");
        assert_eq!(file(&quoted), blank, "{quoted}");
        let encoded: String = name.bytes().map(|b| format!("%{b:02x}")).collect();
        let extended = format!("filename=\"a.png\"; filename*=utf-8''{encoded}");
        if !name.contains(['%', '\\']) {
            assert_eq!(file(&extended), blank, "{extended}");
        }
    }
    assert_eq!(file("filename=.."), blank);
    assert_eq!(file("filename=a&#47"), blank);
    assert_eq!(file("filename=\"a.png\"; filename*=utf-8''&#47"), blank);
    assert_eq!(file("filename=\"a.png\"; filename*=utf-8''.."), blank);
}

#[test]
fn filenames_that_clients_send() {
    for name in [
        "a.png",
        "-",
        "_",
        "a",
        ".png",
        ".hidden",
        "a..png",
        "..a",
        "dir/a.png",
        "./a",
        r"C:\tmp\a.png",
        r"C:\tmp\up\a.png",
        r"\\server\share\a.png",
        r"C:\\tmp\\a.png",
        r"a\b",
        "Tom & Jerry.png",
        "Tom&Jerry.png",
        "R&D",
        "a&b;c.png",
        "a&amp;b.png",
        "&lt",
        "100%",
        "100%.png",
        "50%20off.png",
        "%22x%22.png",
        "caf\u{e9}",
        "\u{56fe}\u{7247}",
        "\u{56fe}\u{7247}.png",
        "\u{444}\u{43e}\u{442}\u{43e}",
        "\u{c0ac}\u{c9c4}",
        "\u{1f600}.png",
        "a; b.png",
        "a=b.png",
        "'a'",
        "my \\\"best\\\"",
        "blob",
        "#1",
    ] {
        let disposition = "Content-Disposition: form-data; name=\"input_reference\"";
        let body = form(&[(&format!("{disposition}; filename=\"{name}\""), "a")]);
        assert_eq!(Case::new(body).check().verdict, Ok(()), "{name}");
    }
}
