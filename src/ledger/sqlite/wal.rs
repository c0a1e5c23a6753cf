//! Watches the length of the write-ahead log. Every write goes to the log first, and is moved into the
//! database later. A reader that does not end prevents that move, so the log grows until the reader ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::access;

/// The length to which the log is cut after its content was moved, in bytes: 64 MiB. A longer log means
/// that a reader prevents the move.
pub(super) const KEPT_BYTES: u64 = 64 << 20;

pub(super) struct WriteAheadLog {
    path: PathBuf,
    is_long: AtomicBool,
}

impl WriteAheadLog {
    /// Returns the log of the database at `path`.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: access::beside(path, "-wal"),
            is_long: AtomicBool::new(false),
        }
    }

    /// Returns the length of the log in bytes: 0 before the first write.
    pub(super) fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len())
    }

    /// Logs one warning when the log has grown beyond [`KEPT_BYTES`], and one when it is short again.
    pub(super) fn watch(&self) {
        let bytes = self.bytes();
        let is_long = bytes > KEPT_BYTES;
        if self.is_long.swap(is_long, Ordering::Relaxed) == is_long {
            return;
        }
        let (name, mib) = (self.path.display(), bytes >> 20);
        if is_long {
            log::warn!(
                "{name}: has grown to {mib} MiB, and grows on: something reads the ledger without \
                 an end, such as a transaction that was left open in sqlite3: end it"
            );
        } else {
            log::warn!("{name}: is down to {mib} MiB again");
        }
    }
}
