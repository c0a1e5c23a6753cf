//! Mutations of a part's header lines, whichever they are.

use crate::mutants::{Mutation, token};
use crate::rng::Rng;
use crate::shapes::{Form, Line};

/// Changes to the header lines of a part.
pub const LINES: &[(&str, Mutation)] = &[
    ("colon", colon),
    ("fold", fold),
    ("line ending", line_ending),
    ("token in a line", token_in_line),
    ("part type", part_type),
    ("transfer encoding", transfer_encoding),
    ("part length", part_length),
    ("other header", other_header),
    ("repeat a line", repeat_line),
    ("shuffle lines", shuffle_lines),
    ("drop a line", drop_line),
    ("case of a line", line_case),
];

/// Puts a line among those of some part.
pub fn with_line(form: &mut Form, rng: &mut Rng, text: &str) {
    if form.parts.is_empty() {
        return;
    }
    let i = rng.below(form.parts.len());
    let lines = &mut form.parts[i].lines;
    lines.insert(rng.below(lines.len() + 1), Line::new(text));
}

/// Some line of some part.
fn any_line<'a>(form: &'a mut Form, rng: &mut Rng) -> Option<&'a mut Line> {
    if form.parts.is_empty() {
        return None;
    }
    let i = rng.below(form.parts.len());
    let lines = &mut form.parts[i].lines;
    if lines.is_empty() {
        return None;
    }
    let at = rng.below(lines.len());
    lines.get_mut(at)
}

fn colon(form: &mut Form, rng: &mut Rng) {
    let to = rng.pick(&[
        ":", " : ", " :", ":  ", ":\t", "\t: ", "", ":: ", "=", ": \r\n ", ":\n ",
    ]);
    if let Some(line) = any_line(form, rng) {
        let text = String::from_utf8_lossy(&line.text).replacen(": ", to, 1);
        line.text = text.into_bytes();
    }
}

fn fold(form: &mut Form, rng: &mut Rng) {
    let fold = rng.pick(&["\r\n ", "\r\n\t", "\n ", "\r ", "\n", "\r"]);
    if let Some(line) = any_line(form, rng) {
        let spaces: Vec<usize> = memchr::memchr_iter(b' ', &line.text).collect();
        if !spaces.is_empty() {
            let at = rng.pick(&spaces);
            line.text.splice(at..=at, fold.bytes());
        }
    }
}

fn line_ending(form: &mut Form, rng: &mut Rng) {
    let end = rng.pick(&[
        "\n", "\r", "", "\r\r\n", " \r\n", "\t\r\n", "\0\r\n", "\n\n", "\n\r\n", ";\r\n",
    ]);
    if let Some(line) = any_line(form, rng) {
        line.end = end.as_bytes().to_vec();
    }
}

fn token_in_line(form: &mut Form, rng: &mut Rng) {
    let token = token(form, rng);
    if let Some(line) = any_line(form, rng) {
        let at = rng.below(line.text.len() + 1);
        line.text.splice(at..at, token);
    }
}

fn part_type(form: &mut Form, rng: &mut Rng) {
    let kind = rng.pick(&[
        "text/plain",
        "text/plain; charset=utf-8",
        "text/plain;charset=us-ascii",
        "text/plain; charset=\"utf-8\"",
        "text/plain; charset=ISO-8859-1",
        "text/plain; charset=utf-16",
        "text/plain; charset=utf-7",
        "TEXT/PLAIN",
        "text/plain; charset=cp037",
        "text/html",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=inner",
        "message/rfc822",
        "application/octet-stream",
        "image/png",
        "image/",
        "text/plain; format=flowed",
        "text/plain; charset=utf-8; charset=utf-16",
        "text/plain;",
        "",
        "x",
        "text/plain; name=\"model\"",
        "image/webp; name=\"model\"",
        "image/svg+xml",
        "application/octet-stream; charset=utf-16",
    ]);
    replace_or_add(form, rng, "Content-Type", kind);
}

fn transfer_encoding(form: &mut Form, rng: &mut Rng) {
    let kind = rng.pick(&[
        "7bit",
        "8bit",
        "binary",
        "BINARY",
        "base64",
        "quoted-printable",
        "gzip",
        "x",
        "",
        "Base64",
        "8bit; base64",
    ]);
    replace_or_add(form, rng, "Content-Transfer-Encoding", kind);
}

fn part_length(form: &mut Form, rng: &mut Rng) {
    let length = rng.pick(&[
        "0",
        "1",
        "6",
        "10",
        "-1",
        "06",
        "+6",
        " 6",
        "6 ",
        "0x6",
        "99999999999999999999",
        "",
    ]);
    replace_or_add(form, rng, "Content-Length", length);
}

/// Sets a header of some part, either in its place or beside the one it has.
fn replace_or_add(form: &mut Form, rng: &mut Rng, name: &str, value: &str) {
    let text = format!("{name}: {value}");
    if !form.parts.is_empty() && !rng.one_in(4) {
        let i = rng.below(form.parts.len());
        let lines = &mut form.parts[i].lines;
        lines.retain(|line| !line.text.starts_with(name.as_bytes()));
        lines.insert(rng.below(lines.len() + 1), Line::new(&text));
    } else {
        with_line(form, rng, &text);
    }
}

fn other_header(form: &mut Form, rng: &mut Rng) {
    let long = format!("X-Long: {}", "a".repeat(5000));
    let text = rng.pick(&[
        "X-Thing: y",
        "Content-Encoding: gzip",
        "Content-ID: <model>",
        "MIME-Version: 1.0",
        "Content-Description: x",
        "x",
        ": x",
        " x: y",
        "Transfer-Encoding: chunked",
        "_charset_: utf-7",
        &long,
    ]);
    with_line(form, rng, text);
}

fn repeat_line(form: &mut Form, rng: &mut Rng) {
    if let Some(line) = any_line(form, rng) {
        let text = String::from_utf8_lossy(&line.text).into_owned();
        with_line(form, rng, &text);
    }
}

fn shuffle_lines(form: &mut Form, rng: &mut Rng) {
    if !form.parts.is_empty() {
        let i = rng.below(form.parts.len());
        rng.shuffle(&mut form.parts[i].lines);
    }
}

fn drop_line(form: &mut Form, rng: &mut Rng) {
    if !form.parts.is_empty() {
        let i = rng.below(form.parts.len());
        form.parts[i].lines.pop();
    }
}

fn line_case(form: &mut Form, rng: &mut Rng) {
    let upper = rng.one_in(2);
    if let Some(line) = any_line(form, rng) {
        let end = memchr::memchr(b':', &line.text).unwrap_or(0);
        let name = &mut line.text[..end];
        if upper {
            name.make_ascii_uppercase();
        } else {
            name.make_ascii_lowercase();
        }
    }
}
