//! Checks whether a ledger could be opened, without opening one.

use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::access::beside;
use super::error::OpenError;
use super::open::{known, real};

/// Checks whether a gate could open its ledger at `path`, without making one. It is no error if a gate uses
/// the ledger already. To test the folder, a file is created in it and removed.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
    let real = real(path).map_err(|error| OpenError::of_system(path, &error))?;
    let system = |error| OpenError::of_system(&real, &error);
    let append = |path: &Path| File::options().append(true).open(path).map(drop);
    let lock = beside(&real, ".lock");
    if lock.exists() {
        append(&lock).map_err(system)?;
    }
    // SQLite keeps files of its own beside the database.
    let probe = beside(&real, &format!(".check-{}", std::process::id()));
    File::create(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(system)?;
    if !real.exists() {
        return Ok(());
    }
    // Only SQLite opens the file: closing it here would release the locks that this process has on it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |error| OpenError::of_sqlite(&real, &error);
    let db = Connection::open_with_flags(&real, flags).map_err(sqlite)?;
    known(&db, &real)?;
    match db.is_readonly("main").map_err(sqlite)? {
        true => Err(OpenError::ReadOnly(real.clone())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SqliteLedger;

    #[test]
    fn what_would_stop_a_gate_is_found_and_nothing_is_made() {
        let folder = std::env::temp_dir().join(format!("tollgate-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        assert_eq!(check(&at("new.db")), Ok(()));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        let missing = at("missing").join("new.db");
        assert_eq!(
            check(&missing),
            Err(OpenError::FolderMissing(missing.clone()))
        );

        let used = at("used.db");
        let gate = SqliteLedger::open(&used).unwrap();
        assert_eq!(check(&used), Ok(()));
        drop(gate);
        assert_eq!(check(&used), Ok(()));

        let junk = at("junk.db");
        std::fs::write(&junk, [b'x'; 4096]).unwrap();
        assert!(matches!(check(&junk), Err(OpenError::NotADatabase(_))));
        assert!(matches!(check(&folder), Err(OpenError::Other { .. })));
        let other = at("other.db");
        let db = Connection::open(&other).unwrap();
        db.execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(check(&other), Err(OpenError::NotALedger(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
