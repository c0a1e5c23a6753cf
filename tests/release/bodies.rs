//! Bodies that must be refused, each with the place where what is wrong with it begins.

use crate::support::{BOUNDARY, form_type, png};

/// A body and what must become of it.
pub struct Case {
    pub name: String,
    pub content_type: String,
    pub body: Vec<u8>,
    /// What stands before this is in order, and may have gone to the channel.
    pub from: usize,
    /// Whether so much stands before it that the channel has heard of the request.
    pub begins: bool,
    pub status: u16,
    /// The refusal's code; several, between bars, where it depends on what comes first.
    pub code: &'static str,
}

/// More than the gate reads before it connects to a channel.
pub const FILE: usize = 200 * 1024;

pub const HONEST: [(&str, &str); 4] = [
    ("prompt", "a cat"),
    ("model", "sora-2"),
    ("seconds", "4"),
    ("size", "1280x720"),
];

/// Where in a body something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    First,
    /// Behind a file, so that the body has begun to go on.
    AfterFile,
    Last,
}

pub const PLACES: [Place; 3] = [Place::First, Place::AfterFile, Place::Last];

pub fn part(name: &str, value: &str) -> Vec<u8> {
    let head = format!("Content-Disposition: form-data; name=\"{name}\"");
    raw_part(&head, value.as_bytes())
}

