//! A gate and a mock channel in one process, on real sockets, and clients that put bytes on
//! the wire exactly as told.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod client;
pub mod folder;
pub mod h2;
pub mod host;
pub mod postgres;
pub mod programs;
pub mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::admin;
use tollgate::clock::Clock;
use tollgate::config::{self, Config};
use tollgate::gate::{Background, Gate};
use tollgate::ledger::{Ledger, MemoryLedger};
use tollgate::metrics::Metrics;
use tollgate::mock::{Mock, Options};
use tollgate::server::{self, Server};

/// The key that may ask for everything, and one that may not.
pub const KEY: &str = "sk-tollgate-demo";
pub const STUDIO: &str = "sk-tollgate-studio";
/// What the channel asks for: appears in no answer, log or metric.
pub const CREDENTIAL: &str = "mock-channel-key";

/// Whether these tests run with the gate embedded in a host's proxy: `tests/embedded.rs` does.
pub fn is_embedded() -> bool {
    env!("CARGO_CRATE_NAME") == "embedded"
}

/// A gate with a mock channel behind it. Dropped, both go with the test's runtime.
pub struct Stand {
    pub gate: SocketAddr,
    pub admin: SocketAddr,
    pub mock: Mock,
    pub handle: Arc<Gate>,
    pub server: Server,
}

/// What a stand is made of.
pub struct Setup {
    /// Changes to the demonstration's configuration: text to find and text to put there.
    pub replace: Vec<(String, String)>,
    pub mock: Options,
    pub ledger: Arc<dyn Ledger>,
}

/// Options of a mock channel that takes the gate's credential and renders within a moment.
pub fn mock_options() -> Options {
    Options {
        credential: CREDENTIAL.into(),
        queued: Duration::from_millis(20),
        rendering: Duration::from_millis(20),
        ..Options::default()
    }
}

/// Starts a mock channel on a port of its own.
pub async fn start_mock(options: Options) -> Mock {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Mock::start(listener, options)
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            replace: vec![],
            mock: mock_options(),
            ledger: Arc::new(MemoryLedger::default()),
        }
    }
}

impl Setup {
    /// Puts lines at the end of the configuration.
    pub fn with(mut self, lines: &str) -> Self {
        self.replace.push((String::new(), lines.into()));
        self
    }

    /// Replaces a text of the configuration, which must be there.
    pub fn replacing(mut self, from: &str, to: &str) -> Self {
        self.replace.push((from.into(), to.into()));
        self
    }

    /// Puts another channel behind the gate, which serves the same models; these are further lines of
    /// the first one's configuration, and of the other's.
    pub fn beside(self, lines: &str, other: (&str, SocketAddr), lines_of_other: &str) -> Self {
        let models = "    models: [sora-2, sora-2-pro]\n";
        let (name, address) = other;
        let both = format!(
            "{models}{lines}  {name}:\n    url: http://{address}\n    \
             credential: {{ env: TOLLGATE_MOCK_CREDENTIAL }}\n{models}{lines_of_other}"
        );
        self.replacing(models, &both)
    }

    /// Speaks HTTP/2 to the channel.
    pub fn http2_upstream(self) -> Self {
        self.replacing("    credential: ", "    http2: always\n    credential: ")
    }

    pub async fn start(self) -> Stand {
        self.start_with_clock(Clock::default()).await
    }

