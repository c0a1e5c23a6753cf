//! Ledgers that have been in use for a year: filled by SQL, as no gate could in minutes.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;
use tollgate::key::Secret;
use tollgate::ledger::{Ledger, PostgresLedger, SqliteLedger};
use tollgate::policy::Timestamp;

use super::postgres::Postgres;

/// How many keys share the reservations.
pub const KEYS: u64 = 100;
const YEAR_MS: u64 = 365 * 86_400_000;

/// The name of a key.
pub fn key_name(number: u64) -> String {
    format!("key-{number}")
}

/// Odd, so that rows below 2^32 keep names of their own.
const MIX: u64 = 2_654_435_761;

/// The name of the job of a row. Multiplied, so that names come in no order.
pub fn job_name(row: u64) -> String {
    format!("video_{:016x}", row * MIX % (1 << 32))
}

/// A kind of ledger.
pub enum Engine {
    Sqlite,
    Postgres(Postgres),
}

impl Engine {
    /// Those that can be had here.
    pub fn all() -> impl Iterator<Item = Self> {
        let postgres = Postgres::start().map(Self::Postgres);
        [Some(Self::Sqlite), postgres].into_iter().flatten()
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// An empty database.
    pub fn database(&self) -> Database {
        match self {
            Self::Sqlite => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let name = format!("ledger-bench-{}-{count}", std::process::id());
                let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
                std::fs::create_dir_all(&folder).expect("a folder");
                Database::Sqlite(folder)
            }
            Self::Postgres(postgres) => Database::Postgres(postgres.create_database()),
        }
    }
}

/// One database of an engine.
pub enum Database {
    /// The folder it is in.
    Sqlite(PathBuf),
    /// Its URL.
    Postgres(String),
}

impl Database {
    pub fn open(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Sqlite(folder) => {
                let path = folder.join("tollgate.db");
                Arc::new(SqliteLedger::open(&path).expect("a ledger"))
            }
            Self::Postgres(url) => {
                let url = Secret::new(url.clone());
                let ledger = PostgresLedger::new(&url, PostgresLedger::CONNECTIONS);
                Arc::new(ledger.expect("a ledger"))
            }
        }
    }

    /// Puts in so many posted reservations of the year before `now`.
    pub fn fill(&self, rows: u64, now: Timestamp) {
        if rows == 0 {
            return;
        }
        let step = (YEAR_MS / rows).max(1);
        let first = now.0 - YEAR_MS;
        // What both dialects share: row i, from 1.
        let row = |key: &str, group: &str| {
            format!(
                "{first} + i * {step}, {key}, {group}, 'CNY', 5000, 'official', 'sora-2', \
                 '1280x720', 4, 400000000, 2000000000, 'posted'"
            )
        };
        match self {
            Self::Sqlite(folder) => {
                let db = Connection::open(folder.join("tollgate.db")).expect("the file");
                let row = row("'key-' || (i % 100)", "'group-' || (i % 10)");
                db.execute_batch(&format!(
                    "PRAGMA synchronous = OFF;
                     PRAGMA cache_size = -500000;
                     WITH RECURSIVE n (i) AS (
                         SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                     INSERT INTO reservation (number, id, created_ms, key, \"group\", currency,
                         multiplier, channel, model, size, seconds, list_nanos, billed_nanos,
                         state, gate, prompt_sha256, look_at_ms, job, place, confirmed_ms,
                         resolved_ms, outcome)
                     SELECT i, CAST(printf('%016d', i) AS BLOB), {row}, 1, zeroblob(32), 0,
                         printf('video_%016x', i * {MIX} % (1 << 32)),
                         i, {first} + i * {step}, {first} + i * {step}, 'completed'
                     FROM n;
                     INSERT OR IGNORE INTO payer (\"group\", key)
                         SELECT DISTINCT \"group\", key FROM reservation;
                     PRAGMA wal_checkpoint(TRUNCATE);",
                ))
                .expect("rows");
            }
            Self::Postgres(url) => {
                let row = row("'key-' || (i % 100)", "'group-' || (i % 10)");
                psql(
                    url,
                    &format!(
                        "INSERT INTO tollgate.reservation (id, created_ms, key, group_name,
                             currency, multiplier_thousandths, channel, model, size, seconds,
                             list_nanos, billed_nanos, state, gate, prompt_sha256, look_at_ms,
                             job, place, confirmed_ms, resolved_ms, outcome)
                         SELECT lpad(to_hex(i), 32, '0')::uuid, {row},
                             '00000000-0000-0000-0000-000000000001',
                             decode(repeat('00', 32), 'hex'), 0, 'video_' || lpad(to_hex(i * {MIX} % (1::bigint << 32)), 16, '0'),
                             i / 100 + 1, {first} + i * {step}, {first} + i * {step}, 'completed'
                         FROM generate_series(1, {rows}::bigint) AS i;
                         INSERT INTO tollgate.account
                             SELECT key, max(place) FROM tollgate.reservation GROUP BY key;
                         ANALYZE;"
                    ),
                );
            }
        }
    }

    /// The bill of one key for the month before `now`.
    pub fn bill(&self, now: Timestamp) {
        let from = (now.0 - YEAR_MS / 12) / 1000;
        match self {
            Self::Sqlite(folder) => {
                let db = Connection::open(folder.join("tollgate.db")).expect("the file");
                let sum = format!(
                    "SELECT sum(billed_nanos) FROM bill
                     WHERE key = 'key-2' AND day >= date({from}, 'unixepoch')"
                );
                let sum = db.query_row(&sum, [], |row| row.get::<_, Option<i64>>(0));
                sum.expect("a bill");
            }
            Self::Postgres(url) => {
                psql(
                    url,
                    &format!(
                        "SELECT sum(billed_cost) FROM tollgate.bill
                         WHERE key = 'key-2' AND day >= to_timestamp({from})::date"
                    ),
                );
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Sqlite(folder) = self {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn psql(url: &str, sql: &str) {
    let mut command = Command::new("psql");
    command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
    let output = command.output().expect("psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
