//! Restricts the ledger's files to their owner: they contain charges, and answers, which may repeat prompts.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Opens a file for appending, and creates it if it is missing. Only the owner can access a new file,
/// whatever the umask.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    private().create(true).open(path)
}

/// Creates the database's file for its owner alone, if it does not exist yet. SQLite gives the same mode to
/// the files that it puts beside the database. An existing file is not opened: closing it would release
/// the locks that this process has on it.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    match private().create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Sets the mode of the ledger's files to 600 if an earlier version or an operator has given every user
/// access to them. Logs a warning if the folder's mode lets every user replace the files.
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

/// Returns the database's path with `suffix` added, which is the path of a file beside the database.
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

/// Sets the mode of a file to 600 if users who are neither its owner nor in its group have access. Returns
/// the old mode and the result of the change; `None` where no such user has access, or there is no file.
/// A mode that gives access to the group, but not to other users, stays: the default umasks, 022 and 002,
/// give access to the other users too, so somebody has chosen that mode.
#[cfg(unix)]
fn tighten(path: &Path) -> Option<(u32, io::Result<()>)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    let owner_alone = std::fs::Permissions::from_mode(0o600);
    (mode & 0o007 != 0).then(|| (mode, std::fs::set_permissions(path, owner_alone)))
}

/// Logs a warning if every user may write the ledger's folder, and so replace the ledger by another file.
/// This is no error: a container's volume often has such a mode, and the container has no other users.
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
