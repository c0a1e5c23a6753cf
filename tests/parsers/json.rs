//! JSON bodies with one to four faults in them.

use crate::mutants::Mutant;
use crate::rng::Rng;
use crate::shapes::POLICY;

/// A document in the making: members of the top object, as written.
struct Document {
    before: Vec<u8>,
    members: Vec<(Vec<u8>, Vec<u8>)>,
    colon: &'static str,
    comma: &'static str,
    after: Vec<u8>,
}

type Mutation = fn(&mut Document, &mut Rng);

const MUTATIONS: &[(&str, Mutation)] = &[
    ("second key", second_key),
    ("key", key),
    ("value", value),
    ("value of no string", no_string),
    ("escape in a value", escape_in_value),
    ("nested member", nested_member),
    ("smuggle in a string", smuggle_in_string),
    ("whitespace", whitespace),
    ("before", before),
    ("after", after),
    ("unknown member", unknown_member),
    ("order", |document, rng| rng.shuffle(&mut document.members)),
    ("drop", |document, rng| {
        document.members.remove(rng.below(document.members.len()));
    }),
];

type ByteMutation = fn(&mut Vec<u8>, &mut Rng);

const BYTES: &[(&str, ByteMutation)] = &[
    ("flip", |body, rng| {
        let at = rng.below(body.len());
        body[at] ^= 1 << rng.below(8);
    }),
    ("insert", |body, rng| {
        let token = rng.pick(TOKENS);
        let at = rng.below(body.len() + 1);
        body.splice(at..at, token.iter().copied());
    }),
    ("remove", |body, rng| {
        if body.len() > 1 {
            body.remove(rng.below(body.len()));
        }
    }),
    ("truncate", |body, rng| {
        body.truncate(1 + rng.below(body.len()));
    }),
    ("utf-16", |body, _| {
        *body = String::from_utf8_lossy(body)
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
    }),
];

#[rustfmt::skip]
const TOKENS: &[&[u8]] = &[
    b"\"", b"\\", b"\\\"", b",", b":", b"{", b"}", b"[", b"]", b"\0", b"\n", b"\t", b"\x0c", b"\x0b", b"/**/", b"//\n",
    b"\"model\":\"sora-2-pro\"", b",\"model\":\"sora-2-pro\"", b"null", b"NaN", b"\\u0000", b"\\ud800", b"\\udc00\\ud800",
    b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\x7f", b"'",
];

const CONTENT_TYPES: &[&str] = &[
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "application/json; charset=utf-16",
    "application/json; charset=utf-8; charset=utf-16",
    "Application/JSON",
    "application/json;",
    "application/jsonx",
    "text/json",
];

/// A mutant of a JSON body.
pub fn mutant(rng: &mut Rng) -> Mutant {
    let mut document = document(rng);
    let mut faults = vec!["json"];
    let mut in_bytes = 0;
    for _ in 0..=rng.below(4).min(rng.below(4)) {
        if rng.one_in(5) {
            in_bytes += 1;
        } else {
            let (name, mutation) = rng.pick(MUTATIONS);
            faults.push(name);
            if !document.members.is_empty() {
                mutation(&mut document, rng);
            }
        }
    }
    let mut body = write(&document);
    for _ in 0..in_bytes {
        let (name, mutation) = rng.pick(BYTES);
        faults.push(name);
        mutation(&mut body, rng);
    }
    let content_type = if rng.one_in(8) {
        faults.push("content type");
        rng.pick(CONTENT_TYPES)
    } else {
        "application/json"
    };
    Mutant {
        content_type: content_type.to_owned(),
        body,
        label: faults.join(", "),
    }
}

fn document(rng: &mut Rng) -> Document {
    let quoted = |text: &str| format!("\"{text}\"").into_bytes();
    let mut members = vec![(quoted("prompt"), quoted("a \\\"cat\\\"\\n caf\u{e9}"))];
    for (name, values) in POLICY {
        if name == "model" || !rng.one_in(4) {
            members.push((quoted(name), quoted(rng.pick(values))));
        }
    }
    match rng.below(4) {
        0 => members.push((
            quoted("input_reference"),
            b"{\"file_id\":\"file-1\"}".to_vec(),
        )),
        1 => members.push((
            quoted("input_reference"),
            b"{\"image_url\": \"data:image/png;base64,iVBORw0KGgo=\"}".to_vec(),
        )),
        2 => members.push((
            quoted("characters"),
            b"[{\"id\":\"a\"},{\"id\":\"b\"}]".to_vec(),
        )),
        _ => {}
    }
    Document {
        before: Vec::new(),
        members,
        colon: rng.pick(&[":", ": "]),
        comma: rng.pick(&[",", ", ", ",\n  "]),
        after: Vec::new(),
    }
}

