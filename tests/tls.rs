//! Encrypted on both sides: certificates are checked, and ALPN finds the version.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use support::client::{Body, Request};
use support::folder::Folder;
use support::tls::{Authority, Issued};
use support::{KEY, Setup, Stand, form, form_type, mock_options, plain_form, png, start_mock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tollgate::config::{Bounds, Listen, Tls};
use tollgate::mock;
use tollgate::server;

/// A certificate of `localhost` and its key, in files that go with it.
struct Files {
    dir: PathBuf,
    der: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Files {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let dir = std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        std::fs::write(dir.join("cert.pem"), &pem).unwrap();
        std::fs::write(dir.join("key.pem"), &key).unwrap();
        Self {
            der: made.cert.der().clone(),
            dir,
            pem,
            key,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a gate before an encrypted channel is made of, with these lines in the channel's configuration.
fn before_tls(files: &Files, lines: &str) -> Setup {
    let mut setup = Setup::default();
    setup.mock.tls = Some(mock::Tls::from_pem(files.pem.as_bytes(), files.key.as_bytes()).unwrap());
    setup
        .replacing("url: http://127.0.0.1", "url: https://localhost")
        .replacing("    credential: ", &format!("{lines}    credential: "))
}

fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_channel_is_spoken_to_in_what_alpn_finds() {
    let files = Files::new("channel");
    let ca = format!("    ca: {}\n", files.path("cert.pem").display());
    for (lines, version) in [("", "HTTP/2.0"), ("    http2: never\n", "HTTP/1.1")] {
        let stand = before_tls(&files, &format!("{ca}{lines}")).start().await;
        let answer = create().send(stand.gate).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = &stand.mock.requests()[0];
        assert_eq!((&*seen.version, seen.complete), (version, true));
        let poll = format!("/v1/videos/{}", answer.json()["id"].as_str().unwrap());
        let poll = Request::get(&poll).key(KEY).send(stand.gate).await.unwrap();
        assert_eq!(poll.status, 200, "{poll:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_cannot_prove_itself_gets_nothing() {
    let (files, other) = (Files::new("unproven"), Files::new("other"));
    let ca = format!("    ca: {}\n", other.path("cert.pem").display());
    for lines in ["", &ca] {
        let stand = before_tls(&files, lines).start().await;
        let answer = create().send(stand.gate).await.unwrap();
        assert_eq!((answer.status, answer.code()), (503, "unavailable".into()));
        assert_eq!(stand.mock.stats().requests_total, 0);
    }
}

/// A connection that is kept was made to a channel that had proved itself by the certificate
/// that held then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_is_asked_for_at_once() {
    let (files, other) = (Files::new("kept"), Files::new("changed"));
    for version in ["", "    http2: never\n"] {
        let setup = |trusted: &Files| {
            let ca = trusted.path("cert.pem");
            before_tls(&files, &format!("    ca: {}\n{version}", ca.display()))
        };
        let stand = setup(&files).start().await;
        for _ in 0..3 {
            assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
        }
        assert_eq!(stand.mock.stats().connections_total, 1, "it is kept");

        stand
            .handle
            .reload(setup(&other).config_for(stand.mock.addr()));
        let answer = create().send(stand.gate).await.unwrap();
        assert_eq!((answer.status, answer.code()), (503, "unavailable".into()));
        stand
            .handle
            .reload(setup(&files).config_for(stand.mock.addr()));
        assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
        assert_eq!(stand.mock.stats().creates_complete, 4);
    }
}

/// With a picture, so that it is streamed.
fn large() -> Request {
    let form = form(&[
        ("prompt", b"A calico cat playing a piano"),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
        ("input_reference", &png(4 << 20)),
    ]);
    Request::create(&form_type(), Body::Length(form, vec![]))
}

/// Lines by which a channel is shown this certificate.
fn shown(folder: &Folder, name: &str, issued: &Issued) -> String {
    let (cert, key) = (format!("{name}.pem"), format!("{name}-key.pem"));
    std::fs::write(folder.join(&cert), &issued.pem).unwrap();
    std::fs::write(folder.join(&key), &issued.key).unwrap();
    let path = |file: &str| folder.join(file).display().to_string();
    format!(
        "    client_cert: {{ cert: {}, key: {} }}\n",
        path(&cert),
        path(&key)
    )
}

/// A channel that asks for certificates of an authority takes those alone, and what it refuses is
/// known to have created nothing, in either version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_asks_for_certificates_is_shown_them() {
    let (folder, files) = (Folder::new(), Files::new("mtls"));
    let (authority, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    let trusted = shown(&folder, "trusted", &authority.issue());
    let strange = shown(&folder, "strange", &stranger.issue());
    let ca = format!("    ca: {}\n", files.path("cert.pem").display());
    for version in ["", "    http2: never\n"] {
        let setup = |lines: &str| {
            let mut setup = before_tls(&files, &format!("{ca}{version}{lines}"));
            let (pem, key) = (files.pem.as_bytes(), files.key.as_bytes());
            let asks = mock::Tls::asking_clients(pem, key, authority.pem().as_bytes());
            setup.mock.tls = Some(asks.unwrap());
            setup
        };
        let stand = setup(&trusted).start().await;
        assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
        let open = async || {
            let open = stand.handle.ledger().count_unresolved().await.unwrap();
            open.iter().map(|open| open.count).sum::<u64>()
        };
        assert_eq!(open().await, 1);
        let not_after = "tollgate_tls_cert_not_after_seconds{channel=\"mock\"}";
        assert!(stand.metric(not_after).await > 2e9);
        // No connection is shared with what is configured to show another, or none.
        for lines in [&*strange, ""] {
            let connections = stand.mock.stats().connections_total;
            let config = setup(lines).config_for(stand.mock.addr());
            stand.handle.reload(config);
            let answer = create().send(stand.gate).await.unwrap();
            assert_eq!((answer.status, answer.code()), (503, "unavailable".into()));
            assert_eq!(open().await, 1, "nothing was created: {lines}");
            assert!(stand.mock.stats().connections_total > connections);
            // Nor is it taken for the client's fault where the body is streamed.
            let answer = large().send(stand.gate).await.unwrap();
            assert_eq!((answer.status, answer.code()), (503, "unavailable".into()));
            assert_eq!(open().await, 1, "nothing was created: {lines}");
            let poll = Request::get("/v1/videos/none").key(KEY);
            assert_eq!(poll.send(stand.gate).await.unwrap().status, 404);
            assert_eq!(stand.channel_errors().await, ["account"]);
        }
        assert_eq!(
            stand.metric(not_after).await,
            0.0,
            "it is not shown any more"
        );
        // What it refuses goes on to another one.
        let other = start_mock(mock_options()).await;
        let beside = setup(&strange).beside("", ("other", other.addr()), "    tier: 1\n");
        let both = beside.start().await;
        assert_eq!(create().send(both.gate).await.unwrap().status, 200);
        assert_eq!(other.stats().creates_complete, 1);
        // Renewed, with the same names: it is opened anew, by the new one.
        let renewed = shown(&folder, "trusted", &authority.issue());
        let config = setup(&renewed).config_for(stand.mock.addr());
        stand.handle.reload(config);
        assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
        assert_eq!(stand.mock.stats().creates_complete, 2);
    }
}

async fn connect(to: SocketAddr, files: &Files, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(files.der.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let socket = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_come_encrypted_in_either_version() {
    let (files, stand) = (Files::new("gate"), Stand::start().await);
    let listen = Listen {
        tls: Some(Tls {
            cert: files.path("cert.pem"),
            key: files.path("key.pem"),
        }),
        ..stand.handle.snapshot().config.listen.clone()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server =
        server::serve(stand.handle.clone(), listener, &listen, &Bounds::default()).unwrap();

    let mut http1 = connect(server.address(), &files, b"http/1.1").await;
    for piece in create().header("Connection", "close").pieces() {
        http1.write_all(&piece).await.unwrap();
    }
    let mut answer = Vec::new();
    // The end may come without a farewell of TLS: the length tells that all is there.
    let _ = http1.read_to_end(&mut answer).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    let http2 = connect(server.address(), &files, b"h2").await;
    let (send, connection) = h2::client::handshake(http2).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://localhost/v1/videos")
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", form_type())
        .body(())
        .unwrap();
    let mut send = send.ready().await.unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from(plain_form()), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(stand.mock.stats().creates_complete, 2);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let files = Files::new("wrong");
    let stand = Stand::start().await;
    for (cert, key, named) in [
        ("cert.pem", "cert.pem", "cert.pem"),
        ("key.pem", "key.pem", "key.pem"),
        ("cert.pem", "none.pem", "none.pem"),
    ] {
        let listen = Listen {
            tls: Some(Tls {
                cert: files.path(cert),
                key: files.path(key),
            }),
            ..stand.handle.snapshot().config.listen.clone()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let served = server::serve(stand.handle.clone(), listener, &listen, &Bounds::default());
        let error = served.err().expect("it was used").to_string();
        assert!(error.contains(named), "{error}");
    }
}
