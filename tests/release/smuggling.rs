//! Requests whose length or end is read differently by somebody: whatever becomes of them,
//! the channel never has a complete create of other bytes than the gate inspected, and no
//! request out of another's body; and each is answered or closed within bounds.

use std::sync::Arc;
use std::time::Duration;

use super::wire::{id, record, sha256};
use crate::support::client::Request;
use crate::support::h2::Http2;
use crate::support::{KEY, Setup, Stand};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

const GOOD: &str = r#"{"prompt":"x","model":"sora-2"}"#;
const CHUNKS: &str = "1f\r\n{good}\r\n0\r\n\r\n";

/// What must become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is read as it is meant.
    Taken,
    /// It is refused or closed.
    Refused,
    /// Either.
    Either,
}
use Fate::{Either, Refused, Taken};

/// Head lines and body of a create, with `{good}` for a body of 31 bytes that is in order
/// and `{next}` for a whole create that nobody may take out of there.
#[rustfmt::skip]
const CREATES: &[(&str, &str, Fate)] = &[
    ("Content-Length: 31", "{good}", Taken),
    ("Transfer-Encoding: chunked", CHUNKS, Taken),
    ("Transfer-Encoding: Chunked", CHUNKS, Either),
    ("Content-Length: 31\r\nContent-Length: 31", "{good}", Refused),
    ("Content-Length: 31\r\nContent-Length: 30", "{good}", Refused),
    ("Content-Length: 0\r\nContent-Length: 31", "{good}{next}", Refused),
    ("Content-Length: 31\r\nContent-Length: 0", "{good}{next}", Refused),
    ("Content-Length: 31, 31", "{good}", Refused),
    ("Content-Length: +31", "{good}", Refused),
    ("Content-Length: -31", "{good}", Refused),
    ("Content-Length: 0x1f", "{good}", Refused),
    ("Content-Length: 31.0", "{good}", Refused),
    ("Content-Length: 3 1", "{good}", Refused),
    ("Content-Length:", "{good}", Refused),
    ("Content-Length: 99999999999999999999999", "{good}", Refused),
    ("Content-Length: 18446744073709551647", "{good}", Refused),
    ("Content-Length : 31", "{good}", Refused),
    ("Content-Length: 30", "{good}", Refused),
    ("Content-Length: 32", "{good}", Refused),
    ("Content-Length: 0", "{next}", Refused),
    ("X: y", "{next}", Refused),
    ("X: y", "{good}", Refused),
    ("Content-Length: 31\r\nTransfer-Encoding: chunked", CHUNKS, Either),
    ("Transfer-Encoding: chunked\r\nContent-Length: 31", CHUNKS, Either),
    ("Content-Length: 31\r\nTransfer-Encoding: chunked", "{good}", Refused),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n{next}", Refused),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n{next}", Refused),
    ("Transfer-Encoding: gzip", "{good}", Refused),
    ("Transfer-Encoding: identity", "{good}", Refused),
    ("Transfer-Encoding: identity\r\nContent-Length: 31", "{good}", Refused),
    ("Transfer-Encoding: gzip, chunked", CHUNKS, Refused),
    ("Transfer-Encoding: chunked, gzip", CHUNKS, Refused),
    ("Transfer-Encoding: chunked, chunked", CHUNKS, Refused),
    ("Transfer-Encoding: chunked, identity", CHUNKS, Refused),
    ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", CHUNKS, Refused),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS, Refused),
    ("Transfer-Encoding: xchunked", CHUNKS, Refused),
    ("Transfer-Encoding: \"chunked\"", CHUNKS, Refused),
    ("Transfer-Encoding : chunked", CHUNKS, Refused),
    ("Transfer-Encoding: chunked\x0b", CHUNKS, Refused),
    ("Transfer-Encoding:\r\n chunked", CHUNKS, Refused),
    ("Transfer-Encoding: chunked;q=1", CHUNKS, Refused),
    ("Transfer_Encoding: chunked\r\nContent-Length: 31", "{good}", Taken),
    ("X: y\nTransfer-Encoding: chunked\r\nContent-Length: 31", "{good}", Refused),
    ("X: y\rTransfer-Encoding: chunked\r\nContent-Length: 31", "{good}", Refused),
    ("X: y\0z\r\nContent-Length: 31", "{good}", Refused),
    ("X: y\r\n folded\r\nContent-Length: 31", "{good}", Refused),
    ("X: y\r\n\tContent-Length: 5\r\nContent-Length: 31", "{good}", Refused),
    (" X: y\r\nContent-Length: 31", "{good}", Refused),
    (": y\r\nContent-Length: 31", "{good}", Refused),
    ("X\r\nContent-Length: 31", "{good}", Refused),
    ("Transfer-Encoding: chunked", "zz\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "-1\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "+1f\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "0x1f\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1e\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "20\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1 f\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", " 1f\r\n{good}\r\n0\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "1f \r\n{good}\r\n0\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "00000000000000000000000000000001f\r\n{good}\r\n0\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "1000000000000001f\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "ffffffffffffffff\r\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n0\n\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n0\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n-0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f;a=b\r\n{good}\r\n0;c\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "1f;a=\"b\r\n{good}\r\n0\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "1f;\n{good}\r\n0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n0\r\nX: y\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n0\r\nContent-Length: 5\r\n\r\n", Either),
    ("Transfer-Encoding: chunked", "1f\r\n{good}\r\n0\r\nX: y\r\n", Refused),
    ("Transfer-Encoding: chunked", "0\r\n\r\n{next}", Refused),
    ("Content-Length: 31\r\nConnection: content-length", "{good}", Taken),
    ("Transfer-Encoding: chunked\r\nConnection: transfer-encoding", CHUNKS, Taken),
    ("Content-Length: 31\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", "{good}", Either),
    ("Content-Length: 31\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "{good}", Either),
    ("Content-Length: 31\r\nHost: other.test", "{good}", Either),
    ("Content-Length: 31\r\nX-Forwarded-Host: other.test", "{good}", Taken),
    ("Content-Length: 31\r\nExpect: 100-continue", "{good}", Taken),
    ("Content-Length: 31\r\nContent-Encoding: gzip", "{good}", Refused),
    ("Content-Length: 31\r\nContent-Type: application/json", "{good}", Refused),
];

/// First lines of a create that is in order otherwise.
#[rustfmt::skip]
const LINES: &[(&str, Fate)] = &[
    ("POST /v1/videos HTTP/1.0", Either),
    ("POST /v1/videos HTTP/1.2", Either),
    ("POST /v1/videos HTTP/2.0", Either),
    ("POST /v1/videos HTTP/0.9", Refused),
    ("POST /v1/videos", Refused),
    ("POST /v1/videos http/1.1", Refused),
    ("POST  /v1/videos HTTP/1.1", Refused),
    ("POST /v1/videos  HTTP/1.1", Refused),
    ("POST\t/v1/videos\tHTTP/1.1", Refused),
    (" POST /v1/videos HTTP/1.1", Refused),
    ("\r\nPOST /v1/videos HTTP/1.1", Either),
    ("POST http://gate.test/v1/videos HTTP/1.1", Either),
    ("POST http://other.test/v1/videos HTTP/1.1", Either),
    ("POST http://user:password@other.test/v1/videos HTTP/1.1", Either),
    ("POST /v1/videos?model=sora-2-pro HTTP/1.1", Refused),
    ("POST /v1/videos? HTTP/1.1", Refused),
    ("POST /v1/videos#x HTTP/1.1", Either),
];

fn bounded() -> Setup {
    let bounds = "read_timeout: 2s, drain_timeout: 1s, keepalive_timeout: 1s";
    Setup::default().with(&format!("\nbounds: {{ {bounds} }}\n"))
}

fn next() -> String {
    format!(
        "POST /v1/videos HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nX-Request-Id: smuggled\r\nContent-Length: 31\r\n\r\n{GOOD}"
    )
}

/// Sends a request as it is, reads until the connection closes, and judges what the channel
/// saw of it.
async fn judge(stand: Arc<Stand>, line: &str, headers: &str, body: &str, fate: Fate) {
    let what = format!("{line:?}, {headers:?}, {body:?}");
    let id = id();
    let host = if headers.contains("Host: other") {
        "X-No"
    } else {
        "Host"
    };
    let body = body.replace("{good}", GOOD).replace("{next}", &next());
    let request = format!(
        "{line}\r\n{host}: gate.test\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nX-Request-Id: {id}\r\n{headers}\r\n\r\n{body}"
    );
    let mut socket = TcpStream::connect(stand.gate).await.unwrap();
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(30), socket.read_to_end(&mut answer)).await;
    let _ = read.unwrap_or_else(|_| panic!("{what}: it hangs"));
    let answer = String::from_utf8_lossy(&answer);
    let last = answer.rsplit("HTTP/1.").next().unwrap_or_default();
    let accepted = last.starts_with("1 200") || last.starts_with("0 200");
    match fate {
        Taken => assert!(accepted, "{what}: {answer}"),
        Refused => assert!(!accepted, "{what}: {answer}"),
        Either => {}
    }
    let record = record(&stand, &id).await;
    match record.filter(|record| record.complete) {
        Some(record) => {
            assert_eq!(record.body_sha256, sha256(GOOD.as_bytes()), "{what}");
            assert_eq!(record.path, "/v1/videos", "{what}");
            let framings = ["content-length", "transfer-encoding"];
            let told = record
                .headers
                .iter()
                .filter(|(name, _)| framings.contains(&name.as_str()));
            assert_eq!(told.count(), 1, "{what}: {record:?}");
            assert!(accepted, "{what}: complete, but {answer}");
            let own = record.headers.iter().find(|(name, _)| name == "host");
            let addr = stand.mock.addr().to_string();
            assert!(
                own.is_some_and(|(_, host)| *host == addr),
                "{what}: {record:?}"
            );
        }
        None => assert!(!accepted, "{what}: {answer}"),
    }
}

