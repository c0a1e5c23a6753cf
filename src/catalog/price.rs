//! List prices and purchase terms as ledgers keep them, and the quote for a request.

use std::borrow::Cow;
use std::sync::Arc;

use super::Size;
use crate::money::{Amount, Multiplier, PricePerSecond};

/// The prices per second of a model's sizes at one time, as the text that ledgers keep:
/// `1280x720=0.10,720x1280=0.10`. The text is empty where the prices are not known. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceList(Arc<str>);

/// The terms for computing what the account at a channel pays for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurchaseTerms {
    /// The account pays the list cost times this factor.
    Factor(Multiplier),
    /// The account pays these prices per second of the model's sizes, in the currency of the purchase.
    Prices(PriceList),
}

impl PurchaseTerms {
    /// Computes what the account at the channel pays for `seconds` of video in `size` whose list cost is
    /// `list`; `None` if that is not a valid [`Amount`] or the size has no price.
    pub fn cost(&self, list: Amount, size: &str, seconds: u32) -> Option<Amount> {
        match self {
            Self::Factor(factor) => factor.apply(list),
            Self::Prices(prices) => prices.price(size)?.times(seconds),
        }
    }

    /// Returns the text that ledgers keep: `0.85`, or `1280x720=0.05,720x1280=0.05`.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Factor(factor) => Cow::Owned(factor.to_string()),
            Self::Prices(prices) => Cow::Borrowed(prices.as_str()),
        }
    }

    /// Parses the text of [`to_text`](Self::to_text) that a ledger has kept. A text with `=` is taken as a
    /// price list without a check; any other text must be a factor, or the result is `None`.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.contains('=') {
            true => Some(Self::Prices(PriceList::from_text(text))),
            false => text.parse().ok().map(Self::Factor),
        }
    }
}

/// The cost of a request: at list price, and as billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The list cost: list price × seconds, in USD.
    pub list: Amount,
    /// The billed cost: list cost × multiplier, in the group's currency.
    pub billed: Amount,
}

impl PriceList {
    /// Makes the price list of these sizes.
    pub fn of(sizes: &[Size]) -> Self {
        let entries = sizes.iter();
        let entries = entries.map(|size| format!("{}={}", size.name, size.price.amount()));
        Self(entries.collect::<Vec<_>>().join(",").into())
    }

    /// Makes a price list from the text that a ledger has kept, without checking the text.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text that ledgers keep.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the list has no prices, because they are not known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the price per second of the size named `size`; `None` if the list has no valid one.
    pub fn price(&self, size: &str) -> Option<PricePerSecond> {
        let entries = self.0.split(',').filter_map(|entry| entry.split_once('='));
        let mut prices = entries.filter(|(name, _)| *name == size);
        prices.next().and_then(|(_, price)| price.parse().ok())
    }
}

impl Quote {
    /// Computes the list cost of `seconds` of video at `price`, and the billed cost, which is the list cost
    /// times `multiplier`. `None` if either is above [`Amount::MAX`].
    pub fn new(price: PricePerSecond, seconds: u32, multiplier: Multiplier) -> Option<Self> {
        let list = price.times(seconds)?;
        let billed = multiplier.apply(list)?;
        Some(Self { list, billed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_lists_are_kept_exactly() {
        let sizes = [("1280x720", "0.1"), ("720x1280", "0.000001"), ("1x1", "12")];
        let sizes = sizes.map(|(name, price)| Size::parse(name, price.parse().unwrap()).unwrap());
        let list = PriceList::of(&sizes);
        assert_eq!(list.as_str(), "1280x720=0.10,720x1280=0.000001,1x1=12.00");
        let kept = PriceList::from_text(list.as_str());
        for size in &sizes {
            assert_eq!(kept.price(&size.name), Some(size.price));
        }
        for unknown in ["", "x", "280x720", "1280x72", "1x1=12"] {
            assert_eq!(kept.price(unknown), None, "{unknown}");
        }
        for strange in ["", ",", "1x1", "1x1=", "1x1=free", "1x1=-1"] {
            assert_eq!(
                PriceList::from_text(strange).price("1x1"),
                None,
                "{strange}"
            );
        }
    }

    #[test]
    fn purchase_terms_are_kept_exactly() {
        let list = "0.40".parse().unwrap();
        for (text, cost) in [
            ("0.85", Some("0.34")),
            ("1.00", Some("0.40")),
            ("0.00", Some("0.00")),
            ("1280x720=0.05,720x1280=0.000001", Some("0.20")),
            ("720x1280=0.000001", None),
        ] {
            let terms = PurchaseTerms::from_text(text).unwrap();
            assert_eq!(terms.to_text(), text);
            let costs = terms.cost(list, "1280x720", 4);
            assert_eq!(
                costs.map(|cost| cost.to_string()).as_deref(),
                cost,
                "{text}"
            );
        }
        for strange in ["", "half", "-1", "0.0001"] {
            assert_eq!(PurchaseTerms::from_text(strange), None, "{strange}");
        }
    }

    #[test]
    fn quotes_of_the_price_list() {
        let five = "5".parse().unwrap();
        let quote = |price: &str, seconds| {
            let quote = Quote::new(price.parse().unwrap(), seconds, five).unwrap();
            (quote.list.to_string(), quote.billed.to_string())
        };
        assert_eq!(quote("0.10", 4), ("0.40".into(), "2.00".into()));
        assert_eq!(quote("0.50", 12), ("6.00".into(), "30.00".into()));
    }
}
