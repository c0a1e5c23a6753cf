//! The models on offer: sizes, seconds, defaults and list prices; and the quote for a request.

mod error;
mod price;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use error::CatalogError;
pub use price::{PriceList, PurchaseTerms, Quote};

use crate::money::PricePerSecond;

/// The longest duration that a catalog can offer, in seconds.
pub const MAX_SECONDS: u32 = 3600;

/// The models on offer. Names are compared byte for byte.
#[derive(Debug, Default)]
pub struct Catalog {
    models: BTreeMap<Arc<str>, Arc<Model>>,
}

/// A model on offer: its sizes and durations, with their prices.
///
/// It has at least one size and one duration; the defaults are among them, and the cost of the longest
/// duration at the highest price is a valid [`Amount`](crate::money::Amount).
#[derive(Debug, PartialEq, Eq)]
pub struct Model {
    name: Arc<str>,
    seconds: Vec<Seconds>,
    default_seconds: Seconds,
    sizes: Vec<Size>,
    default_size: Size,
    check_image: bool,
    prices: PriceList,
}

/// A duration on offer: the exact text that a client sends, and its number of seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seconds {
    /// The text that is compared with the request: `"4"`.
    pub text: Arc<str>,
    /// The number of seconds that is charged.
    pub count: u32,
}

/// A picture size on offer, with its list price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// The text that is compared with the request: `"1280x720"`.
    pub name: Arc<str>,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The list price per second of video.
    pub price: PricePerSecond,
}

impl Seconds {
    /// Parses a duration of 1 to [`MAX_SECONDS`] seconds, in digits without a leading zero.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let count = plain_number(text).filter(|n| (1..=MAX_SECONDS).contains(n));
        match count {
            Some(count) => Ok(Self {
                text: text.into(),
                count,
            }),
            None => Err(CatalogError::BadSeconds(text.into())),
        }
    }
}

impl Size {
    /// Parses a size `WIDTHxHEIGHT`, where each is from 1 to 65535 pixels, in digits without a leading zero.
    /// `price` is the size's list price.
    pub fn parse(name: &str, price: PricePerSecond) -> Result<Self, CatalogError> {
        let pixels = |text| plain_number(text).filter(|n| (1..=65535).contains(n));
        let sides = name
            .split_once('x')
            .and_then(|(w, h)| Some((pixels(w)?, pixels(h)?)));
        match sides {
            Some((width, height)) => Ok(Self {
                name: name.into(),
                width,
                height,
                price,
            }),
            None => Err(CatalogError::BadSize(name.into())),
        }
    }
}