fn was_smuggled(stand: &Stand) -> bool {
    let own = ("x-request-id".to_owned(), "smuggled".to_owned());
    let mut records = stand.mock.requests().into_iter();
    records.any(|record| record.headers.contains(&own))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_and_ends() {
    LocalSet::new().run_until(all_lengths_and_ends()).await;
}

async fn all_lengths_and_ends() {
    let stand = Arc::new(bounded().start().await);
    let mut cases = JoinSet::new();
    for (headers, body, fate) in CREATES {
        cases.spawn_local(judge(
            stand.clone(),
            "POST /v1/videos HTTP/1.1",
            headers,
            body,
            *fate,
        ));
    }
    for (line, fate) in LINES {
        cases.spawn_local(judge(
            stand.clone(),
            line,
            "Content-Length: 31",
            "{good}",
            *fate,
        ));
        let fate = if *fate == Taken { Either } else { *fate };
        cases.spawn_local(judge(
            stand.clone(),
            line,
            "Transfer-Encoding: chunked",
            CHUNKS,
            fate,
        ));
    }
    while let Some(done) = cases.join_next().await {
        done.unwrap();
    }
    assert!(!was_smuggled(&stand));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_lengths_that_disagree() {
    for setup in [bounded(), bounded().http2_upstream()] {
        let stand = setup.start().await;
        for (length, trailers) in [
            (0, false),
            (1, false),
            (30, false),
            (32, false),
            (400, false),
            (30, true),
            (32, true),
            (31, true),
            (31, false),
        ] {
            for cut in [None, Some(0), Some(10), Some(30), Some(31)] {
                let what = format!("length {length}, trailers {trailers}, cut at {cut:?}");
                let id = id();
                let request = Request::new("POST", "/v1/videos")
                    .key(KEY)
                    .header("Content-Type", "application/json")
                    .header("X-Request-Id", &id)
                    .header("Content-Length", &length.to_string());
                let mut client = Http2::open(stand.gate).await.unwrap();
                let mut stream = client.begin(&request, false).await.unwrap();
                let (first, second) = GOOD.as_bytes().split_at(cut.unwrap_or(0));
                if cut.is_some() {
                    stream.data(first, false);
                    tokio::task::yield_now().await;
                }
                stream.data(second, !trailers);
                if trailers {
                    let mut map = http::HeaderMap::new();
                    map.insert("x-trailer", "y".parse().unwrap());
                    stream.trailers(map);
                }
                let answer = timeout(Duration::from_secs(30), stream.answer()).await;
                let answer = answer.unwrap_or_else(|_| panic!("{what}: it hangs"));
                let accepted = answer.is_ok_and(|answer| answer.status == 200);
                assert_eq!(accepted, length == 31, "{what}");
                let record = record(&stand, &id).await.filter(|record| record.complete);
                assert_eq!(record.is_some(), accepted, "{what}");
                if let Some(record) = record {
                    assert_eq!(record.body_sha256, sha256(GOOD.as_bytes()), "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_refusal_is_a_request_of_its_own_or_nothing() {
    LocalSet::new().run_until(after_refusals()).await;
}

async fn after_refusals() {
    let stand = Arc::new(bounded().start().await);
    let mut cases = JoinSet::new();
    for large in [0, 100_000, 3_000_000] {
        for chunked in [false, true] {
            for tail in [false, true] {
                cases.spawn_local(after_a_refusal(stand.clone(), large, chunked, tail));
            }
        }
    }
    while let Some(done) = cases.join_next().await {
        done.unwrap();
    }
    assert!(!was_smuggled(&stand));
}

/// A refused create whose body holds a whole request, and a create behind it.
async fn after_a_refusal(stand: Arc<Stand>, large: usize, chunked: bool, tail: bool) {
    let what = format!("{large} more, chunked: {chunked}, tail: {tail}");
    let (first, second) = (id(), id());
    // The refusal comes with the first bytes; the rest of the body is drained.
    let padding = " ".repeat(large);
    let body = match tail {
        true => format!("{{\"n\":1{padding}\r\n\r\n{}", next()),
        false => format!("{{\"n\":1\r\n\r\n{}{padding}", next()),
    };
    let (framing, body) = match chunked {
        true => (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        ),
        false => (format!("Content-Length: {}", body.len()), body),
    };
    let head = |id: &str| {
        format!(
            "POST /v1/videos HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: application/json\r\nX-Request-Id: {id}\r\n"
        )
    };
    let behind = format!("{}Content-Length: 31\r\n\r\n{GOOD}", head(&second));
    let sent = format!("{}{framing}\r\n\r\n{body}{behind}", head(&first));
    let socket = TcpStream::connect(stand.gate).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let writing = async move {
        let _ = write.write_all(sent.as_bytes()).await;
        write
    };
    let mut answer = Vec::new();
    let reading = timeout(Duration::from_secs(30), read.read_to_end(&mut answer));
    let (_write, read) = tokio::join!(writing, reading);
    let _ = read.unwrap_or_else(|_| panic!("{what}: it hangs"));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
    assert!(answer.contains("unknown_field"), "{what}: {answer}");
    assert!(record(&stand, &first).await.is_none(), "{what}");
    let taken = answer.matches("HTTP/1.1 200").count();
    let record = record(&stand, &second).await;
    assert_eq!(record.is_some(), taken == 1, "{what}: {answer}");
    if let Some(record) = record {
        assert_eq!(record.body_sha256, sha256(GOOD.as_bytes()), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_taken_in_turn_or_not_at_all() {
    let stand = bounded().start().await;
    let ids: Vec<String> = (0..4).map(|_| id()).collect();
    let sent: String = ids
        .iter()
        .map(|id| next().replace("smuggled", id))
        .collect();
    let mut socket = TcpStream::connect(stand.gate).await.unwrap();
    socket.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(30), socket.read_to_end(&mut answer));
    let _ = read.await.expect("it hangs");
    let answer = String::from_utf8_lossy(&answer);
    let taken = answer.matches("HTTP/1.1 200").count();
    assert!(taken >= 1, "{answer}");
    for (i, id) in ids.iter().enumerate() {
        let record = record(&stand, id).await;
        assert_eq!(
            record.is_some_and(|record| record.complete),
            i < taken,
            "{answer}"
        );
    }
    assert_eq!(stand.mock.stats().creates_complete, taken as u64);
}
