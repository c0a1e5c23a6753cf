//! JSON documents that parsers read differently, and ones that ask for what cannot be had.

use super::bodies::{Case, FILE, HONEST, PLACES, Place, split};
use crate::support::png;

/// A member; the honest one that it stands for; the refusal's code.
#[rustfmt::skip]
const MEMBERS: &[(&str, &str, &str)] = &[
    (r#""model":"sora-3""#, "model", "invalid_value"),
    (r#""model":"sora-2 ""#, "model", "invalid_value"),
    (r#""model":null"#, "model", "missing_required_parameter"),
    (r#""model":["sora-2"]"#, "model", "unknown_field"),
    (r#""model":{"model":"sora-2"}"#, "model", "unknown_field"),
    (r#""seconds":4"#, "seconds", "invalid_value"),
    (r#""seconds":4.0"#, "seconds", "invalid_value"),
    (r#""seconds":"60""#, "seconds", "invalid_value"),
    (r#""size":"1792x1024""#, "size", "invalid_value"),
    (r#""model":"sora-2-pro""#, "", "invalid_body"),
    (r#""model":"sora-2""#, "", "invalid_body"),
    (r#""Model":"sora-2-pro""#, "", "unknown_field|invalid_body"),
    (r#""mod\u0065l":"sora-2-pro""#, "", "invalid_body"),
    (r#""model\u0000":"sora-2-pro""#, "", "invalid_body"),
    ("\"\u{17f}econds\":\"12\"", "", "invalid_body"),
    (r#""":"x""#, "", "invalid_body"),
    (r#""n":4"#, "", "unknown_field"),
    (r#""__proto__":{"seconds":"12"}"#, "", "unknown_field"),
    (r#""model[]":"sora-2-pro""#, "", "invalid_body"),
    (r#""seconds":NaN"#, "seconds", "invalid_body"),
    (r#""seconds":04"#, "seconds", "invalid_value"),
    (r#""seconds":'4'"#, "seconds", "invalid_body"),
    (r#"/*"model":"sora-2-pro",*/"size":"1280x720""#, "size", "invalid_body"),
    ("//\n\"size\":\"1280x720\"", "size", "invalid_body"),
    (r#""size":"1280x720","#, "size", "invalid_body"),
    (r#""size" "1280x720""#, "size", "invalid_body"),
    (r#"size:"1280x720""#, "size", "invalid_body"),
    ("\"model\":\"sora-2\u{0}\"", "model", "invalid_body"),
    (r#""model":"sora-2\u0000-pro""#, "model", "invalid_body"),
    (r#""prompt":"\ud800""#, "prompt", "invalid_body"),
    (r#""prompt":"\x41""#, "prompt", "invalid_body"),
    ("\"prompt\":\"a\nb\"", "prompt", "invalid_body"),
    (r#""prompt":"""#, "prompt", "invalid_value"),
    (r#""prompt":7"#, "prompt", "invalid_value"),
    (r#""characters":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"#, "", "unknown_field"),
];

/// What follows the document's members.
const ENDS: &[(&str, &str)] = &[
    ("no brace", ""),
    ("a second document", "}{\"model\":\"sora-2-pro\"}"),
    ("a letter", "}x"),
    ("a NUL", "}\0"),
    ("a bracket", "]"),
    ("a comma", ",}"),
];

fn member(name: &str, value: &str) -> String {
    format!("\"{name}\":\"{value}\"")
}

fn image(len: usize) -> String {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(png(len));
    format!("\"input_reference\":{{\"image_url\":\"data:image/png;base64,{data}\"}}")
}

fn honest(without: &str) -> Vec<String> {
    let members = HONEST.iter().filter(|(name, _)| *name != without);
    members.map(|(name, value)| member(name, value)).collect()
}

/// An accepted document.
pub fn document(size: usize) -> Vec<u8> {
    let mut members = honest("");
    members.insert(2, image(size));
    format!("{{{}}}", members.join(",")).into_bytes()
}

pub fn add(cases: &mut Vec<Case>) {
    let mut push = |name: String, before: &str, rest: &[u8], code| {
        let (status, code) = split(code);
        cases.push(Case {
            name: format!("JSON: {name}"),
            content_type: "application/json".into(),
            body: [before.as_bytes(), rest].concat(),
            from: before.len(),
            begins: before.len() > FILE,
            status,
            code,
        });
    };
    for (bad, instead, code) in MEMBERS {
        for place in PLACES {
            let (before, behind) = match place {
                Place::First => (vec![], honest(instead)),
                Place::AfterFile => (vec![image(FILE)], honest(instead)),
                Place::Last => ([honest(instead), vec![image(FILE)]].concat(), vec![]),
            };
            let mut head = String::from("{");
            for member in before {
                head.push_str(&member);
                head.push(',');
            }
            let rest = [vec![(*bad).to_owned()], behind].concat().join(",") + "}";
            push(format!("{bad}, {place:?}"), &head, rest.as_bytes(), code);
        }
    }
    for (size, what) in [(300, "small"), (FILE, "large")] {
        let all = [honest(""), vec![image(size)]].concat().join(",");
        for (name, end) in ENDS {
            let head = format!("{{{all}");
            push(
                format!("{name}, {what}"),
                &head,
                end.as_bytes(),
                "invalid_body",
            );
        }
        for (name, start) in [("a byte order mark", "\u{feff}{"), ("an array", "[{")] {
            let rest = format!("{start}{all}}}");
            push(
                format!("{name}, {what}"),
                "",
                rest.as_bytes(),
                "invalid_body",
            );
        }
        let head = format!("{{{},{},", image(size), honest("prompt").join(","));
        push(
            format!("no UTF-8, {what}"),
            &head,
            b"\"prompt\":\"\xff\"}",
            "invalid_body",
        );
        let head = format!("{{{},{}", image(size), honest("prompt").join(","));
        push(
            format!("no prompt, {what}"),
            &head,
            b"}",
            "missing_required_parameter",
        );
        let head = format!("{{{},{},", image(size), honest("size").join(","));
        let name = format!("image of another size, {what}");
        push(
            name,
            &head,
            b"\"size\":\"720x1280\"}",
            "image_size_mismatch",
        );
        let name = format!("two references, {what}");
        let rest = b"\"input_reference\":{\"file_id\":\"a\"}}";
        let head = format!("{{{all},");
        push(name, &head, rest, "invalid_body");
    }
}
