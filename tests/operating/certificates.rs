//! The listener's certificate, replaced while clients come.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::tls::{Authority, Issued};
use crate::support::{KEY, form_type, mock_options, plain_form, start_mock, until};

const LISTEN: &str = "listen: { address: 127.0.0.1:8080 }";
const WITH_TLS: &str =
    "listen: { address: 127.0.0.1:0, tls: { cert: tls/cert.pem, key: tls/key.pem } }";
const REPLACED: &str = "the listener's certificate is replaced, by one that is valid until ";
const KEPT: &str = "the listener's certificate stays the old one: ";

/// A client's connection, whose gate has proved itself.
struct Connection(TlsStream<TcpStream>);

impl Connection {
    async fn open(gate: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let socket = TcpStream::connect(gate).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(config.clone());
        Ok(Self(connector.connect(name, socket).await?))
    }

    /// The certificate that it was opened by.
    fn shown(&self) -> CertificateDer<'static> {
        let (_, session) = self.0.get_ref();
        session.peer_certificates().unwrap()[0].clone()
    }

    /// The status of the answer, whose body is read by its length.
    async fn status(&mut self, request: &Request) -> std::io::Result<u16> {
        for piece in request.pieces() {
            self.0.write_all(&piece).await?;
        }
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.split("\r\ncontent-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() >= length {
                    return Ok(head[9..12].parse().unwrap());
                }
            }
            let mut chunk = [0; 4096];
            match self.0.read(&mut chunk).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => read.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

fn list() -> Request {
    Request::get("/v1/videos?limit=1").key(KEY)
}

fn create() -> Request {
    Request::create(&form_type(), Body::Length(plain_form(), vec![]))
}