/// Parses digits without a leading zero; `None` for any other text. A number has only one such spelling, so
/// that it can be compared byte for byte.
fn plain_number(text: &str) -> Option<u32> {
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl Model {
    /// Makes a model. `check_image` is whether a reference image must have the requested pixel size.
    ///
    /// # Errors
    /// If a list is empty or has an entry twice, a default is not on offer, or a cost would be too large
    /// for an [`Amount`](crate::money::Amount).
    pub fn new(
        name: &str,
        seconds: Vec<Seconds>,
        default_seconds: &str,
        sizes: Vec<Size>,
        default_size: &str,
        check_image: bool,
    ) -> Result<Self, CatalogError> {
        if let Some(twice) = first_twice(seconds.iter().map(|s| &s.text)) {
            return Err(CatalogError::Twice(twice));
        }
        if let Some(twice) = first_twice(sizes.iter().map(|s| &s.name)) {
            return Err(CatalogError::Twice(twice));
        }
        let longest = seconds.iter().map(|s| s.count).max();
        let longest = longest.ok_or(CatalogError::Empty("seconds"))?;
        let dearest = sizes.iter().max_by_key(|s| s.price);
        let dearest = dearest.ok_or(CatalogError::Empty("sizes"))?;
        if dearest.price.times(longest).is_none() {
            return Err(CatalogError::TooExpensive(name.into()));
        }
        let not_offered = |text: &str| CatalogError::DefaultNotOffered(text.into());
        let found = seconds.iter().find(|s| &*s.text == default_seconds);
        let default_seconds = found.ok_or_else(|| not_offered(default_seconds))?.clone();
        let found = sizes.iter().find(|s| &*s.name == default_size);
        let default_size = found.ok_or_else(|| not_offered(default_size))?.clone();
        Ok(Self {
            name: name.into(),
            prices: PriceList::of(&sizes),
            seconds,
            default_seconds,
            sizes,
            default_size,
            check_image,
        })
    }

    /// Returns the model's name, which is compared with the request.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the durations on offer, in the configured order.
    pub fn seconds(&self) -> &[Seconds] {
        &self.seconds
    }

    /// Returns the duration of a request that names none.
    pub fn default_seconds(&self) -> &Seconds {
        &self.default_seconds
    }

    /// Returns the sizes on offer, in the configured order.
    pub fn sizes(&self) -> &[Size] {
        &self.sizes
    }

    /// Returns the size of a request that names none.
    pub fn default_size(&self) -> &Size {
        &self.default_size
    }

    /// Returns whether a reference image must have the requested pixel size.
    pub fn check_image(&self) -> bool {
        self.check_image
    }

    /// Returns the list prices of all sizes.
    pub fn prices(&self) -> &PriceList {
        &self.prices
    }

    /// Finds the duration with the text `text`; `None` if it is not on offer.
    pub fn find_seconds(&self, text: &str) -> Option<&Seconds> {
        self.seconds.iter().find(|s| &*s.text == text)
    }

    /// Finds the size named `name`; `None` if it is not on offer.
    pub fn find_size(&self, name: &str) -> Option<&Size> {
        self.sizes.iter().find(|s| &*s.name == name)
    }
}

fn first_twice<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    names
        .into_iter()
        .find(|name| !seen.insert(*name))
        .map(|name| name.to_string())
}

impl Catalog {
    /// Makes a catalog of these models.
    ///
    /// # Errors
    /// If there are no models, or two share a name.
    pub fn new(models: Vec<Model>) -> Result<Self, CatalogError> {
        if models.is_empty() {
            return Err(CatalogError::Empty("models"));
        }
        let mut catalog = Self::default();
        for model in models {
            let name = model.name.clone();
            if catalog.models.insert(name.clone(), model.into()).is_some() {
                return Err(CatalogError::Twice(name.to_string()));
            }
        }
        Ok(catalog)
    }

    /// Finds the model named `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(name)
    }

    /// Returns all models, sorted by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(names: &[&str]) -> Vec<Size> {
        let price = "0.10".parse().unwrap();
        names
            .iter()
            .map(|n| Size::parse(n, price).unwrap())
            .collect()
    }

    fn seconds(texts: &[&str]) -> Vec<Seconds> {
        texts.iter().map(|t| Seconds::parse(t).unwrap()).collect()
    }

    #[test]
    fn numbers_have_one_spelling() {
        for text in ["", "0", "04", "+4", "4.0", "4 ", "3601", "four", "٤"] {
            assert!(Seconds::parse(text).is_err(), "{text:?}");
        }
        let price = "0.10".parse().unwrap();
        for text in [
            "", "x", "1280x", "x720", "01x1", "1280X720", "1x2x3", "65536x1",
        ] {
            assert!(Size::parse(text, price).is_err(), "{text:?}");
        }
        assert_eq!(Size::parse("1280x720", price).unwrap().height, 720);
    }

    #[test]
    fn a_model_must_hold_together() {
        let build = |s: &[&str], ds: &str, z: &[&str], dz: &str| {
            Model::new("m", seconds(s), ds, sizes(z), dz, true).map(|_| ())
        };
        assert_eq!(build(&["4"], "4", &["1x1"], "1x1"), Ok(()));
        assert_eq!(
            build(&[], "4", &["1x1"], "1x1"),
            Err(CatalogError::Empty("seconds"))
        );
        assert_eq!(
            build(&["4"], "8", &["1x1"], "1x1"),
            Err(CatalogError::DefaultNotOffered("8".into()))
        );
        assert_eq!(
            build(&["4"], "4", &["1x1", "1x1"], "1x1"),
            Err(CatalogError::Twice("1x1".into()))
        );
    }
}
