//! Read-only connections, which are used on threads that may block.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::super::Unavailable;
use super::error::unavailable;
use super::state::locked;

/// The maximum number of reads at a time. Reads are short, and more of them would only wait for the same
/// disk.
const MAX_READS: usize = 4;

/// A small pool of read-only connections, which are opened when they are first needed.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_READS)),
        }
    }

    /// Runs `read` on a connection that sees the committed data.
    pub(super) async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let stopped = || Unavailable::permanent("the gate is stopping");
        let permits = self.permits.clone();
        let permit = permits.acquire_owned().await.map_err(|_| stopped())?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let answer = readers.connection().and_then(|db| {
                let answer = read(&db)?;
                // A connection that gave an error is not used again.
                readers.put_back(db);
                Ok(answer)
            });
            answer.map_err(|error| unavailable(&readers.path, error))
        });
        task.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Refuses further reads and closes the idle connections, so that the writer's connection is the last
    /// one to be closed.
    pub(super) fn close(&self) {
        self.permits.close();
        locked(&self.idle).clear();
    }

    fn connection(&self) -> rusqlite::Result<Connection> {
        if let Some(db) = locked(&self.idle).pop() {
            return Ok(db);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.set_prepared_statement_cache_capacity(32);
        Ok(db)
    }

    fn put_back(&self, db: Connection) {
        if !self.permits.is_closed() {
            locked(&self.idle).push(db);
        }
    }
}
