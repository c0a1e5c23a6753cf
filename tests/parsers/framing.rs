//! Mutations of what stands round the parts: delimiters, line breaks, preamble, epilogue.

use crate::mutants::{Mutation, any_part, smuggled};
use crate::rng::Rng;
use crate::shapes::Form;

/// Changes to the framing.
pub const FRAMING: &[(&str, Mutation)] = &[
    ("preamble", preamble),
    ("preamble part", preamble_part),
    ("delimiter", delimiter),
    ("line break before a delimiter", line_break),
    ("near miss in data", near_miss),
    ("part in data", part_in_data),
    ("early closer", early_closer),
    ("closer", closer),
    ("epilogue", epilogue),
    ("epilogue part", epilogue_part),
    ("no closer", |form, _| form.closer.clear()),
    ("blank line", blank_line),
];

/// A smuggled part, written out, with its line breaks and dashes varied.
fn smuggled_part(form: &Form, rng: &mut Rng) -> Vec<u8> {
    let (name, value) = smuggled(form, rng);
    let boundary = &form.boundary;
    let eol = rng.pick(&["\r\n", "\r\n", "\r\n", "\n", "\r"]);
    let dashes = rng.pick(&["--", "--", "--", "-", "", "---", "----"]);
    let boundary = match rng.below(9) {
        0 => boundary[..boundary.len() - 1].to_owned(),
        5 => {
            let (before, after) = boundary.split_at(1 + rng.below(boundary.len() - 1));
            format!("{before}{}{after}", rng.pick(&["\r", "\n"]))
        }
        1 => boundary.to_uppercase(),
        2 => format!("{boundary}x"),
        3 => "other".to_owned(),
        4 => boundary.trim_start_matches('-').to_owned(),
        _ => boundary.clone(),
    };
    let padding = rng.pick(&["", "", "", " ", "\t", " \t "]);
    format!(
        "{dashes}{boundary}{padding}{eol}\
         Content-Disposition: form-data; name=\"{name}\"{eol}{eol}{value}{eol}"
    )
    .into_bytes()
}

fn preamble(form: &mut Form, rng: &mut Rng) {
    form.preamble = rng
        .pick(&[
            "\r\n", "\r\n", "\n", "\r", "\r\n\r\n", " ", "x", "x\r\n", "\0", "\u{feff}", "--",
            "--\r\n",
        ])
        .as_bytes()
        .to_vec();
}

fn preamble_part(form: &mut Form, rng: &mut Rng) {
    let mut part = smuggled_part(form, rng);
    if rng.one_in(2) {
        part.splice(0..0, b"x\r\n".iter().copied());
    }
    form.preamble = part;
}

fn delimiter(form: &mut Form, rng: &mut Rng) {
    let boundary = form.boundary.clone();
    let text = match rng.below(14) {
        0 => format!("--{boundary}\n"),
        1 => format!("--{boundary}\r"),
        2 => format!("--{boundary}"),
        3 => format!("--{boundary} \r\n"),
        4 => format!("--{boundary}\t\r\n"),
        5 => format!("--{boundary}x\r\n"),
        6 => format!("--{boundary}-\r\n"),
        7 => format!("--{boundary}--\r\n"),
        8 => format!("-{boundary}\r\n"),
        9 => format!("---{boundary}\r\n"),
        10 => format!("{boundary}\r\n"),
        11 => format!("--{}\r\n", boundary.to_uppercase()),
        12 => format!("--{boundary}\r\n\r\n"),
        _ => format!(" --{boundary}\r\n"),
    };
    if let Some(part) = any_part(form, rng) {
        part.delimiter = text.into_bytes();
    }
}

fn line_break(form: &mut Form, rng: &mut Rng) {
    let text = rng.pick(&[
        "\n", "\r", "", "\n\r", "\r\r\n", "\r\n\r\n", "\r\n\n", " \r\n", "\0\r\n", "-\r\n",
    ]);
    if let Some(part) = any_part(form, rng) {
        part.end = text.as_bytes().to_vec();
    }
}

