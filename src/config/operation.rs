//! Builds the operational settings of a channel: tier, weight, limits, purchase price, ejection and
//! probe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use crate::catalog::{Catalog, Model, PriceList, Quote, Size};
use crate::channel::{ChannelState, EjectionRules, Probe, Purchase, PurchasePrice};
use crate::money::{Multiplier, PricePerSecond};
use crate::policy::Limit;

use super::channel::choice;
use super::error::{Problems, Reported};
use super::file::{self, Entries, Text};
use super::scalar::{count, duration, name, parsed, parsed_or, within};
use super::{limits, yaml};

/// The highest number that a tier can have. Tiers are numbered from 0.
const MAX_TIER: u32 = 1000;
const MAX_WEIGHT: u32 = 1000;
/// The default path of a probe. It requests one job of the list, a cheap request that all channels support.
const PROBE_PATH: &str = "/v1/videos?limit=1";
/// The minimum interval between two probes of a channel.
const MIN_PROBE_EVERY: Duration = Duration::from_secs(1);

/// The state, tier, weight, limits, purchase prices, ejection rules and probe of a channel.
pub(super) struct Operation {
    pub tier: u32,
    pub weight: u32,
    pub state: ChannelState,
    pub limits: Vec<Limit>,
    pub purchase: Option<Purchase>,
    pub ejection: EjectionRules,
    pub probe: Option<Probe>,
}

/// Builds the operational settings of a channel that offers the models `served`.
pub(super) fn build(
    file: &file::Channel,
    served: &Result<BTreeSet<Arc<str>>, Reported>,
    catalog: &Result<Catalog, Reported>,
    problems: &mut Problems,
) -> Result<Operation, Reported> {
    let p = problems;
    let tier = parsed_or(&file.tier, within(0, MAX_TIER), 0, p);
    let weight = parsed_or(&file.weight, within(1, MAX_WEIGHT), 1, p);
    let states = [
        ("active", ChannelState::Active),
        ("drain", ChannelState::Drain),
        ("off", ChannelState::Off),
    ];
    let state = choice("state", &file.state, &states, p);
    let limits = limits::build_of_channel(file.limits.as_ref(), file.purchase.is_some(), p);
    // The purchase prices are checked against the models of the channel, if those are valid.
    let models = served.as_ref().ok().zip(catalog.as_ref().ok());
    let models = models.map(|(served, catalog)| {
        let models = served.iter().filter_map(|name| catalog.get(name));
        models.cloned().collect::<Vec<_>>()
    });
    let purchase = file.purchase.as_ref();
    let purchase = purchase.map(|purchase| build_purchase(purchase, models.as_deref(), p));
    let ejection = build_ejection(file.ejection.as_ref(), p);
    let probe = file.probe.as_ref().map(|probe| build_probe(probe, p));
    Ok(Operation {
        tier: tier?,
        weight: weight?,
        state: state?,
        limits: limits?,
        purchase: purchase.transpose()?,
        ejection: ejection?,
        probe: probe.transpose()?,
    })
}

fn build_purchase(
    file: &Spanned<file::Purchase>,
    models: Option<&[Arc<Model>]>,
    problems: &mut Problems,
) -> Result<Purchase, Reported> {
    let at = file.referenced;
    let file = &file.value;
    let currency = parsed(&file.currency, name, problems);
    let price = match (&file.factor, &file.prices) {
        (Some(factor), None) => build_factor(factor, models, problems),
        (None, Some(prices)) => build_prices(prices, models, problems),
        _ => Err(problems.report_hint(
            at,
            "what this channel charges is told in one way",
            "write `factor: 0.85`, times the list price, or `prices: { MODEL: { SIZE: 0.35 } }`, \
             for one second",
        )),
    };
    Ok(Purchase {
        currency: currency?,
        price: price?,
    })
}

fn build_factor(
    text: &Text,
    models: Option<&[Arc<Model>]>,
    problems: &mut Problems,
) -> Result<PurchasePrice, Reported> {
    let factor = parsed(text, str::parse::<Multiplier>, problems)?;
    let is_payable = |model: &Arc<Model>| {
        let mut prices = model.sizes().iter().map(|size| size.price);
        prices.all(|price| Quote::new(price, longest(model), factor).is_some())
    };
    match models {
        Some(models) if !models.iter().all(is_payable) => Err(problems.report_hint(
            text.referenced,
            "with this factor, the dearest video costs more than any amount can be",
            "write a smaller one",
        )),
        _ => Ok(PurchasePrice::Factor(factor)),
    }
}

fn longest(model: &Model) -> u32 {
    let seconds = model.seconds().iter().map(|seconds| seconds.count);
    seconds.max().unwrap_or(0)
}

