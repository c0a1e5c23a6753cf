//! Tests the mock over real sockets, with a client that writes its requests byte for byte.

mod api;
mod create;
mod faults;
mod http2;
mod messages;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Mock, Options, Stats};

/// A time that is longer than any step of a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns options under which jobs stay queued for ever.
fn queued() -> Options {
    Options {
        queued: Duration::from_secs(3600),
        ..Options::default()
    }
}

/// Returns options under which jobs end at once.
fn finished() -> Options {
    Options {
        queued: Duration::ZERO,
        rendering: Duration::ZERO,
        ..Options::default()
    }
}

async fn start(options: Options) -> Mock {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Mock::start(listener, options)
}

/// Waits until `holds` returns true for the mock's counters.
async fn until(mock: &Mock, holds: impl Fn(&Stats) -> bool) {
    let wait = async {
        while !holds(&mock.stats()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "never so: {:?}", mock.stats());
}

/// A request of HTTP/1.1, written by hand.
#[derive(Clone)]
struct Ask {
    line: String,
    headers: String,
    body: Vec<u8>,
}

impl Ask {
    fn new(line: &str) -> Ask {
        let headers = "Authorization: Bearer mock-channel-key\r\nHost: mock\r\n";
        Ask {
            line: line.into(),
            headers: headers.into(),
            body: Vec::new(),
        }
    }

    fn form(fields: &[(&str, &str)]) -> Ask {
        let fields = fields.iter().map(|(name, value)| {
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        });
        Ask::new("POST /v1/videos")
            .header("Content-Type: multipart/form-data; boundary=B")
            .body((fields.collect::<String>() + "--B--\r\n").as_bytes())
    }

    fn form_with_file(name: &str, content_type: &str, file: &[u8]) -> Ask {
        let mut ask = Ask::form(&[("prompt", "a cat"), ("size", "1280x720")]);
        let start = format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\
             Content-Type: {content_type}\r\n\r\n"
        );
        ask.body = [start.as_bytes(), file, b"\r\n", &ask.body].concat();
        ask
    }

    fn json(text: &str) -> Ask {
        Ask::new("POST /v1/videos")
            .header("Content-Type: application/json")
            .body(text.as_bytes())
    }

    fn line(mut self, line: &str) -> Ask {
        self.line = line.into();
        self
    }

    fn header(mut self, header: &str) -> Ask {
        self.headers += header;
        self.headers += "\r\n";
        self
    }

    fn fault(self, fault: &str) -> Ask {
        self.header(&format!("X-Mock-Fault: {fault}"))
    }

    fn body(mut self, body: &[u8]) -> Ask {
        self.body = body.into();
        self
    }

    /// Returns the request's bytes, with the body's length declared.
    fn bytes(&self) -> Vec<u8> {
        let length = self.body.len();
        let Ask { line, headers, .. } = self;
        let head = format!("{line} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    async fn to(&self, mock: &Mock) -> Got {
        let mut socket = TcpStream::connect(mock.addr()).await.unwrap();
        socket.write_all(&self.bytes()).await.unwrap();
        read(&mut socket).await.unwrap_or_else(Got::cut)
    }
}

/// An answer, or the part of it that was received.
#[derive(Debug, Default)]
struct Got {
    /// The status; 0 if no head was received.
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the answer was received whole.
    whole: bool,
}

impl Got {
    /// Makes the answer from the bytes that were received before the connection ended.
    fn cut(came: Vec<u8>) -> Got {
        let text = String::from_utf8_lossy(&came).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(came.is_empty(), "half a head: {text}");
            return Got::default();
        };
        Got {
            status: head[9..12].parse().unwrap(),
            head: head.to_lowercase(),
            body: body.into(),
            whole: false,
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().into()
    }

    /// Returns the status, `param` and `code` of an error.
    fn error(&self) -> (u16, Option<String>, Option<String>) {
        let error = self.json()["error"].clone();
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert!(error["type"].is_string());
        let text = |name: &str| error[name].as_str().map(String::from);
        (self.status, text("param"), text("code"))
    }
}

/// Reads one answer with a declared length. If it is not received whole, the error holds the bytes that
/// were received.
async fn read(socket: &mut TcpStream) -> Result<Got, Vec<u8>> {
    let mut came = Vec::new();
    let all = async {
        loop {
            if let Some(end) = came.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&came[..end]).to_lowercase();
                let mut got = Got {
                    status: head[9..12].parse().unwrap(),
                    head,
                    body: came[end + 4..].to_vec(),
                    whole: true,
                };
                let length = got
                    .header("content-length")
                    .map(|text| text.parse().unwrap());
                let length = if got.status == 304 { Some(0) } else { length };
                if length == Some(got.body.len()) {
                    return Some(got);
                }
                got.body.clear();
            }
            if !matches!(socket.read_buf(&mut came).await, Ok(1..)) {
                return None;
            }
        }
    };
    let got = tokio::time::timeout(PATIENCE, all)
        .await
        .expect("an answer or an end");
    got.ok_or(came)
}

async fn get(mock: &Mock, path: &str) -> Got {
    Ask::new(&format!("GET {path}")).to(mock).await
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}
