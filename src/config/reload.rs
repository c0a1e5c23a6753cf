//! The settings for reloading the configuration, and the hash that distinguishes two configurations.

use std::fmt;
use std::time::Duration;

use super::LedgerUrl;
use super::error::{Problems, Reported};
use super::file;
use super::scalar::{duration, parsed};
use super::sources::Sources;

/// The settings for reloading the configuration when its files change. SIGHUP reloads it in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reload {
    /// The interval at which the files are checked for changes; `None` if they are not.
    pub watch: Option<Duration>,
}

/// The minimum of `reload.watch`. Some file systems cannot distinguish two changes within this time.
const MIN_WATCH: Duration = Duration::from_millis(100);

impl Reload {
    /// Builds the settings from the file. Without `watch`, the files are not checked for changes.
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
/// No secret is hashed, because the hash would let somebody who knows the rest verify guesses of the secret.
/// So credentials, private keys, and a database URL in the configuration file itself are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfigHash([u8; 32]);

impl ConfigHash {
    /// Computes the hash of the configuration file's `text` and of the other files that were read.
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

    /// Returns the whole hash as 64 hex digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Writes the first 16 hex digits of the hash, which suffice to distinguish configurations.
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
