//! Reads parts of a configuration file for commands that need only those. What other parts refer to, such
//! as the credentials of channels, need not exist.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::error::{Error, Problems, Reported};
use super::sources::{self, Sources};
use super::{LedgerUrl, file, models, yaml};

/// Reads only the location of the ledger from the configuration file `path`.
///
/// # Errors
/// All problems of the ledger's location, sorted by place.
pub fn load_ledger(path: &Path) -> Result<LedgerUrl, Error> {
    load(path, |file, sources, problems| {
        LedgerUrl::build(&file.ledger, sources, problems)
    })
}

/// The properties of a key's group that are needed for the key's bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGroup {
    /// The name of the key's group.
    pub name: Arc<str>,
    /// The currency in which the group's keys pay.
    pub currency: Arc<str>,
}

/// Reads the location of the ledger and the group of the key `key` from the configuration file `path` and
/// its files of keys. The group is `None` if no key has this name.
///
/// # Errors
/// All problems of these parts, sorted by place.
pub fn load_key_group(path: &Path, key: &str) -> Result<(LedgerUrl, Option<KeyGroup>), Error> {
    load(path, |file, sources, problems| {
        let ledger = LedgerUrl::build(&file.ledger, sources, problems);
        let catalog = models::build(&file.catalog, problems);
        let channels = &file.channels.value;
        let groups = super::keys::build_groups(&file.groups, channels, &catalog, problems);
        let keys = all_keys(file.keys, file.keys_from, &sources, problems)?;
        let key = keys.iter().find(|entry| entry.name.value == key);
        let group = match key {
            Some(key) => match groups.get(key.group.value.as_str()) {
                Some(group) => Some(group.clone()?),
                None => {
                    let message = format!("there is no group `{}`", key.group.value);
                    return Err(problems.report(key.group.referenced, message));
                }
            },
            None => None,
        };
        let group = group.map(|group| KeyGroup {
            name: group.name.clone(),
            currency: group.currency.clone(),
        });
        Ok((ledger?, group))
    })
}

/// Returns whether the configuration file `path`, or a file of keys that it names, has a key named `key`.
///
/// # Errors
/// All problems of the keys, sorted by place.
pub fn has_key(path: &Path, key: &str) -> Result<bool, Error> {
    load(path, |file, sources, problems| {
        let keys = all_keys(file.keys, file.keys_from, &sources, problems)?;
        Ok(keys.iter().any(|entry| entry.name.value == key))
    })
}

/// Returns the entries of all client keys: `keys` of the main file, and those of the files that `from`
/// names.
fn all_keys(
    keys: Option<Vec<file::Key>>,
    from: Option<Spanned<file::OneOrMany>>,
    sources: &Sources<'_>,
    problems: &mut Problems,
) -> Result<Vec<file::Key>, Reported> {
    let mut keys = keys.unwrap_or_default();
    for (path, text) in sources.key_files(from, problems)? {
        problems.enter(&path.display().to_string());
        keys.extend(yaml::read::<file::KeysFile>(&text, problems)?.keys);
    }
    Ok(keys)
}

fn load<T>(
    path: &Path,
    build: impl FnOnce(file::File, Sources<'_>, &mut Problems) -> Result<T, Reported>,
) -> Result<T, Error> {
    let mut problems = Problems::new(&path.display().to_string());
    let read = RefCell::default();
    let env: &dyn Fn(&str) -> Option<String> = &|name| std::env::var(name).ok();
    let dir = path.parent().unwrap_or(Path::new(""));
    let built = match sources::read_text(path, sources::MAX_FILE) {
        Err(error) => Err(problems.report_file(format!("cannot read this file: {error}"))),
        Ok(text) => yaml::read(&text, &mut problems).and_then(|file: file::File| {
            let sources = Sources {
                env,
                dir,
                read: &read,
            };
            build(file, sources, &mut problems)
        }),
    };
    problems.finish(built)
}
