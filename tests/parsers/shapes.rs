//! Form bodies as the real clients write them, in pieces that a mutation can get at.

use crate::rng::Rng;

/// Values of the fields that decide about the price.
pub const POLICY: [(&str, &[&str]); 3] = [
    ("model", &["sora-2", "sora-2-pro"]),
    ("seconds", &["4", "8", "12"]),
    ("size", &["720x1280", "1280x720", "1024x1792", "1792x1024"]),
];

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0\xfd\xd4\x9as\
\0\0\0\x0bIDATx\x9cc`@\x06\0\0\x0e\0\x01\xa9\x91s\xb1\0\0\0\0IEND\xaeB`\x82";

/// A body in the making.
#[derive(Debug, Clone)]
pub struct Form {
    pub content_type: String,
    pub boundary: String,
    pub preamble: Vec<u8>,
    pub parts: Vec<Part>,
    pub closer: Vec<u8>,
    pub epilogue: Vec<u8>,
}

/// One part, from its delimiter to the line break before the next.
#[derive(Debug, Clone)]
pub struct Part {
    pub delimiter: Vec<u8>,
    pub lines: Vec<Line>,
    pub blank: Vec<u8>,
    pub data: Vec<u8>,
    pub end: Vec<u8>,
}

/// A header line and its line break.
#[derive(Debug, Clone)]
pub struct Line {
    pub text: Vec<u8>,
    pub end: Vec<u8>,
}

impl Form {
    /// The bytes of the body.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.preamble.clone();
        for part in &self.parts {
            body.extend_from_slice(&part.delimiter);
            for line in &part.lines {
                body.extend_from_slice(&line.text);
                body.extend_from_slice(&line.end);
            }
            body.extend_from_slice(&part.blank);
            body.extend_from_slice(&part.data);
            body.extend_from_slice(&part.end);
        }
        body.extend_from_slice(&self.closer);
        body.extend_from_slice(&self.epilogue);
        body
    }

    /// A text part in the plainest style.
    pub fn text(&self, name: &str, value: &[u8]) -> Part {
        let disposition = format!("Content-Disposition: form-data; name=\"{name}\"");
        Part::new(&self.boundary, &[disposition], value)
    }

    /// The places of the parts whose headers say `name` somewhere.
    pub fn find(&self, name: &str) -> Vec<usize> {
        let holds = |part: &Part| {
            part.lines
                .iter()
                .any(|line| memchr::memmem::find(&line.text, name.as_bytes()).is_some())
        };
        (0..self.parts.len())
            .filter(|&i| holds(&self.parts[i]))
            .collect()
    }
}

impl Part {
    pub fn new(boundary: &str, lines: &[String], data: &[u8]) -> Self {
        Self {
            delimiter: format!("--{boundary}\r\n").into_bytes(),
            lines: lines.iter().map(|text| Line::new(text)).collect(),
            blank: b"\r\n".to_vec(),
            data: data.to_vec(),
            end: b"\r\n".to_vec(),
        }
    }
}

impl Line {
    pub fn new(text: &str) -> Self {
        Self {
            text: text.as_bytes().to_vec(),
            end: b"\r\n".to_vec(),
        }
    }
}

/// How a client library writes forms.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub name: &'static str,
    /// What stands before the boundary in the request's Content-Type, and behind it.
    content_type: (&'static str, &'static str),
    pub boundary: &'static str,
    /// Header lines of a text part; `{n}` is its name and `{l}` the length of its data.
    text: &'static [&'static str],
    /// Header lines of a file part.
    file: &'static [&'static str],
    /// Header lines of a text that stands in for a file, where they are others than a text's.
    member: Option<&'static [&'static str]>,
    epilogue: &'static str,
}

const PLAIN: (&str, &str) = ("multipart/form-data; boundary=", "");
const NAMED: &[&str] = &["Content-Disposition: form-data; name=\"{n}\""];
const NAMED_FILE: &[&str] = &[
    "Content-Disposition: form-data; name=\"{n}\"; filename=\"img.png\"",
    "Content-Type: image/png",
];

