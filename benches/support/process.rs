//! The servers, each a process of its own: started, measured, ended.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A server that runs for as long as this value lives.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Runs this very program again, as the server of that name.
    pub fn start(role: &str, upstream: Option<SocketAddr>) -> Self {
        Self::run(role, upstream, None)
    }

    /// Runs it as a gate, with the ledger of that URL.
    pub fn gate(upstream: SocketAddr, ledger: &str) -> Self {
        Self::run("gate", Some(upstream), Some(ledger))
    }

    fn run(role: &str, upstream: Option<SocketAddr>, ledger: Option<&str>) -> Self {
        let program = env::current_exe().expect("this program's path");
        let mut command = Command::new(program);
        command.arg(role).args(upstream.map(|to| to.to_string()));
        command.args(ledger);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().expect("the address that it prints");
        Self { child, address }
    }

    /// CPU seconds so far, of all threads that live: the same time as `utime + stime` of
    /// `/proc/PID/stat`, which counts in hundredths, in nanoseconds.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads");
        let nanos = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// A line of `/proc/PID/status` that counts KiB: `VmRSS`, `VmHWM`.
    pub fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("its status");
        let found = status.lines().find_map(|found| found.strip_prefix(line));
        let digits = found
            .expect("that line")
            .trim_matches(|c: char| !c.is_ascii_digit());
        digits.parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the process that waits in [`Server::start`] where this one listens. From then on
/// this one ends when that one is gone.
pub fn announce(address: SocketAddr) {
    println!("{address}");
    std::io::stdout().flush().expect("somebody who waits");
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
