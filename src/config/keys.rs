//! Builds the groups and the client keys of the configuration.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::catalog::{Catalog, Quote};
use crate::key::KeyDigest;
use crate::money::Multiplier;
use crate::policy::{Allow, Group, Key, KeyEntry, Timestamp, Validity};

use super::error::{Problems, Reported};
use super::file::{self, Entries, Text};
use super::scalar::{name, parsed, time};
use super::{limits, models, yaml};

/// The groups of the file by name. A group that is invalid is [`Reported`].
pub(super) type Groups = BTreeMap<Arc<str>, Result<Arc<Group>, Reported>>;

/// Builds the groups of the file. Their channels are checked against `channels`, and their price
/// multipliers against the prices of `catalog`.
pub(super) fn build_groups(
    file: &Entries<file::Group>,
    channels: &Entries<file::Channel>,
    catalog: &Result<Catalog, Reported>,
    problems: &mut Problems,
) -> Groups {
    let mut groups = Groups::new();
    for (name, group) in &file.0 {
        let built = build_group((name, group), channels, catalog, problems);
        groups.insert(name.value.as_str().into(), built.map(Arc::new));
    }
    groups
}

fn build_group(
    (name_text, file): (&Text, &file::Group),
    channels: &Entries<file::Channel>,
    catalog: &Result<Catalog, Reported>,
    problems: &mut Problems,
) -> Result<Group, Reported> {
    let name_built = parsed(name_text, name, problems);
    let multiplier = parsed(&file.multiplier, str::parse::<Multiplier>, problems);
    let multiplier = multiplier.and_then(|multiplier| match catalog {
        Ok(catalog) if !is_payable(catalog, multiplier) => Err(problems.report_hint(
            file.multiplier.referenced,
            "with this multiplier, the dearest video costs more than any amount can be",
            "write a smaller one",
        )),
        _ => Ok(multiplier),
    });
    let currency = parsed(&file.currency, name, problems);
    let limits = limits::build(file.limits.as_ref(), problems);
    let channels = set_of(&file.channels, problems, known_channel(channels));
    Ok(Group {
        name: name_built?,
        multiplier: multiplier?,
        currency: currency?,
        limits: limits?,
        channels: channels?,
    })
}

/// Returns whether, for each model, the cost of the longest video in the dearest size fits in an amount.
fn is_payable(catalog: &Catalog, multiplier: Multiplier) -> bool {
    catalog.models().all(|model| {
        let longest = model.seconds().iter().map(|s| s.count).max();
        let dearest = model.sizes().iter().map(|s| s.price).max();
        let cost = longest.zip(dearest);
        cost.is_none_or(|(seconds, price)| Quote::new(price, seconds, multiplier).is_some())
    })
}

/// A collection of the client keys of the configuration file and of the files of keys.
pub(super) struct Keys<'a> {
    catalog: &'a Entries<file::Model>,
    channels: &'a Entries<file::Channel>,
    groups: &'a Groups,
    names: HashMap<String, String>,
    /// The place of each digest in the files, and the place of the name of the digest's key.
    places: HashMap<KeyDigest, [String; 2]>,
    keys: BTreeMap<Arc<str>, Arc<Key>>,
    digests: HashMap<KeyDigest, KeyEntry>,
}

impl<'a> Keys<'a> {
    /// Makes an empty collection. The keys added later are checked against the three parameters.
    pub fn new(
        catalog: &'a Entries<file::Model>,
        channels: &'a Entries<file::Channel>,
        groups: &'a Groups,
    ) -> Self {
        Self {
            catalog,
            channels,
            groups,
            names: HashMap::new(),
            places: HashMap::new(),
            keys: BTreeMap::new(),
            digests: HashMap::new(),
        }
    }

    /// Checks and adds a key from the current file of `problems`, and reports to `problems` what is wrong.
    pub fn add(&mut self, file: &file::Key, problems: &mut Problems) {
        let name = parsed(&file.name, name, problems);
        let place = problems.place(file.name.referenced);
        if let Some(first) = self.names.get(&file.name.value) {
            let hint = format!("the first is at {first}");
            problems.report_hint(file.name.referenced, "two keys have this name", hint);
        } else {
            self.names.insert(file.name.value.clone(), place);
        }
        let digests = self.digests(file, problems);
        let not_after = file.not_after.as_ref();
        let not_after = not_after
            .map(|text| parsed(text, time, problems))
            .transpose();
        let group = self.group(&file.group, problems);
        let allow = self.allow(file, problems);
        let limits = limits::build(file.limits.as_ref(), problems);
        let channels = self.channels(file, &group, &allow, problems);
        let key = || {
            let key = Key {
                name: name?,
                group: group?,
                allow: allow?,
                limits: limits?,
                channels: channels?,
            };
            Ok::<_, Reported>((Arc::new(key), digests?, not_after?))
        };
        // A problem was reported, so the configuration will be refused, and the key is not needed.
        let Ok((key, digests, not_after)) = key() else {
            return;
        };
        for (digest, until) in digests {
            let validity = Validity {
                disabled: file.disabled.unwrap_or(false),
                not_after,
                until,
            };
            let key = key.clone();
            self.digests.insert(digest, KeyEntry { key, validity });
        }
        self.keys.insert(key.name.clone(), key);
    }

