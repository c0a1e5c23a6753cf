//! Gates on one ledger, with a mock channel behind them that survives what they do not.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tollgate::mock::{Mock, Options};

use crate::books::Books;
use crate::process::Process;
use crate::support::client::{Answer, Body, Request};
use crate::support::folder::Folder;
use crate::support::postgres::{self, Postgres};
use crate::support::{self, CREDENTIAL};

/// What is to be set up.
pub struct Plan {
    pub gates: usize,
    /// Keys and what stands in their section of limits.
    pub keys: Vec<(String, String)>,
    /// What stands in the section of jobs.
    pub jobs: String,
    /// How long a channel's answer is waited for.
    pub answer_timeout: &'static str,
    pub rendering: Duration,
    /// Where gates find the channel, if not at the mock itself.
    pub channel: Option<SocketAddr>,
    /// What stands in the channel's section of limits.
    pub channel_limits: &'static str,
    /// Another channel, which takes no create and is never ejected for it.
    pub refusing: Option<SocketAddr>,
    /// The database, or a file.
    pub database: Option<String>,
    /// How gates find the database, if otherwise than this test does: the variables of their
    /// environment, of which `LEDGER` is its URL.
    pub environment: Vec<(&'static str, String)>,
}

/// What is set up. Dropped, all of it goes.
pub struct Stage {
    pub books: Books,
    pub mock: Mock,
    seats: Vec<Seat>,
    config: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// The last to go.
    folder: Folder,
}

/// A gate's place. It is at another address after each start.
struct Seat {
    process: Mutex<Option<Process>>,
    at: Mutex<(SocketAddr, SocketAddr)>,
}

impl Plan {
    /// One gate with its file.
    pub fn sqlite() -> Self {
        Self {
            gates: 1,
            keys: vec![("demo".into(), String::new())],
            jobs: "poll_after: 200ms, polls_per_second: 1000, unknown_grace: 4s".into(),
            answer_timeout: "3s",
            rendering: Duration::from_millis(20),
            channel: None,
            channel_limits: "",
            refusing: None,
            database: None,
            environment: vec![],
        }
    }

    /// Two gates with one database; `None` where there is no server.
    pub fn postgres() -> Option<Self> {
        Some(Self::postgres_in(postgres::shared()?))
    }

    /// Two gates with a database in this cluster.
    pub fn postgres_in(cluster: &Postgres) -> Self {
        Self {
            gates: 2,
            database: Some(cluster.create_database()),
            ..Self::sqlite()
        }
    }

    pub async fn start(self) -> Stage {
        let options = Options {
            credential: CREDENTIAL.into(),
            queued: Duration::ZERO,
            rendering: self.rendering,
            ..Options::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.start_before(Mock::start(listener, options)).await
    }

    pub async fn start_before(self, mock: Mock) -> Stage {
        let folder = Folder::new();
        let books = match &self.database {
            Some(url) => Books::Postgres(url.clone()),
            None => Books::Sqlite(folder.join("ledger.db")),
        };
        let config = folder.join("tollgate.yaml");
        let channel = self.channel.unwrap_or(mock.addr());
        std::fs::write(&config, self.text(&books, channel)).unwrap();
        let seat = |_| Seat {
            process: Mutex::new(None),
            at: Mutex::new((mock.addr(), mock.addr())),
        };
        let stage = Stage {
            seats: (0..self.gates).map(seat).collect(),
            books,
            mock,
            config,
            environment: self.environment,
            folder,
        };
        for number in 0..self.gates {
            stage.start(number);
            support::until("a gate is ready", async || stage.is_ready(number).await).await;
        }
        stage
    }

    fn text(&self, books: &Books, channel: SocketAddr) -> String {
        let ledger = match self.environment.is_empty() {
            true => format!("'{}'", books.url()),
            false => "{ env: LEDGER }".into(),
        };
        let mut text = format!(
            "listen: {{ address: '127.0.0.1:0' }}\n\
             admin: {{ address: '127.0.0.1:0' }}\n\
             ledger: {ledger}\n\
             jobs: {{ {} }}\n\
             channels:\n  mock:\n    url: http://{channel}\n    \
             credential: {{ env: TOLLGATE_MOCK_CREDENTIAL }}\n    models: [sora-2]\n    \
             answer_timeout: {}\n    read_timeout: 2s\n    limits: {{ {} }}\n{}\
             catalog:\n  sora-2:\n    seconds: {{ allowed: ['4', '8'], default: '4' }}\n    \
             sizes: {{ default: 1280x720, usd_per_second: {{ 1280x720: 0.10 }} }}\n\
             groups: {{ all: {{ multiplier: 5, currency: CNY }} }}\n\
             keys:\n",
            self.jobs,
            self.answer_timeout,
            self.channel_limits,
            self.refusing_channel(),
        );
        for (name, limits) in &self.keys {
            let digest = hex(&Sha256::digest(secret(name)));
            let _ = writeln!(
                text,
                "  - {{ name: {name}, sha256: '{digest}', group: all, limits: {{ {limits} }} }}"
            );
        }
        text
    }
}

impl Plan {
    fn refusing_channel(&self) -> String {
        let channel = self.refusing.map(|address| {
            format!(
                "  refusing:\n    url: http://{address}\n    \
                 credential: {{ env: TOLLGATE_MOCK_CREDENTIAL }}\n    models: [sora-2]\n    \
                 ejection: {{ failures: 1000000 }}\n    answer_timeout: {}\n    \
                 read_timeout: 2s\n",
                self.answer_timeout
            )
        });
        channel.unwrap_or_default()
    }
}

impl Stage {
    /// How many gates there are.
    pub fn gates(&self) -> usize {
        self.seats.len()
    }

