//! One way to send a body, in whichever framing, with conditions between its pieces.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::client::{Answer, Connection, Request};
use crate::support::h2::{Http2, Stream};
use crate::support::{Stand, until};
use tollgate::mock::Record;

/// How a body is framed on its way to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1 with Content-Length.
    Length,
    /// HTTP/1.1, each piece a chunk.
    Chunked,
    /// HTTP/2, each piece a DATA frame.
    Http2 {
        /// With a content-length.
        length: bool,
        /// END_STREAM in an empty frame of its own, sent when all else has arrived.
        late: bool,
    },
}

pub const FRAMINGS: [Framing; 6] = [
    Framing::Length,
    Framing::Chunked,
    http2(true, false),
    http2(true, true),
    http2(false, false),
    http2(false, true),
];

const fn http2(length: bool, late: bool) -> Framing {
    Framing::Http2 { length, late }
}

/// A request whose body is being sent.
pub struct Sending {
    way: Way,
    /// Its X-Request-Id, by which the channel's record of it is told from others.
    name: Option<String>,
}

/// Whether a request of that name has reached the channel.
fn has_begun(stand: &Stand, name: &str) -> bool {
    let mut ended = stand.mock.requests().into_iter();
    stand.mock.is_in_progress(name) || ended.any(|record| record.name() == Some(name))
}

/// What a body goes by.
enum Way {
    Http1 {
        connection: Connection,
        chunked: bool,
        closed: bool,
    },
    Http2 {
        _client: Http2,
        stream: Stream,
        late: bool,
        closed: bool,
    },
}

