//! Mutations of the request's Content-Type.

use crate::mutants::{Mutation, smuggled};
use crate::rng::Rng;
use crate::shapes::Form;

/// Changes to the Content-Type of the request.
pub const REQUEST: &[(&str, Mutation)] = &[
    ("media type", media_type),
    ("boundary parameter", boundary_parameter),
    ("second boundary", second_boundary),
    ("request charset", request_charset),
    ("other parameter", other_parameter),
];

fn media_type(form: &mut Form, rng: &mut Rng) {
    let to = rng.pick(&[
        "Multipart/Form-Data",
        "multipart/FORM-DATA",
        "multipart/mixed",
        "multipart/form-data ",
        " multipart/form-data",
        "multipart/form-datax",
        "multipart/related",
        "application/x-www-form-urlencoded",
        "multipart/form-data, multipart/form-data",
    ]);
    form.content_type = form.content_type.replacen("multipart/form-data", to, 1);
}

fn boundary_parameter(form: &mut Form, rng: &mut Rng) {
    let b = &form.boundary;
    let rest = match rng.below(22) {
        0 => format!("; BOUNDARY={b}"),
        1 => format!("; Boundary={b}"),
        2 => format!("; boundary=\"{b}\""),
        3 => format!(";boundary={b}"),
        4 => format!(";  boundary={b}"),
        5 => format!(";\tboundary={b}"),
        6 => format!("; boundary ={b}"),
        7 => format!("; boundary= {b}"),
        8 => format!("; boundary={b} "),
        9 => format!("; boundary={b};"),
        10 => format!("; boundary='{b}'"),
        11 => format!("; boundary=\"\\{b}\""),
        12 => format!("; boundary=\"{b}"),
        13 => format!("; boundary=\"{b}\"x"),
        14 => format!("; boundary*=utf-8''{b}"),
        15 => format!("; boundary*0={b}"),
        16 => format!("; boundary={b}, x"),
        17 => format!("; boundary={b}%20"),
        18 => format!(" boundary={b}"),
        19 => format!("; boundary=\"{b}=\""),
        20 => format!("; boundary=\"{b}/\""),
        _ => format!("; boundary=\"{b} \""),
    };
    form.content_type = format!("multipart/form-data{rest}");
}

fn second_boundary(form: &mut Form, rng: &mut Rng) {
    let b = &form.boundary;
    let other = rng.pick(&["other", "x", ""]);
    let name = rng.pick(&[
        "boundary",
        "BOUNDARY",
        "boundary*",
        "boundary*0",
        " boundary",
        "x-boundary",
    ]);
    form.content_type = match rng.below(4) {
        0 => format!("multipart/form-data; boundary={b}; {name}={other}"),
        1 => format!("multipart/form-data; {name}={other}; boundary={b}"),
        2 => format!("multipart/form-data; boundary={b}; {name}=\"{other}\""),
        _ => format!("multipart/form-data; charset=\"x; {name}={other}\"; boundary={b}"),
    };
    if rng.one_in(2) && !other.is_empty() {
        // The same body once more, for whom takes the other boundary.
        let (field, value) = smuggled(form, rng);
        let second = format!(
            "--{other}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n--{other}--\r\n"
        );
        match rng.below(3) {
            0 => form.preamble = second.into_bytes(),
            1 => form.epilogue = second.into_bytes(),
            _ => {
                if let Some(&i) = form.find("prompt").first() {
                    form.parts[i].data = second.into_bytes();
                }
            }
        }
    }
}

fn request_charset(form: &mut Form, rng: &mut Rng) {
    let charset = rng.pick(&[
        "utf-8",
        "UTF-8",
        "us-ascii",
        "US-ASCII",
        "\"utf-8\"",
        "\"us-ascii\"",
        "utf8",
        "utf-7",
        "utf-16",
        "cp037",
        "iso-8859-1",
        "base64",
        "rot13",
        "idna",
        "punycode",
        "",
        "utf-8;charset=utf-7",
    ]);
    form.content_type = if rng.one_in(2) {
        format!("{}; charset={charset}", form.content_type)
    } else {
        let with = format!("multipart/form-data; charset={charset};");
        form.content_type.replacen("multipart/form-data;", &with, 1)
    };
}

fn other_parameter(form: &mut Form, rng: &mut Rng) {
    let extra = rng.pick(&[
        "; x=y",
        "; name=\"model\"",
        ";",
        "; ",
        ", x",
        "; =",
        "; x",
        "; _charset_=utf-7",
    ]);
    form.content_type.push_str(extra);
}
