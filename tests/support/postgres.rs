//! PostgreSQL for one test process: a cluster of its own in a folder of its own, on a Unix
//! socket (for TLS on a port too), a standby of it, and a PgBouncer before it. `postgres.sh` keeps them and removes all of it when
//! the process is gone, however it went.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_POSTGRES_BIN` | the folder of the server's programs, where it is not found by itself |
//! | `TOLLGATE_PGBOUNCER` | pgbouncer, likewise |
//! | `TOLLGATE_REQUIRE_CLIENTS` | 1: what is missing fails rather than being skipped aloud |

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::programs::{find, skip};

/// A cluster that runs. Dropped, it stops and its folder goes.
pub struct Postgres {
    keeper: Keeper,
    bin: PathBuf,
    port: u16,
    databases: AtomicU32,
}

/// What a client over TCP proves to know.
pub const PASSWORD: &str = "pass-of-the-ledger";

/// The cluster that the tests of one binary share: none of them can stop it.
pub fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

impl Postgres {
    /// Makes a cluster and starts it; `None`, said aloud, where there is no server.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Likewise, with settings such as `fsync=off`. They hold after [`Self::start_again`] too.
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        Some(Self::keep("cluster", find_bin()?, 5432, settings))
    }

    /// Likewise, and to be reached over TCP and TLS too, at a port of `localhost`, by
    /// [`PASSWORD`]. The certificate and its key are files in PEM.
    pub fn start_with_tls(certificate: &Path, key: &Path) -> Option<Self> {
        let bin = find_bin()?;
        // The server asks for its port by number: one that the system gives to nobody who asks
        // for any.
        let mut ports = 20_000 + std::process::id() as u16 % 10_000..32_000;
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = ports.find(is_free).expect("a free port");
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", utf8(&absolute(certificate))),
            format!("ssl_key_file={}", utf8(&absolute(key))),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let postgres = Self::keep("cluster", bin, port, &settings);
        let alter = format!("ALTER ROLE postgres PASSWORD '{PASSWORD}'");
        postgres.psql("postgres", &alter);
        Some(postgres)
    }

    /// Starts a copy that follows this cluster. Each commit now waits until the copy has it too.
    pub fn start_standby(&self) -> Self {
        let standby = Self::keep("standby", self.bin.clone(), 5432, &[utf8(self.folder())]);
        self.psql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()",
        );
        let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let started = Instant::now();
        while self.psql("postgres", follows) != "1" {
            assert!(started.elapsed() < Duration::from_secs(30), "no standby");
            std::thread::sleep(Duration::from_millis(10));
        }
        standby
    }

    fn keep(kind: &str, bin: PathBuf, port: u16, arguments: &[&str]) -> Self {
        let mut keeper = Keeper::new(kind, &bin, arguments);
        keeper.obey("start");
        Self {
            keeper,
            bin,
            port,
            databases: AtomicU32::new(0),
        }
    }

    /// The folder of the cluster's socket, data and log.
    pub fn folder(&self) -> &Path {
        &self.keeper.folder
    }

    /// Where clients find a database.
    pub fn url(&self, database: &str) -> String {
        url(self.folder(), self.port, database)
    }

    /// The port of `localhost`, where it has one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients find a database that is at whichever of the two takes writes.
    pub fn url_of_either(&self, other: &Self, database: &str) -> String {
        let (one, two) = (host(self.folder()), host(other.folder()));
        format!(
            "postgres://postgres@{one}:5432,{two}:5432/{database}?target_session_attrs=read-write"
        )
    }

    /// Makes an empty database that nobody else has, and tells its URL.
    pub fn create_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Stops as a machine does that loses its power: nothing is finished or written.
    pub fn stop_hard(&mut self) {
        self.keeper.obey("stop immediate");
    }

    /// Stops in order: clients are sent away, what runs is rolled back.
    pub fn stop(&mut self) {
        self.keeper.obey("stop fast");
    }

    /// Makes a standby a cluster of its own, which takes writes.
    pub fn promote(&mut self) {
        self.keeper.obey("promote");
    }

    /// Starts what was stopped, on the same data and under the same URLs.
    pub fn start_again(&mut self) {
        self.keeper.obey("start");
    }

    /// What psql prints, a line for a row and `|` between columns. Each statement is a
    /// transaction of its own.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql)
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Likewise, or what psql complains about. A database is named by its name or its URL.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut child = self
            .client(database)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut to, sql) = (child.stdin.take().unwrap(), sql.to_owned());
        // It may go before it has read all.
        std::thread::spawn(move || to.write_all(sql.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// A psql that takes statements by its input and prints rows to its output.
    pub fn client(&self, database: &str) -> Command {
        let url = if database.contains("://") {
            database.to_owned()
        } else {
            self.url(database)
        };
        let mut command = Command::new(self.bin.join("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }
}

/// A PgBouncer before a cluster: at most four server connections for each database, lent for
/// a transaction. Dropped, it stops.
pub struct Pgbouncer {
    keeper: Keeper,
}

impl Pgbouncer {
    /// Starts one before a cluster that runs; `None`, said aloud, where there is none.
    pub fn start(postgres: &Postgres) -> Option<Self> {
        let program = find("pgbouncer", "TOLLGATE_PGBOUNCER")?;
        let program = absolute(&program);
        let arguments = [utf8(&program), utf8(postgres.folder())];
        let mut keeper = Keeper::new("pool", &postgres.bin, &arguments);
        keeper.obey("start");
        Some(Self { keeper })
    }

    /// Where clients find a database; `pgbouncer` is that of its own commands.
    pub fn url(&self, database: &str) -> String {
        url(&self.keeper.folder, 6432, database)
    }
}

/// The process of `postgres.sh`.
struct Keeper {
    child: Child,
    /// Closed, it tells the keeper to clear away, as does the end of this process.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Keeper {
    fn new(kind: &str, bin: &Path, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/postgres.sh");
        let mut child = Command::new("bash")
            .arg(script)
            .arg(kind)
            .arg(bin)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a terminal sends to a test run is not to reach the keeper.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("bash does not start: {e}"));
        let mut keeper = Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
            folder: PathBuf::new(),
        };
        let folder = keeper.answer();
        assert!(folder.starts_with('/'), "no {kind}: {folder}");
        keeper.folder = folder.into();
        keeper
    }

    /// Gives an order and waits until it is done.
    fn obey(&mut self, order: &str) {
        let written = writeln!(self.orders.as_ref().unwrap(), "{order}");
        let answer = self.answer();
        if written.is_err() || answer != "ok" {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("{order}: '{answer}'. The log:\n{log}");
        }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// The folder of the server's programs: the one that is named, one on the PATH, or the newest
/// of Debian's packages.
fn find_bin() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TOLLGATE_POSTGRES_BIN") {
        return Some(absolute(named.as_ref()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let mut versions: Vec<PathBuf> = versions.flatten().flatten().map(|e| e.path()).collect();
    versions.sort_by_key(|folder| {
        let version = folder.file_name().and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let installed = versions.iter().rev().map(|folder| folder.join("bin"));
    let is_whole = |folder: &PathBuf| {
        let needed = [
            "initdb",
            "postgres",
            "psql",
            "pg_isready",
            "pg_ctl",
            "pg_basebackup",
        ];
        needed.iter().all(|name| folder.join(name).is_file())
    };
    let found = std::env::split_paths(&path).chain(installed).find(is_whole);
    if found.is_none() {
        skip("PostgreSQL: there is no server, and TOLLGATE_POSTGRES_BIN names none");
    }
    found
}

fn url(folder: &Path, port: u16, database: &str) -> String {
    format!("postgres://postgres@{}:{port}/{database}", host(folder))
}

/// A socket's folder stands in a URL in the place of a host, and no `/` may.
fn host(folder: &Path) -> String {
    let mut host = String::new();
    for byte in utf8(folder).bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            host.push(byte.into());
        } else {
            let _ = write!(host, "%{byte:02X}");
        }
    }
    host
}

/// The keeper runs elsewhere than this process.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn utf8(path: &Path) -> &str {
    path.to_str()
        .unwrap_or_else(|| panic!("{} is not UTF-8", path.display()))
}
