//! Memory does not grow with what goes through. The gate runs as a process of its own, so
//! that what the system says of its memory is the gate's alone.
//!
//! `TOLLGATE_LARGE=1` sends 1 GiB in either direction, and uploads of 4 MiB where there are
//! many: better so with `--release`. A sixteenth of each else.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use support::client::{Body, Connection, Request};
use support::{BOUNDARY, CREDENTIAL, KEY, form, form_type, png, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate::mock::{Mock, Options, Outcome};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// How many uploads come before the first look.
const WARM: u64 = 8;
/// How much the gate's memory may grow over what an upload of 4 MiB has made it.
const GROWTH: u64 = 8 * MIB;
const UPLOADS: usize = 200;
/// The most for one upload under way, most of which are buffers of Pingora.
const EACH: u64 = 400 * KIB;
/// So many that memory which is not given back cannot pass.
const ROUNDS: u64 = 3;

/// A size as it is where there is time for it; smaller else.
fn scaled(size: u64) -> u64 {
    match std::env::var("TOLLGATE_LARGE").as_deref() {
        Ok("1") => size,
        _ => size / 16,
    }
}

fn large() -> u64 {
    scaled(1024 * MIB)
}

/// A gate in a process of its own, and a mock channel in this one.
struct Stand {
    gate: SocketAddr,
    process: Child,
    config: PathBuf,
    mock: Mock,
}

impl Stand {
    /// With these lines at the end of the configuration.
    async fn start(name: &str, lines: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options {
            credential: CREDENTIAL.into(),
            queued: Duration::ZERO,
            rendering: Duration::ZERO,
            ..Options::default()
        };
        let mock = Mock::start(listener, options);
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo.yaml");
        let mut text = fs::read_to_string(demo).unwrap();
        for (from, to) in [
            ("http://127.0.0.1:8081", format!("http://{}", mock.addr())),
            ("127.0.0.1:8080", "127.0.0.1:0".into()),
            ("127.0.0.1:9090", "127.0.0.1:0".into()),
        ] {
            assert!(text.contains(from), "{from} is not in conf/demo.yaml");
            text = text.replace(from, &to);
        }
        text.push_str(lines);
        let file = format!("memory-{name}-{}.yaml", std::process::id());
        let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        fs::write(&config, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("TOLLGATE_MOCK_CREDENTIAL", CREDENTIAL)
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let gate = listens(&mut process);
        Self {
            gate,
            process,
            config,
            mock,
        }
    }

    /// Bytes, from a line of `/proc/PID/status`.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let digits = line.unwrap().trim_matches(|c: char| !c.is_ascii_digit());
        digits.parse::<u64>().unwrap() * KIB
    }

    /// The most memory so far, after uploads of 4 MiB: some, since each worker thread has
    /// memory of its own at hand.
    async fn warm(&self) -> u64 {
        for _ in 0..WARM {
            let sent = Upload::new(4 * MIB).send(self.gate).await;
            assert_eq!(sent.status, 200, "{sent:?}");
        }
        self.memory("VmHWM:")
    }

    fn assert_flat(&self, before: u64) {
        let after = self.memory("VmHWM:");
        assert!(
            after < before + GROWTH,
            "{} MiB became {} MiB",
            before / MIB,
            after / MIB
        );
    }

    /// How many sockets and files the gate has open.
    fn open(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        open.unwrap().count()
    }

    /// Whether nothing waits in a socket of the gate or the mock, on either side.
    fn is_quiet(&self) -> bool {
        let ports = [self.gate, self.mock.addr()].map(|at| format!(":{:04X}", at.port()));
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().skip(1).all(|socket| {
            let fields: Vec<&str> = socket.split_whitespace().collect();
            let ours = fields[1..3]
                .iter()
                .any(|end| ports.iter().any(|port| end.ends_with(port.as_str())));
            !ours || fields[4] == "00000000:00000000"
        })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // It may have ended by itself, which its test will tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.config);
    }
}

/// Reads from the gate's log where it listens, and passes the rest of the log on.
fn listens(process: &mut Child) -> SocketAddr {
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let address = log.by_ref().find_map(|line| {
        let line = line.unwrap();
        let (_, address) = line.split_once("gate listens on ")?;
        Some(address.trim().parse().unwrap())
    });
    thread::spawn(move || {
        log.map_while(Result::ok)
            .for_each(|line| eprintln!("{line}"))
    });
    address.expect("the gate has not started")
}

/// A create with a file of any size, made as it is sent.
struct Upload {
    head: Vec<u8>,
    file: u64,
    close: Vec<u8>,
}

/// What was sent, and what came back.
#[derive(Debug)]
struct Sent {
    status: u16,
    bytes: u64,
    sha256: String,
}

const PIECE: usize = 256 * 1024;

impl Upload {
    fn new(file: u64) -> Self {
        let whole = form(&[
            ("prompt", b"A calico cat playing a piano"),
            ("model", b"sora-2"),
            ("seconds", b"4"),
            ("size", b"1280x720"),
            ("input_reference", &png(64)),
        ]);
        let close = format!("\r\n--{BOUNDARY}--\r\n").into_bytes();
        let head = whole[..whole.len() - close.len()].to_vec();
        Self { head, file, close }
    }

    fn length(&self) -> u64 {
        self.head.len() as u64 + self.file + self.close.len() as u64
    }

    async fn write_head(&self, to: &mut TcpStream) {
        let mut head = String::from("POST /v1/videos HTTP/1.1\r\nHost: gate.test\r\n");
        let content_type = form_type();
        write!(
            head,
            "Authorization: Bearer {KEY}\r\nContent-Type: {content_type}\r\n"
        )
        .unwrap();
        write!(head, "Content-Length: {}\r\n\r\n", self.length()).unwrap();
        to.write_all(head.as_bytes()).await.unwrap();
    }

    async fn send(&self, to: SocketAddr) -> Sent {
        let mut connection = Connection::open(to).await.unwrap();
        self.write_head(&mut connection.stream).await;
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        let mut send = async |piece: &[u8]| {
            connection.stream.write_all(piece).await.unwrap();
            digest.update(piece);
            bytes += piece.len() as u64;
        };
        send(&self.head).await;
        let mut piece = png(PIECE);
        for number in 0..self.file.div_ceil(PIECE as u64) {
            // No two pieces are the same, so that none can be lost or take another's place.
            piece[..8].copy_from_slice(&number.to_be_bytes());
            let left = self.file - number * PIECE as u64;
            send(&piece[..left.min(PIECE as u64) as usize]).await;
        }
        send(&self.close).await;
        let sha256 = hex(&digest.finalize());
        let answer = connection.answer(false).await.unwrap();
        Sent {
            status: answer.status,
            bytes,
            sha256,
        }
    }

    /// Sends half of it.
    async fn begin(&self, to: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(to).await.unwrap();
        self.write_head(&mut client).await;
        client.write_all(&self.head).await.unwrap();
        let half = vec![b'x'; (self.file / 2) as usize];
        client.write_all(&half).await.unwrap();
        client
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_takes_no_more_memory_than_a_small_one() {
    let stand = Stand::start("upload", "\nbounds: { body_bytes: 2 GiB }\n").await;
    let before = stand.warm().await;
    let sent = Upload::new(large()).send(stand.gate).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    stand.assert_flat(before);
    let requests = stand.mock.requests();
    let record = requests.last().unwrap();
    assert_eq!(record.outcome, Outcome::Complete);
    assert_eq!(record.body_bytes, sent.bytes);
    assert_eq!(record.body_sha256, sent.sha256);
    assert_eq!(stand.mock.stats().creates_accepted, WARM + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upload_is_read_on_in_flat_memory() {
    let lines = "\nbounds: { body_bytes: 2 GiB, drain_bytes: 2 GiB, drain_timeout: 10min }\n";
    let stand = Stand::start("drain", lines).await;
    let before = stand.warm().await;
    let mut upload = Upload::new(large());
    // The policy's field that no catalog has: refused before its file begins.
    let wanted = b"1280x720";
    let at = upload.head.windows(wanted.len()).position(|w| w == wanted);
    upload.head[at.unwrap()] = b'9';
    let sent = upload.send(stand.gate).await;
    assert_eq!((sent.status, sent.bytes), (400, upload.length()));
    stand.assert_flat(before);
    assert_eq!(stand.mock.stats().creates_complete, WARM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_takes_no_more_memory_than_a_small_upload() {
    let stand = Stand::start("download", "").await;
    let before = stand.warm().await;
    let bytes = large();
    let fault = format!("big={bytes}").parse().unwrap();
    stand.mock.set_faults(vec![fault], None);
    let id = stand.mock.jobs()[0].job.id.clone().unwrap();
    let mut stream = TcpStream::connect(stand.gate).await.unwrap();
    let request = format!(
        "GET /v1/videos/{id}/content HTTP/1.1\r\nHost: gate.test\r\n\
         Authorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(
        head.contains(&format!("\r\ncontent-length: {bytes}\r\n")),
        "{head}"
    );
    let letters: Vec<u8> = (b'a'..=b'z').cycle().take(PIECE + 26).collect();
    let (mut piece, mut got) = (vec![0; PIECE], 0_u64);
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        let from = (got % 26) as usize;
        assert!(
            piece[..read] == letters[from..from + read],
            "after {got} bytes"
        );
        got += read as u64;
    }
    assert_eq!(got, bytes);
    stand.assert_flat(before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_url_of_twenty_megabytes_passes_in_flat_memory() {
    let stand = Stand::start("data-url", "").await;
    let before = stand.warm().await;
    // A head that says 1280x720, and as many of the 20,971,520 characters that may be as are whole
    // groups of Base64.
    let mut body =
        b"{\"prompt\":\"a cat\",\"model\":\"sora-2\",\"seconds\":\"4\",\"size\":\"1280x720\",\
        \"input_reference\":{\"image_url\":\""
            .to_vec();
    let start = body.len();
    body.extend_from_slice(b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAABQAAAALQCAIAAABAH0oB");
    let letters = (b'a'..=b'z').chain(b'A'..=b'Z').cycle();
    body.extend(letters.take(20_971_518 - (body.len() - start)));
    body.extend_from_slice(b"\"}}");
    let expected = hex(&Sha256::digest(&body));
    let create = Request::create("application/json", Body::Length(body, vec![]));
    let answer = create.send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    stand.assert_flat(before);
    assert_eq!(stand.mock.requests().last().unwrap().body_sha256, expected);
}

/// Uploads that stop half-way.
async fn half_way(stand: &Stand) -> Vec<TcpStream> {
    let upload = Upload::new(scaled(4 * MIB));
    let mut clients = Vec::new();
    for _ in 0..UPLOADS {
        clients.push(upload.begin(stand.gate).await);
    }
    let in_progress = async || {
        let in_flight = stand.mock.stats().creates_in_flight;
        in_flight == UPLOADS as u64 && stand.is_quiet()
    };
    until("all uploads stand half-way", in_progress).await;
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_stop_half_way_take_little_and_leave_nothing() {
    // One thread, so that the allocator has one heap to find its memory again in.
    let lines = format!(
        "\nserver: {{ threads: 1 }}\nbounds: {{ concurrent_uploads: {UPLOADS}, uploads_per_key: {UPLOADS} }}\n"
    );
    let stand = Stand::start("half-way", &lines).await;
    let (before, open) = (stand.warm().await, stand.open());
    for round in 1..=ROUNDS {
        let clients = half_way(&stand).await;
        let each = stand.memory("VmHWM:").saturating_sub(before) / UPLOADS as u64;
        eprintln!("round {round}: {} KiB for each upload", each / KIB);
        // Later rounds find the memory that the first has given back, but for what the
        // allocator cannot use again: kept, it would be as much again in each round.
        let max = if round == 1 { EACH } else { EACH * 3 / 2 };
        assert!(each < max, "round {round}: {} KiB", each / KIB);
        // All places are taken, so that it shows when they are free again.
        let full = Upload::new(scaled(4 * MIB)).send(stand.gate).await;
        assert_eq!(full.status, 429);

        drop(clients);
        let gone = async || {
            let stats = stand.mock.stats();
            stats.creates_in_flight == 0
                && stats.creates_broken == UPLOADS as u64 * round
                && stand.open() <= open
        };
        until("all uploads are gone", gone).await;
        let stats = stand.mock.stats();
        assert_eq!(
            (stats.creates_complete, stats.creates_accepted),
            (WARM + round - 1, WARM + round - 1)
        );
        let free = Upload::new(scaled(4 * MIB)).send(stand.gate).await;
        assert_eq!(free.status, 200);
    }
}