    /// Returns the keys by name, and the key and validity of each digest. A key that could not be built is
    /// missing.
    pub fn finish(self) -> (BTreeMap<Arc<str>, Arc<Key>>, HashMap<KeyDigest, KeyEntry>) {
        (self.keys, self.digests)
    }

    /// Reads all digests of a key, each with the time at which it expires; `None` for no such time.
    fn digests(
        &mut self,
        file: &file::Key,
        problems: &mut Problems,
    ) -> Result<Vec<(KeyDigest, Option<Timestamp>)>, Reported> {
        let further = file.digests.as_ref();
        let further = further.map_or(&[][..], |list| list.value.as_slice());
        if file.sha256.is_none() && further.is_empty() {
            let at = file.digests.as_ref().map(|list| list.referenced);
            return Err(problems.report_hint(
                at.unwrap_or(file.name.referenced),
                "this key has no digest, so that nobody can use it",
                "write `sha256: ...`; `tollgate key new` makes a key and its digest",
            ));
        }
        let further = further.iter().map(|digest| (&digest.sha256, &digest.until));
        let all = file.sha256.iter().map(|text| (text, &None)).chain(further);
        let mut digests = Vec::new();
        let mut wrong = None;
        for (text, until) in all {
            let digest = self.digest(text, &file.name, problems);
            let until = until.as_ref().map(|text| parsed(text, time, problems));
            match (digest, until.transpose()) {
                (Ok(digest), Ok(until)) => digests.push((digest, until)),
                (Err(reported), _) | (_, Err(reported)) => wrong = Some(reported),
            }
        }
        wrong.map_or(Ok(digests), Err)
    }

    fn digest(
        &mut self,
        text: &Text,
        name: &Text,
        problems: &mut Problems,
    ) -> Result<KeyDigest, Reported> {
        let digest = parsed(text, str::parse::<KeyDigest>, problems)?;
        if digest == KeyDigest::of(b"") {
            return Err(problems.report_hint(
                text.referenced,
                "this is the SHA-256 of nothing at all",
                "the variable that should have held the key was empty",
            ));
        }
        let place = problems.place(text.referenced);
        let name = problems.place(name.referenced);
        if let Some([first, of]) = self.places.get(&digest) {
            let hint = format!("the first is at {first}");
            let message = match *of == name {
                true => "this key has this sha256 twice",
                false => "two keys have this sha256",
            };
            return Err(problems.report_hint(text.referenced, message, hint));
        }
        self.places.insert(digest, [place, name]);
        Ok(digest)
    }

    fn group(&self, text: &Text, problems: &mut Problems) -> Result<Arc<Group>, Reported> {
        if let Some(group) = self.groups.get(text.value.as_str()) {
            return group.clone();
        }
        let known: Vec<&str> = self.groups.keys().map(|name| &**name).collect();
        let hint = match yaml::nearest(&text.value, &known) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("there are: {}", known.join(", ")),
        };
        let message = format!("there is no group `{}`", text.value);
        Err(problems.report_hint(text.referenced, message, hint))
    }

    /// Returns the key's own list of channels; `None` if the key has no such list.
    ///
    /// Reports a problem if such lists, of the key or its group, leave no channel that offers a model that
    /// the key may use.
    fn channels(
        &self,
        key: &file::Key,
        group: &Result<Arc<Group>, Reported>,
        allow: &Result<Allow, Reported>,
        problems: &mut Problems,
    ) -> Result<Option<BTreeSet<Arc<str>>>, Reported> {
        let own = set_of(&key.channels, problems, known_channel(self.channels))?;
        let (Ok(group), Ok(allow)) = (group, allow) else {
            return Ok(own);
        };
        let permitted = |set: &Option<BTreeSet<Arc<str>>>, name: &str| {
            set.as_ref().is_none_or(|set| set.contains(name))
        };
        let serves = |(name, channel): &(Text, file::Channel)| {
            let mut models = channel.models.value.iter();
            permitted(&own, &name.value)
                && permitted(&group.channels, &name.value)
                && models.any(|model| allow.model(&model.value))
        };
        let is_restricted = own.is_some() || group.channels.is_some();
        if is_restricted && !self.channels.0.iter().any(serves) {
            let at = key.channels.as_ref().map(|list| list.referenced);
            return Err(problems.report_hint(
                at.unwrap_or(key.name.referenced),
                "no channel that this key may use serves a model that it may use",
                "see `channels` of the key and of its group",
            ));
        }
        Ok(own)
    }

    fn allow(&self, key: &file::Key, problems: &mut Problems) -> Result<Allow, Reported> {
        let default = file::Allow::default();
        let file = key.allow.as_ref().unwrap_or(&default);
        let models = set_of(
            &file.models,
            problems,
            |model, problems| match models::find(self.catalog, &model.value) {
                Some(_) => Ok(()),
                None => Err(models::unknown(self.catalog, model, problems)),
            },
        );
        // Sizes and seconds must be those of a model that this key may use.
        let permitted: Vec<&file::Model> = match &models {
            Err(_) => Vec::new(),
            Ok(Some(set)) => {
                let models = set
                    .iter()
                    .filter_map(|name| models::find(self.catalog, name));
                models.collect()
            }
            Ok(None) => self.catalog.0.iter().map(|(_, model)| model).collect(),
        };
        let all_sizes = permitted.iter().flat_map(|model| sizes_of(model));
        let sizes = set_of(&file.sizes, problems, offered("size", &models, all_sizes));
        let all_seconds = permitted.iter().flat_map(|model| seconds_of(model));
        let seconds = set_of(
            &file.seconds,
            problems,
            offered("duration", &models, all_seconds),
        );
        let allow = Allow {
            models: models?,
            sizes: sizes?,
            seconds: seconds?,
        };
        let some = permitted.iter().any(|model| {
            sizes_of(model).any(|size| allow.size(size))
                && seconds_of(model).any(|text| allow.seconds(text))
        });
        // If there is no model at all, the problem is in the catalog and reported there.
        if !some && !permitted.is_empty() {
            return Err(problems.report_hint(
                key.name.referenced,
                "this key may not ask for anything",
                "no model has both one of its sizes and one of its seconds: allow more",
            ));
        }
        Ok(allow)
    }
}

