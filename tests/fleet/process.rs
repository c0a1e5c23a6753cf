//! A gate as a process of its own, to be killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::CREDENTIAL;

/// Starts the gate, tells its number, and waits for the signal that is to end it. The end of
/// the input, which is the end of the test however it came, is KILL. A file that has grown
/// as long as it may is an error for the gate, and no signal.
const KEEPER: &str = r#"
trap '' XFSZ
"$0" serve --config "$1" </dev/null &
echo $!
exec 2>/dev/null
read -r signal || signal=KILL
kill -s "$signal" $!
wait $!
"#;

/// A gate that runs. Dropped, it is killed.
pub struct Process {
    keeper: Child,
    orders: Option<ChildStdin>,
    pub number: u32,
    pub gate: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a gate and waits until it listens.
    pub fn start(config: &Path, environment: &[(&str, String)]) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, env!("CARGO_BIN_EXE_tollgate")])
            .arg(config)
            .env("TOLLGATE_MOCK_CREDENTIAL", CREDENTIAL)
            .env("RUST_LOG", "info")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("sh does not start: {e}"));
        let orders = keeper.stdin.take();
        let mut number = String::new();
        let mut output = BufReader::new(keeper.stdout.take().unwrap());
        output.read_line(&mut number).unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (lines, heard) = channel();
        let (stderr, kept) = (keeper.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || read(stderr, &kept, &lines));
        let mut process = Self {
            keeper,
            orders,
            number: number.trim().parse().unwrap(),
            gate: ([0, 0, 0, 0], 0).into(),
            admin: ([0, 0, 0, 0], 0).into(),
            log,
        };
        process.gate = process.address(&heard, "gate listens on ");
        process.admin = process.address(&heard, "metrics and health on ");
        process
    }

    fn address(&self, heard: &Receiver<String>, before: &str) -> SocketAddr {
        loop {
            let line = heard.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("no gate:\n{}", self.log()));
            if let Some((_, address)) = line.split_once(before) {
                return address.parse().unwrap();
            }
        }
    }

    /// Ends it by a signal, and waits until it is gone.
    pub fn end(&mut self, signal: &str) {
        let Some(mut orders) = self.orders.take() else {
            return;
        };
        // A gate that is gone already needs no order.
        let _ = writeln!(orders, "{signal}");
        self.keeper.wait().unwrap();
    }

    /// What it has written.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end("KILL");
        if std::thread::panicking() {
            eprintln!("-- the gate {}:\n{}", self.gate, self.log());
        }
    }
}

fn read(stderr: ChildStderr, log: &Mutex<Vec<String>>, lines: &Sender<String>) {
    for line in BufReader::new(stderr).lines() {
        let Ok(line) = line else { return };
        // Nobody listens any more once the addresses are known.
        let _ = lines.send(line.clone());
        log.lock().unwrap().push(line);
    }
}
