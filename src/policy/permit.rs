//! Decides what a key may ask for: the only place that makes a [`Permit`].

use std::sync::Arc;

use super::{Asked, Key, Param, Refusal};
use crate::catalog::{Catalog, Model, Quote, Size};

/// The permission to have a video rendered, with its model, size, duration and cost.
#[derive(Debug, Clone)]
pub struct Permit {
    model: Arc<Model>,
    size: Size,
    seconds: u32,
    quote: Quote,
}

impl Permit {
    /// Returns the model of the video.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Returns the size of the video: the one asked for, or the model's default.
    pub fn size(&self) -> &Size {
        &self.size
    }

    /// Returns the duration of the video in seconds: the one asked for, or the model's default.
    pub fn seconds(&self) -> u32 {
        self.seconds
    }

    /// Returns the list cost and the billed cost of the video.
    pub fn quote(&self) -> Quote {
        self.quote
    }
}

/// Judges the fields of a request that are known so far. An error means that the request cannot become
/// permissible, whatever further fields it has.
///
/// # Errors
/// The refusal. [`permit`] would refuse the request as well, but perhaps for another of its fields.
pub fn judge(catalog: &Catalog, key: &Key, asked: Asked<'_>) -> Result<(), Refusal> {
    let model = match asked.model {
        Some(name) => Some(judge_model(catalog, key, name)?),
        None => None,
    };
    let candidates = Candidates {
        catalog,
        key,
        model,
    };
    if let Some(name) = asked.size {
        candidates.judge_size(name, false)?;
    }
    if let Some(text) = asked.seconds {
        candidates.judge_seconds(text, false)?;
    }
    Ok(())
}

/// Decides whether a whole request is permitted. A size or duration that was left out is the model's default.
///
/// # Errors
/// The reason why the request is not permitted.
pub fn permit(catalog: &Catalog, key: &Key, asked: Asked<'_>) -> Result<Permit, Refusal> {
    let Some(name) = asked.model else {
        let allowed = allowed_models(catalog, key);
        return Err(Refusal::NoModel { allowed });
    };
    let model = judge_model(catalog, key, name)?;
    let default_size = &model.default_size().name;
    let size = asked.size.unwrap_or(default_size);
    let candidates = Candidates {
        catalog,
        key,
        model: Some(model),
    };
    candidates.judge_size(size, asked.size.is_none())?;
    let default_seconds = &model.default_seconds().text;
    let seconds = asked.seconds.unwrap_or(default_seconds);
    candidates.judge_seconds(seconds, asked.seconds.is_none())?;

    let size = model.find_size(size).unwrap_or(model.default_size());
    let seconds = model
        .find_seconds(seconds)
        .unwrap_or(model.default_seconds());
    priced(model, size, seconds.count, key)
}

/// Decides whether a whole remix is permitted, which has the model, size and seconds of its source.
///
/// A channel may have rendered a number of seconds that is not on offer. The price is per second, so such a
/// source can still be remixed, by a key that may ask for any duration or for one that is at least as long.
///
/// # Errors
/// The reason why the remix is not permitted.
pub fn permit_remix(catalog: &Catalog, key: &Key, source: Asked<'_>) -> Result<Permit, Refusal> {
    let refusal = match permit(catalog, key, source) {
        Err(refusal) if refusal.param() == Some(Param::Seconds) => refusal,
        judged => return judged,
    };
    let Refusal::NotOffered { asked, allowed, .. } = refusal else {
        return Err(refusal);
    };
    let model = source.model.and_then(|name| catalog.get(name));
    let size = model.and_then(|model| model.find_size(source.size?));
    let (Some(model), Some(size), Ok(count)) = (model, size, asked.parse()) else {
        let param = Param::Seconds;
        return Err(Refusal::NotOffered {
            param,
            asked,
            allowed,
        });
    };
    let mut offered = model.seconds().iter();
    let may = |text: &str| key.allow.seconds(text);
    if key.allow.seconds.is_none() || offered.any(|s| s.count >= count && may(&s.text)) {
        return priced(model, size, count, key);
    }
    Err(Refusal::NotAllowed {
        param: Param::Seconds,
        asked,
        default: false,
        allowed,
    })
}

fn priced(model: &Arc<Model>, size: &Size, seconds: u32, key: &Key) -> Result<Permit, Refusal> {
    let quote = Quote::new(size.price, seconds, key.group.multiplier);
    Ok(Permit {
        size: size.clone(),
        seconds,
        quote: quote.ok_or(Refusal::TooExpensive)?,
        model: model.clone(),
    })
}

fn judge_model<'c>(catalog: &'c Catalog, key: &Key, name: &str) -> Result<&'c Arc<Model>, Refusal> {
    let Some(model) = catalog.get(name) else {
        return Err(Refusal::NotOffered {
            param: Param::Model,
            asked: name.into(),
            allowed: allowed_models(catalog, key),
        });
    };
    if !key.allow.model(name) {
        return Err(Refusal::NotAllowed {
            param: Param::Model,
            asked: name.into(),
            default: false,
            allowed: allowed_models(catalog, key),
        });
    }
    Ok(model)
}

/// The models that the request may be for, given the fields that are known.
#[derive(Clone, Copy)]
struct Candidates<'a> {
    catalog: &'a Catalog,
    key: &'a Key,
    model: Option<&'a Arc<Model>>,
}

impl<'a> Candidates<'a> {
    fn judge_size(self, name: &str, default: bool) -> Result<(), Refusal> {
        self.judge(
            Param::Size,
            name,
            default,
            |model| model.sizes().iter().map(|size| &size.name),
            |name| self.key.allow.size(name),
        )
    }

    fn judge_seconds(self, text: &str, default: bool) -> Result<(), Refusal> {
        self.judge(
            Param::Seconds,
            text,
            default,
            |model| model.seconds().iter().map(|seconds| &seconds.text),
            |text| self.key.allow.seconds(text),
        )
    }

    fn models(self) -> impl Iterator<Item = &'a Arc<Model>> {
        let any = self.model.is_none().then(|| self.catalog.models());
        let any = any.into_iter().flatten();
        self.model
            .into_iter()
            .chain(any.filter(move |model| self.key.allow.model(model.name())))
    }

    fn judge<I>(
        self,
        param: Param,
        asked: &str,
        default: bool,
        offered: impl Fn(&'a Model) -> I,
        may: impl Fn(&str) -> bool,
    ) -> Result<(), Refusal>
    where
        I: Iterator<Item = &'a Arc<str>>,
    {
        let values = || self.models().flat_map(|model| offered(model));
        let is_offered = values().any(|value| **value == *asked);
        if is_offered && may(asked) {
            return Ok(());
        }
        let mut allowed: Vec<Arc<str>> = Vec::new();
        for value in values() {
            if may(value) && !allowed.contains(value) {
                allowed.push(value.clone());
            }
        }
        let asked = asked.to_owned();
        Err(if is_offered {
            Refusal::NotAllowed {
                param,
                asked,
                default,
                allowed,
            }
        } else {
            Refusal::NotOffered {
                param,
                asked,
                allowed,
            }
        })
    }
}

fn allowed_models(catalog: &Catalog, key: &Key) -> Vec<Arc<str>> {
    let names = catalog.models().map(|model| model.name());
    names
        .filter(|name| key.allow.model(name))
        .cloned()
        .collect()
}
