//! Form bodies with one to four faults in them, most of which a parser somewhere forgives.

use crate::disposition::DISPOSITION;
use crate::fields::FIELDS;
use crate::framing::FRAMING;
use crate::headers::LINES;
use crate::request::REQUEST;
use crate::rng::Rng;
use crate::shapes::{self, CLIENTS, Form, POLICY, Part};

/// A change to a form. What does not apply leaves the form as it is.
pub type Mutation = fn(&mut Form, &mut Rng);

/// A change to a body that is written out.
type ByteMutation = fn(&mut Vec<u8>, &Form, &mut Rng);

const BYTES: &[(&str, ByteMutation)] = &[
    ("flip", |body, _, rng| {
        if let Some(at) = position(body, rng) {
            body[at] ^= 1 << rng.below(8);
        }
    }),
    ("set", |body, _, rng| {
        if let Some(at) = position(body, rng) {
            body[at] = rng.pick(b"\r\n\0\t \"'\\;=:-\x0b\x0c\x7f\x80\xff");
        }
    }),
    ("insert", |body, form, rng| {
        let at = rng.below(body.len() + 1);
        body.splice(at..at, token(form, rng));
    }),
    ("insert in a header", |body, form, rng| {
        let hits: Vec<usize> = memchr::memmem::find_iter(body, "form-data").collect();
        if !hits.is_empty() {
            let at = (rng.pick(&hits) + rng.below(60)).min(body.len());
            body.splice(at..at, token(form, rng));
        }
    }),
    ("remove", |body, _, rng| {
        if let Some(at) = position(body, rng) {
            let end = (at + 1 + rng.below(4)).min(body.len());
            body.drain(at..end);
        }
    }),
    ("truncate", |body, _, rng| {
        if let Some(at) = position(body, rng) {
            body.truncate(at);
        }
    }),
    ("one line break", |body, _, rng| {
        let hits: Vec<usize> = memchr::memmem::find_iter(body, "\r\n").collect();
        if !hits.is_empty() {
            let at = rng.pick(&hits);
            let with = rng.pick(&[
                "\n", "\r", "\n\r", "\r\r\n", "\r\n ", "\r\n\t", "\r\n\r\n", "",
            ]);
            body.splice(at..at + 2, with.bytes());
        }
    }),
    ("all line breaks", |body, _, rng| {
        let with = rng.pick(&["\n", "\r", "\r\r\n"]);
        *body = replace(body, b"\r\n", with.as_bytes());
    }),
    ("repeat a slice", |body, _, rng| {
        let from = rng.below(body.len() + 1);
        let to = (from + rng.below(200)).min(body.len());
        let slice = body[from..to].to_vec();
        let at = rng.below(body.len() + 1);
        body.splice(at..at, slice);
    }),
    ("splice with another body", |body, form, rng| {
        let Some(client) = CLIENTS
            .iter()
            .find(|client| client.boundary == form.boundary)
        else {
            return;
        };
        let other = shapes::form(client, rng).body();
        body.truncate(rng.below(body.len() + 1));
        body.extend_from_slice(&other[rng.below(other.len())..]);
    }),
];

/// A Content-Type, a body, and the names of the faults in it.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub content_type: String,
    pub body: Vec<u8>,
    pub label: String,
}

/// A mutant of the body of a real client.
pub fn mutant(rng: &mut Rng) -> Mutant {
    let client = rng.pick(CLIENTS);
    let mut form = shapes::form(&client, rng);
    let mut faults = vec![client.name];
    let mut in_bytes = 0;
    for _ in 0..=rng.below(4).min(rng.below(4)) {
        let (name, mutation) = match rng.below(10) {
            0..=2 => rng.pick(FRAMING),
            3..=4 => rng.pick(FIELDS),
            5..=6 => rng.pick(DISPOSITION),
            7 => rng.pick(LINES),
            8 => rng.pick(REQUEST),
            _ => {
                in_bytes += 1;
                continue;
            }
        };
        faults.push(name);
        mutation(&mut form, rng);
    }
    let mut body = form.body();
    for _ in 0..in_bytes {
        let (name, mutation) = rng.pick(BYTES);
        faults.push(name);
        mutation(&mut body, &form, rng);
    }
    Mutant {
        content_type: form.content_type,
        body,
        label: faults.join(", "),
    }
}

/// A policy field and a value for it that `form` does not have.
pub fn smuggled(form: &Form, rng: &mut Rng) -> (&'static str, &'static str) {
    let (name, values) = rng.pick(&POLICY);
    let has = form.find(name);
    let others: Vec<&str> = values
        .iter()
        .copied()
        .filter(|value| has.iter().all(|&i| form.parts[i].data != value.as_bytes()))
        .collect();
    if others.is_empty() {
        ("model", "sora-2-pro")
    } else {
        (name, rng.pick(&others))
    }
}

/// Some part.
pub fn any_part<'a>(form: &'a mut Form, rng: &mut Rng) -> Option<&'a mut Part> {
    if form.parts.is_empty() {
        return None;
    }
    let i = rng.below(form.parts.len());
    form.parts.get_mut(i)
}

/// Bytes that mean something to some parser.
pub fn token(form: &Form, rng: &mut Rng) -> Vec<u8> {
    let (name, value) = smuggled(form, rng);
    let boundary = &form.boundary;
    match rng.below(26) {
        0 => b"\r\n".to_vec(),
        1 => b"\n".to_vec(),
        2 => b"\r".to_vec(),
        3 => b"\0".to_vec(),
        4 => b"\t".to_vec(),
        5 => b" ".to_vec(),
        6 => b"\"".to_vec(),
        7 => b"\\".to_vec(),
        8 => b"\\\"".to_vec(),
        9 => b";".to_vec(),
        10 => b"'".to_vec(),
        11 => b"=".to_vec(),
        12 => b"--".to_vec(),
        13 => format!("; name=\"{name}\"").into_bytes(),
        14 => format!("; name={name}").into_bytes(),
        15 => format!("\"; name=\"{name}").into_bytes(),
        16 => b"; filename=\"x\"".to_vec(),
        17 => format!("\r\n--{boundary}").into_bytes(),
        18 => format!("\r\n--{boundary}--").into_bytes(),
        19 => format!("\r\nContent-Disposition: form-data; name=\"{name}\"").into_bytes(),
        20 => format!("\r\n\r\n{value}").into_bytes(),
        21 => b"%22".to_vec(),
        22 => b"*".to_vec(),
        23 => "\u{2028}".as_bytes().to_vec(),
        24 => b"\x85".to_vec(),
        _ => b"\x80\xff".to_vec(),
    }
}

fn position(body: &[u8], rng: &mut Rng) -> Option<usize> {
    (!body.is_empty()).then(|| rng.below(body.len()))
}

fn replace(body: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut from = 0;
    for at in memchr::memmem::find_iter(body, what) {
        out.extend_from_slice(&body[from..at]);
        out.extend_from_slice(with);
        from = at + what.len();
    }
    out.extend_from_slice(&body[from..]);
    out
}
