//! The program as an operator runs it: a process with a configuration, a log and signals.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::folder::Folder;
use crate::support::{CREDENTIAL, until};

/// `conf/demo.yaml` with these texts replaced, on any free ports, in a file of a folder.
pub fn configuration(folder: &Folder, replace: &[(&str, &str)]) -> PathBuf {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo.yaml");
    let mut text = std::fs::read_to_string(demo).unwrap();
    for (from, to) in replace {
        match from.is_empty() {
            true => text.push_str(to),
            false => {
                assert!(text.contains(from), "{from} is not in conf/demo.yaml");
                text = text.replace(from, to);
            }
        }
    }
    for port in ["127.0.0.1:8080", "127.0.0.1:9090"] {
        text = text.replace(port, "127.0.0.1:0");
    }
    let path = folder.join("gate.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs a command of the program to its end.
pub fn run(arguments: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env("TOLLGATE_MOCK_CREDENTIAL", CREDENTIAL)
        .output()
        .unwrap()
}

/// `tollgate serve` in a process of its own. Dropped, it is killed.
pub struct Gate {
    process: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    /// Starts it, after a line of shell.
    pub fn start(config: &Path, before: &str) -> Self {
        let script = format!("{before}\nexec \"$0\" serve --config \"$1\"");
        let mut process = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_tollgate")])
            .arg(config)
            .env("TOLLGATE_MOCK_CREDENTIAL", CREDENTIAL)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (lines, heard) = channel();
        let (stderr, kept) = (process.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line.clone());
                // Nobody listens any more once the addresses are known.
                let _ = lines.send(line);
            }
        });
        let unknown = ([0, 0, 0, 0], 0).into();
        let mut gate = Self {
            process,
            address: unknown,
            admin: unknown,
            log,
        };
        gate.address = gate.heard(&heard, "gate listens on ");
        gate.admin = gate.heard(&heard, "metrics and health on ");
        gate
    }

    fn heard(&self, heard: &Receiver<String>, before: &str) -> SocketAddr {
        loop {
            let line = heard.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("no gate:\n{}", self.log()));
            if let Some((_, address)) = line.split_once(before) {
                // A line of JSON goes on.
                let address = address.trim_end_matches(['"', '}']);
                return address.parse().unwrap();
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it, and returns all that it has written: lines are written a moment after they are logged, so
    /// that only the whole log shows what is not in it.
    pub async fn whole_log(&mut self) -> String {
        self.signal("TERM");
        self.ended().await;
        // The thread that reads has ended, too.
        let all_read = async || Arc::strong_count(&self.log) == 1;
        until("the log is read to its end", all_read).await;
        self.log()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until it has written this.
    pub async fn logged(&self, text: &str) {
        until(text, async || self.log().contains(text)).await;
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success(), "{kill}");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = Mutex::new(None);
        let process = Mutex::new(&mut self.process);
        until("the process ends", async || {
            let ended = process.lock().unwrap().try_wait().unwrap();
            *status.lock().unwrap() = ended;
            ended.is_some()
        })
        .await;
        status.into_inner().unwrap().unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("-- the gate {}:\n{}", self.address, self.log());
        }
    }
}
