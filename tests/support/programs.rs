//! The programs that tests call: where they are, and what is said where they are not.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A program that is called by its name, if there is one; `variable` may say where.
pub fn find(name: &str, variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has servers where a plain user's PATH does not lead.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut candidates = folders.map(|folder| folder.join(name));
    let found = named.or_else(|| candidates.find(|file| file.is_file()));
    if found.is_none() {
        skip(&format!("{name}: there is no such program"));
    }
    found
}

/// Says once and aloud what is not tried; fails where `TOLLGATE_REQUIRE_CLIENTS` is 1.
pub fn skip(what: &str) -> bool {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let required = std::env::var_os("TOLLGATE_REQUIRE_CLIENTS").is_some_and(|v| v == "1");
    assert!(!required, "TOLLGATE_REQUIRE_CLIENTS is set. {what}");
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.iter().any(|s| s == what) {
        said.push(what.into());
        // The test harness keeps back what goes through print! and eprint!.
        let line = format!("SKIPPED: {what}\n");
        let _ = std::io::stdout().write_all(line.as_bytes());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    false
}
