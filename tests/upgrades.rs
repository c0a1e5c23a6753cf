//! Restarts that no client notices: the listening socket belongs to somebody else, as it does
//! under systemd, and connections wait in it while one gate ends and the next one starts.
//!
//! `TOLLGATE_RESTARTS=20` and `TOLLGATE_RESTART_CLIENTS=200` make it long.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::client::{Body, Connection, Request};
use support::folder::Folder;
use support::{CREDENTIAL, KEY, form, form_type, mock_options, png, start_mock, until};
use tokio::task::JoinSet;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Who starts gates with a socket of its own, as systemd does.
struct Manager {
    folder: Folder,
    config: PathBuf,
    socket: TcpListener,
    notices: UnixDatagram,
}

impl Manager {
    /// `lines` are further lines of the configuration.
    fn new(mock: SocketAddr, lines: &str) -> Self {
        let folder = Folder::new();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let notices = UnixDatagram::bind(folder.join("notify")).unwrap();
        notices
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo.yaml");
        let text = std::fs::read_to_string(demo).unwrap();
        let at = socket.local_addr().unwrap();
        let text = text
            .replace("http://127.0.0.1:8081", &format!("http://{mock}"))
            .replace("127.0.0.1:8080", &at.to_string())
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace("ledger: memory", "ledger: sqlite:tollgate.db")
            + lines;
        let config = folder.join("gate.yaml");
        std::fs::write(&config, text).unwrap();
        Self {
            folder,
            config,
            socket,
            notices,
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Starts a gate, and waits until it says that it is ready.
    fn start(&self) -> Child {
        // The third file of the process is the first of those that are given.
        let script =
            "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" serve --config \"$1\" 3<&0 0</dev/null";
        let socket = OwnedFd::from(self.socket.try_clone().unwrap());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let gate = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_tollgate")])
            .arg(&self.config)
            .env("TOLLGATE_MOCK_CREDENTIAL", CREDENTIAL)
            .env("NOTIFY_SOCKET", self.folder.join("notify"))
            .stdin(Stdio::from(socket))
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        self.notice("READY=1");
        gate
    }

    /// Waits for a notice that has this line.
    fn notice(&self, line: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notices.recv(&mut buffer);
            let length = length.unwrap_or_else(|e| panic!("no {line}: {e}\n{}", self.log()));
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

fn signal(gate: &Child, name: &str) {
    let kill = format!("kill -s {name} {}", gate.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

/// A small create, or one whose picture comes in pieces with pauses.
fn create(large: bool) -> Request {
    let picture = png(256 * 1024);
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("size", b"1280x720"),
    ];
    if large {
        fields.push(("input_reference", &picture));
    }
    let cuts = if large { vec![32 * 1024; 8] } else { vec![] };
    Request::create(&form_type(), Body::Length(form(&fields), cuts))
}

/// Sends a request on a connection of its own. Returns whether it was answered with a job.
async fn send(gate: SocketAddr, request: &Request, pause: Duration) -> Result<u16, String> {
    let mut connection = Connection::open(gate)
        .await
        .map_err(|e| format!("connect: {e}"))?;
    for piece in request.pieces() {
        use tokio::io::AsyncWriteExt as _;
        let written = connection.stream.write_all(&piece).await;
        written.map_err(|e| format!("write: {e}"))?;
        tokio::time::sleep(pause).await;
    }
    let answer = connection
        .answer(false)
        .await
        .map_err(|e| format!("answer: {e}"))?;
    Ok(answer.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_refuse_no_connection_and_lose_no_charge() {
    let restarts = number("TOLLGATE_RESTARTS", 3);
    let clients = number("TOLLGATE_RESTART_CLIENTS", 20);
    let mock = start_mock(mock_options()).await;
    let manager = Arc::new(Manager::new(mock.addr(), ""));
    let mut gate = tokio::task::block_in_place(|| manager.start());

    let (stop, created) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut running = JoinSet::new();
    for client in 0..clients {
        let (stop, created, at) = (stop.clone(), created.clone(), manager.address());
        running.spawn(async move {
            let large = client % 4 == 0;
            let (request, pause) = (
                create(large),
                Duration::from_millis(if large { 20 } else { 0 }),
            );
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match send(at, &request, pause).await {
                    Ok(200) => drop(created.fetch_add(1, Ordering::Relaxed)),
                    other => failed.push(format!("client {client}: {other:?}")),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            failed
        });
    }
    for _ in 0..restarts {
        let before = created.load(Ordering::Relaxed);
        until("creates go on", async || {
            created.load(Ordering::Relaxed) >= before + clients
        })
        .await;
        gate = tokio::task::block_in_place(|| {
            signal(&gate, "TERM");
            let status = gate.wait().unwrap();
            assert!(status.success(), "{}", manager.log());
            manager.start()
        });
    }
    stop.store(true, Ordering::Relaxed);
    let failed: Vec<String> = running.join_all().await.into_iter().flatten().collect();
    assert_eq!(failed, Vec::<String>::new(), "{}", manager.log());

    // What the channel has made is charged, each once.
    let created = created.load(Ordering::Relaxed);
    assert_eq!(mock.jobs().len(), created);
    let db = manager.folder.join("tollgate.db");
    let charges = async || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = rusqlite::Connection::open_with_flags(&db, flags).unwrap();
        let sql = "SELECT count(DISTINCT job) || ' ' || count(*) FROM reservation
                   WHERE state IN ('confirmed', 'posted')";
        db.query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(charges().await, format!("{created} {created}"));
    signal(&gate, "TERM");
    assert!(gate.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_how_the_gate_stands_and_grace_is_given() {
    let mock = start_mock(mock_options()).await;
    let manager = Manager::new(mock.addr(), "");
    let text = std::fs::read_to_string(&manager.config).unwrap();
    let listen = format!("listen: {{ address: {}", manager.address());
    assert!(text.contains(&listen));
    std::fs::write(
        &manager.config,
        text.replace(&listen, &format!("{listen}, grace: 20h")),
    )
    .unwrap();
    let mut gate = tokio::task::block_in_place(|| manager.start());
    let list = Request::get("/v1/videos").key(KEY);
    assert_eq!(
        send(manager.address(), &list, Duration::ZERO).await,
        Ok(200)
    );

    signal(&gate, "HUP");
    tokio::task::block_in_place(|| {
        manager.notice("RELOADING=1");
        manager.notice("READY=1");
    });
    // Asked to stop it goes on to take requests, until it is asked again.
    signal(&gate, "TERM");
    tokio::task::block_in_place(|| manager.notice("STOPPING=1"));
    let took = async || {
        manager
            .log()
            .contains("for 72000s requests are still taken")
    };
    until("the grace begins", took).await;
    assert_eq!(
        send(manager.address(), &list, Duration::ZERO).await,
        Ok(200)
    );
    signal(&gate, "TERM");
    let ended = tokio::task::block_in_place(|| gate.wait().unwrap());
    assert!(ended.success(), "{}", manager.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_have_not_ended_are_named() {
    let mock = start_mock(mock_options()).await;
    let manager = Manager::new(mock.addr(), "\nbounds: { shutdown_timeout: 100ms }\n");
    let mut gate = tokio::task::block_in_place(|| manager.start());
    let body = form(&[("prompt", b"[mock:slow=600000]"), ("model", b"sora-2")]);
    let create = Request::create(&form_type(), Body::Length(body, vec![]));
    let create = create.header("x-request-id", "slow-1");
    let at = manager.address();
    let sent = tokio::spawn(async move { send(at, &create, Duration::ZERO).await });
    until("it is at the channel", async || {
        mock.stats().creates_complete == 1
    })
    .await;
    signal(&gate, "TERM");
    let ended = tokio::task::block_in_place(|| gate.wait().unwrap());
    assert_eq!(ended.code(), Some(1));
    let log = manager.log();
    let named = log
        .lines()
        .find(|line| line.contains("still under way: request slow-1, since "));
    let named = named.unwrap_or_else(|| panic!("{log}"));
    assert!(
        named.contains("route create, key demo, channel mock, reservation "),
        "{named}"
    );
    assert!(
        log.contains("stopped with 1 request still under way"),
        "{log}"
    );
    sent.abort();
}