fn write(document: &Document) -> Vec<u8> {
    let members: Vec<Vec<u8>> = document
        .members
        .iter()
        .map(|(key, value)| [key, document.colon.as_bytes(), value].concat())
        .collect();
    [
        document.before.as_slice(),
        b"{",
        &members.join(document.comma.as_bytes()),
        b"}",
        &document.after,
    ]
    .concat()
}

fn dear(rng: &mut Rng) -> (&'static str, &'static str) {
    rng.pick(&[
        ("model", "sora-2-pro"),
        ("seconds", "12"),
        ("size", "1792x1024"),
    ])
}

/// A key that some parser may take for `name`.
fn like(name: &str, rng: &mut Rng) -> Vec<u8> {
    let first = name.chars().next().unwrap_or('x') as u32;
    match rng.below(12) {
        0 => format!("\"{}\"", name.to_uppercase()),
        1 => format!("\"\\u{first:04x}{}\"", &name[1..]),
        2 => format!("\"{}\"", name.replace('s', "\u{17f}")),
        3 => format!("\"{name} \""),
        4 => format!("\"{name}\\u0000\""),
        5 => format!("'{name}'"),
        6 => name.to_owned(),
        7 => format!("\"{name}\\ud800\""),
        8 => format!("\"{name}[]\""),
        9 => format!("\"{}{}\"", name[..1].to_uppercase(), &name[1..]),
        10 => format!("\"{name}\0\""),
        _ => format!("\"{name}\""),
    }
    .into_bytes()
}

fn second_key(document: &mut Document, rng: &mut Rng) {
    let (name, value) = dear(rng);
    let member = (like(name, rng), format!("\"{value}\"").into_bytes());
    let at = rng.below(document.members.len() + 1);
    document.members.insert(at, member);
}

fn key(document: &mut Document, rng: &mut Rng) {
    let i = rng.below(document.members.len());
    let name = String::from_utf8_lossy(&document.members[i].0).into_owned();
    let name = name.trim_matches('"');
    if name.is_ascii() && name.len() > 1 {
        document.members[i].0 = like(name, rng);
    }
}

fn value(document: &mut Document, rng: &mut Rng) {
    let (name, dear) = dear(rng);
    let text: Vec<u8> = match rng.below(8) {
        0 => format!("\"{dear} \"").into_bytes(),
        1 => format!("\"{dear}\\u0000\"").into_bytes(),
        2 => format!("\"{dear}\\ud800\"").into_bytes(),
        3 => [b"\"", dear.as_bytes(), b"\xff\""].concat(),
        4 => format!("'{dear}'").into_bytes(),
        5 => format!("\"{dear}\" \"x\"").into_bytes(),
        6 => b"\"\"".to_vec(),
        _ => format!("\"{dear}\"").into_bytes(),
    };
    set(document, name, text);
}

fn no_string(document: &mut Document, rng: &mut Rng) {
    let (name, value) = dear(rng);
    let text = match rng.below(12) {
        0 => "4".to_owned(),
        1 => "12.0".to_owned(),
        2 => "null".to_owned(),
        3 => "true".to_owned(),
        4 => "NaN".to_owned(),
        5 => "-Infinity".to_owned(),
        6 => "04".to_owned(),
        7 => "1e1".to_owned(),
        8 => "[]".to_owned(),
        9 => format!("[\"{value}\"]"),
        10 => format!("{{\"{name}\":\"{value}\"}}"),
        _ => "0x4".to_owned(),
    };
    set(document, name, text.into_bytes());
}

fn set(document: &mut Document, name: &str, text: Vec<u8>) {
    let key = format!("\"{name}\"");
    if let Some(member) = document
        .members
        .iter_mut()
        .find(|member| member.0 == key.as_bytes())
    {
        member.1 = text;
    }
}

