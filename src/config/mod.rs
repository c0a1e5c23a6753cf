//! The configuration: the validated form that the program uses, and how it is read from files.
//!
//! The types of the file's format are in `file.rs`; the types here are a separate set. A [`Config`] is
//! always consistent: every name that is referred to exists, every amount is exact, every key may request
//! at least one video, and every model is offered by a channel.
//!
//! **Invariant**: an invalid configuration yields no [`Config`], but all its problems with file, line and
//! column. (If a file has an error of syntax or structure, such as an unknown setting, only the first one is
//! reported, since the rest cannot be judged.) Neither a problem nor a `Debug` output contains a secret.

mod bounds;
mod change;
mod channel;
mod connection;
mod cors;
mod describe;
mod error;
mod file;
mod jobs;
mod keys;
mod ledger;
mod limits;
mod listen;
mod log;
mod metrics;
mod models;
mod operation;
mod part;
mod reload;
mod scalar;
mod sources;
mod yaml;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use serde_saphyr::Spanned;

use crate::access_log::LogOptions;
use crate::catalog::Catalog;
use crate::channel::Channel;
use crate::key::KeyDigest;
use crate::ledger::{BindingLimits, Payer};
use crate::policy::{Cors, Group, Key, KeyEntry, Limit, Measure};

pub use bounds::Bounds;
pub use change::{ConfigChange, KeyMoved};
pub use error::{Error, Problem};
pub use jobs::Jobs;
pub use ledger::LedgerUrl;
pub use listen::{Admin, Listen, Tls};
pub use metrics::MetricsOptions;
pub use part::{KeyGroup, has_key, load_key_group, load_ledger};
pub use reload::{ConfigHash, Reload};

use error::{Problems, Reported};
use file::Text;
use sources::{FilesRead, Sources};

/// A whole configuration that has been validated.
#[derive(Debug)]
pub struct Config {
    /// The listener for clients.
    pub listen: Listen,
    /// The listener for operators; `None` if it is off.
    pub admin: Option<Admin>,
    /// The CORS settings: which web pages may use the gate; `None` if none may.
    pub cors: Option<Cors>,
    /// The format of the log, and which requests get a line in the access log.
    pub log: LogOptions,
    /// The number of worker threads, at least one.
    pub threads: usize,
    /// The location of the ledger, which keeps reservations, jobs and limits.
    pub ledger: LedgerUrl,
    /// The settings for following jobs and keeping reservations.
    pub jobs: Jobs,
    /// The upstream accounts, at least one, in the order of the file.
    pub channels: Vec<Arc<Channel>>,
    /// The models on offer. For each, at least one channel offers it.
    pub catalog: Arc<Catalog>,
    /// The names of the fields that a create's body may have besides `model`, `size` and `seconds`.
    /// `prompt` is among them.
    pub fields: BTreeSet<Arc<str>>,
    /// The groups by name.
    pub groups: BTreeMap<Arc<str>, Arc<Group>>,
    /// The client keys by name.
    pub keys: BTreeMap<Arc<str>, Arc<Key>>,
    /// The client key and the validity of each digest. A key has at least one digest.
    pub digests: HashMap<KeyDigest, KeyEntry>,
    /// The settings of the metrics: which labels the cost metrics have.
    pub metrics: MetricsOptions,
    /// The bounds of requests, connections and the process.
    pub bounds: Bounds,
    /// The settings for reloading the configuration when its files change.
    pub reload: Reload,
    /// The hash of the files that the configuration was read from. Secrets are not hashed.
    pub hash: ConfigHash,
}

/// The result of reading a configuration, with the files that it was read from.
pub struct Loaded {
    /// The configuration, or all its problems.
    pub config: Result<Config, Error>,
    /// The files and folders that the configuration depends on, whether or not they exist.
    pub paths: BTreeSet<PathBuf>,
}

impl Config {
    /// Returns the client key named `name`, if there is one.
    pub fn key_named(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(name)
    }

