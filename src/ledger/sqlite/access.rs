//! Restricts the ledger's files to their owner: they hold prompts, answers and what is owed.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Opens a file for appending. A new file is created for its owner alone, whatever the umask.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    private().create(true).open(path)
}

/// Creates the database's file, if it is not there yet. The files that SQLite puts beside it get its
/// mode. An existing file is not opened: closing it would end locks of this process on it.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    match private().create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Takes from other users the access to the files that an earlier version or an operator has given them,
/// and warns where the folder lets them undo that.
#[cfg(unix)]
pub(super) fn restrict(path: &Path) {
    let name = path.display();
    match tighten(path) {
        Some((mode, Ok(()))) => log::warn!(
            "{name}: every user of this machine had access to it (mode {mode:03o}): it is 600 \
             now; if a group is to read it, give it to that group with mode 640"
        ),
        Some((mode, Err(error))) => log::warn!(
            "{name}: every user of this machine has access to it (mode {mode:03o}), which \
             cannot be changed ({error}): as its owner, chmod 600 it"
        ),
        None => {}
    }
    for suffix in ["-wal", "-shm", ".lock"] {
        tighten(&beside(path, suffix));
    }
    warn_of_folder(path);
}

#[cfg(not(unix))]
pub(super) fn restrict(_: &Path) {}

/// Returns the path of a file beside the database's, whose name has `suffix` added.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.append(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    let mut options = File::options();
    options.append(true);
    options
}

/// Sets the mode of a file to 600 where users who are neither its owner nor in its group have access.
/// Returns the mode that it had, if it let them in. Access for the group alone is left: no usual umask
/// gives it to the group and nothing to the others, so it is meant.
#[cfg(unix)]
fn tighten(path: &Path) -> Option<(u32, io::Result<()>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    let owner_alone = std::fs::Permissions::from_mode(0o600);
    (mode & 0o007 != 0).then(|| (mode, std::fs::set_permissions(path, owner_alone)))
}

/// Warns where every user may write the folder: they can put another file in the ledger's place. That is
/// not refused: volumes of containers are often so, and nobody else is there.
#[cfg(unix)]
fn warn_of_folder(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(folder) = path.parent() else { return };
    let mode = folder.metadata().map_or(0, |of| of.permissions().mode());
    if mode & 0o002 != 0 {
        log::warn!(
            "{}: every user of this machine can write this folder, and so replace the ledger in \
             it: chmod o-w it, or keep the ledger in a folder of the gate's own",
            folder.display()
        );
    }
}
