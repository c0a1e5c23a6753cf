//! Form bodies with a part that is longer than the buffers of parsers, and parts hidden in it
//! where a parser that loses its place would read on.

use crate::Read;
use crate::mutants::{Mutant, smuggled};
use crate::rng::Rng;
use crate::shapes::{self, CLIENTS, Form, POLICY, Part};

/// The sizes of the buffers that parsers read into.
const BUFFERS: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

/// What is wrong with a large body, if anything. The names of the first four are those of the
/// rules that refuse them.
pub const FAULTS: [&str; 4] = [
    "blank filename",
    "long part headers",
    "= in the boundary",
    "interrupted boundary",
];

/// Filenames of which nothing is left once Django has cleaned them.
const BLANK: &[&str] = &[
    ".",
    "..",
    "a/",
    "/",
    "a/..",
    "C:\\tmp\\\\",
    "&sol;",
    "a.png&#47",
    "&#x2e;",
    "a&bsol;",
    "\u{200b}",
    "\u{ad}",
    "a/\u{e000}",
    "a.png&#47;\u{feff}.",
];

/// Filenames that leave something.
const NAMES: &[&str] = &[
    "img.png",
    "C:\\tmp\\up\\img.png",
    "\\\\\\\\host\\\\img.png",
    "Tom & Jerry.png",
    "a&amp;b.png",
    "&sol;img.png",
    "caf\u{e9}",
    "\u{56fe}\u{7247}",
    "\u{1f600}.png",
    "50%20off.png",
    "my \\\"best\\\" cat.png",
    "a; b.png",
    "-",
    ".png",
    "../img.png",
];

/// A large body, and what it says by the way it was made.
pub struct Large {
    pub mutant: Mutant,
    pub honest: Read,
}

/// A large body with this fault, if any.
pub fn large(fault: Option<&str>, rng: &mut Rng) -> Large {
    let client = rng.pick(CLIENTS);
    let mut form = shapes::form(&client, rng);
    form.parts.retain(|part| !is_reference(part));
    let honest = honest(&form);

    let mut inner = inner_boundary(&form, rng);
    match fault {
        Some("= in the boundary") => inner = split_boundary(&mut form, rng),
        Some("interrupted boundary") => inner = interrupted(&form.boundary, rng),
        _ => {}
    }
    let text = rng.one_in(4) && !matches!(fault, Some("blank filename"));
    let lines = host_lines(text, fault, rng);
    let at = match rng.below(3) {
        0 => 0,
        _ => form.parts.len(),
    };
    form.parts
        .insert(at, Part::new(&form.boundary.clone(), &lines, b""));
    let (start, room) = (data_offset(&form, at), size(rng));
    let mut data = filler(&form, text, room, rng);
    hide(&mut data, &form, &inner, start, rng);
    if text {
        data.splice(..0, *b"https://host/");
    }
    fit_length(&mut form.parts[at], data.len());
    form.parts[at].data = data;
    if rng.one_in(3) {
        form.epilogue = rng.pick(&["", "\r\n", "\r\n\r\n"]).as_bytes().to_vec();
    }
    let mut label = format!("large, {}", client.name);
    if let Some(fault) = fault {
        label = format!("{label}, {fault}");
    }
    Large {
        mutant: Mutant {
            body: form.body(),
            content_type: form.content_type,
            label,
        },
        honest,
    }
}

fn is_reference(part: &Part) -> bool {
    part.lines
        .iter()
        .any(|line| memchr::memmem::find(&line.text, b"input_reference").is_some())
}

/// What the policy's fields of a form are.
fn honest(form: &Form) -> Read {
    let mut read = Read::default();
    for (name, _) in POLICY {
        if let (Some(&i), Some(place)) = (form.find(name).first(), read.place(name)) {
            *place = Some(String::from_utf8_lossy(&form.parts[i].data).into_owned());
        }
    }
    read
}

