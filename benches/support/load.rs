//! Clients that write prepared bytes to kept connections and read the answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::process::Server;
use super::works::Work;

/// What a server did in one round.
#[derive(Clone, Copy)]
pub struct Done {
    pub requests: u64,
    pub wall: Duration,
    pub cpu: Duration,
}

impl Done {
    pub fn per_cpu_second(&self) -> f64 {
        count(self.requests) / self.cpu.as_secs_f64()
    }

    pub fn per_second(&self) -> f64 {
        count(self.requests) / self.wall.as_secs_f64()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub fn count(number: u64) -> f64 {
    number as f64
}

/// Lets all clients of a work send to a server for that long.
pub async fn round(server: &Server, work: &Work, lasts: Duration) -> Done {
    let (cpu, started) = (server.cpu(), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..work.clients {
        let (to, bytes) = (server.address, work.bytes.clone());
        clients.spawn(async move {
            let mut client = Client::open(to).await;
            let mut requests = 0;
            while started.elapsed() < lasts {
                client.send(&bytes).await;
                requests += 1;
            }
            requests
        });
    }
    let requests = clients.join_all().await.into_iter().sum();
    Done {
        requests,
        wall: started.elapsed(),
        cpu: server.cpu() - cpu,
    }
}

/// A client with one connection at a time.
pub struct Client {
    to: SocketAddr,
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub async fn open(to: SocketAddr) -> Self {
        Self {
            to,
            stream: connect(to).await,
            answer: Vec::with_capacity(4096),
        }
    }

    /// Sends a request and gives the body of its answer, which must be a success.
    pub async fn send(&mut self, request: &Bytes) -> &[u8] {
        self.stream.write_all(request).await.expect("a write");
        self.answer.clear();
        let whole = loop {
            if let Some(whole) = whole(&self.answer)
                && self.answer.len() >= whole.end
            {
                break whole;
            }
            let read = self.stream.read_buf(&mut self.answer).await;
            assert!(read.expect("a read") > 0, "no answer: {}", self.text());
        };
        assert!(self.answer.starts_with(b"HTTP/1.1 200 "), "{}", self.text());
        if whole.closes {
            self.stream = connect(self.to).await;
        }
        &self.answer[whole.head..whole.end]
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }
}

async fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream
}

struct Whole {
    head: usize,
    end: usize,
    closes: bool,
}

/// Where an answer ends whose head is there.
fn whole(answer: &[u8]) -> Option<Whole> {
    let head = memmem::find(answer, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).expect("a head in ASCII");
    let text = text.to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let length = value("content-length: ").map_or(0, |n| n.parse().expect("a length"));
    Some(Whole {
        head,
        end: head + length,
        closes: value("connection: ") == Some("close"),
    })
}
