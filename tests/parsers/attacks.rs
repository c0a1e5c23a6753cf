//! Hand-made bodies in which some parser reads another model than the honest one.

use crate::mutants::Mutant;
use crate::shapes::POLICY;

const B: &str = "704ad1c28f53d0853c0a4f9b14a7b2ce";

/// Headers of a part, with `{f}` for the name of a policy field, and what is wrong with them.
/// The part's value is the dear one.
const HEADERS: &[(&str, &str)] = &[
    (
        "the same name",
        "Content-Disposition: form-data; name=\"{f}\"",
    ),
    ("NAME", "Content-Disposition: form-data; NAME=\"{f}\""),
    ("unquoted", "Content-Disposition: form-data; name={f}"),
    (
        "single quotes",
        "Content-Disposition: form-data; name='{f}'",
    ),
    ("no space", "Content-Disposition: form-data;name=\"{f}\""),
    (
        "two names",
        "Content-Disposition: form-data; name=\"prompt\"; name=\"{f}\"",
    ),
    (
        "two names, turned",
        "Content-Disposition: form-data; name=\"{f}\"; name=\"prompt\"",
    ),
    (
        "name in a quoted filename",
        "Content-Disposition: form-data; filename=\"; name={f}\"; name=\"input_reference\"",
    ),
    (
        "name in a quoted filename, last",
        "Content-Disposition: form-data; name=\"input_reference\"; filename=\"; name={f}; \"",
    ),
    (
        "quote in a filename",
        "Content-Disposition: form-data; name=\"input_reference\"; filename=\"a\\\"; name=\\\"{f}\"",
    ),
    (
        "backslash ends a filename",
        "Content-Disposition: form-data; name=\"input_reference\"; filename=\"a\\\\\"; name=\"{f}\"",
    ),
    (
        "name without value",
        "Content-Disposition: form-data; name; name=\"{f}\"",
    ),
    ("name*", "Content-Disposition: form-data; name*=utf-8''{f}"),
    (
        "name and name*",
        "Content-Disposition: form-data; name=\"prompt\"; name*=utf-8''{f}",
    ),
    ("name*0", "Content-Disposition: form-data; name*0=\"{f}\""),
    (
        "name*0 and name*1",
        "Content-Disposition: form-data; name*0=\"\"; name*1=\"{f}\"",
    ),
    (
        "quoted pair",
        "Content-Disposition: form-data; name=\"\\{f}\"",
    ),
    (
        "spaces in a name",
        "Content-Disposition: form-data; name=\" {f} \"",
    ),
    (
        "spaces round =",
        "Content-Disposition: form-data; name = \"{f}\"",
    ),
    (
        "NUL in a name",
        "Content-Disposition: form-data; name=\"{f}\0\"",
    ),
    (
        "RFC 2047",
        "Content-Disposition: form-data; name=\"=?utf-8?q?{f}?=\"",
    ),
    ("open quote", "Content-Disposition: form-data; name=\"{f}"),
    (
        "two dispositions",
        "Content-Disposition: form-data; name=\"prompt\"\r\nContent-Disposition: form-data; name=\"{f}\"",
    ),
    (
        "two dispositions, turned",
        "Content-Disposition: form-data; name=\"{f}\"\r\nContent-Disposition: form-data; name=\"prompt\"",
    ),
    (
        "folding",
        "Content-Disposition: form-data;\r\n name=\"{f}\"",
    ),
    (
        "folding with TAB",
        "Content-Disposition:\r\n\tform-data; name=\"{f}\"",
    ),
    (
        "folded second name",
        "Content-Disposition: form-data; name=\"prompt\"\r\n ; name=\"{f}\"",
    ),
    (
        "space before the colon",
        "Content-Disposition : form-data; name=\"{f}\"",
    ),
    (
        "no space after the colon",
        "Content-Disposition:form-data; name=\"{f}\"",
    ),
    (
        "bare LF",
        "X: y\nContent-Disposition: form-data; name=\"{f}\"",
    ),
    (
        "bare CR",
        "X: y\rContent-Disposition: form-data; name=\"{f}\"",
    ),
    (
        "LF LF",
        "Content-Disposition: form-data; name=\"prompt\"\n\nContent-Disposition: form-data; name=\"{f}\"",
    ),
    (
        "X-Content-Disposition",
        "X-Content-Disposition: form-data; name=\"{f}\"",
    ),
    (
        "two kinds of disposition",
        "X-Content-Disposition: form-data; name=\"{f}\"\r\nContent-Disposition: form-data; name=\"prompt\"",
    ),
    (
        "attachment",
        "Content-Disposition: attachment; name=\"{f}\"",
    ),
    ("no form-data", "Content-Disposition: name=\"{f}\""),
    (
        "base64",
        "Content-Disposition: form-data; name=\"{f}\"\r\nContent-Transfer-Encoding: base64",
    ),
    (
        "quoted-printable",
        "Content-Disposition: form-data; name=\"{f}\"\r\nContent-Transfer-Encoding: quoted-printable",
    ),
    (
        "utf-16",
        "Content-Disposition: form-data; name=\"{f}\"\r\nContent-Type: text/plain; charset=utf-16",
    ),
    (
        "utf-7",
        "Content-Disposition: form-data; name=\"{f}\"\r\nContent-Type: text/plain; charset=utf-7",
    ),
    (
        "urlencoded part",
        "Content-Disposition: form-data; name=\"{f}\"\r\nContent-Type: application/x-www-form-urlencoded",
    ),
    (
        "empty filename",
        "Content-Disposition: form-data; name=\"{f}\"; filename=\"\"",
    ),
    (
        "filename without value",
        "Content-Disposition: form-data; name=\"{f}\"; filename",
    ),
    (
        "filename=",
        "Content-Disposition: form-data; name=\"{f}\"; filename=",
    ),
    (
        "filename*",
        "Content-Disposition: form-data; name=\"{f}\"; filename*=utf-8''",
    ),
    (
        "Filename",
        "Content-Disposition: form-data; name=\"{f}\"; Filename=\"x\"",
    ),
    (
        "extra parameter",
        "Content-Disposition: form-data; x=\"y; name=prompt\"; name=\"{f}\"",
    ),
    ("semicolon", "Content-Disposition: form-data; name=\"{f}\";"),
    ("brackets", "Content-Disposition: form-data; name=\"{f}[]\""),
    (
        "no blank line",
        "Content-Disposition: form-data; name=\"prompt\"; x=\"\r\n\r\n\"; name=\"{f}\"",
    ),
];

