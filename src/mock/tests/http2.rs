//! Tests a create over HTTP/2, written frame by frame, and over TLS.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::messages::ask;
use super::*;
use crate::mock::{Outcome, Tls};

/// Frames of HTTP/2 (RFC 9113) for one create on stream 1.
mod h2 {
    pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    pub fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = &(payload.len() as u32).to_be_bytes()[1..];
        [length, &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// Encodes headers as literals without indexing (RFC 7541, section 6.2.2).
    pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        let fields = headers.iter();
        fields
            .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
            .collect()
    }
}

/// Returns the start of a connection and the head of a create.
fn h2_head(extra: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "mock"),
        (":path", "/v1/videos"),
        ("authorization", "Bearer mock-channel-key"),
        ("content-type", "multipart/form-data; boundary=B"),
    ];
    headers.extend(extra);
    let settings = h2::frame(h2::SETTINGS, 0, 0, &[]);
    let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::block(&headers));
    [h2::PREFACE, &settings, &head].concat()
}

/// Returns the data of the answer on stream 1, and whether it ended or was reset.
async fn h2_answer(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> (Vec<u8>, bool) {
    let answer = async {
        let mut data = Vec::new();
        loop {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            socket.read_exact(&mut payload).await.unwrap();
            match (head[3], head[8]) {
                (h2::DATA, 1) => data.extend(payload),
                (h2::RST_STREAM, 1) => return (data, false),
                _ => (),
            }
            if head[8] == 1 && head[3] <= h2::HEADERS && head[4] & h2::END_STREAM != 0 {
                return (data, true);
            }
        }
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn only_the_end_of_the_stream_completes_a_message_of_http2() {
    let mock = start(queued()).await;
    let body = ask().body;
    let (start, last) = body.split_at(body.len() - 1);
    let length = body.len().to_string();
    let more = (body.len() + 1).to_string();
    let data = |bytes, flags| h2::frame(h2::DATA, flags, 1, bytes);
    let reset = |code: u8| h2::frame(h2::RST_STREAM, 0, 1, &[0, 0, 0, code]);
    let (no_error, cancel) = (reset(0), reset(8));
    let broken = [
        (None, [data(&body, 0), cancel.clone()].concat()),
        (None, [data(&body, 0), no_error.clone()].concat()),
        (None, no_error.clone()),
        (None, data(&body, 0)),
        (None, Vec::new()),
        (Some(&length), [data(&body, 0), cancel].concat()),
        (Some(&length), [data(&body, 0), no_error].concat()),
        (Some(&length), data(start, h2::END_STREAM)),
        (Some(&more), data(&body, h2::END_STREAM)),
    ];
    for (number, (length, frames)) in broken.iter().enumerate() {
        let extra: Vec<_> = length
            .map(|length| ("content-length", length.as_str()))
            .into_iter()
            .collect();
        let mut socket = connect(mock.addr()).await;
        socket
            .write_all(&[h2_head(&extra), frames.clone()].concat())
            .await
            .unwrap();
        until(&mock, |stats| stats.requests_total == number as u64 + 1).await;
        drop(socket);
        until(&mock, |stats| stats.creates_broken == number as u64 + 1).await;
        assert_eq!(mock.stats().creates_complete, 0, "case {number}");
    }
    let whole = [
        (None, [data(&body, 0), data(&[], h2::END_STREAM)].concat()),
        (None, [data(start, 0), data(last, h2::END_STREAM)].concat()),
        (Some(&length), data(&body, h2::END_STREAM)),
    ];
    for (number, (length, frames)) in whole.iter().enumerate() {
        let extra: Vec<_> = length
            .map(|length| ("content-length", length.as_str()))
            .into_iter()
            .collect();
        let mut socket = connect(mock.addr()).await;
        socket
            .write_all(&[h2_head(&extra), frames.clone()].concat())
            .await
            .unwrap();
        let (answer, ended) = h2_answer(&mut socket).await;
        let job: Value = serde_json::from_slice(&answer).unwrap();
        assert!(ended && job["id"].is_string());
        assert_eq!(mock.stats().creates_complete, number as u64 + 1);
    }
    assert_eq!(mock.stats().creates_broken, broken.len() as u64);
    assert!(
        mock.requests()
            .iter()
            .all(|request| request.version == "HTTP/2.0")
    );
}

#[tokio::test]
async fn faults_reset_the_stream_of_http2() {
    for (fault, outcome, jobs) in [
        ("drop-before", Outcome::Dropped, 0),
        ("drop-body", Outcome::Dropped, 0),
        ("drop-after", Outcome::Complete, 1),
        ("drop-answer", Outcome::Complete, 1),
    ] {
        let mock = start(queued()).await;
        let mut socket = connect(mock.addr()).await;
        let head = h2_head(&[("x-mock-fault", fault)]);
        let body = h2::frame(h2::DATA, h2::END_STREAM, 1, &ask().body);
        socket.write_all(&[head, body].concat()).await.unwrap();
        let (data, ended) = h2_answer(&mut socket).await;
        assert!(!ended, "{fault}");
        assert_eq!(data.is_empty(), fault != "drop-answer");
        assert_eq!(
            (mock.requests()[0].outcome, mock.jobs().len()),
            (outcome, jobs),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn tls_speaks_both_versions() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let tls = Tls::from_pem(
        cert.pem().as_bytes(),
        signing_key.serialize_pem().as_bytes(),
    )
    .unwrap();
    let mock = start(Options {
        tls: Some(tls),
        ..queued()
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for protocol in ["h2", "http/1.1"] {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.into()];
        let name = ServerName::try_from("localhost").unwrap();
        let socket = connect(mock.addr()).await;
        let mut socket = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .unwrap();
        assert_eq!(
            socket.get_ref().1.alpn_protocol(),
            Some(protocol.as_bytes())
        );
        let message = match protocol {
            "h2" => [
                h2_head(&[]),
                h2::frame(h2::DATA, h2::END_STREAM, 1, &ask().body),
            ]
            .concat(),
            _ => ask().header("Connection: close").bytes(),
        };
        socket.write_all(&message).await.unwrap();
        socket.flush().await.unwrap();
        if protocol == "h2" {
            assert!(h2_answer(&mut socket).await.1);
        } else {
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        }
    }
    let versions: Vec<_> = mock
        .requests()
        .into_iter()
        .map(|request| request.version)
        .collect();
    assert_eq!(versions, ["HTTP/2.0", "HTTP/1.1"]);
    assert_eq!(mock.stats().creates_accepted, 2);
    assert!(Tls::from_pem(b"", b"").is_err());
    assert!(Tls::from_pem(cert.pem().as_bytes(), b"-----BEGIN").is_err());
}