    /// Starts a gate that goes by that clock.
    pub async fn start_with_clock(mut self, clock: Clock) -> Stand {
        let mock = start_mock(std::mem::take(&mut self.mock)).await;
        let config = self.config_for(mock.addr());
        let metrics = Arc::new(Metrics::new().unwrap());
        let (listen, bounds) = (config.listen.clone(), config.bounds.clone());
        let handle = Gate::with_clock(config, self.ledger, metrics, clock);
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = server::serve(handle.clone(), bind(), &listen, &bounds).unwrap();
        let admin = admin::serve(handle.clone(), bind()).unwrap();
        let gate = match is_embedded() {
            true => host::host(host::GateAlone(handle.clone())),
            false => server.address(),
        };
        let stand = Stand {
            gate,
            admin: admin.address(),
            mock,
            handle,
            server,
        };
        let background = Background::new(stand.handle.clone());
        tokio::spawn(async move { background.run().await });
        // The service's task keeps it running; its handle is not needed.
        std::mem::forget(admin);
        // A database gets its tables at the first use, which may take longer than a request waits.
        let ledger = stand.handle.ledger().clone();
        let ready = async || ledger.ready().await.is_ok();
        stand.until("the ledger is ready", ready).await;
        stand
            .until("the gate answers", async || {
                client::Request::get("/livez")
                    .send(stand.admin)
                    .await
                    .is_ok()
            })
            .await;
        stand
    }
}

impl Setup {
    pub fn config_for(&self, mock: SocketAddr) -> Config {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let text = std::fs::read_to_string(conf.join("demo.yaml")).unwrap();
        assert!(text.contains("http://127.0.0.1:8081"));
        let mut text = text.replace("http://127.0.0.1:8081", &format!("http://{mock}"));
        for (from, to) in &self.replace {
            if from.is_empty() {
                text.push_str(to);
            } else {
                assert!(
                    text.contains(from.as_str()),
                    "{from:?} is not in conf/demo.yaml"
                );
                text = text.replacen(from.as_str(), to, 1);
            }
        }
        let env = |_: &str| Some(CREDENTIAL.to_owned());
        config::parse(&text, "demo.yaml", &env, &conf).unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Stand {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Waits for a condition; there is no waiting by the clock in these tests.
    pub async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        until(what, condition).await;
    }

    /// Whether there is a reservation that is not resolved.
    pub async fn has_open(&self) -> bool {
        let open = self.handle.ledger().count_unresolved().await.unwrap();
        !open.is_empty()
    }

    /// Waits until every reservation is resolved.
    pub async fn until_resolved(&self) {
        until("nothing is open", async || !self.has_open().await).await;
    }

    /// The metrics, by family and labels as they stand in the exposition.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let answer = client::Request::get("/metrics")
            .send(self.admin)
            .await
            .unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        samples.collect()
    }

    /// The kinds of errors that are counted against the channel.
    pub async fn channel_errors(&self) -> Vec<String> {
        let metrics = self.metrics().await.into_iter();
        let counted =
            metrics.filter(|(name, value)| name.contains("channel_errors") && *value > 0.0);
        let kind = |name: String| Some(name.split_once("kind=\"")?.1.split_once('"')?.0.to_owned());
        counted.filter_map(|(name, _)| kind(name)).collect()
    }

    /// One sample, 0 where it is not there yet.
    pub async fn metric(&self, sample: &str) -> f64 {
        self.metrics().await.get(sample).copied().unwrap_or(0.0)
    }
}

/// Waits until a condition holds, and fails after half a minute.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "never happened: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A form in the way of curl: the fields in order, then the closing delimiter.
pub fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes(),
        );
        if *name == "input_reference" {
            body.extend_from_slice(b"; filename=\"img.png\"\r\nContent-Type: image/png");
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

pub const BOUNDARY: &str = "----tollgate-test-7MA4YWxkTrZu0gW";

pub fn form_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// A PNG of 1280x720 pixels by its head, followed by as many bytes as wanted.
pub fn png(len: usize) -> Vec<u8> {
    let mut image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x02\xd0\x08\x02\0\0\0".to_vec();
    image.extend_from_slice(&crc32(&image[12..29]).to_be_bytes());
    let fill = (image.len()..len.max(image.len())).map(|i| (i * 31 % 251) as u8);
    image.extend(fill);
    image
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// The usual create of the usual video.
pub fn plain_form() -> Vec<u8> {
    form(&[
        ("prompt", b"A calico cat playing a piano"),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ])
}
