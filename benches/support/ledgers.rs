//! The ledgers that gates are measured with: durable ones as durable as they ship.

use std::path::PathBuf;

use super::postgres::Postgres;
use super::works::Ledger;

/// A folder for SQLite, on the disk that the build is on, and a cluster of PostgreSQL.
pub struct Ledgers {
    folder: PathBuf,
    postgres: Option<Postgres>,
}

impl Ledgers {
    pub fn new() -> Self {
        let name = format!("bench-{}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self {
            folder,
            postgres: Postgres::start(),
        }
    }

    /// Each ledger that can be had, and its URL.
    pub fn urls(&self) -> Vec<(Ledger, String)> {
        let sqlite = format!("sqlite:{}", self.folder.join("tollgate.db").display());
        let mut urls = vec![
            (Ledger::Memory, "memory".to_owned()),
            (Ledger::Sqlite, sqlite),
        ];
        if let Some(postgres) = &self.postgres {
            urls.push((Ledger::Postgres, postgres.create_database()));
        }
        urls
    }
}

impl Drop for Ledgers {
    fn drop(&mut self) {
        // What is left over goes with `cargo clean`.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