/// The headers of the large part.
fn host_lines(text: bool, fault: Option<&str>, rng: &mut Rng) -> Vec<String> {
    let name = match text {
        true => "input_reference[image_url]",
        false => "input_reference",
    };
    let disposition = format!("Content-Disposition: form-data; name=\"{name}\"");
    let mut lines = match text {
        true => match rng.below(3) {
            0 => vec![disposition],
            1 => vec![disposition, "Content-Type: text/plain".to_owned()],
            _ => vec![
                disposition,
                "Content-Type: application/octet-stream".to_owned(),
            ],
        },
        false => {
            let file = match fault {
                Some("blank filename") => rng.pick(BLANK),
                _ => rng.pick(NAMES),
            };
            let more = match rng.below(8) {
                0 => "; filename*=utf-8''img.png",
                _ => "",
            };
            let mut lines = vec![format!("{disposition}; filename=\"{file}\"{more}")];
            if !rng.one_in(4) {
                lines.push("Content-Type: image/png".to_owned());
            }
            lines
        }
    };
    // Up to the longest that is accepted, and beyond it.
    let fixed: usize = lines.iter().map(|line| line.len() + 2).sum::<usize>() + 2;
    let wanted = match fault {
        Some("long part headers") => rng.pick(&[1023, 1024, 1025, 1100, 2000, 4000]),
        _ if rng.one_in(8) => rng.pick(&[1000, 1019, 1020, 1021, 1022]),
        _ => fixed,
    };
    let padding = "n".repeat(wanted.saturating_sub(fixed));
    let blank = matches!(fault, Some("blank filename")) && !padding.is_empty();
    if text && wanted > 1022 {
        // A text has no filename to make longer.
        lines.push(format!("Content-Transfer-Encoding: {padding}"));
    } else if let Some((before, after)) = lines[0].split_once("filename=\"") {
        let slash = if blank { "/" } else { "" };
        lines[0] = format!("{before}filename=\"{padding}{slash}{after}");
    }
    lines
}

/// Corrects a `Content-Length` of the part.
fn fit_length(part: &mut Part, length: usize) {
    for line in &mut part.lines {
        if line.text.starts_with(b"Content-Length: ") {
            line.text = format!("Content-Length: {length}").into_bytes();
        }
    }
}

/// A boundary for the hidden parts that is nearly the form's own.
fn inner_boundary(form: &Form, rng: &mut Rng) -> String {
    let boundary = &form.boundary;
    match rng.below(5) {
        0 => boundary[..boundary.len() - 1].to_owned(),
        1 => boundary[1..].to_owned(),
        2 => boundary.to_uppercase().replace(boundary.as_str(), "other"),
        3 => "other".to_owned(),
        _ => boundary[..1].to_owned(),
    }
}

/// Gives the form a boundary with `=` in it; answers what stands before that.
fn split_boundary(form: &mut Form, rng: &mut Rng) -> String {
    let before = rng.pick(&["a", "----a0b1c2d3", "boundary_.oOo._"]);
    let boundary = format!("{before}=b");
    let old = std::mem::replace(&mut form.boundary, boundary.clone());
    form.content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
    let renamed = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .replace(&old, &boundary)
            .into_bytes()
    };
    for part in &mut form.parts {
        part.delimiter = renamed(&part.delimiter);
    }
    form.closer = renamed(&form.closer);
    before.to_owned()
}

/// The boundary with one or two line breaks in it.
fn interrupted(boundary: &str, rng: &mut Rng) -> String {
    let mut text = boundary.to_owned();
    for _ in 0..=rng.below(2) {
        let at = 1 + rng.below(boundary.len() - 1);
        text.insert_str(at, rng.pick(&["\r", "\n", "\r", "\n", "\r\n"]));
    }
    text
}

/// Where in the body the data of a part begin.
fn data_offset(form: &Form, at: usize) -> usize {
    let mut before = form.clone();
    before.parts.truncate(at + 1);
    before.parts[at].data.clear();
    before.parts[at].end.clear();
    before.closer.clear();
    before.epilogue.clear();
    before.body().len()
}

fn size(rng: &mut Rng) -> usize {
    match rng.below(100) {
        0..70 => 65_000 + rng.below(75_000),
        70..92 => 140_000 + rng.below(200_000),
        92..98 => (1 << 20) + rng.below(200_000),
        _ => (2 << 20) + rng.below(200_000),
    }
}

fn filler(form: &Form, text: bool, length: usize, rng: &mut Rng) -> Vec<u8> {
    let line = format!("{}\r\n", "x".repeat(76));
    let near = format!("\r\n--{}", &form.boundary[..form.boundary.len() - 1]);
    let header = "Content-Disposition: form-data; name=\"prompt\"\r\n".to_owned();
    let unit = match rng.below(if text { 6 } else { 8 }) {
        0 | 1 => b"a".to_vec(),
        2 => line.into_bytes(),
        3 => near.into_bytes(),
        4 => rng
            .pick(&["-", "\r", "\n", "\r\n", "a\r"])
            .as_bytes()
            .to_vec(),
        5 => header.into_bytes(),
        6 => b"\0".to_vec(),
        _ => (0..509).map(|_| rng.next().to_be_bytes()[0]).collect(),
    };
    unit.iter().copied().cycle().take(length).collect()
}