/// Framings of a smuggled part, with `{b}` for the boundary and `{p}` for the part's headers,
/// blank line and value. They stand in front of the body, in a text, or behind the body.
const FRAMINGS: &[&str] = &[
    "\r\n--{b}\r\n{p}\r\n",
    "--{b}\r\n{p}\r\n",
    "x\r\n--{b}\r\n{p}\r\n",
    "\n--{b}\n{p}\n",
    "\r--{b}\r{p}\r",
    "x--{b}\r\n{p}\r\n",
    "\r\n--{b} \r\n{p}\r\n",
    "\r\n--{b}\t\r\n{p}\r\n",
    "\r\n--{b}x\r\n{p}\r\n",
    "\r\n--{b}-\r\n{p}\r\n",
    "\r\n--{b}\n{p}\r\n",
    "\r\n--{b}\r{p}\r\n",
    "\n--{b}\r\n{p}\r\n",
    "\r\n-{b}\r\n{p}\r\n",
    "\r\n---{b}\r\n{p}\r\n",
    "\r\n{b}\r\n{p}\r\n",
    "\r\n --{b}\r\n{p}\r\n",
    "\r\n--{b}--\r\n--{b}\r\n{p}\r\n",
    "\r\n--{b}--\r\n{p}\r\n",
    "\r\n--{b}\r\n\r\n{p}\r\n",
    "\r\n--other\r\n{p}\r\n--other--\r\n",
];