/// Clients, each of whose requests is the first of a connection of its own.
#[derive(Default)]
struct Clients {
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Clients {
    async fn run(&self, gate: SocketAddr, config: Arc<ClientConfig>, number: usize) {
        let mut turn = number;
        while !self.is_over.load(Ordering::Relaxed) {
            turn += 1;
            let request = if turn.is_multiple_of(3) {
                create()
            } else {
                list()
            };
            let status = async {
                let mut connection = Connection::open(gate, &config).await?;
                connection.status(&request).await
            };
            match status.await {
                Ok(200) => {}
                other => self.failed.lock().unwrap().push(format!("{other:?}")),
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The folder of a certificate as Kubernetes mounts it: links to a link to a folder.
struct Mounted {
    folder: PathBuf,
    count: usize,
}

impl Mounted {
    fn new(folder: &Path, issued: &Issued) -> Self {
        let mut mounted = Self {
            folder: folder.join("tls"),
            count: 0,
        };
        std::fs::create_dir(&mounted.folder).unwrap();
        mounted.swap(issued);
        for name in ["cert.pem", "key.pem"] {
            symlink(Path::new("..data").join(name), mounted.folder.join(name)).unwrap();
        }
        mounted
    }

    /// Puts both files in place by one rename.
    fn swap(&mut self, issued: &Issued) {
        self.count += 1;
        let name = format!("..{}", self.count);
        let data = self.folder.join(&name);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("cert.pem"), &issued.pem).unwrap();
        std::fs::write(data.join("key.pem"), &issued.key).unwrap();
        let unfinished = self.folder.join("..data_tmp");
        symlink(&name, &unfinished).unwrap();
        std::fs::rename(unfinished, self.folder.join("..data")).unwrap();
    }

    /// Replaces one link after the other, as certbot does.
    fn relink(&mut self, issued: &Issued) {
        self.count += 1;
        for (name, text) in [("cert", &issued.pem), ("key", &issued.key)] {
            let archived = format!("{name}{}.pem", self.count);
            std::fs::write(self.folder.join(&archived), text).unwrap();
            let unfinished = self.folder.join("unfinished");
            symlink(&archived, &unfinished).unwrap();
            std::fs::rename(unfinished, self.folder.join(format!("{name}.pem"))).unwrap();
        }
    }
}

/// How often the certificate is replaced: more by `TOLLGATE_CERTIFICATES`.
fn rotations() -> usize {
    let set = std::env::var("TOLLGATE_CERTIFICATES");
    set.map_or(8, |set| set.parse().unwrap())
}

async fn replaced(gate: &Gate, times: usize) {
    until("the certificate is replaced", async || {
        gate.log().matches(REPLACED).count() == times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_the_certificate_under_load_fails_no_handshake_and_refuses_nothing() {
    let (mock, folder) = (start_mock(mock_options()).await, Folder::new());
    let authority = Authority::new("rotations");
    let first = authority.issue();
    let mut mounted = Mounted::new(&folder, &first);
    let channel = format!("http://{}", mock.addr());
    let watch = "\nreload: { watch: 100ms }\n";
    let replace = [
        ("http://127.0.0.1:8081", &*channel),
        (LISTEN, WITH_TLS),
        ("", watch),
    ];
    let gate = Gate::start(&configuration(&folder, &replace), "");
    let config = authority.client();
    let clients = Arc::<Clients>::default();
    let running: Vec<_> = (0..8)
        .map(|number| {
            let (clients, config, gate) = (clients.clone(), config.clone(), gate.address);
            tokio::spawn(async move { clients.run(gate, config, number).await })
        })
        .collect();
    let mut kept = Connection::open(gate.address, &config).await.unwrap();
    assert_eq!(kept.shown(), first.der);
    for rotation in 1..=rotations() {
        let next = authority.issue();
        // Seen by a watcher: both files at once, or at last one after the other.
        match rotation < rotations() {
            true => mounted.swap(&next),
            false => mounted.relink(&next),
        }
        if rotation % 2 == 0 {
            gate.signal("HUP");
        }
        replaced(&gate, rotation).await;
        // Handshakes from now on are made with the new one, and connections go on with theirs.
        let mut connection = Connection::open(gate.address, &config).await.unwrap();
        assert_eq!(connection.shown(), next.der, "rotation {rotation}");
        assert_eq!(connection.status(&list()).await.unwrap(), 200);
        assert_eq!(kept.status(&create()).await.unwrap(), 200);
        let before = clients.answered.load(Ordering::Relaxed);
        until("clients come", async || {
            clients.answered.load(Ordering::Relaxed) >= before + 24
        })
        .await;
    }
    clients.is_over.store(true, Ordering::Relaxed);
    for running in running {
        running.await.unwrap();
    }
    assert_eq!(*clients.failed.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_used_replaces_nothing_and_is_told() {
    let folder = Folder::new();
    let authority = Authority::new("bad pairs");
    let (first, other) = (authority.issue(), authority.issue());
    let expired = authority.issue_with(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = authority.issue_with(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let tls = folder.join("tls");
    std::fs::create_dir(&tls).unwrap();
    let write = |cert: &str, key: &str| {
        std::fs::write(tls.join("cert.pem"), cert).unwrap();
        std::fs::write(tls.join("key.pem"), key).unwrap();
    };
    write(&first.pem, &first.key);
    let gate = Gate::start(&configuration(&folder, &[(LISTEN, WITH_TLS)]), "");
    let config = authority.client();
    let metric = async |name: &str| {
        let answer = Request::get("/metrics").send(gate.admin).await.unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().parse::<f64>().unwrap())
    };
    let not_after = "tollgate_tls_cert_not_after_seconds{channel=\"\"}";
    let successful = "tollgate_tls_cert_last_reload_successful";
    assert_eq!(metric(successful).await, Some(1.0));
    let valid_until = metric(not_after).await.unwrap();
    let mut reloads = 0;
    for (cert, key, said) in [
        (&*first.pem, &*other.key, "it is not the key of"),
        ("junk", &*first.key, "holds no certificate"),
        (&*first.pem, "junk", "holds no private key"),
        (
            &*expired.pem,
            &*expired.key,
            "expired at 2021-01-01T00:00:00Z",
        ),
        (
            &*early.pem,
            &*early.key,
            "not valid before 2999-01-01T00:00:00Z",
        ),
    ] {
        write(cert, key);
        gate.signal("HUP");
        reloads += 1;
        until(said, async || gate.log().matches(KEPT).count() == reloads).await;
        let log = gate.log();
        let line = log.lines().rfind(|line| line.contains(KEPT)).unwrap();
        assert!(line.contains(said), "{line}");
        let connection = Connection::open(gate.address, &config).await.unwrap();
        assert_eq!(connection.shown(), first.der);
        assert_eq!(metric(successful).await, Some(0.0));
        assert_eq!(metric(not_after).await, Some(valid_until));
        // What else stands in the configuration is in force.
        let loaded = gate.log().matches("configuration loaded anew").count();
        assert_eq!(loaded, reloads);
    }
    let ends = authority.issue_with(|params| params.not_after = rcgen::date_time_ymd(2199, 1, 1));
    write(&ends.pem, &ends.key);
    gate.signal("HUP");
    gate.logged(&format!("{REPLACED}2199-01-01T00:00:00Z"))
        .await;
    assert_eq!(metric(successful).await, Some(1.0));
    // 2199-01-01T00:00:00Z
    assert_eq!(metric(not_after).await, Some(7_226_582_400.0));
    let connection = Connection::open(gate.address, &config).await.unwrap();
    assert_eq!(connection.shown(), ends.der);
    let log = gate.log();
    assert!(!log.contains("next start"), "{log}");
    for issued in [&first, &other, &expired, &early, &ends] {
        let secret = issued.key.lines().nth(1).unwrap();
        assert!(!log.contains(secret), "{log}");
    }
}