/// Writes hidden parts over the data, at one or at all edges of a buffer.
fn hide(data: &mut Vec<u8>, form: &Form, inner: &str, start: usize, rng: &mut Rng) {
    let (name, value) = smuggled(form, rng);
    let header = format!("\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
    let hidden = match rng.below(6) {
        0 | 1 => header,
        // What ends the host ends it too.
        4 | 5 => format!("\r\n--{inner}{header}"),
        2 => format!("\r\n--{inner}{header}\r\n--{inner}--\r\n"),
        _ => format!("\r\n--{inner}{header}\r\n--{inner}\r\n"),
    };
    let hidden = hidden.into_bytes();
    let buffer = rng.pick(&BUFFERS);
    let base = rng.pick(&[0, start, start]);
    let shift = rng.below(96);
    let (all, ends) = (rng.one_in(2), rng.one_in(2));
    let first = 1 + rng.below(3);
    let places = (1..)
        .map(|k| k * buffer)
        .skip(if all { 0 } else { first - 1 });
    for edge in places.take(if all { 64 } else { 1 }) {
        // In the body, hidden parts begin a little before the edge or behind it.
        let Some(at) = (edge + base + 16).checked_sub(start + shift) else {
            continue;
        };
        let end = at + hidden.len();
        if end > data.len() {
            break;
        }
        data[at..end].copy_from_slice(&hidden);
        if !all && ends {
            data.truncate(end);
        }
    }
}

/// The bodies for which the rules were made, each with the names of a rule.
pub fn known() -> Vec<Mutant> {
    let b = "704ad1c28f53d0853c0a4f9b14a7b2ce";
    let dear = "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsora-2-pro";
    let plain = format!("multipart/form-data; boundary={b}");
    let fields = |boundary: &str| -> String {
        [
            ("prompt", "x"),
            ("size", "720x1280"),
            ("seconds", "4"),
            ("model", "sora-2"),
        ]
        .iter()
        .map(|(name, value)| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
        })
        .collect()
    };
    let skipped = |file: &str| {
        let mut body = format!(
            "{}--{b}\r\nContent-Disposition: form-data; name=\"input_reference\"; {file}\r\n\r\n",
            fields(b)
        );
        let filler = "a".repeat(65_520 - body.len());
        body.push_str(&format!("{filler}{dear}\r\n--{b}--\r\n"));
        body
    };
    let framed = |boundary: &str, inner: &str| {
        format!(
            "{}--{boundary}\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"a.png\"\r\n\
             Content-Type: image/png\r\n\r\nx\r\n--{inner}{dear}\r\n--{boundary}--\r\n",
            fields(boundary)
        )
    };
    let long = 1023
        - "Content-Disposition: form-data; name=\"input_reference\"; filename=\"\"\r\n\r\n".len();
    let mutant = |rule: &str, content_type: &str, body: String| Mutant {
        content_type: content_type.to_owned(),
        body: body.into_bytes(),
        label: rule.to_owned(),
    };
    vec![
        mutant(FAULTS[0], &plain, skipped("filename=\".\"")),
        mutant(
            FAULTS[0],
            &plain,
            skipped("filename=\"a.png\"; filename*=utf-8''%2e"),
        ),
        mutant(FAULTS[0], &plain, skipped("filename=\"a.png&#47\"")),
        mutant(
            FAULTS[1],
            &plain,
            skipped(&format!("filename=\"{}\"", "n".repeat(long))),
        ),
        mutant(
            FAULTS[2],
            "multipart/form-data; boundary=\"a=b\"",
            framed("a=b", "a").replace("\r\n--a=b--", "\r\n--a--\r\n\r\n--a=b--"),
        ),
        mutant(FAULTS[3], &plain, framed(b, &b.replacen("8f5", "8f\n5", 1))),
        mutant(
            FAULTS[3],
            &plain,
            framed(b, &b.replacen("8f5", "8\rf\r5", 1)),
        ),
    ]
}