fn near_miss(form: &mut Form, rng: &mut Rng) {
    let boundary = form.boundary.clone();
    let short = &boundary[..1 + rng.below(boundary.len() - 1)];
    let text = match rng.below(10) {
        9 => format!(
            "\r\n--{short}{}{}\r\n",
            rng.pick(&["\r", "\n", "\r\n"]),
            &boundary[short.len()..]
        ),
        0 => format!("\r\n--{short}"),
        1 => format!("\r\n--{short}\r\n"),
        2 => format!("--{boundary}"),
        3 => format!("\n--{boundary}\n"),
        4 => format!("\r--{boundary}\r"),
        5 => format!("\r\n-{boundary}\r\n"),
        6 => format!("\r\n--{}--\r\n", boundary.to_uppercase()),
        7 => "\r\n--\r\n".to_owned(),
        _ => boundary,
    };
    if let Some(part) = any_part(form, rng) {
        let at = rng.pick(&[0, part.data.len()]);
        part.data.splice(at..at, text.into_bytes());
    }
}

fn part_in_data(form: &mut Form, rng: &mut Rng) {
    let smuggled = smuggled_part(form, rng);
    let lead = rng.pick(&["", "\r\n", "\r\n", "\n", "\r", "\r\n\r\n", "x"]);
    let hosts: Vec<usize> = ["prompt", "input_reference"]
        .iter()
        .flat_map(|name| form.find(name))
        .collect();
    if let Some(&i) = hosts.get(rng.below(hosts.len().max(1))) {
        let data = &mut form.parts[i].data;
        let at = rng.pick(&[0, data.len() / 2, data.len()]);
        data.splice(at..at, lead.bytes().chain(smuggled));
    }
}

fn early_closer(form: &mut Form, rng: &mut Rng) {
    let tail = rng.pick(&["--\r\n", "--", "-- \r\n", "--\n", "--\r\n\r\n", "--x\r\n"]);
    let text = format!("--{}{tail}", form.boundary).into_bytes();
    if let Some(part) = any_part(form, rng) {
        part.delimiter.splice(0..0, text);
    }
}

fn closer(form: &mut Form, rng: &mut Rng) {
    let boundary = &form.boundary;
    form.closer = match rng.below(9) {
        0 => format!("--{boundary}"),
        1 => format!("--{boundary}-"),
        2 => format!("--{boundary}\r\n"),
        3 => format!("--{boundary} --"),
        4 => format!("--{boundary}---"),
        5 => format!("-{boundary}--"),
        6 => format!("--{boundary}x--"),
        7 => format!("--{boundary}\r\n\r\n--{boundary}--"),
        _ => format!("--{}--", boundary.to_uppercase()),
    }
    .into_bytes();
}

fn epilogue(form: &mut Form, rng: &mut Rng) {
    form.epilogue = rng
        .pick(&[
            "",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "\r\n\r\n\r\n",
            " ",
            " \r\n",
            "-",
            "--",
            "x",
            "\r\nx",
            "\0",
        ])
        .as_bytes()
        .to_vec();
}

fn epilogue_part(form: &mut Form, rng: &mut Rng) {
    form.epilogue = if rng.one_in(3) {
        let (name, value) = smuggled(form, rng);
        let mut other = form.clone();
        other.parts = vec![form.text(name, value.as_bytes())];
        [b"\r\n".to_vec(), other.body()].concat()
    } else {
        [b"\r\n".to_vec(), smuggled_part(form, rng)].concat()
    };
    if rng.one_in(2) {
        form.epilogue.extend_from_slice(&form.closer);
    }
}

fn blank_line(form: &mut Form, rng: &mut Rng) {
    let text = rng.pick(&[
        "", "\n", "\r", " \r\n", "\r\n\r\n", "\n\n", "\t\r\n", "\0\r\n",
    ]);
    if let Some(part) = any_part(form, rng) {
        part.blank = text.as_bytes().to_vec();
    }
}
