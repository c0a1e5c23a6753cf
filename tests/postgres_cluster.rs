//! The clusters that the ledger is tested on: that they are what those tests take them for.
#![forbid(unsafe_code)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use support::postgres::{Pgbouncer, Postgres, shared};
use support::until;

#[test]
fn each_test_has_a_database_of_its_own_on_a_socket_alone() {
    let Some(postgres) = shared() else { return };
    let (one, other) = (postgres.create_database(), postgres.create_database());
    assert_ne!(one, other);
    postgres.psql(
        &one,
        "CREATE TABLE mine (n int); INSERT INTO mine VALUES (1)",
    );
    assert_eq!(postgres.psql(&one, "SELECT n, n FROM mine"), "1|1");
    let error = postgres.try_psql(&other, "SELECT n FROM mine").unwrap_err();
    assert!(error.contains("does not exist"), "{error}");

    let show = |name: &str| postgres.psql("postgres", &format!("SHOW {name}"));
    assert_eq!(show("listen_addresses"), "");
    assert_eq!(show("max_connections"), "300");
    assert_eq!(show("fsync"), "on");
    assert_eq!(show("server_encoding"), "UTF8");
}

#[test]
fn what_was_committed_is_there_after_a_stop_of_either_kind() {
    let Some(mut postgres) = Postgres::start_with(&["work_mem=5MB"]) else {
        return;
    };
    let database = postgres.create_database();
    postgres.psql(&database, "CREATE TABLE kept (n int)");
    let stops: [fn(&mut Postgres); 2] = [Postgres::stop_hard, Postgres::stop];
    for (n, stop) in stops.into_iter().enumerate() {
        postgres.psql(&database, &format!("INSERT INTO kept VALUES ({n})"));
        stop(&mut postgres);
        let error = postgres.try_psql(&database, "SELECT 1").unwrap_err();
        assert!(error.contains("Is the server running"), "{error}");
        postgres.start_again();
        let kept = postgres.psql(&database, "SELECT n FROM kept ORDER BY n");
        assert_eq!(kept.lines().count(), n + 1, "{kept}");
    }
    assert_eq!(postgres.psql(&database, "SHOW work_mem"), "5MB");
    let folder = postgres.folder().to_owned();
    let server = server_of(&folder);
    drop(postgres);
    assert!(!folder.exists() && !runs(&server));
}

#[tokio::test]
async fn a_pool_lends_four_connections_for_a_transaction_each() {
    let Some(postgres) = shared() else { return };
    let Some(pool) = Pgbouncer::start(postgres) else {
        return;
    };
    let direct = postgres.create_database();
    let url = pool.url(direct.rsplit('/').next().unwrap());

    // More clients than connections: all stay, as none is in a transaction.
    let mut clients: Vec<_> = (0..6).map(|_| Client::start(postgres, &url)).collect();
    for client in &mut clients {
        assert_eq!(client.ask("SELECT 1"), "1");
    }
    let mut waiting = clients.pop().unwrap();
    let mut holding = clients.split_off(1);
    let mut servers: Vec<String> = holding
        .iter_mut()
        .map(|client| client.ask("BEGIN; SELECT pg_backend_pid()"))
        .collect();
    servers.sort();
    servers.dedup();
    assert_eq!(servers.len(), 4);

    // The pool is used up: the next has to wait until one transaction ends.
    waiting.say("SELECT pg_backend_pid()");
    until("one waits", async || {
        let pools = postgres.psql(&pool.url("pgbouncer"), "SHOW POOLS");
        let row = |line: &&str| line.starts_with(direct.rsplit('/').next().unwrap());
        let line = pools.lines().find(row).unwrap_or_default();
        line.split('|').nth(3) == Some("1")
    })
    .await;
    holding[0].say("COMMIT");
    let server = waiting.hear();
    assert!(servers.contains(&server), "{server} is none of {servers:?}");
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'";
    // The one that asks is the fifth.
    assert_eq!(postgres.psql(&direct, count), "5");
}

/// Set for a process that holds a cluster until it is killed.
const HOLD: &str = "TOLLGATE_TEST_HOLDS_A_CLUSTER";

#[tokio::test]
async fn a_killed_process_leaves_nothing() {
    if std::env::var_os(HOLD).is_some() {
        let (postgres, mut to) = (shared(), std::io::stdout());
        let folder = postgres.map(|p| p.folder().display().to_string());
        // Past the test harness, which keeps back what a test prints.
        writeln!(to, "\nfolder {}", folder.unwrap_or_default()).unwrap();
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_leaves_nothing", "--nocapture"])
        .env(HOLD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let folder = lines.find_map(|line| line.strip_prefix("folder ").map(str::to_owned));
    let folder = folder.unwrap();
    if folder.is_empty() {
        // It said that there is no server.
        process.kill().unwrap();
        process.wait().unwrap();
        return;
    }
    let folder = Path::new(&folder);
    let server = server_of(folder);
    assert!(runs(&server));
    process.kill().unwrap();
    process.wait().unwrap();
    until("all of it is gone", async || {
        !folder.exists() && !runs(&server)
    })
    .await;
}

/// The process of the server in a folder.
fn server_of(folder: &Path) -> String {
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    pid.lines().next().unwrap().to_owned()
}

fn runs(process: &str) -> bool {
    let script = format!("kill -0 {process} 2>/dev/null");
    let asked = Command::new("sh").args(["-c", &script]).status();
    asked.unwrap().success()
}

/// A psql that stays connected.
struct Client {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Client {
    fn start(postgres: &Postgres, url: &str) -> Self {
        let mut child = postgres.client(url).spawn().unwrap();
        Self {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn say(&mut self, sql: &str) {
        writeln!(self.to, "{sql};").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, sql: &str) -> String {
        self.say(sql);
        self.hear()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