/// The clients whose bodies must pass.
pub const CLIENTS: &[Client] = &[
    Client {
        name: "openai-python",
        content_type: PLAIN,
        boundary: "704ad1c28f53d0853c0a4f9b14a7b2ce",
        text: NAMED,
        file: NAMED_FILE,
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "undici",
        content_type: PLAIN,
        boundary: "----formdata-undici-018172336649",
        text: NAMED,
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"caf\u{e9} %22x%22.png\"",
            "Content-Type: application/octet-stream",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "openai-node stream",
        content_type: PLAIN,
        boundary: "openai-7y8ntm3mk5n",
        text: NAMED,
        file: NAMED_FILE,
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "curl",
        content_type: PLAIN,
        boundary: "------------------------569cc4d4eb54ea74",
        text: NAMED,
        file: NAMED_FILE,
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "go",
        content_type: PLAIN,
        boundary: "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7",
        text: NAMED,
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"my \\\"best\\\" cat.png\"",
            "Content-Type: application/octet-stream",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "aiohttp",
        content_type: PLAIN,
        boundary: "b5d4f0c2a8e94a5bb1f0c6d7e8a9b0c1",
        text: &[
            "Content-Type: text/plain; charset=utf-8",
            "Content-Disposition: form-data; name=\"{n}\"",
        ],
        file: &[
            "Content-Type: image/png",
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"img.png\"",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "okhttp",
        content_type: PLAIN,
        boundary: "3ad1f0c2-6b1c-4b6e-9b51-6e0a5e2b8a11",
        text: &[
            "Content-Disposition: form-data; name=\"{n}\"",
            "Content-Length: {l}",
        ],
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"img.png\"",
            "Content-Type: image/png",
            "Content-Length: {l}",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "httpmime",
        content_type: PLAIN,
        boundary: "Zf3kQ_-9aPqLs0D7xY2mB",
        text: &[
            "Content-Disposition: form-data; name=\"{n}\"",
            "Content-Type: text/plain; charset=ISO-8859-1",
            "Content-Transfer-Encoding: 8bit",
        ],
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"img.png\"",
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: binary",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "dotnet",
        content_type: ("multipart/form-data; boundary=\"", "\""),
        boundary: "6c0f6b2e-51e7-4f2b-8a39-1a4c3f0a9d55",
        text: &[
            "Content-Type: text/plain; charset=utf-8",
            "Content-Disposition: form-data; name={n}",
        ],
        file: &[
            "Content-Disposition: form-data; name={n}; filename=img.png; filename*=utf-8''img.png",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "dart",
        content_type: PLAIN,
        boundary: "dart-http-boundary-Xm3.kP+q_8ZsLr0vNc2TbYw7JhG5fD1aQe9",
        text: &["content-disposition: form-data; name=\"{n}\""],
        file: &[
            "content-type: image/png",
            "content-disposition: form-data; name=\"{n}\"; filename=\"img.png\"",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "spring",
        content_type: ("multipart/form-data;boundary=", ""),
        boundary: "Tg7-bX_2hYQk0sLr9mPzWc4nVd",
        text: &[
            "Content-Disposition: form-data; name=\"{n}\"",
            "Content-Type: text/plain;charset=UTF-8",
            "Content-Length: {l}",
        ],
        file: NAMED_FILE,
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "browser",
        content_type: PLAIN,
        boundary: "----geckoformboundaryd7f3a1c09be42a6d",
        text: NAMED,
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"\"",
            "Content-Type: application/octet-stream",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "axios",
        content_type: PLAIN,
        boundary: "--------------------------318204597561130049187664",
        text: NAMED,
        file: NAMED_FILE,
        member: None,
        epilogue: "",
    },
    Client {
        name: "curl on Windows",
        content_type: PLAIN,
        boundary: "------------------------mGkX0b3TqZr8LwNfYd2vPs",
        text: NAMED,
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"C:\\tmp\\up\\img.png\"",
            "Content-Type: image/png",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "httpclient 5.2",
        content_type: ("multipart/form-data; charset=ISO-8859-1; boundary=", ""),
        boundary: "httpclient_boundary_3f1c9a52-7d44-4a55-9f0b-6d1e8c0a7b21",
        text: &[
            "Content-Disposition: form-data; name=\"{n}\"",
            "Content-Type: text/plain; charset=ISO-8859-1",
        ],
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"R&D &#38; co.png\"",
            "Content-Type: application/octet-stream",
        ],
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "openai-java",
        content_type: PLAIN,
        boundary: "5b0e7c1d-1f7e-4e1f-8f2e-9a7d3c6b5a40",
        text: &[
            "Content-Disposition: form-data; name=\"{n}\"",
            "Content-Type: text/plain",
        ],
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"\u{56fe}\u{7247}\"",
            "Content-Type: application/octet-stream",
        ],
        member: Some(&[
            "Content-Disposition: form-data; name=\"{n}\"",
            "Content-Type: application/octet-stream",
        ]),
        epilogue: "\r\n",
    },
    Client {
        name: "qt",
        content_type: ("multipart/form-data; boundary=\"", "\""),
        boundary: "boundary_.oOo._x7/Q+3mZ9aB/cD0eF1gH2iJ3kL4mN5o",
        text: NAMED,
        file: NAMED_FILE,
        member: None,
        epilogue: "\r\n",
    },
    Client {
        name: "ruby",
        content_type: PLAIN,
        boundary: "-----------RubyMultipartPost-0f4c7e0a9b1d2c3e4f5061728394a5b6",
        text: NAMED,
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"my \\\"best\\\" cat.png\"",
            "Content-Length: {l}",
            "Content-Type: image/png",
            "Content-Transfer-Encoding: binary",
        ],
        member: None,
        epilogue: "\r\n\r\n",
    },
    Client {
        name: "lwp",
        content_type: PLAIN,
        boundary: "xYzZY",
        text: &["Content-Disposition: form-data; name=\"{n}\""],
        file: &[
            "Content-Disposition: form-data; name=\"{n}\"; filename=\"C:\\\\img.png\"",
            "Content-Type: image/jpeg",
        ],
        member: None,
        epilogue: "\r\n",
    },
];

