//! The ledgers that a test runs on, and what stands in them by plain SQL.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tollgate::key::Secret;
use tollgate::ledger::{Ledger, MemoryLedger, OpenError, PostgresLedger, SqliteLedger};

use crate::support::folder::Folder;
use crate::support::postgres::shared;

/// A place where a ledger can be opened, again and again.
pub enum Engine {
    Memory,
    Sqlite(Folder),
    Postgres(String),
}

/// Tries the same on each, side by side.
pub async fn on(engines: impl Iterator<Item = Engine>, tried: impl AsyncFn(Engine)) {
    futures_util::future::join_all(engines.map(|engine| tried(engine))).await;
}

impl Engine {
    pub fn sqlite() -> Self {
        Self::Sqlite(Folder::new())
    }

    /// A database of its own; `None`, said aloud, where there is no server.
    pub fn postgres() -> Option<Self> {
        Some(Self::Postgres(shared()?.create_database()))
    }

    /// The durable ones that can be had here.
    pub fn durable() -> impl Iterator<Item = Self> {
        [Some(Self::sqlite()), Self::postgres()]
            .into_iter()
            .flatten()
    }

    /// All that can be had here.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Memory].into_iter().chain(Self::durable())
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// The ledger. One in memory is another one each time.
    pub fn open(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Memory => Arc::new(MemoryLedger::default()),
            Self::Sqlite(_) => Arc::new(self.open_sqlite()),
            Self::Postgres(url) => {
                let url = Secret::new(url.clone());
                Arc::new(PostgresLedger::new(&url, PostgresLedger::CONNECTIONS).unwrap())
            }
        }
    }

    /// Waits for the gate that has just been stopped, whose connections may still be closing.
    fn open_sqlite(&self) -> SqliteLedger {
        let began = Instant::now();
        loop {
            match SqliteLedger::open(&self.file()) {
                Ok(ledger) => return ledger,
                Err(OpenError::Locked(_)) if began.elapsed() < Duration::from_secs(10) => {
                    tokio::task::block_in_place(|| thread::sleep(Duration::from_millis(5)));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.join("tollgate.db"),
            _ => panic!("{} has no file", self.name()),
        }
    }

    /// Rows as text, an empty one for NULL. The schema `tollgate` is where SQLite's main one is.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Self::Memory => panic!("memory knows no SQL"),
            Self::Sqlite(_) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
                let db = Connection::open_with_flags(self.file(), flags).unwrap();
                let mut statement = db.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| {
                    let column = |i| Ok(text(row.get_ref(i)?));
                    (0..columns).map(column).collect()
                });
                rows.unwrap().collect::<Result<_, _>>().unwrap()
            }
            Self::Postgres(url) => {
                let sql = format!("SET search_path TO tollgate; {sql}");
                let printed = tokio::task::block_in_place(|| shared().unwrap().psql(url, &sql));
                let row = |line: &str| line.split('|').map(String::from).collect();
                printed.lines().map(row).collect()
            }
        }
    }

    /// Changes a ledger beside its gate.
    pub fn change(&self, sql: &str) {
        match self {
            Self::Sqlite(_) => {
                let db = Connection::open(self.file()).unwrap();
                db.busy_timeout(Duration::from_secs(30)).unwrap();
                db.execute_batch(sql).unwrap();
            }
            _ => drop(self.rows(sql)),
        }
    }
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?} is no column that tests read"),
    }
}
