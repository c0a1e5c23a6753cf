//! Compares a new configuration with the one that it replaces.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::{Config, ConfigHash};
use crate::catalog::Model;
use crate::channel::Channel;
use crate::key::KeyDigest;
use crate::policy::{Group, Validity};

/// A sorted list of names: of keys, groups, models or channels.
type Names = Vec<Arc<str>>;

/// The differences between a new configuration and the one that it replaces. Contains names, no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// The hash of the replaced configuration.
    pub before: ConfigHash,
    /// The hash of the new configuration.
    pub now: ConfigHash,
    /// Keys that are new.
    pub keys_added: Names,
    /// Keys that were removed.
    pub keys_removed: Names,
    /// Keys to which a digest was added, or from which one was removed.
    pub keys_rotated: Names,
    /// Keys that moved to another group.
    pub keys_moved: Vec<KeyMoved>,
    /// Keys that were switched off.
    pub keys_disabled: Names,
    /// Keys that were switched on again.
    pub keys_enabled: Names,
    /// Keys whose permissions, limits, channels or validity times changed.
    pub keys_changed: Names,
    /// Groups that are new.
    pub groups_added: Names,
    /// Groups that were removed.
    pub groups_removed: Names,
    /// Groups whose price multiplier or currency changed.
    pub groups_repriced: Names,
    /// Groups whose limits or channels changed.
    pub groups_changed: Names,
    /// Models that are new.
    pub models_added: Names,
    /// Models that were removed.
    pub models_removed: Names,
    /// Models with a size whose list price changed.
    pub models_repriced: Names,
    /// Models whose sizes, seconds, defaults or image check changed.
    pub models_changed: Names,
    /// Channels that are new.
    pub channels_added: Names,
    /// Channels that were removed.
    pub channels_removed: Names,
    /// Channels that changed in any way, including their credentials.
    pub channels_changed: Names,
    /// The names of the changed sections of the file that have no field of their own here.
    pub settings: Vec<&'static str>,
}

/// A key that moved to another group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMoved {
    /// The name of the key that moved.
    pub key: Arc<str>,
    /// The name of the key's group in the replaced configuration.
    pub from: Arc<str>,
    /// The name of the key's group in the new configuration.
    pub to: Arc<str>,
}

impl ConfigChange {
    /// Compares the new configuration `now` with `before`, the one that it replaces.
    pub fn between(before: &Config, now: &Config) -> Self {
        let mut change = Self::none(before.hash, now.hash);
        change.compare_keys(before, now);
        let groups = compare(&before.groups, &now.groups);
        (change.groups_added, change.groups_removed) = (groups.added, groups.removed);
        for (name, was, is) in groups.both {
            let price = |group: &Group| (group.multiplier, group.currency.clone());
            note(price(was) != price(is), &mut change.groups_repriced, name);
            let rest = |group: &Arc<Group>| (group.limits.clone(), group.channels.clone());
            note(rest(was) != rest(is), &mut change.groups_changed, name);
        }
        let (was, is) = (models(before), models(now));
        let models = compare(&was, &is);
        (change.models_added, change.models_removed) = (models.added, models.removed);
        for (name, was, is) in models.both {
            let is_repriced = was.sizes().iter().any(|size| {
                let same = is.find_size(&size.name);
                same.is_some_and(|same| same.price != size.price)
            });
            note(is_repriced, &mut change.models_repriced, name);
            let is_changed = offer(was) != offer(is);
            note(is_changed, &mut change.models_changed, name);
        }
        let (was, is) = (channels(before), channels(now));
        let channels = compare(&was, &is);
        (change.channels_added, change.channels_removed) = (channels.added, channels.removed);
        for (name, was, is) in channels.both {
            note(was != is, &mut change.channels_changed, name);
        }
        change.settings = settings(before, now);
        change
    }

    /// Returns whether no key, group, model, channel or other section changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::none(self.before, self.now)
    }

    fn none(before: ConfigHash, now: ConfigHash) -> Self {
        Self {
            before,
            now,
            keys_added: vec![],
            keys_removed: vec![],
            keys_rotated: vec![],
            keys_moved: vec![],
            keys_disabled: vec![],
            keys_enabled: vec![],
            keys_changed: vec![],
            groups_added: vec![],
            groups_removed: vec![],
            groups_repriced: vec![],
            groups_changed: vec![],
            models_added: vec![],
            models_removed: vec![],
            models_repriced: vec![],
            models_changed: vec![],
            channels_added: vec![],
            channels_removed: vec![],
            channels_changed: vec![],
            settings: vec![],
        }
    }

    fn compare_keys(&mut self, before: &Config, now: &Config) {
        let keys = compare(&before.keys, &now.keys);
        (self.keys_added, self.keys_removed) = (keys.added, keys.removed);
        let (all_before, all_now) = (digests(before), digests(now));
        let of_key = |all: &'_ HashMap<_, Digests>, name: &Arc<str>| {
            all.get(name).cloned().unwrap_or_default()
        };
        for (name, was, is) in keys.both {
            if was.group.name != is.group.name {
                self.keys_moved.push(KeyMoved {
                    key: name.clone(),
                    from: was.group.name.clone(),
                    to: is.group.name.clone(),
                });
            }
            let (digests_before, digests) = (of_key(&all_before, name), of_key(&all_now, name));
            let is_rotated = digests_before.keys().ne(digests.keys());
            note(is_rotated, &mut self.keys_rotated, name);
            let is_disabled = |all: &Digests| all.values().any(|validity| validity.disabled);
            let (was_off, is_off) = (is_disabled(&digests_before), is_disabled(&digests));
            note(!was_off && is_off, &mut self.keys_disabled, name);
            note(was_off && !is_off, &mut self.keys_enabled, name);
            // Only the times of digests in both configurations; other digests are shown as a rotation.
            let times = |validity: &Validity| (validity.until, validity.not_after);
            let other_times = digests.iter().any(|(digest, validity)| {
                let same = digests_before.get(digest);
                same.is_some_and(|same| times(same) != times(validity))
            });
            let is_changed = other_times
                || was.allow != is.allow
                || was.limits != is.limits
                || was.channels != is.channels;
            note(is_changed, &mut self.keys_changed, name);
        }
    }
}