fn escape_in_value(document: &mut Document, rng: &mut Rng) {
    let (name, value) = dear(rng);
    let at = rng.below(value.len());
    let byte = value.as_bytes()[at];
    let escape = match rng.below(6) {
        0 => format!("\\u{byte:04X}"),
        1 => format!("\\U{byte:04x}"),
        2 => format!("\\x{byte:02x}"),
        3 => format!("\\{}", char::from(byte)),
        4 => format!("\\u{byte:03x}"),
        _ => format!("\\u{byte:04x}"),
    };
    let text = format!("\"{}{escape}{}\"", &value[..at], &value[at + 1..]);
    set(document, name, text.into_bytes());
}

fn nested_member(document: &mut Document, rng: &mut Rng) {
    let (name, value) = dear(rng);
    let text = match rng.below(7) {
        0 => format!("{{\"file_id\":\"f\",\"{name}\":\"{value}\"}}"),
        1 => format!("{{\"file_id\":\"f\"}},\"{name}\":\"{value}\"}}"),
        2 => "{\"file_id\":\"f\",\"file_id\":\"g\"}".to_owned(),
        3 => format!("{{\"file_id\":{{\"{name}\":\"{value}\"}}}}"),
        4 => format!("{{\"file_id\":\"}},\\\"{name}\\\":\\\"{value}\\\"\"}}"),
        5 => format!("{}{}", "[".repeat(100), "]".repeat(100)),
        _ => format!("[{{\"file_id\":\"f\"}},{{\"{name}\":\"{value}\"}}]"),
    };
    document
        .members
        .retain(|member| member.0 != b"\"input_reference\"");
    let at = rng.below(document.members.len() + 1);
    let member = (b"\"input_reference\"".to_vec(), text.into_bytes());
    document.members.insert(at, member);
}

fn smuggle_in_string(document: &mut Document, rng: &mut Rng) {
    let (name, value) = dear(rng);
    let text = match rng.below(6) {
        0 => format!("\"x\\\",\\\"{name}\\\":\\\"{value}\""),
        1 => format!("\"x\\\\\",\"{name}\":\"{value}\""),
        2 => format!("\"x\\\\\\\",\\\"{name}\\\":\\\"{value}\""),
        3 => format!("\"x\n\",\"{name}\":\"{value}\""),
        4 => format!("\"x\\u0022,\\u0022{name}\\u0022:\\u0022{value}\""),
        _ => format!("\"x\" /* \" */ ,\"{name}\":\"{value}\""),
    };
    set(document, "prompt", text.into_bytes());
}

#[rustfmt::skip]
fn whitespace(document: &mut Document, rng: &mut Rng) {
    document.colon = rng.pick(&[" :", ":\t", ":\r\n", ": \u{a0}", ":\x0c", ":\0", "=", "::", ""]);
    document.comma = rng.pick(&[" ,", ",\t", ",,", ",\x0b", ",\u{2028}", ";", "\n", ",/**/", ",//\n", ",#\n", ","]);
}

#[rustfmt::skip]
fn before(document: &mut Document, rng: &mut Rng) {
    let text = rng.pick(&[" ", "\n", "\t\r\n", "\u{feff}", "\0", "//x\n", "/**/", "[", "{}", "x", ")]}',\n", "\x1e", "\x0c"]);
    document.before = text.as_bytes().to_vec();
}

#[rustfmt::skip]
fn after(document: &mut Document, rng: &mut Rng) {
    let text = rng.pick(&[
        " ", "\n", "\r\n\t ", ",", "}", "]", "\0", "x", "{}", "//x", "/**/", "\u{feff}", "\x0c", ";", "\n{\"model\":\"sora-2-pro\"}",
    ]);
    document.after = text.as_bytes().to_vec();
}

fn unknown_member(document: &mut Document, rng: &mut Rng) {
    let name = rng.pick(&[
        "user",
        "__proto__",
        "constructor",
        "",
        "Model",
        "modell",
        "n",
    ]);
    let text = rng.pick(&["\"x\"", "{\"model\":\"sora-2-pro\"}", "1", "null", "[]"]);
    let at = rng.below(document.members.len() + 1);
    let member = (format!("\"{name}\"").into_bytes(), text.as_bytes().to_vec());
    document.members.insert(at, member);
}
