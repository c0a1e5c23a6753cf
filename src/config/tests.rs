//! Tests which configurations are accepted, and which are refused and with a problem at what place.
//!
//! In a text that must be refused, a `§` stands before each place at which a problem is expected, in the
//! order of the file; the marks are removed before the text is read.

mod accepted;
mod change;
mod channels;
mod currencies;
mod form;
mod keys;
mod offer;
mod operation;
mod properties;
mod service;
mod shipped;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// The value of the environment variable `CRED`.
const SECRET: &str = "sk-live-0SECRET0";

const BASE: &str = r#"listen: { address: 127.0.0.1:8080 }
channels:
  one:
    url: https://a.example
    credential: { env: CRED }
    models: [m, n]
catalog:
  m:
    seconds: { allowed: ["4", 8], default: 4 }
    sizes: { default: 1x2, usd_per_second: { 1x2: 0.10, 2x1: "0.20" } }
  n:
    seconds: { allowed: ["12"], default: "12" }
    sizes: { default: 3x3, usd_per_second: { 3x3: 0.5 } }
groups:
  g: { multiplier: 7.25, currency: CNY }
keys:
  - name: a
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    group: g
"#;

/// A temporary folder, removed when the value is dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tollgate-config-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.0.join(name), text).unwrap();
        self
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // An error is ignored: a folder left behind in the system's temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "CRED" | "OPENAI_API_KEY" | "TOLLGATE_MOCK_CREDENTIAL" => Some(SECRET.to_owned()),
        "EMPTY" => Some(String::new()),
        "SHORT" => Some("0123456789abcde".to_owned()),
        "SPACED" => Some(format!("Bearer {SECRET}")),
        _ => None,
    }
}

fn parse_in(dir: &Path, text: &str) -> Result<Config, Error> {
    parse(text, "t.yaml", &env, dir)
}

/// Returns `BASE` with pieces of it replaced. A change is an old text, which `BASE` must contain, and the
/// new text.
fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = BASE.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "{old:?} is not in the text");
        text = text.replacen(old, new, 1);
    }
    text
}

fn accepted(text: &str) -> Config {
    match parse_in(Path::new("/nonexistent"), text) {
        Ok(config) => config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn conf(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

fn no_secret(result: &Result<Config, Error>) {
    let shown = match result {
        Ok(config) => format!("{config:?}"),
        Err(error) => {
            assert!(!error.problems().is_empty());
            format!("{error}\n{error:?}")
        }
    };
    assert!(!shown.contains("SECRET"), "{shown}");
}

/// Returns the text without its marks, and the places of the marks.
fn marked(text: &str) -> (String, Vec<(u64, u64)>) {
    let (mut clean, mut places) = (String::new(), Vec::new());
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        match c {
            '§' => {
                places.push((line, column));
                continue;
            }
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        clean.push(c);
    }
    (clean, places)
}

fn refused_in(dir: &Path, text: &str, wanted: &[&str]) -> Error {
    let (text, places) = marked(text);
    assert!(!places.is_empty(), "no mark");
    let result = parse_in(dir, &text);
    no_secret(&result);
    let error = result.expect_err(&text);
    let problems = error.problems();
    let found: Vec<_> = problems.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(found, places, "{error}\n{text}");
    assert_eq!(problems.len(), wanted.len(), "{error}");
    for (problem, wanted) in problems.iter().zip(wanted) {
        assert!(
            problem.to_string().contains(wanted),
            "{problem}\nwanted: {wanted}"
        );
    }
    error
}

/// Checks that each case is refused. A case is the text to replace in `BASE`, the replacement (with
/// marks), and for each problem the words that its message must hold.
fn refused(cases: &[(&str, &str, &[&str])]) {
    for (old, new, wanted) in cases {
        refused_in(Path::new("/nonexistent"), &changed(&[(old, new)]), wanted);
    }
}

/// Checks that `BASE` with these lines added is refused.
fn refused_with(cases: &[(&str, &[&str])]) {
    for (more, wanted) in cases {
        let text = format!("{BASE}{more}\n");
        refused_in(Path::new("/nonexistent"), &text, wanted);
    }
}