fn note(is_so: bool, names: &mut Names, name: &Arc<str>) {
    if is_so {
        names.push(name.clone());
    }
}

/// The result of comparing two maps by their keys, which are names.
struct Compared<'a, T> {
    added: Names,
    removed: Names,
    both: Vec<(&'a Arc<str>, &'a T, &'a T)>,
}

fn compare<'a, T>(
    before: &'a BTreeMap<Arc<str>, T>,
    now: &'a BTreeMap<Arc<str>, T>,
) -> Compared<'a, T> {
    let without = |these: &BTreeMap<Arc<str>, T>, others: &BTreeMap<Arc<str>, T>| {
        let names = these.keys().filter(|name| !others.contains_key(*name));
        names.cloned().collect()
    };
    let both = now
        .iter()
        .filter_map(|(name, is)| Some((name, before.get(name)?, is)));
    Compared {
        added: without(now, before),
        removed: without(before, now),
        both: both.collect(),
    }
}

/// The digests of a key, with the validity of each.
type Digests = BTreeMap<KeyDigest, Validity>;

fn digests(config: &Config) -> HashMap<Arc<str>, Digests> {
    let mut by_key = HashMap::<_, Digests>::new();
    for (digest, entry) in &config.digests {
        let digests = by_key.entry(entry.key.name.clone()).or_default();
        digests.insert(*digest, entry.validity);
    }
    by_key
}

fn models(config: &Config) -> BTreeMap<Arc<str>, &Model> {
    let models = config.catalog.models();
    models
        .map(|model| (model.name().clone(), &**model))
        .collect()
}

/// Returns everything that a model offers except its prices, in a form that can be compared.
fn offer(model: &Model) -> impl PartialEq {
    let sizes: Vec<Arc<str>> = model.sizes().iter().map(|size| size.name.clone()).collect();
    (
        sizes,
        model.default_size().name.clone(),
        model.seconds().to_vec(),
        model.default_seconds().clone(),
        model.check_image(),
    )
}

fn channels(config: &Config) -> BTreeMap<Arc<str>, &Channel> {
    let channels = config.channels.iter();
    channels
        .map(|channel| (channel.name.clone(), &**channel))
        .collect()
}

/// Returns the names of the file's sections that differ. Sections that have fields of their own in
/// [`ConfigChange`], such as the channels, are left out.
fn settings(before: &Config, now: &Config) -> Vec<&'static str> {
    // Destructured, so that a new field must be handled here.
    let Config {
        listen,
        admin,
        cors,
        log,
        threads,
        ledger,
        jobs,
        channels: _,
        catalog: _,
        fields,
        groups: _,
        keys: _,
        digests: _,
        metrics,
        bounds,
        reload,
        hash: _,
    } = now;
    let sections = [
        ("listen", *listen != before.listen),
        ("admin", *admin != before.admin),
        ("cors", *cors != before.cors),
        ("log", *log != before.log),
        ("server", *threads != before.threads),
        ("ledger", *ledger != before.ledger),
        ("jobs", *jobs != before.jobs),
        ("fields", *fields != before.fields),
        ("metrics", *metrics != before.metrics),
        ("bounds", *bounds != before.bounds),
        ("reload", *reload != before.reload),
    ];
    let differ = sections.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(name, _)| name).collect()
}

/// Writes one line for the log: `HASH (before it HASH); keys added: a, b; channels changed: c`.
impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (before it {})", self.now, self.before)?;
        if self.is_empty() {
            return f.write_str("; nothing changed");
        }
        let moved = self.keys_moved.iter();
        let moved: Vec<_> = moved
            .map(|moved| format!("{} (from {} to {})", moved.key, moved.from, moved.to))
            .collect();
        list(f, "keys added", &self.keys_added)?;
        list(f, "keys removed", &self.keys_removed)?;
        list(f, "keys rotated", &self.keys_rotated)?;
        list(f, "keys moved", &moved)?;
        list(f, "keys disabled", &self.keys_disabled)?;
        list(f, "keys enabled", &self.keys_enabled)?;
        list(f, "keys changed", &self.keys_changed)?;
        list(f, "groups added", &self.groups_added)?;
        list(f, "groups removed", &self.groups_removed)?;
        list(f, "prices changed of groups", &self.groups_repriced)?;
        list(f, "groups changed", &self.groups_changed)?;
        list(f, "models added", &self.models_added)?;
        list(f, "models removed", &self.models_removed)?;
        list(f, "prices changed of models", &self.models_repriced)?;
        list(f, "models changed", &self.models_changed)?;
        list(f, "channels added", &self.channels_added)?;
        list(f, "channels removed", &self.channels_removed)?;
        list(f, "channels changed", &self.channels_changed)?;
        list(f, "settings changed", &self.settings)
    }
}

/// Writes `what`, the first ten of `names` and the number of the rest; nothing if there are no names.
fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[impl fmt::Display]) -> fmt::Result {
    const NAMED: usize = 10;
    if names.is_empty() {
        return Ok(());
    }
    write!(f, "; {what}: ")?;
    for (i, name) in names.iter().take(NAMED).enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{name}")?;
    }
    match names.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