fn build_prices(
    file: &Spanned<Entries<Spanned<Entries<Text>>>>,
    models: Option<&[Arc<Model>]>,
    problems: &mut Problems,
) -> Result<PurchasePrice, Reported> {
    let (mut prices, mut wrong) = (BTreeMap::new(), None);
    for (name, sizes) in &file.value.0 {
        let model = models.map(|models| {
            let model = models.iter().find(|model| **model.name() == *name.value);
            model.ok_or_else(|| not_served(name, models, problems))
        });
        match model.transpose() {
            Ok(model) => match build_sizes(sizes, model, problems) {
                Ok(list) => drop(prices.insert(Arc::from(name.value.as_str()), list)),
                Err(reported) => wrong = Some(reported),
            },
            Err(reported) => wrong = Some(reported),
        }
    }
    let priced = |model: &Arc<Model>| file.value.0.iter().any(|(n, _)| *n.value == **model.name());
    for model in models.unwrap_or_default() {
        if !priced(model) {
            wrong = Some(no_price(file.referenced, "model", model.name(), problems));
        }
    }
    wrong.map_or(Ok(PurchasePrice::Prices(prices)), Err)
}

fn not_served(name: &Text, models: &[Arc<Model>], problems: &mut Problems) -> Reported {
    let known: Vec<&str> = models.iter().map(|model| &**model.name()).collect();
    let hint = match yaml::nearest(&name.value, &known) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("it serves: {}", known.join(", ")),
    };
    let message = format!("this channel serves no model `{}`", name.value);
    problems.report_hint(name.referenced, message, hint)
}

fn no_price(at: Location, what: &str, name: &str, problems: &mut Problems) -> Reported {
    let message = format!("what this channel charges for the {what} `{name}` is missing here");
    problems.report_hint(at, message, "write the price of one second")
}

/// Builds the purchase prices of one model by size. `model` is `None` if the model is not known; then the
/// sizes are not compared with it.
fn build_sizes(
    file: &Spanned<Entries<Text>>,
    model: Option<&Arc<Model>>,
    problems: &mut Problems,
) -> Result<PriceList, Reported> {
    let (mut sizes, mut wrong) = (Vec::new(), None);
    for (name, price) in &file.value.0 {
        let offered = model.is_none_or(|model| model.find_size(&name.value).is_some());
        let size = match parsed(price, str::parse::<PricePerSecond>, problems) {
            Ok(_) if !offered => Err(problems.report(
                name.referenced,
                format!("the model has no size `{}`", name.value),
            )),
            Ok(price) if model.is_some_and(|model| price.times(longest(model)).is_none()) => {
                let message = "at this price, the longest video costs more than any amount can be";
                Err(problems.report_hint(name.referenced, message, "write a smaller one"))
            }
            Ok(price) => parsed(name, |name| Size::parse(name, price), problems),
            Err(reported) => Err(reported),
        };
        match size {
            Ok(size) => sizes.push(size),
            Err(reported) => wrong = Some(reported),
        }
    }
    for size in model.into_iter().flat_map(|model| model.sizes()) {
        if !file
            .value
            .0
            .iter()
            .any(|(name, _)| *name.value == *size.name)
        {
            wrong = Some(no_price(file.referenced, "size", &size.name, problems));
        }
    }
    wrong.map_or_else(|| Ok(PriceList::of(&sizes)), Err)
}

fn build_ejection(
    file: Option<&file::Ejection>,
    problems: &mut Problems,
) -> Result<EjectionRules, Reported> {
    let or = EjectionRules::default();
    let Some(file) = file else {
        return Ok(or);
    };
    let failures = parsed_or(&file.failures, count, or.failures, problems);
    let pause = parsed_or(&file.pause, duration, or.pause, problems);
    let max_pause = match (&file.max_pause, &pause) {
        (Some(text), _) => parsed(text, duration, problems),
        // A `pause` that is longer than the default of `max_pause` is valid.
        (None, pause) => Ok(pause.map_or(or.max_pause, |pause| pause.max(or.max_pause))),
    };
    let (failures, pause, max_pause) = (failures?, pause?, max_pause?);
    if let Some(text) = file.max_pause.as_ref().filter(|_| max_pause < pause) {
        return Err(problems.report_hint(
            text.referenced,
            "`max_pause` is shorter than `pause`",
            "pauses grow from the one to the other",
        ));
    }
    Ok(EjectionRules {
        failures,
        pause,
        max_pause,
    })
}

fn build_probe(file: &file::Probe, problems: &mut Problems) -> Result<Probe, Reported> {
    let visible = |b: u8| b.is_ascii_graphic() && b != b'#';
    let path = match &file.path {
        None => Ok(PROBE_PATH.into()),
        Some(text) if text.value.starts_with('/') && text.value.bytes().all(visible) => {
            Ok(text.value.as_str().into())
        }
        Some(text) => Err(problems.report_hint(
            text.referenced,
            "this is no path to ask a channel for",
            "write one that follows the path of its `url`, such as /v1/models",
        )),
    };
    let every = parsed_or(&file.every, duration, Duration::from_secs(30), problems)?;
    match &file.every {
        Some(text) if every < MIN_PROBE_EVERY => Err(problems.report(
            text.referenced,
            "probes come at most once a second: write 1s or more",
        )),
        _ => Ok(Probe { path: path?, every }),
    }
}
