//! The programs that the gate is tried with: where they are, and what runs them.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::programs::skip;

/// An official SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    Python,
    /// The last major version before that, which sends JSON where there is no file.
    OlderPython,
    Node,
}

/// The oldest Node that has all that the SDK needs.
const NODE: u32 = 20;

impl Sdk {
    /// Those that this machine can run.
    pub fn all() -> Vec<Self> {
        let all = [Self::Python, Self::OlderPython, Self::Node];
        all.into_iter().filter(|sdk| sdk.is_here()).collect()
    }

    fn is_here(self) -> bool {
        let missing = match self {
            Self::Python | Self::OlderPython => None,
            Self::Node => lacks_node(),
        };
        let (variable, wanted) = self.needs();
        match (missing, std::env::var_os(variable)) {
            (None, Some(_)) => true,
            (Some(reason), _) => skip(&format!("{self:?}: {reason}")),
            (None, None) => skip(&format!("{self:?}: {variable} does not name {wanted}")),
        }
    }

    fn needs(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => (
                "TOLLGATE_PYTHON",
                "an interpreter with tests/clients/requirements.txt",
            ),
            Self::OlderPython => (
                "TOLLGATE_PYTHON_OLDER",
                "an interpreter with tests/clients/requirements-older.txt",
            ),
            Self::Node => (
                "TOLLGATE_NODE_MODULES",
                "the node_modules of tests/clients/package.json",
            ),
        }
    }

    fn command(self) -> Command {
        let given = std::env::var_os(self.needs().0).unwrap_or_default();
        let (program, script, modules) = match self {
            Self::Python | Self::OlderPython => (given, "sdk.py", None),
            Self::Node => (OsString::from("node"), "sdk.mjs", Some(given)),
        };
        let mut command = Command::new(program);
        command.arg(folder().join(script)).args(modules);
        command
    }

    /// Plays a scenario and tells what the SDK saw.
    pub async fn play(self, gate: SocketAddr, key: &str, scenario: &[&str]) -> Value {
        let mut command = self.command();
        command
            .arg(format!("http://{gate}"))
            .arg(key)
            .args(scenario);
        let ran = run(command, vec![]).await;
        let what = format!("{self:?} {scenario:?}");
        assert!(ran.success, "{what}: {}", ran.stderr);
        let text = String::from_utf8_lossy(&ran.stdout);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}: {text}"))
    }
}

fn lacks_node() -> Option<String> {
    let asked = Command::new("node")
        .args(["-p", "process.versions.node"])
        .output();
    let Ok(asked) = asked else {
        return Some(format!("there is no Node {NODE} or later"));
    };
    let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let major = version
        .split('.')
        .next()
        .and_then(|m| m.parse::<u32>().ok());
    let old = major.is_none_or(|major| major < NODE);
    old.then(|| format!("Node is '{version}', and the SDK needs {NODE} or later"))
}

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    pub success: bool,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs a program to its end, away from the runtime that serves it.
pub async fn run(mut command: Command, stdin: Vec<u8>) -> Ran {
    use std::process::Stdio;
    let ran = tokio::task::spawn_blocking(move || {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut to) = child.stdin.take() {
            std::thread::spawn(move || to.write_all(&stdin));
        }
        child.wait_with_output()
    });
    let output = ran
        .await
        .unwrap()
        .unwrap_or_else(|e| panic!("does not start: {e}"));
    Ran {
        success: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