    /// Returns the limits that apply when a charge of `payer` is corrected: those of the payer's key, and
    /// those of the payer's group, even if the key is now in another group.
    ///
    /// A key or group that is no longer configured has no limits. A limit of the billed cost is left out if
    /// it now counts another currency than the payer's.
    pub fn limits_of(&self, payer: &Payer) -> BindingLimits {
        let binding = |limits: &[Limit], currency: &Arc<str>| {
            let counts =
                |l: &Limit| l.measure != Measure::BilledCost || *currency == payer.currency;
            limits.iter().copied().filter(counts).collect()
        };
        let key = self.key_named(&payer.key);
        let group = self.groups.get(&payer.group);
        BindingLimits {
            key: key.map_or_else(Vec::new, |key| binding(&key.limits, &key.group.currency)),
            group: group.map_or_else(Vec::new, |group| binding(&group.limits, &group.currency)),
        }
    }

    /// Returns the names of the keys that pay in another currency than they did in `before`, grouped by the
    /// old and the new currency.
    pub fn changed_currencies(&self, before: &Self) -> BTreeMap<[Arc<str>; 2], BTreeSet<Arc<str>>> {
        let mut changed = BTreeMap::<_, BTreeSet<_>>::new();
        for key in self.keys.values() {
            let now = &key.group.currency;
            let was = before.key_named(&key.name).map(|key| &key.group.currency);
            if let Some(was) = was.filter(|was| *was != now) {
                let keys = changed.entry([was.clone(), now.clone()]);
                keys.or_default().insert(key.name.clone());
            }
        }
        changed
    }
}

/// The default of [`Config::fields`].
const DEFAULT_FIELDS: [&str; 5] = [
    "prompt",
    "input_reference",
    "input_reference[file_id]",
    "input_reference[image_url]",
    "characters[][id]",
];

/// The maximum number of worker threads.
const MAX_THREADS: usize = 1024;

/// Returns whether `text` is valid as the name of a key, a group, a channel or a currency. Such names become
/// labels of metrics.
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "for the commands"))]
pub(crate) fn is_name(text: &str) -> bool {
    scalar::name(text).is_ok()
}

/// Reads the configuration file `path` and the files and environment variables that it refers to. Relative
/// paths in the file start from its folder.
///
/// # Errors
/// All problems, sorted by place.
pub fn load(path: &Path) -> Result<Config, Error> {
    load_with(path, &|name| std::env::var(name).ok())
}

