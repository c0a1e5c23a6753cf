//! The requests, byte for byte as real clients send them.

use bytes::Bytes;
use tollgate::multipart::Boundary;

/// A kind of request that is measured.
pub struct Work {
    pub name: &'static str,
    /// The whole request.
    pub bytes: Bytes,
    /// Where the gate keeps its accounts.
    pub ledger: Ledger,
    /// How many clients send it at the same time.
    pub clients: usize,
    /// The least share of the pass-through's work for a CPU second that is wanted, where one
    /// is.
    pub target: Option<f64>,
}

/// Where a gate keeps its accounts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ledger {
    Memory,
    Sqlite,
    Postgres,
}

/// What separates the parts.
pub const BOUNDARY: &str = "4f8a2c1d9e7b30565cd81f0a6be3927d";
const FILE_BYTES: usize = 4 << 20;

const FIELDS: [(&str, &str); 4] = [
    ("prompt", "A calico cat playing a piano"),
    ("model", "sora-2"),
    ("seconds", "4"),
    ("size", "1280x720"),
];

/// All kinds of work for a gate with that ledger, the poll of that job among them.
pub fn all(ledger: Ledger, job: &str) -> Vec<Work> {
    let upload = |name, order| Work {
        name,
        bytes: upload(order),
        ledger,
        clients: 4,
        target: Some(0.97),
    };
    // Durable writes are shared by those who wait for them: it takes some who do.
    let small = |name, bytes, clients, target| Work {
        name,
        bytes,
        ledger,
        clients,
        target,
    };
    let poll = head(&format!("GET /v1/videos/{job}"), "");
    match ledger {
        Ledger::Memory => vec![
            upload("upload of 4 MiB, file last", File::Last),
            upload("upload of 4 MiB, file first", File::First),
            small("small create, multipart", create(), 16, Some(0.9)),
            small("small create, JSON", json(), 16, Some(0.9)),
            small("poll", poll, 16, Some(0.9)),
        ],
        Ledger::Sqlite => vec![
            small("small create, SQLite", create(), 64, Some(0.4)),
            small("poll, SQLite", poll, 16, Some(0.9)),
        ],
        Ledger::Postgres => vec![
            small("small create, PostgreSQL", create(), 64, None),
            small("poll, PostgreSQL", poll, 16, Some(0.9)),
        ],
    }
}

fn head(line: &str, more: &str) -> Bytes {
    format!(
        "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\
         Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
         User-Agent: OpenAI/Python 3.54.0\r\nAuthorization: Bearer sk-tollgate-demo\r\n\
         X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n\
         X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n\
         X-Stainless-Runtime-Version: 3.12.4\r\nX-Stainless-Async: false\r\n\
         X-Stainless-Retry-Count: 0\r\nX-Stainless-Read-Timeout: 600\r\n{more}\r\n"
    )
    .into()
}

fn form_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// The same as the gate reads it.
pub fn boundary() -> Boundary {
    Boundary::from_content_type(&form_type()).expect("a valid boundary")
}

fn post(content_type: &str, body: &[u8]) -> Bytes {
    let length = body.len();
    let more = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n");
    [&head("POST /v1/videos", &more), body].concat().into()
}

fn multipart(body: &[u8]) -> Bytes {
    post(&form_type(), body)
}

/// A small create, as the Python SDK puts it.
pub fn create() -> Bytes {
    multipart(&[texts(), close()].concat())
}

fn json() -> Bytes {
    let fields = FIELDS.map(|(name, value)| format!("\"{name}\":\"{value}\""));
    let body = format!("{{{}}}", fields.join(","));
    post("application/json", body.as_bytes())
}

/// Where the file stands in an upload.
pub enum File {
    Last,
    First,
}

/// A create with a reference image of 4 MiB.
pub fn upload(order: File) -> Bytes {
    multipart(&upload_body(order))
}

/// Its body.
pub fn upload_body(order: File) -> Vec<u8> {
    let parts = match order {
        File::Last => [texts(), file(), close()],
        File::First => [file(), texts(), close()],
    };
    parts.concat()
}

fn texts() -> Vec<u8> {
    let parts = FIELDS.map(|(name, value)| {
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
    });
    parts.concat().into_bytes()
}

fn close() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

/// The head of a PNG of 1280x720 pixels, and then what looks compressed.
fn file() -> Vec<u8> {
    let mut part = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"input_reference\"; \
         filename=\"frame.png\"\r\nContent-Type: image/png\r\n\r\n"
    )
    .into_bytes();
    part.extend_from_slice(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x02\xd0\x08\x02\0\0\0\x40\x1f\x4a\x01",
    );
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    part.extend(std::iter::repeat_with(|| xorshift(&mut state)).take(FILE_BYTES));
    part.extend_from_slice(b"\r\n");
    part
}

fn xorshift(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.to_be_bytes()[0]
}
