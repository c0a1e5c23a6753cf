//! Notices that files of the configuration have changed, and waits until they are written.
//!
//! A file that is half-written can be a whole configuration with fewer keys. So a change is believed
//! when nothing has moved from one look to the next, and nothing moves while the files are read.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells two states of a file or folder apart; `None` where there is none.
type Stamp = Option<[u64; 7]>;

/// How the files of a configuration stand at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stamps(BTreeMap<PathBuf, Stamp>);

impl Stamps {
    /// Looks at these files and folders.
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

/// Decides when files have changed and stand still. Reads none.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// How the files stood that the last reading is of; `None` where that is not certain, as after
    /// one that was not waited for.
    read: Option<Stamps>,
    /// How they stood at the last look, if they had changed.
    changed: Option<Stamps>,
}

impl Watcher {
    /// Returns whether the files are to be read, as they stand at a look.
    pub(super) fn is_due(&mut self, now: &Stamps) -> bool {
        if self.read.as_ref() == Some(now) {
            self.changed = None;
            return false;
        }
        let stand_still = self.changed.as_ref() == Some(now);
        self.changed = Some(now.clone());
        stand_still
    }

    /// Returns whether what was read between two looks is whole. Otherwise the files are to be
    /// looked at again; they may be others, as the configuration names them.
    pub(super) fn is_whole(&mut self, before: Stamps, after: Stamps) -> bool {
        let is_whole = before == after;
        self.read = is_whole.then_some(before);
        self.changed = Some(after);
        is_whole
    }

    /// Forgets what was read, as it was read without a look.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file in a state of that number, or in none.
    fn at(state: u64) -> Stamps {
        let stamp = (state > 0).then_some([state; 7]);
        Stamps([(PathBuf::from("a.yaml"), stamp)].into())
    }

    /// Looks at these states, each with whether the files are to be read then. What is read is
    /// whole.
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
            // What was read without a look is read once more.
            &[no(1), due(1), no(1), no(1)][..],
            &[no(1), no(2), no(3), due(3), no(3)],
            &[no(1), due(1), no(2), due(2), no(2), no(1), due(1)],
            // A change that is taken back is none.
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
        // So are files that it is the first to name.
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