/// Reads the configuration file `path` and what it refers to, like [`load`]. The function `env` returns the
/// value of an environment variable.
///
/// # Errors
/// All problems, sorted by place.
pub fn load_with(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Error> {
    load_files(path, env).config
}

/// Reads a configuration like [`load_with`], and also returns the files to watch for changes.
pub fn load_files(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let name = path.display().to_string();
    let read = RefCell::new(FilesRead::default());
    read.borrow_mut().paths.insert(path.to_owned());
    let dir = path.parent().unwrap_or(Path::new(""));
    let sources = Sources {
        env,
        dir,
        read: &read,
    };
    let config = match sources::read_text(path, sources::MAX_FILE) {
        Ok(text) => parse_from(&text, &name, sources),
        Err(error) => {
            let mut problems = Problems::new(&name);
            let reported = problems.report_file(format!("cannot read this file: {error}"));
            problems.finish(Err(reported))
        }
    };
    Loaded {
        config,
        paths: read.into_inner().paths,
    }
}

/// Reads a configuration from its text. `name` is the name of the file in messages. The function `env`
/// returns the value of an environment variable. Relative paths start from the folder `dir`.
///
/// # Errors
/// All problems, sorted by place.
pub fn parse(
    text: &str,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    dir: &Path,
) -> Result<Config, Error> {
    let read = &RefCell::default();
    parse_from(text, name, Sources { env, dir, read })
}

fn parse_from(text: &str, name: &str, sources: Sources<'_>) -> Result<Config, Error> {
    let mut problems = Problems::new(name);
    let config = yaml::read(text, &mut problems)
        .and_then(|file: file::File| build((file, text), sources, &mut problems));
    problems.finish(config)
}

fn build(
    (file, text): (file::File, &str),
    sources: Sources<'_>,
    problems: &mut Problems,
) -> Result<Config, Reported> {
    let listen = Listen::build(&file.listen, sources, problems);
    let admin = Admin::build(&file.admin, &listen, sources, problems);
    let cors = cors::build(&file.cors, problems);
    let log = log::build(file.log, problems);
    let threads = build_threads(file.server, problems);
    let ledger = LedgerUrl::build(&file.ledger, sources, problems);
    let jobs = Jobs::build(file.jobs, problems);
    let offer = &file.catalog.value;
    let catalog = models::build(&file.catalog, problems);
    let channels = channel::build(&file.channels, (offer, &catalog), sources, problems);
    let fields = build_fields(&file.fields, problems);
    let groups = keys::build_groups(&file.groups, &file.channels.value, &catalog, problems);
    let metrics = MetricsOptions::build(file.metrics, problems);
    let bounds = Bounds::build(file.bounds, problems);
    let reload = Reload::build(file.reload, problems);

    let own = file.keys.unwrap_or_default();
    let further = sources.key_files(file.keys_from, problems);
    if own.is_empty() && further.as_ref().is_ok_and(Vec::is_empty) {
        problems.report_file(
            "no client keys: list them under `keys`, or files or folders of them under \
             `keys_from`",
        );
    }
    let mut keys = keys::Keys::new(offer, &file.channels.value, &groups);
    for key in &own {
        keys.add(key, problems);
    }
    for (path, text) in further.into_iter().flatten() {
        problems.enter(&path.display().to_string());
        if let Ok(file) = yaml::read::<file::KeysFile>(&text, problems) {
            for key in &file.keys {
                keys.add(key, problems);
            }
        }
    }
    let (keys, digests) = keys.finish();

    let hash = ConfigHash::of(text, &ledger, sources);
    let groups = groups.into_iter().map(|(name, group)| Ok((name, group?)));
    Ok(Config {
        listen: listen?,
        admin: admin?,
        cors: cors?,
        log: log?,
        threads: threads?,
        ledger: ledger?,
        jobs: jobs?,
        channels: channels?,
        catalog: Arc::new(catalog?),
        fields: fields?,
        groups: groups.collect::<Result<_, Reported>>()?,
        keys,
        digests,
        metrics: metrics?,
        bounds: bounds?,
        reload: reload?,
        hash,
    })
}

fn build_threads(file: Option<file::Server>, problems: &mut Problems) -> Result<usize, Reported> {
    let Some(text) = file.and_then(|server| server.threads) else {
        // If the system cannot return the number of processors, one thread is used: slow, but correct.
        return Ok(available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS)));
    };
    let threads: usize = scalar::parsed(&text, scalar::count, problems)?;
    if threads > MAX_THREADS {
        let message = format!("write at most {MAX_THREADS} threads");
        return Err(problems.report(text.referenced, message));
    }
    Ok(threads)
}

fn build_fields(
    file: &Option<Spanned<Vec<Text>>>,
    problems: &mut Problems,
) -> Result<BTreeSet<Arc<str>>, Reported> {
    let Some(list) = file else {
        return Ok(DEFAULT_FIELDS.into_iter().map(Arc::from).collect());
    };
    let mut fields = BTreeSet::new();
    let mut wrong = None;
    for text in &list.value {
        let field = text.value.as_str();
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']');
        let message = if ["model", "size", "seconds"].contains(&field) {
            format!("`{field}` is always allowed and judged by the policy: remove it here")
        } else if !(1..=64).contains(&field.len()) || !field.bytes().all(plain) {
            "this is no name of a field: write 1 to 64 letters, digits and _ - . [ ]".to_owned()
        } else if !fields.insert(field.into()) {
            format!("`{field}` stands here twice: remove one")
        } else {
            continue;
        };
        wrong = Some(problems.report(text.referenced, message));
    }
    if !fields.contains("prompt") {
        wrong = Some(problems.report(
            list.referenced,
            "`prompt` must be among the fields: there is no video without one",
        ));
    }
    wrong.map_or(Ok(fields), Err)
}

#[cfg(test)]
mod tests;
