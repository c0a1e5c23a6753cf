//! What is wrong with the database file, in words for operators.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::super::Unavailable;

/// Why a ledger's file cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// There is no folder to keep the file in.
    FolderMissing(PathBuf),
    /// The file or its folder cannot be written.
    ReadOnly(PathBuf),
    /// Not a file of SQLite's.
    NotADatabase(PathBuf),
    /// A database of another program.
    NotALedger(PathBuf),
    /// A newer version of this program has changed its tables.
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The version of its tables.
        found: u32,
        /// The latest version that this program knows.
        known: u32,
    },
    /// Another gate uses it.
    Locked(PathBuf),
    /// Something else.
    Other {
        /// The database.
        path: PathBuf,
        /// What SQLite or the system say.
        reason: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FolderMissing(path) => write!(
                f,
                "{}: its folder does not exist: make it, or name another path for the ledger",
                path.display()
            ),
            Self::ReadOnly(path) => write!(
                f,
                "{}: cannot be written: let the gate's user write the file and its folder, where \
                 SQLite keeps files of its own",
                path.display()
            ),
            Self::NotADatabase(path) => write!(
                f,
                "{}: is no SQLite database, or is damaged: name another path for the ledger, or \
                 restore a backup",
                path.display()
            ),
            Self::NotALedger(path) => write!(
                f,
                "{}: is the database of another program: name another path for the ledger",
                path.display()
            ),
            Self::NewerSchema { path, found, known } => write!(
                f,
                "{}: was written by a newer tollgate (its tables are of version {found}, this \
                 program knows version {known}): run that version, or restore a backup from \
                 before the upgrade",
                path.display()
            ),
            Self::Locked(path) => write!(
                f,
                "{}: another gate uses it: stop that one first; a fleet of gates wants PostgreSQL",
                path.display()
            ),
            Self::Other { path, reason } => write!(
                f,
                "{}: cannot be opened as a ledger: {reason}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

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

/// Whether an error is about the statement, or about the row that it reads, rather than about
/// the file: then other statements may well succeed.
pub(super) fn is_of_statement(error: &rusqlite::Error) -> bool {
    let Some(code) = error.sqlite_error_code() else {
        // Something stands in a column that cannot be read as what it is to be.
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

/// What operators are to do about an error in use.
pub(super) fn unavailable(path: &Path, error: &rusqlite::Error) -> Unavailable {
    let remedy = match error.sqlite_error_code() {
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
    Unavailable(format!("{}: {remedy} ({error})", path.display()))
}