pub fn raw_part(head: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("--{BOUNDARY}\r\n{head}\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

pub fn file(len: usize) -> Vec<u8> {
    let head = "Content-Disposition: form-data; name=\"input_reference\"; \
                filename=\"img.png\"\r\nContent-Type: image/png";
    raw_part(head, &png(len))
}

pub fn closer() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

/// The honest parts but one.
pub fn honest(without: &str) -> Vec<u8> {
    let parts = HONEST.iter().filter(|(name, _)| *name != without);
    parts.flat_map(|(name, value)| part(name, value)).collect()
}

/// A form with `bytes` in that place, in place of the honest field `instead`.
pub fn at(place: Place, bytes: &[u8], instead: &str) -> (Vec<u8>, usize) {
    let (before, behind) = match place {
        Place::First => (vec![], [honest(instead), file(300), closer()].concat()),
        Place::AfterFile => (file(FILE), [honest(instead), closer()].concat()),
        Place::Last => ([honest(instead), file(FILE)].concat(), closer()),
    };
    let body = [&before[..], bytes, &behind].concat();
    (body, before.len())
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, head, value, instead, code) in PARTS {
        let (status, code) = split(code);
        for place in PLACES {
            let (body, from) = at(place, &raw_part(head, value.as_bytes()), instead);
            cases.push(Case {
                name: format!("{name}, {place:?}"),
                content_type: form_type(),
                body,
                from,
                begins: place != Place::First,
                status,
                code,
            });
        }
    }
    super::framings::add(&mut cases);
    super::documents::add(&mut cases);
    cases
}

/// `403 code` taken apart; 400 where no number stands.
pub fn split(code: &'static str) -> (u16, &'static str) {
    match code.split_once(' ') {
        Some((status, code)) => (status.parse().unwrap(), code),
        None => (400, code),
    }
}

/// Name, head and value of a part; the honest field that it stands for; the refusal's code.
type Part = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const BODY: &str = "invalid_body";
const VALUE: &str = "invalid_value";
const TWICE: &str = "duplicate_field";
const UNKNOWN: &str = "unknown_field";

const MODEL: &str = "Content-Disposition: form-data; name=\"model\"";
const DEAR: &str = "sora-2-pro";

/// Values that are not for sale, and parts in which some parser reads another model than
/// the honest one.
#[rustfmt::skip]
const PARTS: &[Part] = &[
    ("unknown model", MODEL, "sora-3", "model", VALUE),
    ("model in capitals", MODEL, "SORA-2", "model", VALUE),
    ("model with a space", MODEL, "sora-2 ", "model", VALUE),
    ("model with a line end", MODEL, "sora-2\r\n", "model", VALUE),
    ("model with NUL", MODEL, "sora-2\0", "model", VALUE),
    ("empty model", MODEL, "", "model", VALUE),
    ("endless model", MODEL, "sora-2sora-2sora-2sora-2sora-2sora-2sora-2sora-2sora-2sora-2sora-2", "model", VALUE),
    ("size of another model", "Content-Disposition: form-data; name=\"size\"", "1792x1024", "size", VALUE),
    ("size with another x", "Content-Disposition: form-data; name=\"size\"", "1280\u{d7}720", "size", VALUE),
    ("seconds", "Content-Disposition: form-data; name=\"seconds\"", "60", "seconds", VALUE),
    ("seconds with a zero", "Content-Disposition: form-data; name=\"seconds\"", "04", "seconds", VALUE),
    ("seconds with a plus", "Content-Disposition: form-data; name=\"seconds\"", "+4", "seconds", VALUE),
    ("empty prompt", "Content-Disposition: form-data; name=\"prompt\"", "", "prompt", VALUE),
    ("unknown field", "Content-Disposition: form-data; name=\"n\"", "4", "", UNKNOWN),
    ("another price", "Content-Disposition: form-data; name=\"num_frames\"", "400", "", UNKNOWN),
    ("model in brackets", "Content-Disposition: form-data; name=\"model[]\"", DEAR, "", UNKNOWN),
    ("model with an index", "Content-Disposition: form-data; name=\"model[0]\"", DEAR, "", UNKNOWN),
    ("Model", "Content-Disposition: form-data; name=\"Model\"", DEAR, "", UNKNOWN),
    ("two models", MODEL, DEAR, "", TWICE),
    ("the same model twice", MODEL, "sora-2", "", TWICE),
    ("unquoted", "Content-Disposition: form-data; name=model", DEAR, "", TWICE),
    ("lower case", "content-disposition: form-data; name=\"model\"", DEAR, "", TWICE),
    ("two prompts", "Content-Disposition: form-data; name=\"prompt\"", "a dog", "", TWICE),
    ("two sizes", "Content-Disposition: form-data; name=\"size\"", "720x1280", "", "duplicate_field|image_size_mismatch"),
    ("two files", "Content-Disposition: form-data; name=\"input_reference\"; filename=\"a.png\"", "x", "", "duplicate_field|invalid_value"),
    ("model as a file", "Content-Disposition: form-data; name=\"model\"; filename=\"a\"", DEAR, "model", VALUE),
    ("NAME", "Content-Disposition: form-data; NAME=\"model\"", DEAR, "", BODY),
    ("single quotes", "Content-Disposition: form-data; name='model'", DEAR, "", BODY),
    ("two names", "Content-Disposition: form-data; name=\"prompt\"; name=\"model\"", DEAR, "", BODY),
    ("name in a filename", "Content-Disposition: form-data; filename=\"; name=model\"; name=\"input_reference\"", DEAR, "", BODY),
    ("quote in a filename", "Content-Disposition: form-data; name=\"prompt\"; filename=\"a\\\"; name=\\\"model\"", DEAR, "", BODY),
    ("name without value", "Content-Disposition: form-data; name; name=\"model\"", DEAR, "", BODY),
    ("name*", "Content-Disposition: form-data; name*=utf-8''model", DEAR, "", BODY),
    ("name and name*", "Content-Disposition: form-data; name=\"prompt\"; name*=utf-8''model", DEAR, "", BODY),
    ("name*0", "Content-Disposition: form-data; name*0=\"model\"", DEAR, "", BODY),
    ("quoted pair", "Content-Disposition: form-data; name=\"\\model\"", DEAR, "", BODY),
    ("spaces in a name", "Content-Disposition: form-data; name=\" model \"", DEAR, "", BODY),
    ("spaces round =", "Content-Disposition: form-data; name = \"model\"", DEAR, "", BODY),
    ("NUL in a name", "Content-Disposition: form-data; name=\"model\0\"", DEAR, "", BODY),
    ("RFC 2047", "Content-Disposition: form-data; name=\"=?utf-8?q?model?=\"", DEAR, "", BODY),
    ("open quote", "Content-Disposition: form-data; name=\"model", DEAR, "", BODY),
    ("two dispositions", "Content-Disposition: form-data; name=\"prompt\"\r\nContent-Disposition: form-data; name=\"model\"", DEAR, "", BODY),
    ("folding", "Content-Disposition: form-data;\r\n name=\"model\"", DEAR, "", BODY),
    ("folding with TAB", "Content-Disposition:\r\n\tform-data; name=\"model\"", DEAR, "", BODY),
    ("space before the colon", "Content-Disposition : form-data; name=\"model\"", DEAR, "", BODY),
    ("bare LF", "X: y\nContent-Disposition: form-data; name=\"model\"", DEAR, "", BODY),
    ("bare CR", "X: y\rContent-Disposition: form-data; name=\"model\"", DEAR, "", BODY),
    ("LF LF", "Content-Disposition: form-data; name=\"prompt\"\n\nsora-2", DEAR, "", BODY),
    ("X-Content-Disposition", "X-Content-Disposition: form-data; name=\"model\"", DEAR, "", BODY),
    ("no header", "", DEAR, "", BODY),
    ("attachment", "Content-Disposition: attachment; name=\"model\"", DEAR, "", BODY),
    ("no form-data", "Content-Disposition: name=\"model\"", DEAR, "", BODY),
    ("extra parameter", "Content-Disposition: form-data; x=\"; name=prompt\"; name=\"model\"", DEAR, "", BODY),
    ("semicolon", "Content-Disposition: form-data; name=\"model\";", DEAR, "", BODY),
    ("base64", "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64", "c29yYS0yLXBybw==", "model", BODY),
    ("quoted-printable", "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: quoted-printable", "sora-2=2Dpro", "model", BODY),
    ("utf-16", "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-16", DEAR, "model", BODY),
    ("utf-7", "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-7", DEAR, "model", BODY),
    ("urlencoded part", "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: application/x-www-form-urlencoded", DEAR, "model", BODY),
    ("nested", "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: multipart/mixed; boundary=x", DEAR, "model", BODY),
    ("empty filename", "Content-Disposition: form-data; name=\"model\"; filename=\"\"", DEAR, "model", VALUE),
    ("filename without value", "Content-Disposition: form-data; name=\"model\"; filename", DEAR, "model", BODY),
    ("filename*", "Content-Disposition: form-data; name=\"model\"; filename*=utf-8''", DEAR, "model", BODY),
    ("wrong length of a part", "Content-Disposition: form-data; name=\"model\"\r\nContent-Length: 6", DEAR, "model", BODY),
    ("unknown header", "Content-Disposition: form-data; name=\"model\"\r\nX: y", "sora-2", "model", BODY),
];