/// Names a request, so that its record at the channel can be told from others.
pub fn id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("release-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Sending {
    /// Sends the head of a request whose body will have `length` bytes.
    pub async fn begin(
        stand: &Stand,
        request: &Request,
        framing: Framing,
        length: usize,
    ) -> io::Result<Self> {
        let headers = request.headers.iter();
        let mut names = headers.filter(|(name, _)| name == "X-Request-Id");
        let name = names.next().map(|(_, value)| value.clone());
        let way = Self::open(stand, request, framing, length).await?;
        Ok(Self { way, name })
    }

    async fn open(
        stand: &Stand,
        request: &Request,
        framing: Framing,
        length: usize,
    ) -> io::Result<Way> {
        let mut head = request.clone();
        head.body = None;
        if matches!(
            framing,
            Framing::Length | Framing::Http2 { length: true, .. }
        ) {
            head = head.header("Content-Length", &length.to_string());
        }
        if let Framing::Http2 { late, .. } = framing {
            let mut client = Http2::open(stand.gate).await?;
            let stream = client.begin(&head, false).await?;
            return Ok(Way::Http2 {
                _client: client,
                stream,
                late,
                closed: false,
            });
        }
        let chunked = framing == Framing::Chunked;
        if chunked {
            head = head.header("Transfer-Encoding", "chunked");
        }
        let mut connection = Connection::open(stand.gate).await?;
        connection.stream.write_all(&head.pieces().concat()).await?;
        Ok(Way::Http1 {
            connection,
            chunked,
            closed: false,
        })
    }

    /// Sends a piece that is not the last one. A gate that takes no more is none of the
    /// sender's business: the answer tells why.
    pub async fn push(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        match &mut self.way {
            Way::Http1 { chunked: true, .. } => {
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend_from_slice(piece);
                chunk.extend_from_slice(b"\r\n");
                self.write(&chunk).await;
            }
            Way::Http1 { .. } => self.write(piece).await,
            Way::Http2 { stream, closed, .. } => *closed |= !stream.data(piece, false),
        }
        tokio::task::yield_now().await;
    }

    /// Sends the last piece, which ends the body.
    pub async fn finish(&mut self, stand: &Stand, piece: &[u8]) {
        let (chunked, late) = match &mut self.way {
            Way::Http1 { chunked, .. } => (*chunked, false),
            Way::Http2 { late, .. } => (false, *late),
        };
        if chunked || late {
            self.push(piece).await;
        }
        if late {
            self.begun(stand).await;
        }
        match &mut self.way {
            Way::Http1 { chunked: true, .. } => self.write(b"0\r\n\r\n").await,
            Way::Http1 { .. } => self.write(piece).await,
            Way::Http2 { stream, closed, .. } => {
                *closed |= !stream.data(if late { b"" } else { piece }, true);
            }
        }
    }

    /// Bytes as they are, below the framing: HTTP/1.1 only.
    pub async fn write(&mut self, bytes: &[u8]) {
        if let Way::Http1 {
            connection, closed, ..
        } = &mut self.way
            && !*closed
        {
            // A gate that has answered and reads no more must not hold up the sender.
            let write = timeout(Duration::from_secs(20), connection.stream.write_all(bytes));
            *closed = !matches!(write.await, Ok(Ok(())));
        }
    }

    /// Waits until the channel has the head of a create, or the gate has answered.
    pub async fn begun(&mut self, stand: &Stand) {
        let name = self.name.clone();
        let at_channel = until(
            "the channel or the client hears of it",
            async || match &name {
                Some(name) => has_begun(stand, name),
                None => stand.mock.stats().creates_in_flight > 0,
            },
        );
        tokio::select! {
            () = at_channel => {}
            () = self.answered() => {}
        }
    }

    async fn answered(&mut self) {
        match &mut self.way {
            Way::Http1 { connection, .. } => {
                let _ = connection.stream.peek(&mut [0]).await;
            }
            Way::Http2 { stream, .. } => stream.answered().await,
        }
    }

    /// Gives up: RST_STREAM on HTTP/2, the end of the connection on HTTP/1.1.
    pub async fn reset(&mut self) {
        match &mut self.way {
            Way::Http1 { connection, .. } => {
                let _ = connection.stream.shutdown().await;
            }
            Way::Http2 { stream, .. } => stream.reset(h2::Reason::CANCEL),
        }
    }

    /// The answer. Fails where none comes within 30 seconds.
    pub async fn answer(self) -> io::Result<Answer> {
        match self.way {
            Way::Http1 { mut connection, .. } => connection.answer(false).await,
            Way::Http2 {
                stream, _client, ..
            } => timeout(Duration::from_secs(30), stream.answer())
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in 30 s"))?,
        }
    }
}

/// What the channel recorded of a request, once no create is under way there.
pub async fn record(stand: &Stand, id: &str) -> Option<Record> {
    until("no create is under way at the channel", async || {
        stand.mock.stats().creates_in_flight == 0
    })
    .await;
    let own = ("x-request-id".to_owned(), id.to_owned());
    let mut records = stand.mock.requests();
    records.retain(|record| record.headers.contains(&own));
    assert!(records.len() <= 1, "sent more than once: {records:?}");
    records.pop()
}

/// How much of a long test is done: every n-th of its cases, all of them with 1.
pub fn every(default: usize) -> usize {
    std::env::var("TOLLGATE_EVERY").map_or(default, |text| {
        text.parse().expect("TOLLGATE_EVERY is a number")
    })
}

/// The SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where to cut the bytes from `from` on into crumbs: single bytes on HTTP/1.1. On HTTP/2 the
/// last bytes singly and larger crumbs before them, since a server takes about a hundred
/// frames of a few bytes that nobody has read yet for an attack.
pub fn crumbs(framing: Framing, from: usize, length: usize) -> Vec<usize> {
    let single = match framing {
        Framing::Http2 { .. } => from.max(length.saturating_sub(32)),
        Framing::Length | Framing::Chunked => from.max(length.saturating_sub(2000)),
    };
    let step = ((single - from) / 48).max(1);
    let coarse = (from + step..single).step_by(step);
    coarse
        .chain((single..length).filter(|at| *at > from))
        .collect()
}
