//! `tollgate key`: makes client keys.

use std::process::ExitCode;

use crate::config;
use crate::key::{self, KeyDigest};

/// Makes a client key. Prints the key, which is not stored, and its entry for the configuration.
pub(super) fn new(name: Option<&str>, group: Option<&str>) -> ExitCode {
    for (what, text) in [("a key", name), ("a group", group)] {
        if let Some(text) = text
            && !config::is_name(text)
        {
            return super::fail(format!(
                "`{}` is no name of {what}: write 1 to 64 letters, digits, dots, dashes and \
                 underscores",
                text.escape_debug()
            ));
        }
    }
    let key = match key::generate() {
        Ok(key) => key,
        Err(error) => return super::fail(error),
    };
    let digest = KeyDigest::of(key.expose().as_bytes());
    // The one place that shows a client key. The key must never reach the log.
    println!(
        "The key for the client. It is shown this once, and kept nowhere:\n\n{}\n\n\
         Its entry for `keys` of the configuration, or of a file that `keys_from` names{}:\n\n{}",
        key.expose(),
        missing(name, group),
        entry(name, group, digest)
    );
    ExitCode::SUCCESS
}

/// Returns the text that says which placeholders to replace in a key's entry; empty if there are none.
fn missing(name: Option<&str>, group: Option<&str>) -> &'static str {
    match (name, group) {
        (Some(_), Some(_)) => "",
        (Some(_), None) => {
            ".\nReplace <GROUP> by the name of one of its `groups`, whose price the key pays"
        }
        (None, Some(_)) => {
            ".\nReplace <NAME> by what the key is labelled by in the bill, the metrics and the log"
        }
        (None, None) => {
            ".\nReplace <NAME> by what the key is labelled by in the bill, the metrics and the log, and\n\
             <GROUP> by the name of one of its `groups`, whose price the key pays"
        }
    }
}

/// Formats a key's entry for the configuration. A missing name or group is written as a placeholder that
/// no configuration accepts, so that it cannot be forgotten.
fn entry(name: Option<&str>, group: Option<&str>, digest: KeyDigest) -> String {
    let (name, group) = (name.unwrap_or("<NAME>"), group.unwrap_or("<GROUP>"));
    let digest = digest.to_hex();
    format!("  - name: {name}\n    sha256: {digest}\n    group: {group}")
}
