//! Forms whose delimiters are read differently, and forms that are whole but ask for what
//! cannot be had.

use super::bodies::{Case, FILE, closer, file, honest, part, raw_part, split};
use crate::support::{BOUNDARY, form_type, png};

/// What stands between the honest parts and the rest, with `{b}` for the boundary and `{p}`
/// for a part that asks for the dear model.
const BETWEEN: &[(&str, &str)] = &[
    ("LF delimiter", "--{b}\n{p}\r\n"),
    ("CR delimiter", "--{b}\r{p}\r\n"),
    ("suffix", "--{b}x\r\n{p}\r\n"),
    ("dash suffix", "--{b}-\r\n{p}\r\n"),
    ("transport padding", "--{b} \r\n{p}\r\n"),
    ("TAB padding", "--{b}\t\r\n{p}\r\n"),
    ("delimiter in mid-line", "x--{b}\r\n{p}\r\n"),
    ("one dash", "-{b}\r\n{p}\r\n"),
    ("no dash", "{b}\r\n{p}\r\n"),
    ("closed and opened", "--{b}--\r\n--{b}\r\n{p}\r\n"),
    ("no headers", "--{b}\r\n\r\n{p}\r\n"),
];

/// What follows the close delimiter's first bytes, `--boundary`.
const ENDS: &[(&str, &str)] = &[
    ("no closer", ""),
    ("half a closer", "-"),
    ("closer with LF", "--\n"),
    ("closer with three lines", "--\r\n\r\n\r\n"),
    (
        "a part after the closer",
        "--\r\n--{b}\r\n{p}\r\n--{b}--\r\n",
    ),
    ("an epilogue", "--\r\nepilogue"),
    ("another form", "--\r\n--other\r\n{p}\r\n--other--\r\n"),
    ("another request", "--\r\nPOST /v1/videos HTTP/1.1\r\n\r\n"),
];

const SMUGGLED: &str = "Content-Disposition: form-data; name=\"model\"\r\n\r\nsora-2-pro";

fn fill(text: &str) -> Vec<u8> {
    text.replace("{p}", SMUGGLED)
        .replace("{b}", BOUNDARY)
        .into_bytes()
}

pub fn add(cases: &mut Vec<Case>) {
    let mut push = |name: String, before: &[u8], rest: &[u8], code| {
        let (status, code) = split(code);
        cases.push(Case {
            name,
            content_type: form_type(),
            body: [before, rest].concat(),
            from: before.len(),
            begins: before.len() > FILE,
            status,
            code,
        });
    };
    let all = honest("");
    for (size, what) in [(300, "small"), (FILE, "large")] {
        let file = file(size);
        for (name, between) in BETWEEN {
            let before = [&file[..], &honest("model")].concat();
            let rest = [fill(between), part("model", "sora-2"), closer()].concat();
            push(format!("{name}, {what}"), &before, &rest, "invalid_body");
        }
        for (name, end) in ENDS {
            let before = [&file[..], &all].concat();
            let rest = fill(&format!("--{{b}}{end}"));
            push(format!("{name}, {what}"), &before, &rest, "invalid_body");
        }
        // What stands before the first delimiter can only stand at the start.
        for (name, preamble) in [
            ("preamble", "preamble\r\n"),
            ("part in the preamble", "{p}\r\n"),
            ("two lines before", "\r\n\r\n"),
            ("no boundary at all", "--other\r\n{p}\r\n--other--\r\n"),
        ] {
            let rest = [&fill(preamble)[..], &file, &all, &closer()].concat();
            push(format!("{name}, {what}"), &[], &rest, "invalid_body");
        }
        // Bodies that stop in the middle, of which several parsers make a request.
        let whole = [&all[..], &file, &closer()].concat();
        let end = all.len() + file.len();
        for at in [end - 100, end - 2, end, end + 2, end + 2 + BOUNDARY.len()] {
            let (before, rest) = whole[..at].split_at(at - 20);
            let name = format!("stops {} before its end, {what}", whole.len() - at);
            push(name, before, rest, "invalid_body");
        }
        for (name, instead) in [("no prompt", "prompt"), ("no model", "model")] {
            let before = [&file[..], &honest(instead)].concat();
            let name = format!("{name}, {what}");
            push(name, &before, &closer(), "missing_required_parameter");
        }
        let before = [&file[..], &honest("prompt")].concat();
        let rest = [part("prompt", &"a".repeat(32_001)), closer()].concat();
        push(
            format!("long prompt, {what}"),
            &before,
            &rest,
            "invalid_value",
        );
        let rest = [part("size", "720x1280"), closer()].concat();
        let before = [&file[..], &honest("size")].concat();
        let name = format!("image of another size, {what}");
        push(name, &before, &rest, "image_size_mismatch");
        let name = format!("image of another size than the default, {what}");
        push(name, &before, &closer(), "image_size_mismatch");
        // Nothing of such an image tells its size; the pixels come after the request.
        let head = "Content-Disposition: form-data; name=\"input_reference\"; filename=\"a\"";
        let rest = [raw_part(head, &vec![b'x'; size]), closer()].concat();
        push(format!("no image, {what}"), &all, &rest, "invalid_value");
        let fields: Vec<u8> = (0..33)
            .flat_map(|_| part("characters[][id]", "a"))
            .collect();
        let before = [&file[..], &all].concat();
        let rest = [fields, closer()].concat();
        push(
            format!("too many parts, {what}"),
            &before,
            &rest,
            "invalid_body",
        );
    }
    let cut = raw_part(
        "Content-Disposition: form-data; name=\"input_reference\"; filename=\"img.png\"",
        &png(0)[..20],
    );
    let rest = [cut, closer()].concat();
    push("image that stops".into(), &all, &rest, "invalid_value");
}

/// Content-Types with two answers to what the boundary is, or none.
pub const CONTENT_TYPES: &[(&str, u16)] = &[
    ("multipart/form-data; boundary={b}; boundary=other", 400),
    ("multipart/form-data; boundary=other; boundary={b}", 400),
    (
        "multipart/form-data; boundary={b}; boundary*=utf-8''other",
        400,
    ),
    ("multipart/form-data; boundary*=utf-8''{b}", 400),
    ("multipart/form-data; boundary*0={b}", 400),
    ("multipart/form-data; boundary={b}; BOUNDARY=other", 400),
    (
        "multipart/form-data; x=\"; boundary=other; \"; boundary={b}",
        400,
    ),
    (
        "multipart/form-data; boundary={b}, multipart/form-data; boundary=other",
        400,
    ),
    ("multipart/form-data; charset=utf-7; boundary={b}", 400),
    ("multipart/form-data; charset=cp037; boundary={b}", 400),
    ("Multipart/Form-Data; boundary={b}", 400),
    ("multipart/form-data; boundary=\"{b}", 400),
    ("multipart/form-data; boundary='{b}'", 400),
    ("multipart/form-data; boundary=", 400),
    ("multipart/form-data", 400),
    ("multipart/mixed; boundary={b}", 415),
    ("multipart/form-data-x; boundary={b}", 415),
    ("application/x-www-form-urlencoded; boundary={b}", 415),
    ("application/json; boundary={b}", 415),
    ("text/plain", 415),
];
