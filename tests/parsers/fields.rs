//! Mutations of the parts as a whole, and of their values.

use crate::mutants::{Mutation, any_part, smuggled, token};
use crate::rng::Rng;
use crate::shapes::{Form, Part};

/// Changes to the fields.
pub const FIELDS: &[(&str, Mutation)] = &[
    ("repeat a part", repeat_part),
    ("add a dear part", add_dear_part),
    ("drop a part", drop_part),
    ("shuffle the parts", |form, rng| {
        rng.shuffle(&mut form.parts);
    }),
    ("data", data),
    ("value", value),
    ("headless part", headless_part),
    ("nested multipart", nested_multipart),
];

fn repeat_part(form: &mut Form, rng: &mut Rng) {
    if let Some(part) = any_part(form, rng) {
        let part = part.clone();
        form.parts.insert(rng.below(form.parts.len() + 1), part);
    }
}

fn add_dear_part(form: &mut Form, rng: &mut Rng) {
    let (name, value) = smuggled(form, rng);
    let name = match rng.below(10) {
        0 => name.to_uppercase(),
        1 => format!("{name}[]"),
        2 => format!("{name}[0]"),
        3 => format!("{name} "),
        4 => format!(" {name}"),
        5 => format!("{name}\0"),
        6 => format!("input_reference[{name}]"),
        7 => format!("{name}]"),
        8 => format!("{name}\\"),
        _ => name.to_owned(),
    };
    let mut part = form.text(&name, value.as_bytes());
    if rng.one_in(2) {
        // In the place of the honest one, so that the name is not seen twice.
        let places = form.find(name.trim_end_matches("[]"));
        if let Some(&i) = places.first() {
            std::mem::swap(&mut form.parts[i], &mut part);
            return;
        }
    }
    form.parts.insert(rng.below(form.parts.len() + 1), part);
}

fn drop_part(form: &mut Form, rng: &mut Rng) {
    if !form.parts.is_empty() {
        form.parts.remove(rng.below(form.parts.len()));
    }
}

fn data(form: &mut Form, rng: &mut Rng) {
    let text = token(form, rng);
    if let Some(part) = any_part(form, rng) {
        let at = rng.below(part.data.len() + 1);
        part.data.splice(at..at, text);
    }
}

fn value(form: &mut Form, rng: &mut Rng) {
    let (name, dear) = smuggled(form, rng);
    let text: Vec<u8> = match rng.below(12) {
        0 => format!("{dear} ").into_bytes(),
        1 => format!(" {dear}").into_bytes(),
        2 => format!("{dear}\r\n").into_bytes(),
        3 => format!("{dear}\n").into_bytes(),
        4 => format!("{dear}\0").into_bytes(),
        5 => format!("\u{feff}{dear}").into_bytes(),
        6 => dear.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        7 => Vec::new(),
        8 => dear.to_uppercase().into_bytes(),
        9 => b"c29yYS0yLXBybw==".to_vec(),
        10 => b"sora=2D2".to_vec(),
        _ => dear.as_bytes().to_vec(),
    };
    if let Some(&i) = form.find(name).first() {
        form.parts[i].data = text;
    }
}

fn headless_part(form: &mut Form, rng: &mut Rng) {
    if let Some(part) = any_part(form, rng) {
        let mut part = part.clone();
        part.lines.clear();
        form.parts.insert(rng.below(form.parts.len() + 1), part);
    }
}

fn nested_multipart(form: &mut Form, rng: &mut Rng) {
    let (name, value) = smuggled(form, rng);
    let inner = if rng.one_in(3) {
        &form.boundary
    } else {
        "inner"
    };
    let kind = rng.pick(&["multipart/mixed", "multipart/form-data"]);
    let lines = [
        format!(
            "Content-Disposition: form-data; name=\"{}\"",
            rng.pick(&["prompt", name])
        ),
        format!("Content-Type: {kind}; boundary={inner}"),
    ];
    let data = format!(
        "--{inner}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--{inner}--"
    );
    let part = Part::new(&form.boundary, &lines, data.as_bytes());
    if let Some(&i) = form.find("prompt").first() {
        form.parts[i] = part;
    }
}
