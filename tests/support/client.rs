//! An HTTP/1.1 client that sends what it is told, cut as it is told.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request to be written to a socket.
#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Body>,
}

/// How a body is framed.
#[derive(Clone)]
pub enum Body {
    /// With its Content-Length, written in pieces of these lengths; the rest at once.
    Length(Vec<u8>, Vec<usize>),
    /// Chunked, each piece a chunk.
    Chunked(Vec<u8>, Vec<usize>),
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The `code` of an error in the API's envelope.
    pub fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Request {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.into(),
            headers: vec![("Host".into(), "gate.test".into())],
            body: None,
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A create by the usual key.
    pub fn create(content_type: &str, body: Body) -> Self {
        let mut request = Self::new("POST", "/v1/videos").key(super::KEY);
        request.body = Some(body);
        request.header("Content-Type", content_type)
    }

    /// The same request by another key.
    pub fn by(mut self, key: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Authorization");
        self.key(key)
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The bytes of the request, in the pieces that are written.
    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.body {
            None => {}
            Some(Body::Length(body, _)) => {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            Some(Body::Chunked(..)) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        let mut pieces = vec![head.into_bytes()];
        match &self.body {
            None => {}
            Some(Body::Length(body, cuts)) => pieces.extend(cut(body, cuts)),
            Some(Body::Chunked(body, cuts)) => {
                for piece in cut(body, cuts) {
                    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                    chunk.extend_from_slice(&piece);
                    chunk.extend_from_slice(b"\r\n");
                    pieces.push(chunk);
                }
                pieces.push(b"0\r\n\r\n".to_vec());
            }
        }
        pieces
    }

    /// Sends it on a connection of its own and reads the answer to its end.
    pub async fn send(&self, to: SocketAddr) -> io::Result<Answer> {
        let mut connection = Connection::open(to).await?;
        connection.send(self).await
    }
}

fn cut(body: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = body;
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        if !piece.is_empty() {
            pieces.push(piece.to_vec());
        }
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest.to_vec());
    }
    pieces
}

/// A connection that can be kept for several requests.
pub struct Connection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Writes the pieces one by one. An answer that comes before the last of them ends the
    /// writing, as it does in real clients.
    pub async fn send(&mut self, request: &Request) -> io::Result<Answer> {
        for piece in request.pieces() {
            if self.stream.write_all(&piece).await.is_err() {
                break;
            }
            // Lets the piece arrive by itself.
            tokio::task::yield_now().await;
        }
        self.answer(request.method == "HEAD").await
    }

    /// Reads one answer, skipping interim ones.
    pub async fn answer(&mut self, no_body: bool) -> io::Result<Answer> {
        timeout(Duration::from_secs(30), self.read_answer(no_body))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in 30 s"))?
    }

    async fn read_answer(&mut self, no_body: bool) -> io::Result<Answer> {
        loop {
            let end = loop {
                match find(&self.buffer, b"\r\n\r\n") {
                    Some(end) => break end,
                    None => self.more().await?,
                }
            };
            let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 4);
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|s| s.parse().ok())
                .unwrap_or(0);
            if (100..200).contains(&status) {
                continue;
            }
            let mut answer = Answer {
                status,
                head,
                body: vec![],
            };
            if no_body || status == 204 || status == 304 {
                return Ok(answer);
            }
            let length = answer.header("content-length").and_then(|n| n.parse().ok());
            let chunked = answer.header("transfer-encoding") == Some("chunked");
            answer.body = match (length, chunked) {
                (Some(length), _) => self.take(length).await?,
                (None, true) => self.chunks().await?,
                (None, false) => {
                    while self.more().await.is_ok() {}
                    std::mem::take(&mut self.buffer)
                }
            };
            return Ok(answer);
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16384];
        match self.stream.read(&mut chunk).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(end) => break end,
                    None => self.more().await?,
                }
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&line);
            let length = usize::from_str_radix(text.trim(), 16).map_err(io::Error::other)?;
            let chunk = self.take(length + 2).await?;
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