    /// Where clients reach a gate, or reached it last.
    pub fn gate(&self, number: usize) -> SocketAddr {
        self.seats[number].at.lock().unwrap().0
    }

    /// The number of a gate's process.
    pub fn process(&self, number: usize) -> u32 {
        let process = self.seats[number].process.lock().unwrap();
        process.as_ref().unwrap().number
    }

    pub fn start(&self, number: usize) {
        let seat = &self.seats[number];
        let process =
            tokio::task::block_in_place(|| Process::start(&self.config, &self.environment));
        *seat.at.lock().unwrap() = (process.gate, process.admin);
        *seat.process.lock().unwrap() = Some(process);
    }

    /// Ends a gate by a signal, and waits until it is gone.
    pub fn end(&self, number: usize, signal: &str) {
        let mut process = self.seats[number].process.lock().unwrap();
        tokio::task::block_in_place(|| process.as_mut().unwrap().end(signal));
    }

    /// The folder of the configuration and the file.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Whether a gate says that it is ready, and its ledger too.
    pub async fn is_ready(&self, number: usize) -> bool {
        let admin = self.admin(number);
        let answer = Request::get("/readyz?verbose").send(admin).await;
        answer.is_ok_and(|answer| {
            let text = String::from_utf8_lossy(&answer.body);
            answer.status == 200 && text.contains("\nledger: ok\n")
        })
    }

    /// What a gate says of that, and its status.
    pub async fn readiness(&self, number: usize) -> (u16, String) {
        let answer = Request::get("/readyz").send(self.admin(number)).await;
        let answer = answer.unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    fn admin(&self, number: usize) -> SocketAddr {
        self.seats[number].at.lock().unwrap().1
    }

    /// Asks a gate for a job.
    pub async fn poll(&self, number: usize, key: &str, job: &str) -> Answer {
        let request = Request::get(&format!("/v1/videos/{job}")).key(&secret(key));
        request.send(self.gate(number)).await.unwrap()
    }

    /// Waits until every reservation is posted or voided.
    pub async fn settled(&self, within: Duration) {
        let started = Instant::now();
        while !self.books.is_settled().await {
            assert!(
                started.elapsed() < within,
                "not settled: {:#?}",
                self.books.rows().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The key that a client presents.
pub fn secret(name: &str) -> String {
    format!("sk-of-{name}")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A create of four seconds for 0.40 USD.
pub fn create(key: &str, prompt: &str) -> Request {
    create_with(key, prompt, None)
}

/// The same with an image, so that it is longer than what is read ahead.
pub fn large_create(key: &str, prompt: &str) -> Request {
    create_with(key, prompt, Some(support::png(300_000)))
}

fn create_with(key: &str, prompt: &str, image: Option<Vec<u8>>) -> Request {
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("prompt", prompt.as_bytes()),
        ("model", b"sora-2"),
        ("seconds", b"4"),
        ("size", b"1280x720"),
    ];
    if let Some(image) = &image {
        fields.push(("input_reference", image));
    }
    let mut request = Request::new("POST", "/v1/videos")
        .key(&secret(key))
        .header("Content-Type", &support::form_type());
    request.body = Some(Body::Length(support::form(&fields), vec![]));
    request
}

/// What that costs, in nanos of USD.
pub const LIST_NANOS: u64 = 400_000_000;
