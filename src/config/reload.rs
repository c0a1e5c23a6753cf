//! When a configuration is read anew, and what tells two of them apart.

use std::fmt;
use std::time::Duration;

use super::LedgerUrl;
use super::error::{Problems, Reported};
use super::file;
use super::scalar::{duration, parsed};
use super::sources::Sources;

/// When the configuration is read anew, besides at SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reload {
    /// How often its files are looked at for a change; `None` for never.
    pub watch: Option<Duration>,
}

/// A file system may tell two changes within this time by nothing.
const MIN_WATCH: Duration = Duration::from_millis(100);

impl Reload {
    /// Returns what the file says; nothing is watched where it says nothing.
    pub(super) fn build(
        file: Option<file::Reload>,
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let Some(text) = file.and_then(|reload| reload.watch) else {
            return Ok(Self::default());
        };
        let watch = match &*text.value {
            "off" => None,
            _ => Some(parsed(&text, duration, problems)?),
        };
        if watch.is_some_and(|every| every < MIN_WATCH) {
            let message = "write at least 100ms: some file systems tell no shorter times apart";
            return Err(problems.report(text.referenced, message));
        }
        Ok(Self { watch })
    }
}

/// SHA-256 over the configuration file and the files of keys and certificates that it names.
///
/// No secret is in it, as somebody who knows the rest could guess at it: no credential, and no
/// database's URL where that stands in the file itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfigHash([u8; 32]);

impl ConfigHash {
    /// Computes the hash of the file's text and of the others that were read.
    pub(super) fn of(
        text: &str,
        ledger: &Result<LedgerUrl, Reported>,
        sources: Sources<'_>,
    ) -> Self {
        let mut read = sources.read.borrow_mut();
        match ledger {
            Ok(LedgerUrl::Postgres(url)) => read.hash(&text.replace(url.expose(), "")),
            _ => read.hash(text),
        }
        Self(read.digest())
    }

    /// Writes all 64 hex digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The first 16 hex digits, which tell configurations apart.
impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(8)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigHash({self})")
    }
}