/// A body of `client` with the fields that `rng` chooses, in the order that it chooses.
pub fn form(client: &Client, rng: &mut Rng) -> Form {
    let (before, after) = client.content_type;
    let mut form = Form {
        content_type: format!("{before}{}{after}", client.boundary),
        boundary: client.boundary.to_owned(),
        preamble: Vec::new(),
        parts: Vec::new(),
        closer: format!("--{}--", client.boundary).into_bytes(),
        epilogue: client.epilogue.as_bytes().to_vec(),
    };
    let prompt = "a calico cat playing a piano, caf\u{e9} \"quoted\"\nline2";
    form.parts
        .push(part(client, client.text, "prompt", prompt.as_bytes()));
    for (name, values) in POLICY {
        if name == "model" || !rng.one_in(4) {
            let value = rng.pick(values).as_bytes();
            form.parts.push(part(client, client.text, name, value));
        }
    }
    match rng.below(4) {
        0 | 1 => {
            let data = if client.name == "browser" { b"" } else { PNG };
            form.parts
                .push(part(client, client.file, "input_reference", data));
        }
        2 => {
            let lines = client.member.unwrap_or(client.text);
            let (name, value) = rng.pick(&[
                ("input_reference[file_id]", "file-abc"),
                ("input_reference[image_url]", "https://host/img.png"),
            ]);
            form.parts.push(part(client, lines, name, value.as_bytes()));
        }
        _ => {}
    }
    if rng.one_in(6) {
        let name = "characters[][id]";
        form.parts.push(part(client, client.text, name, b"char_1"));
        form.parts.push(part(client, client.text, name, b"char_2"));
    }
    match rng.below(3) {
        0 => rng.shuffle(&mut form.parts),
        1 => form.parts.rotate_right(1),
        _ => {}
    }
    form
}

fn part(client: &Client, lines: &[&str], name: &str, data: &[u8]) -> Part {
    let length = data.len().to_string();
    // Brackets are no token characters, so such a name is quoted by every client.
    let unquoted = lines.iter().any(|line| line.contains("name={n}")) && name.contains('[');
    let lines: Vec<String> = lines
        .iter()
        .map(|line| {
            let line = if unquoted {
                line.replace("name={n}", "name=\"{n}\"")
            } else {
                (*line).to_owned()
            };
            line.replace("{n}", name).replace("{l}", &length)
        })
        .collect();
    Part::new(client.boundary, &lines, data)
}