/// Content-Types with two answers to what the boundary is; the body is framed by `{b}`, and a
/// text in it holds a whole form framed by `other`.
const CONTENT_TYPES: &[&str] = &[
    "multipart/form-data; boundary={b}; boundary=other",
    "multipart/form-data; boundary=other; boundary={b}",
    "multipart/form-data; boundary={b}; boundary*=utf-8''other",
    "multipart/form-data; boundary*=utf-8''other; boundary={b}",
    "multipart/form-data; boundary*0=other; boundary={b}",
    "multipart/form-data; boundary={b}; BOUNDARY=other",
    "multipart/form-data; x=\"; boundary=other; \"; boundary={b}",
    "multipart/form-data; boundary={b}, multipart/form-data; boundary=other",
    "multipart/form-data; boundary=\"{b}\"; boundary=other",
    "multipart/form-data; charset=utf-7; boundary={b}",
    "multipart/form-data; charset=cp037; boundary={b}",
    "multipart/form-data; charset=utf-16; boundary={b}",
    "Multipart/Form-Data; boundary={b}",
    "multipart/form-data; boundary=\"{b}",
    "multipart/form-data; boundary={b};x",
    "multipart/form-data; boundary={b} ",
    "multipart/form-data; boundary='{b}'",
    "multipart/mixed; boundary={b}",
    "application/x-www-form-urlencoded; boundary={b}",
];

/// JSON documents.
const DOCUMENTS: &[&str] = &[
    r#"{"prompt":"x","model":"sora-2","model":"sora-2-pro"}"#,
    r#"{"model":"sora-2-pro","prompt":"x","model":"sora-2"}"#,
    r#"{"prompt":"x","model":"sora-2","mod\u0065l":"sora-2-pro"}"#,
    r#"{"prompt":"x","model":"sora-2","Model":"sora-2-pro"}"#,
    "{\"prompt\":\"x\",\"model\":\"sora-2\",\"\u{17f}econds\":\"12\"}",
    "\u{feff}{\"prompt\":\"x\",\"model\":\"sora-2\"}",
    r#"{"prompt":NaN,"model":"sora-2"}"#,
    r#"{"prompt":"x",/*"model":"sora-2-pro",*/"model":"sora-2"}"#,
    r#"{"prompt":"x","model":"sora-2",}"#,
    r#"{"prompt":"\ud800","model":"sora-2"}"#,
    r#"{"prompt":"x","model":"sora-2\u0000-pro"}"#,
    r#"{"prompt":"x","model":"sora-2","seconds":4}"#,
    r#"{"prompt":"x","model":"sora-2"}{"model":"sora-2-pro"}"#,
    r#"{"prompt":"x","model":"sora\u002d2\u002dpro"}"#,
    r#"{"prompt":"x","model":"sora-2","input_reference":{"file_id":"a","file_id":"b"}}"#,
    r#"{"prompt":"x","model":"sora-2","__proto__":{"seconds":"12"}}"#,
    r#"{"prompt":"x","model":"sora-2","input_reference":{"image_url":"data:image/png;base64,iV'BORw0KGgo="}}"#,
    r#"{"prompt":"x","model":"sora-2","input_reference":{"image_url":"data:image\/png;base64,iV\/BORw0KGgo"}}"#,
    r#"{"prompt":"x","model":"sora-2","input_reference":{"image_url":"data:image/png;base64,iVBO,w0KGgo=","file_id":"f"}}"#,
    r#"{'prompt':'x','model':'sora-2'}"#,
    r#"[{"prompt":"x","model":"sora-2"}]"#,
];

