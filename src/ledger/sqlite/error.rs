//! The errors of the database file, each with what operators can do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::super::Unavailable;

/// The reason why a ledger's file cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file does not exist, for a command that needs an existing ledger.
    #[error(
        "{}: there is no ledger: a gate makes it at its first start; if one has started, see whether its \
         configuration names another path",
        .0.display()
    )]
    FileMissing(PathBuf),
    /// The folder of the file does not exist.
    #[error(
        "{}: its folder does not exist: make it, or name another path for the ledger",
        .0.display()
    )]
    FolderMissing(PathBuf),
    /// The file or its folder cannot be written.
    #[error(
        "{}: cannot be written: let the gate's user write the file and its folder, where \
         SQLite keeps files of its own",
        .0.display()
    )]
    ReadOnly(PathBuf),
    /// The file is no SQLite database, or is damaged.
    #[error(
        "{}: is no SQLite database, or is damaged: name another path for the ledger, or \
         restore a backup",
        .0.display()
    )]
    NotADatabase(PathBuf),
    /// The file is the database of another program.
    #[error(
        "{}: is the database of another program: name another path for the ledger",
        .0.display()
    )]
    NotALedger(PathBuf),
    /// A newer version of this program has changed the database's tables.
    #[error(
        "{}: was written by a newer tollgate (its tables are of version {found}, this \
         program knows version {known}): run that version, or restore a backup from \
         before the upgrade",
        .path.display()
    )]
    NewerSchema {
        /// The path of the database.
        path: PathBuf,
        /// The version of the database's tables.
        found: u32,
        /// The latest version of the tables that this program knows.
        known: u32,
    },
    /// An earlier version of this program made the ledger, and no gate of this version has used it yet.
    #[error(
        "{}: the ledger has version {found} of its tables, and this program reads version {known}: \
         start the gate of this version once, which brings them up to date",
        .path.display()
    )]
    OlderSchema {
        /// The path of the database.
        path: PathBuf,
        /// The version of the database's tables.
        found: u32,
        /// The version of the tables that this program reads.
        known: u32,
    },
    /// Another gate uses the file.
    #[error(
        "{}: another gate uses it: stop that one first; a fleet of gates wants PostgreSQL",
        .0.display()
    )]
    Locked(PathBuf),
    /// Other programs held the file's lock for too long, so an operator's command has written nothing.
    #[error(
        "{}: other programs hold its lock for too long, so nothing was written: try again, and \
         see what else writes to it",
        .0.display()
    )]
    Busy(PathBuf),
    /// Any other error of SQLite or the system.
    #[error(
        "{}: cannot be opened as a ledger: {reason}",
        .path.display()
    )]
    Other {
        /// The path of the database.
        path: PathBuf,
        /// The message of SQLite or the system.
        reason: String,
    },
}

impl OpenError {
    pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotADatabase(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(path),
            _ => {
                let reason = error.to_string();
                Self::Other { path, reason }
            }
        }
    }

    pub(super) fn of_system(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::FolderMissing(path),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            _ => {
                let reason = error.to_string();
                Self::Other { path, reason }
            }
        }
    }
}

/// Tests whether the cause of an error is only its statement, or the row that the statement reads, and not
/// the whole file. Other statements may well succeed after such an error.
pub(super) fn is_of_statement(error: &rusqlite::Error) -> bool {
    let Some(code) = error.sqlite_error_code() else {
        // The value of a column cannot be converted to the type that is read.
        return true;
    };
    matches!(
        code,
        ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange
    )
}

/// Makes the error of a ledger in use from SQLite's `error` for the database at `path`. The returned error
/// says what operators can do, and whether the failure may pass by itself.
pub(super) fn unavailable(path: &Path, error: rusqlite::Error) -> Unavailable {
    let code = error.sqlite_error_code();
    let remedy = match code {
        Some(ErrorCode::DiskFull) => "the disk is full: free space on it",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "it cannot be written: let the gate's user write the file and its folder"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "reading or writing it failed: look at the disk, its free space and quotas"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds a lock on it: close what writes to it or checkpoints it"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "it is damaged: stop the gate and restore a backup"
        }
        Some(ErrorCode::CannotOpen) => "it cannot be opened: see that the file is still there",
        _ => "SQLite refused a statement",
    };
    let reason = format!("{}: {remedy} ({error})", path.display());
    let unavailable = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OutOfMemory) => {
            Unavailable::transient(reason)
        }
        _ => Unavailable::permanent(reason),
    };
    unavailable.with_source(error)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_lock_passes_and_a_full_disk_does_not() {
        for (code, transient, text) in [
            (ffi::SQLITE_BUSY, true, "another program holds a lock"),
            (ffi::SQLITE_LOCKED, true, "another program holds a lock"),
            (ffi::SQLITE_NOMEM, true, "SQLite refused a statement"),
            (ffi::SQLITE_FULL, false, "the disk is full"),
            (ffi::SQLITE_IOERR, false, "look at the disk"),
            (ffi::SQLITE_CORRUPT, false, "it is damaged"),
            (ffi::SQLITE_CONSTRAINT, false, "SQLite refused a statement"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let cause = error.to_string();
            let error = unavailable(Path::new("tollgate.db"), error);
            assert_eq!(error.is_transient(), transient, "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.source().unwrap().to_string(), cause);
        }
    }
}
