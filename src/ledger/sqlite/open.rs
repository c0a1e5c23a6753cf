//! Opens a database: takes the lock, applies the settings, migrates the tables.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::error::OpenError;
use super::{access, wal};

/// The changes to the tables, one file for each version. A released file is never edited: later changes
/// are made by a further file.
const SCHEMA: [&str; 8] = [
    include_str!("../schema/sqlite/001_ledger.sql"),
    include_str!("../schema/sqlite/002_ids_and_prices.sql"),
    include_str!("../schema/sqlite/003_exact_sums.sql"),
    include_str!("../schema/sqlite/004_counters.sql"),
    include_str!("../schema/sqlite/005_channels.sql"),
    include_str!("../schema/sqlite/006_evidence.sql"),
    include_str!("../schema/sqlite/007_adjustments.sql"),
    include_str!("../schema/sqlite/008_uncorrected.sql"),
];

/// The `application_id` that marks a database as a ledger: `toll` in ASCII.
const APPLICATION: i32 = 0x746f_6c6c;

/// The maximum wait for a lock of another program, such as a backup's.
const BUSY: Duration = Duration::from_secs(5);

/// The length of the write-ahead log, in pages, from which on it is moved into the database: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4096;

/// An open database.
pub(super) struct Opened {
    /// The path of the database without symbolic links.
    pub(super) path: PathBuf,
    /// The only connection that writes.
    pub(super) db: Connection,
    /// The random id of this opening of the database. It marks the reservations that this process makes.
    pub(super) run: i64,
    /// The lock file, held as long as the database is in use.
    pub(super) lock: File,
}

pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let real = real(path).map_err(|error| OpenError::of_system(path, &error))?;
    let lock = lock(&real)?;
    access::create_private(&real).map_err(|error| OpenError::of_system(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |error| OpenError::of_sqlite(&real, &error);
    let mut db = Connection::open_with_flags(&real, flags).map_err(sqlite)?;
    db.busy_timeout(BUSY).map_err(sqlite)?;
    db.set_prepared_statement_cache_capacity(64);
    known(&db, &real)?;
    access::restrict(&real);
    if db.is_readonly("main").map_err(sqlite)? {
        return Err(OpenError::ReadOnly(real));
    }
    set(&db).map_err(sqlite)?;
    migrate(&mut db, &real).map_err(sqlite)?;
    Ok(Opened {
        path: real,
        db,
        run: random(),
        lock,
    })
}

/// Reads from a database that has this program's version of the schema. A gate may be using the database.
pub(super) fn read_only<T>(
    path: &Path,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, OpenError> {
    let (real, db) = open_beside(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    read(&db).map_err(|error| OpenError::of_sqlite(&real, &error))
}

/// Writes in one transaction to a database that has this program's version of the schema. A gate may be using
/// the database. A busy gate holds the write lock nearly all of the time, so this call tries often to take
/// the lock, for up to `within`. The gate waits while this call holds the lock.
pub(super) fn write_beside<T>(
    path: &Path,
    within: Duration,
    write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, OpenError> {
    let began = Instant::now();
    let (real, db) = open_beside(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let sqlite = |error| OpenError::of_sqlite(&real, &error);
    if db.is_readonly("main").map_err(sqlite)? {
        return Err(OpenError::ReadOnly(real));
    }
    // Only the gate moves the write-ahead log into the database.
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")
        .map_err(sqlite)?;
    db.busy_timeout(Duration::ZERO).map_err(sqlite)?;
    let transaction = loop {
        match Transaction::new_unchecked(&db, TransactionBehavior::Immediate) {
            Ok(transaction) => break transaction,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                if began.elapsed() >= within {
                    return Err(OpenError::Busy(real));
                }
                thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(sqlite(error)),
        }
    };
    let written = write(&transaction).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    Ok(written)
}

/// The pause between two attempts of an operator's command to take the database's write lock.
const BUSY_PAUSE: Duration = Duration::from_micros(500);

/// Opens an existing database that has this program's version of the schema. A gate may be using it.
fn open_beside(path: &Path, access: OpenFlags) -> Result<(PathBuf, Connection), OpenError> {
    let real = path.canonicalize().map_err(|error| {
        let folder = folder_of(path);
        match error.kind() == ErrorKind::NotFound && folder.is_dir() {
            true => OpenError::FileMissing(path.to_owned()),
            false => OpenError::of_system(path, &error),
        }
    })?;
    let sqlite = |error| OpenError::of_sqlite(&real, &error);
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&real, flags).map_err(sqlite)?;
    db.busy_timeout(BUSY).map_err(sqlite)?;
    let version = known(&db, &real)?;
    if version < SCHEMA.len() as u32 {
        return Err(OpenError::OlderSchema {
            path: real,
            found: version,
            known: SCHEMA.len() as u32,
        });
    }
    Ok((real, db))
}

/// Returns `path` without symbolic links, so that two paths of one file share one lock. The file itself
/// need not exist.
pub(super) fn real(path: &Path) -> std::io::Result<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    let name = path.file_name().unwrap_or_default();
    Ok(folder_of(path).canonicalize()?.join(name))
}

/// Returns the folder of the file at `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let system = |error| OpenError::of_system(path, &error);
    let file = access::open_private(&access::beside(path, ".lock")).map_err(system)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(system(error)),
    }
}

/// Checks, before anything is written, that a database is empty or a ledger of no newer version. Returns
/// the version of its schema, 0 for an empty database.
pub(super) fn known(db: &Connection, path: &Path) -> Result<u32, OpenError> {
    let sqlite = |error| OpenError::of_sqlite(path, &error);
    let number = |name: &str, sql| db.query_row(sql, [], |row| row.get::<_, i64>(name));
    let application = number("application_id", "PRAGMA application_id").map_err(sqlite)?;
    let objects = number("objects", "SELECT count(*) AS objects FROM sqlite_schema");
    let objects = objects.map_err(sqlite)?;
    if application != i64::from(APPLICATION) && objects > 0 {
        return Err(OpenError::NotALedger(path.to_owned()));
    }
    let version = number("user_version", "PRAGMA user_version").map_err(sqlite)?;
    if version > SCHEMA.len() as i64 {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found: u32::try_from(version).unwrap_or(u32::MAX),
            known: SCHEMA.len() as u32,
        });
    }
    Ok(u32::try_from(version).unwrap_or(0))
}

