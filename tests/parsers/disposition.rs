//! Mutations of a part's Content-Disposition.

use crate::headers::with_line;
use crate::mutants::{Mutation, smuggled};
use crate::rng::Rng;
use crate::shapes::{Form, Line, Part};

/// Changes to a Content-Disposition.
pub const DISPOSITION: &[(&str, Mutation)] = &[
    ("name parameter", name_parameter),
    ("second name", second_name),
    ("filename", filename),
    ("name in a filename", name_in_filename),
    ("filename of a policy field", policy_filename),
    ("disposition type", disposition_type),
    ("parameter order", parameter_order),
    ("second disposition", second_disposition),
    ("header name", header_name),
];

/// The place of a part's Content-Disposition among its lines.
fn disposition(part: &Part) -> Option<usize> {
    part.lines.iter().position(|line| {
        line.text
            .get(..19)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"content-disposition"))
    })
}

/// Changes the Content-Disposition of one part, seen as text.
fn change(form: &mut Form, rng: &mut Rng, how: impl FnOnce(&str) -> String) {
    if form.parts.is_empty() {
        return;
    }
    let i = rng.below(form.parts.len());
    let part = &mut form.parts[i];
    if let Some(at) = disposition(part) {
        let text = String::from_utf8_lossy(&part.lines[at].text).into_owned();
        part.lines[at].text = how(&text).into_bytes();
    }
}

/// The value of the `name` parameter, as written.
fn name_of(text: &str) -> &str {
    let from = text.find("name=").map_or(text.len(), |at| at + 5);
    let value = text[from..].split(';').next().unwrap_or_default();
    value.trim_matches('"')
}

fn name_parameter(form: &mut Form, rng: &mut Rng) {
    let kind = rng.below(24);
    change(form, rng, |text| {
        let name = name_of(text).to_owned();
        let quoted = format!("\"{name}\"");
        let written = if text.contains(&format!("name={quoted}")) {
            &quoted
        } else {
            &name
        };
        let half = name.len() / 2;
        let (a, b) = name.split_at(if name.is_char_boundary(half) { half } else { 0 });
        let to = match kind {
            0 => format!("NAME=\"{name}\""),
            1 => format!("Name={name}"),
            2 => format!("name={name}"),
            3 => format!("name='{name}'"),
            4 => format!("name =\"{name}\""),
            5 => format!("name= \"{name}\""),
            6 => format!("name=\" {name}\""),
            7 => format!("name=\"{name} \""),
            8 => format!("name=\"{a}\\{b}\""),
            9 => format!("name=\"{a}\\\"{b}\""),
            10 => format!("name=\"{a}\0{b}\""),
            11 => format!("name*=utf-8''{name}"),
            12 => format!("name*0=\"{a}\"; name*1=\"{b}\""),
            13 => format!("name=\"=?utf-8?q?{name}?=\""),
            14 => "name".to_owned(),
            15 => "name=".to_owned(),
            16 => "name=\"\"".to_owned(),
            17 => format!("name=\"{name}"),
            18 => format!("name=\"{name}\"x"),
            19 => format!("name=\"{a}%22{b}\""),
            20 => format!("name=\"{a}\" \"{b}\""),
            21 => format!("name=\"{name}\";"),
            22 => format!("x=y; name=\"{name}\""),
            _ => format!("name=\"{}\"", name.to_uppercase()),
        };
        text.replacen(&format!("name={written}"), &to, 1)
    });
}

fn second_name(form: &mut Form, rng: &mut Rng) {
    let (field, _) = smuggled(form, rng);
    let second = match rng.below(14) {
        0 => format!("name=\"{field}\""),
        1 => format!("name={field}"),
        2 => format!("NAME=\"{field}\""),
        3 => format!("name*=utf-8''{field}"),
        4 => format!("name*0=\"{field}\""),
        5 => format!("x=\"; name={field}; \""),
        6 => format!("x=\"\\\"; name=\\\"{field}\""),
        7 => format!("x='; name={field}; '"),
        8 => format!(" name=\"{field}\""),
        9 => format!("\tname=\"{field}\""),
        10 => format!("name =\"{field}\""),
        11 => format!("x=name=\"{field}\""),
        12 => format!("x-name=\"{field}\""),
        _ => format!("filename=\"x; name={field}\""),
    };
    let first = rng.one_in(2);
    change(form, rng, |text| {
        if first {
            text.replacen("form-data;", &format!("form-data; {second};"), 1)
        } else {
            format!("{text}; {second}")
        }
    });
}