/// Returns a function that reports a text that is not the name of a configured channel.
fn known_channel(
    channels: &Entries<file::Channel>,
) -> impl Fn(&Text, &mut Problems) -> Result<(), Reported> {
    let known: Vec<&str> = channels.0.iter().map(|(name, _)| &*name.value).collect();
    move |text, problems| {
        if known.contains(&text.value.as_str()) {
            return Ok(());
        }
        let hint = match yaml::nearest(&text.value, &known) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("there are: {}", known.join(", ")),
        };
        let message = format!("there is no channel `{}`", text.value);
        Err(problems.report_hint(text.referenced, message, hint))
    }
}

fn sizes_of(model: &file::Model) -> impl Iterator<Item = &str> {
    let sizes = &model.sizes.usd_per_second.value.0;
    sizes.iter().map(|(size, _)| size.value.as_str())
}

fn seconds_of(model: &file::Model) -> impl Iterator<Item = &str> {
    let seconds = &model.seconds.allowed.value;
    seconds.iter().map(|text| text.value.as_str())
}

/// Returns a function that reports a text that is not one of `values`, which the permitted models offer.
/// It reports nothing if the permitted models are not known. `what` names the kind of value in messages.
fn offered<'a, T>(
    what: &'static str,
    models: &Result<T, Reported>,
    values: impl Iterator<Item = &'a str>,
) -> impl Fn(&Text, &mut Problems) -> Result<(), Reported> {
    let models = models.as_ref().map(|_| ()).map_err(|reported| *reported);
    let values: BTreeSet<&str> = values.collect();
    move |text, problems| {
        models?;
        if values.contains(text.value.as_str()) {
            return Ok(());
        }
        let values: Vec<&str> = values.iter().copied().collect();
        let message = format!(
            "no model that this key may use offers the {what} `{}`",
            text.value
        );
        let hint = format!("offered are: {}", values.join(", "));
        Err(problems.report_hint(text.referenced, message, hint))
    }
}

/// Reads a list of names, each checked by `judge`; `None` if the file has no such list. An empty list and
/// a repeated name are problems.
fn set_of(
    file: &Option<Spanned<Vec<Text>>>,
    problems: &mut Problems,
    judge: impl Fn(&Text, &mut Problems) -> Result<(), Reported>,
) -> Result<Option<BTreeSet<Arc<str>>>, Reported> {
    let Some(list) = file else {
        return Ok(None);
    };
    if list.value.is_empty() {
        return Err(problems.report_hint(
            list.referenced,
            "an empty list allows nothing",
            "name something, or remove the key to allow all",
        ));
    }
    let mut set = BTreeSet::new();
    let mut wrong = None;
    for text in &list.value {
        if let Err(reported) = judge(text, problems) {
            wrong = Some(reported);
        } else if !set.insert(text.value.as_str().into()) {
            let message = format!("`{}` stands here twice", text.value);
            wrong = Some(problems.report_hint(text.referenced, message, "remove one"));
        }
    }
    wrong.map_or(Ok(Some(set)), Err)
}