fn set(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536;",
    )?;
    let kept = format!("PRAGMA journal_size_limit = {}", wal::KEPT_BYTES);
    db.query_row(&kept, [], |_| Ok(()))?;
    db.query_row(
        &format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"),
        [],
        |_| Ok(()),
    )
}

fn migrate(db: &mut Connection, path: &Path) -> rusqlite::Result<()> {
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = change.query_row("PRAGMA user_version", [], |row| {
        row.get::<_, u32>("user_version")
            .map(|version| version as usize)
    })?;
    for sql in SCHEMA.iter().skip(version) {
        change.execute_batch(sql)?;
    }
    if version < SCHEMA.len() {
        change.pragma_update(None, "application_id", APPLICATION)?;
        change.pragma_update(None, "user_version", SCHEMA.len() as u32)?;
    }
    if (1..EXACT_SUMS).contains(&version) {
        warn_of_cut_totals(&change, path)?;
    }
    change.commit()
}

/// The first version of the schema that stores sums exactly, whatever their size.
const EXACT_SUMS: usize = 3;

/// Logs a warning for each total that an older version cut off at 63 bits. The missing amount is not known
/// any more.
fn warn_of_cut_totals(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    let mut read = db.prepare(
        "SELECT day, key, currency FROM total
         WHERE 9223372036854775807 IN (list_nanos, billed_nanos)",
    )?;
    let mut found = read.query([])?;
    while let Some(row) = found.next()? {
        let text = |column: &str| row.get::<_, String>(column);
        let (day, key, currency) = (text("day")?, text("key")?, text("currency")?);
        log::warn!(
            "{}: the bill of key {key} for {day} in {currency} is too low: an earlier version cut \
             off a total at 9223372036.854775807 units when it pruned: correct it from a backup",
            path.display()
        );
    }
    Ok(())
}

/// Makes the random id of this opening of the database.
fn random() -> i64 {
    // The id has only the random bits of the UUID and no sign, so that it is easier to read.
    let (_, low) = Uuid::now_v7().as_u64_pair();
    i64::try_from(low & (u64::MAX >> 2)).unwrap_or_default()
}