fn filename(form: &mut Form, rng: &mut Rng) {
    let file = rng.pick(&[
        "filename=\"\"",
        "filename=",
        "filename",
        "filename=img.png",
        "filename*=utf-8''img.png",
        "filename=\"img.png\"; filename*=utf-8''img.png",
        "filename*=utf-8''img.png; filename=\"img.png\"",
        "filename=\"a\"; filename=\"b\"",
        "FILENAME=\"img.png\"",
        "filename='img.png'",
        "filename=\"a\\\\b.png\"",
        "filename=\"a\\\"b.png\"",
        "filename=\"a;b.png\"",
        "filename=\"a\\b.png\"",
        "filename=\"a\\\"",
        "filename=\"caf\u{e9}.png\"",
        "filename=\"a%22b.png\"",
        "filename*0=\"a\"; filename*1=\"b\"",
        "filename=\"C:\\dir\\img.png\"",
        "filename=\"a=b.png\"",
        "filename=\"../x\"",
        "filename*=utf-8''a%22b",
        "filename*=utf-8''a%00b",
        "filename=\"a\"; filename*=utf-7''b",
        "filename=\"a\tb\"",
        "filename=\"=?utf-8?q?a?=\"",
        "filename=\"'\"",
        "filename=\" \"",
        "filename=\",\"",
        "filename=\"a\\\\\\\"b\"",
        "filename=\".\"",
        "filename=\"a/\"",
        "filename=\"&sol;\"",
        "filename=\"a.png&#47\"",
        "filename=\"\u{200b}\"",
        "filename=\"a.png\"; filename*=utf-8''%2e",
        "filename=\"C:\\dir\\\\\"",
        "filename=\"C:\\dir\\a\\\"b.png\"",
        "filename=\"\\\\host\\a.png\"",
        "filename=\"Tom & Jerry.png\"",
        "filename=\"R&D;a.png\"",
        "filename=\"-\"",
    ]);
    let Some(&i) = form.find("filename").first() else {
        return;
    };
    let part = &mut form.parts[i];
    if let Some(at) = disposition(part) {
        let text = String::from_utf8_lossy(&part.lines[at].text).into_owned();
        if let Some(from) = text.find("filename") {
            part.lines[at].text = format!("{}{file}", &text[..from]).into_bytes();
        }
    }
}

fn name_in_filename(form: &mut Form, rng: &mut Rng) {
    let (field, value) = smuggled(form, rng);
    let boundary = &form.boundary;
    let file = match rng.below(14) {
        0 => format!("a\"; name=\"{field}"),
        1 => format!("a\\\"; name=\\\"{field}"),
        2 => format!("a\\\\\"; name=\"{field}"),
        3 => format!("a\\\\\\\"; name=\\\"{field}"),
        4 => format!("a; name={field}; b"),
        5 => format!("a'; name='{field}"),
        6 => format!("a%22; name=%22{field}"),
        7 => format!("a\r\nContent-Disposition: form-data; name={field}\r\n\r\n{value}"),
        8 => format!("a\\\"; name={field}; x=\\\""),
        9 => format!("name={field}"),
        10 => format!("a\n; name={field}"),
        11 => format!("a\\; name={field}\\"),
        12 => format!("a\r\n--{boundary}\r\n"),
        _ => format!("\\\" name=\\\"{field}"),
    };
    let Some(&i) = form.find("input_reference").first() else {
        return;
    };
    let text =
        format!("Content-Disposition: form-data; name=\"input_reference\"; filename=\"{file}\"");
    let swapped =
        format!("Content-Disposition: form-data; filename=\"{file}\"; name=\"input_reference\"");
    let line = Line::new(if rng.one_in(3) { &swapped } else { &text });
    match disposition(&form.parts[i]) {
        Some(at) => form.parts[i].lines[at] = line,
        None => form.parts[i].lines.push(line),
    }
}

fn policy_filename(form: &mut Form, rng: &mut Rng) {
    let (field, _) = smuggled(form, rng);
    let file = rng.pick(&[
        "; filename=\"\"",
        "; filename",
        "; filename=",
        "; filename=\"x\"",
        "; filename*=utf-8''x",
        "; Filename=x",
    ]);
    if let Some(&i) = form.find(field).first()
        && let Some(at) = disposition(&form.parts[i])
    {
        form.parts[i].lines[at]
            .text
            .extend_from_slice(file.as_bytes());
    }
}

fn disposition_type(form: &mut Form, rng: &mut Rng) {
    let to = rng.pick(&[
        "Form-Data",
        "attachment",
        "form-data ",
        "\"form-data\"",
        "form-datax",
        "form-data;",
        "file",
        "",
        "form-data ;x=y",
        "form-data,form-data",
        "inline",
    ]);
    change(form, rng, |text| text.replacen("form-data", to, 1));
}

fn parameter_order(form: &mut Form, rng: &mut Rng) {
    let joint = rng.pick(&["; ", ";", " ; ", ";  ", ";;", ",", " ", ";\t"]);
    let turn = rng.one_in(2);
    change(form, rng, |text| {
        let mut parameters: Vec<&str> = text.split("; ").collect();
        if turn && parameters.len() > 1 {
            parameters[1..].reverse();
        }
        parameters.join(joint)
    });
}

fn second_disposition(form: &mut Form, rng: &mut Rng) {
    let (field, _) = smuggled(form, rng);
    let name = rng.pick(&[
        "Content-Disposition",
        "content-disposition",
        "X-Content-Disposition",
        "Content-Disposition ",
        "Content_Disposition",
    ]);
    with_line(form, rng, &format!("{name}: form-data; name=\"{field}\""));
}

fn header_name(form: &mut Form, rng: &mut Rng) {
    let to = rng.pick(&[
        "X-Content-Disposition",
        "CONTENT-DISPOSITION",
        "Content-disposition",
        "content-Disposition",
        "Content_Disposition",
        "Content-Disposition\0",
        "\u{feff}Content-Disposition",
        "Content-Dispositio",
        "",
    ]);
    change(form, rng, |text| {
        text.replacen("Content-Disposition", to, 1)
    });
}