/// All of them.
pub fn attacks() -> Vec<Mutant> {
    let mut attacks = Vec::new();
    for (field, values) in POLICY {
        let dear = values[values.len() - 1];
        headers(&mut attacks, field, dear);
        framings(&mut attacks, field, dear);
        content_types(&mut attacks, field, dear);
    }
    for (i, document) in DOCUMENTS.iter().enumerate() {
        attacks.push(Mutant {
            content_type: "application/json".to_owned(),
            body: document.as_bytes().to_vec(),
            label: format!("attack: document {i}"),
        });
    }
    attacks
}

/// The broken part beside the honest one, before and behind it, and alone.
fn headers(attacks: &mut Vec<Mutant>, field: &str, dear: &str) {
    for (what, lines) in HEADERS {
        let lines = lines.replace("{f}", field);
        let broken = format!("--{B}\r\n{lines}\r\n\r\n{dear}\r\n");
        for (before, behind, honest) in [
            (broken.as_str(), "", true),
            ("", broken.as_str(), true),
            (broken.as_str(), "", false),
        ] {
            let parts = parts(if honest { "" } else { field });
            let body = format!("{before}{parts}{behind}--{B}--\r\n");
            push(attacks, &format!("{field}: {what}"), &plain(), body);
        }
    }
}

fn framings(attacks: &mut Vec<Mutant>, field: &str, dear: &str) {
    let part = format!("Content-Disposition: form-data; name=\"{field}\"\r\n\r\n{dear}");
    for (i, framing) in FRAMINGS.iter().enumerate() {
        for eol in ["\r\n", "\n"] {
            let framed = framing
                .replace("{p}", &part.replace("\r\n", eol))
                .replace("{b}", B);
            for without in ["", field] {
                let parts = parts(without);
                let host = format!(
                    "--{B}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
                     filename=\"a.png\"\r\n\r\nx{framed}\r\n"
                );
                let bodies = [
                    format!("{framed}{parts}--{B}--\r\n"),
                    format!("{host}{parts}--{B}--\r\n"),
                    format!("{parts}{host}--{B}--\r\n"),
                    format!("{parts}--{B}--{framed}"),
                    format!("{parts}--{B}--{framed}--{B}--\r\n"),
                    format!("{parts}{framed}"),
                    format!("{parts}{framed}--{B}--\r\n"),
                ];
                for body in bodies {
                    push(attacks, &format!("{field}: framing {i}"), &plain(), body);
                }
            }
        }
    }
}

fn content_types(attacks: &mut Vec<Mutant>, field: &str, dear: &str) {
    let other = format!(
        "--other\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{dear}\r\n--other--\r\n"
    );
    for content_type in CONTENT_TYPES {
        let label = format!("{field}: {content_type}");
        let content_type = content_type.replace("{b}", B);
        let host = format!(
            "--{B}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
             filename=\"a.png\"\r\n\r\nx\r\n{other}\r\n"
        );
        let parts = parts("");
        for body in [
            format!("{host}{parts}--{B}--\r\n"),
            format!("{other}{parts}--{B}--\r\n"),
            format!("{parts}--{B}--\r\n{other}"),
        ] {
            push(attacks, &label, &content_type, body);
        }
    }
}

/// The honest parts, all but one.
fn parts(without: &str) -> String {
    let honest = [
        ("prompt", "x"),
        ("model", "sora-2"),
        ("seconds", "4"),
        ("size", "720x1280"),
    ];
    honest
        .iter()
        .filter(|(name, _)| *name != without)
        .map(|(name, value)| {
            format!("--{B}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        })
        .collect()
}

fn plain() -> String {
    format!("multipart/form-data; boundary={B}")
}

fn push(attacks: &mut Vec<Mutant>, what: &str, content_type: &str, body: String) {
    attacks.push(Mutant {
        content_type: content_type.to_owned(),
        body: body.into_bytes(),
        label: format!("attack: {what}"),
    });
}
