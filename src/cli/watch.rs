//! Detects changes of the configuration's files, and waits until they have been written.
//!
//! A half-written file can be a valid configuration with fewer keys. So a change counts only if the files
//! are the same at two successive checks, and do not change while they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The metadata that distinguish two states of a file or folder: its times, length, inode and device.
/// `None` if they cannot be read, as for a file that does not exist.
type Stamp = Option<[u64; 7]>;

/// The states of a configuration's files at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stamps(BTreeMap<PathBuf, Stamp>);

impl Stamps {
    /// Reads the states of these files and folders.
    pub(super) fn of(paths: &BTreeSet<PathBuf>) -> Self {
        let stamps = paths.iter().map(|path| (path.clone(), stamp(path)));
        Self(stamps.collect())
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    let times = [
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    ];
    let [mtime, mtime_nsec, ctime, ctime_nsec] = times.map(i64::cast_unsigned);
    let rest = (file.len(), file.ino(), file.dev());
    Some([mtime, mtime_nsec, ctime, ctime_nsec, rest.0, rest.1, rest.2])
}

/// The state for deciding that files have changed and are no longer being written. Reads no files itself.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// The states of the files when they were last read; `None` if they are not known.
    read: Option<Stamps>,
    /// The states with which the next check is compared: those at the last check or after the last reading.
    /// `None` if the last check found no change, or if there was no check yet.
    changed: Option<Stamps>,
}

impl Watcher {
    /// Returns whether to read the files now: their states `now` differ from those at the last reading, and
    /// are the same as at the check before.
    pub(super) fn is_due(&mut self, now: &Stamps) -> bool {
        if self.read.as_ref() == Some(now) {
            self.changed = None;
            return false;
        }
        let stand_still = self.changed.as_ref() == Some(now);
        self.changed = Some(now.clone());
        stand_still
    }

    /// Returns whether the files did not change while they were read: the states `before` and `after` are the
    /// same. If not, the files must be checked again. `after` may cover other files, since the configuration
    /// that was read may name others.
    pub(super) fn is_whole(&mut self, before: Stamps, after: Stamps) -> bool {
        let is_whole = before == after;
        self.read = is_whole.then_some(before);
        self.changed = Some(after);
        is_whole
    }

    /// Forgets all states, because the files were read without a check of their states.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the states of one file: its state number `state`, or no file for 0.
    fn at(state: u64) -> Stamps {
        let stamp = (state > 0).then_some([state; 7]);
        Stamps([(PathBuf::from("a.yaml"), stamp)].into())
    }

    /// Makes a sequence of checks of one file, and asserts for each whether the file must be read. An item of
    /// `looks` is the number of the file's state and the expected answer. Each reading is consistent.
    fn looks(watcher: &mut Watcher, looks: &[(u64, bool)]) {
        for (number, (state, due)) in looks.iter().enumerate() {
            let is_due = watcher.is_due(&at(*state));
            assert_eq!(is_due, *due, "look {number} of {looks:?}");
            if is_due {
                assert!(watcher.is_whole(at(*state), at(*state)));
            }
        }
    }

    #[test]
    fn files_are_read_when_they_stand_still_and_once() {
        let no = |state| (state, false);
        let due = |state| (state, true);
        for states in [
            // Files that were read without a look are read once more.
            &[no(1), due(1), no(1), no(1)][..],
            &[no(1), no(2), no(3), due(3), no(3)],
            &[no(1), due(1), no(2), due(2), no(2), no(1), due(1)],
            // A change that is taken back does not count.
            &[no(1), due(1), no(2), no(1), no(2), due(2)],
            // Replaced by removing it first, or for good.
            &[no(1), due(1), no(0), no(2), due(2)],
            &[no(1), due(1), no(0), due(0), no(0)],
        ] {
            looks(&mut Watcher::default(), states);
        }
    }

    #[test]
    fn what_changes_while_it_is_read_is_read_again() {
        let mut watcher = Watcher::default();
        looks(&mut watcher, &[(1, false)]);
        assert!(watcher.is_due(&at(1)));
        assert!(!watcher.is_whole(at(1), at(2)));
        looks(&mut watcher, &[(3, false), (3, true), (3, false)]);
        // The same holds for files that the new configuration is the first to name.
        let mut more = at(4);
        more.0.insert("b.yaml".into(), Some([1; 7]));
        looks(&mut watcher, &[(4, false)]);
        assert!(watcher.is_due(&at(4)));
        assert!(!watcher.is_whole(at(4), more.clone()));
        assert!(watcher.is_due(&more));
        assert!(watcher.is_whole(more.clone(), more.clone()));
        assert!(!watcher.is_due(&more));
        watcher.reset();
        assert!(!watcher.is_due(&more));
        assert!(watcher.is_due(&more));
    }
}
