//! Builds the catalog from the models of the file.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;

use crate::catalog::{Catalog, CatalogError, Model, Seconds, Size};
use crate::money::PricePerSecond;

use super::error::{Problems, Reported};
use super::file::{self, Entries, Text};
use super::scalar::parsed;
use super::yaml;

/// The maximum length of a model's name, in bytes.
const MAX_NAME: usize = 128;

/// Builds the catalog from the models of the file.
pub(super) fn build(
    file: &Spanned<Entries<file::Model>>,
    problems: &mut Problems,
) -> Result<Catalog, Reported> {
    let entries = &file.value.0;
    let mut models = Vec::new();
    for (name, model) in entries {
        models.push(build_one(name, model, problems));
    }
    let models: Vec<Model> = models.into_iter().collect::<Result<_, _>>()?;
    Catalog::new(models).map_err(|error| problems.report(file.referenced, error.to_string()))
}

/// Finds the entry of the model `name` in the file; `None` if the catalog has no such model.
pub(super) fn find<'a>(catalog: &'a Entries<file::Model>, name: &str) -> Option<&'a file::Model> {
    let mut entries = catalog.0.iter();
    let found = entries.find(|(entry, _)| entry.value == name);
    found.map(|(_, model)| model)
}

/// Reports that the catalog has no model `name`, with the most similar or all known names as a hint.
pub(super) fn unknown(
    catalog: &Entries<file::Model>,
    name: &Text,
    problems: &mut Problems,
) -> Reported {
    let known: Vec<&str> = catalog.0.iter().map(|(name, _)| &*name.value).collect();
    let hint = match yaml::nearest(&name.value, &known) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("the catalog has: {}", known.join(", ")),
    };
    let message = format!("the catalog has no model `{}`", name.value);
    problems.report_hint(name.referenced, message, hint)
}

fn build_one(name: &Text, file: &file::Model, problems: &mut Problems) -> Result<Model, Reported> {
    let good_name = (1..=MAX_NAME).contains(&name.value.len())
        && name.value.bytes().all(|b| b.is_ascii_graphic());
    let named = match good_name {
        true => Ok(()),
        false => Err(problems.report(
            name.referenced,
            "this is no name of a model: write 1 to 128 visible ASCII characters",
        )),
    };
    let seconds = build_seconds(&file.seconds, problems);
    let sizes = build_sizes(&file.sizes, problems);
    named?;
    let model = Model::new(
        &name.value,
        seconds?,
        &file.seconds.default.value,
        sizes?,
        &file.sizes.default.value,
        file.check_image.unwrap_or(true),
    );
    model.map_err(|error| problems.report(name.referenced, error.to_string()))
}

fn build_seconds(
    file: &file::ModelSeconds,
    problems: &mut Problems,
) -> Result<Vec<Seconds>, Reported> {
    let mut seen = BTreeSet::new();
    let mut seconds = Vec::new();
    for text in &file.allowed.value {
        seconds.push(parsed(text, Seconds::parse, problems));
        if !seen.insert(text.value.as_str()) {
            let twice = CatalogError::Twice(text.value.clone());
            seconds.push(Err(problems.report(text.referenced, twice.to_string())));
        }
    }
    if seen.is_empty() {
        let error = CatalogError::Empty("seconds");
        return Err(problems.report(file.allowed.referenced, error.to_string()));
    }
    let default = offers(&seen, &file.default, problems);
    let seconds = seconds.into_iter().collect();
    default.and(seconds)
}

fn build_sizes(file: &file::ModelSizes, problems: &mut Problems) -> Result<Vec<Size>, Reported> {
    let mut seen = BTreeSet::new();
    let mut sizes = Vec::new();
    for (name, price) in &file.usd_per_second.value.0 {
        seen.insert(name.value.as_str());
        let price = parsed(price, str::parse::<PricePerSecond>, problems);
        // The name of the size is checked even if its price is wrong.
        let any_price = price.or("0".parse::<PricePerSecond>());
        let size = |name: &str| match any_price {
            Ok(price) => Size::parse(name, price).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let size = parsed(name, size, problems);
        sizes.push(price.and(size));
    }
    if seen.is_empty() {
        let error = CatalogError::Empty("sizes");
        return Err(problems.report(file.usd_per_second.referenced, error.to_string()));
    }
    let default = offers(&seen, &file.default, problems);
    let sizes = sizes.into_iter().collect();
    default.and(sizes)
}

fn offers(
    offered: &BTreeSet<&str>,
    default: &Text,
    problems: &mut Problems,
) -> Result<(), Reported> {
    if offered.contains(default.value.as_str()) {
        return Ok(());
    }
    let error = CatalogError::DefaultNotOffered(default.value.clone());
    Err(problems.report(default.referenced, error.to_string()))
}
