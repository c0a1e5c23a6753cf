//! The settings for reloading the configuration, and the hash that tells two configurations apart.

use std::fmt;
use std::time::Duration;

use super::LedgerUrl;
use super::error::{Problems, Reported};
use super::file;
use super::scalar::{duration, parsed};
use super::sources::Sources;

/// The settings for reloading the configuration when its files change; SIGHUP always reloads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reload {
    /// The interval of checking the files for changes; `None` for never.
    pub watch: Option<Duration>,
}

/// The minimum of `reload.watch`: some file systems cannot tell apart two changes within this time.
const MIN_WATCH: Duration = Duration::from_millis(100);

impl Reload {
    /// Builds the settings from the file; nothing is watched if the file says nothing.
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

/// The SHA-256 of the configuration file and of the files of keys and certificates that it names.
///
/// No secret is hashed, as somebody who knows the rest could guess at it: no credential, and no database
/// URL that stands in the file itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfigHash([u8; 32]);

impl ConfigHash {
    /// Computes the hash of the file's text and of the other files that were read.
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

    /// Returns all 64 hex digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Writes the first 16 hex digits, which are enough to tell configurations apart.
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
