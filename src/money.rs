//! Exact amounts of money.
//!
//! Every amount is a whole number of *nanos* (10⁻⁹ of a currency unit). Prices have at most six decimals
//! and multipliers at most three, so `price × seconds × multiplier` is always a whole number of nanos:
//! nothing is ever rounded, in this program or in the ledger, and no float is used.

mod signed;

use std::fmt;
use std::str::FromStr;

pub use self::signed::SignedAmount;

const NANOS: u64 = 1_000_000_000;

/// A non-negative amount in some currency, in nanos (10⁻⁹ units).
///
/// Bounded by `i64::MAX` nanos (about 9.2 billion units), so that an SQL `BIGINT` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Amount(u64);

impl Amount {
    /// The amount of zero.
    pub const ZERO: Self = Self(0);
    /// The largest amount, `i64::MAX` nanos.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Makes an amount of `nanos`; `None` beyond [`Amount::MAX`].
    pub const fn from_nanos(nanos: u64) -> Option<Self> {
        if nanos <= Self::MAX.0 {
            Some(Self(nanos))
        } else {
            None
        }
    }

    /// Returns the amount in nanos.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Adds two amounts; `None` beyond [`Amount::MAX`].
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Self::from_nanos(sum),
            None => None,
        }
    }

    /// Subtracts an amount; the result is at least zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// A price of one second of video, with at most six decimals: a list price in USD, or a purchase price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PricePerSecond(Amount);

impl PricePerSecond {
    /// Computes the cost of `seconds` of video at this price; `None` beyond [`Amount::MAX`].
    pub const fn times(self, seconds: u32) -> Option<Amount> {
        match self.0.0.checked_mul(seconds as u64) {
            Some(nanos) => Amount::from_nanos(nanos),
            None => None,
        }
    }

    /// Returns the price of one second.
    pub const fn amount(self) -> Amount {
        self.0
    }
}

/// A multiplier of list costs: what a group pays, or a channel charges, in its own currency for one USD of
/// list cost. It has at most three decimals and is at most 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Multiplier {
    thousandths: u64,
}

impl Multiplier {
    /// Makes the multiplier `thousandths` / 1000; `None` if that is more than 1,000,000.
    pub const fn from_thousandths(thousandths: u64) -> Option<Self> {
        if thousandths <= 1_000_000_000 {
            Some(Self { thousandths })
        } else {
            None
        }
    }

    /// Returns the multiplier in thousandths.
    pub const fn thousandths(self) -> u64 {
        self.thousandths
    }

    /// Computes `list × multiplier`, in the group's or the channel's currency. `None` if the product is more
    /// than [`Amount::MAX`] or is not a whole number of nanos. The list cost that [`PricePerSecond::times`]
    /// computes always gives a whole number.
    pub fn apply(self, list: Amount) -> Option<Amount> {
        let product = u128::from(list.0) * u128::from(self.thousandths);
        if !product.is_multiple_of(1000) {
            return None;
        }
        Amount::from_nanos(u64::try_from(product / 1000).ok()?)
    }
}

/// The reason why a text is not a valid amount, price or multiplier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// The number is below zero.
    #[error("this is negative: write zero or more, such as 0.10")]
    Negative,
    /// The text is not of the form `digits` or `digits.digits`.
    #[error("write a plain decimal such as 0.10")]
    NotDecimal,
    /// The number has more decimals than can be kept exactly.
    #[error("use at most {allowed} decimals, so that amounts stay exact")]
    TooManyDecimals {
        /// The maximum number of decimals.
        allowed: usize,
    },
    /// The number is above the maximum of its kind.
    #[error("the number is too large")]
    TooLarge,
}

/// Parses `digits[.digits]` into a whole number of units of 10^-`decimals`. A result above `max` is an
/// error.
fn parse_scaled(text: &str, decimals: usize, max: u64) -> Result<u64, ParseAmountError> {
    let begins_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    if text.strip_prefix('-').is_some_and(begins_with_digit) {
        return Err(ParseAmountError::Negative);
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(ParseAmountError::NotDecimal),
        Some(parts) => parts,
        None => (text, ""),
    };
    if whole.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(ParseAmountError::NotDecimal);
    }
    if fraction.contains('.') {
        return Err(ParseAmountError::NotDecimal);
    }
    let kept = fraction.trim_end_matches('0');
    if kept.len() > decimals {
        return Err(ParseAmountError::TooManyDecimals { allowed: decimals });
    }
    let padding = std::iter::repeat_n(b'0', decimals - kept.len());
    let mut value: u64 = 0;
    for digit in whole.bytes().chain(kept.bytes()).chain(padding) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')))
            .ok_or(ParseAmountError::TooLarge)?;
    }
    if value > max {
        return Err(ParseAmountError::TooLarge);
    }
    Ok(value)
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_scaled(text, 9, Self::MAX.0).map(Self)
    }
}

impl FromStr for PricePerSecond {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let micros = parse_scaled(text, 6, Amount::MAX.0 / 1000)?;
        Ok(Self(Amount(micros * 1000)))
    }
}

impl FromStr for Multiplier {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_scaled(text, 3, 1_000_000_000).map(|thousandths| Self { thousandths })
    }
}

/// Formats a multiplier in the same way as an [`Amount`]: `0.85`, `1.00`, `7.251`.
impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A multiplier has at most 10^9 thousandths, so its amount is at most 10^15 nanos.
        Amount(self.thousandths * 1_000_000).fmt(f)
    }
}

/// Formats an amount with at least two decimals, and no more than needed: `0.40`, `30.00`, `0.125`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0 % NANOS);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", self.0 / NANOS, &fraction[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_exact() {
        let price: PricePerSecond = "0.10".parse().unwrap();
        let five: Multiplier = "5".parse().unwrap();
        let list = price.times(4).unwrap();
        assert_eq!(list.to_string(), "0.40");
        assert_eq!(five.apply(list).unwrap().to_string(), "2.00");

        let price: PricePerSecond = "0.000001".parse().unwrap();
        let odd: Multiplier = "7.251".parse().unwrap();
        let list = price.times(3).unwrap();
        assert_eq!(odd.apply(list).unwrap().to_string(), "0.000021753");
    }

    #[test]
    fn decimals_beyond_the_exact_ones_are_refused() {
        let refused = Err(ParseAmountError::TooManyDecimals { allowed: 6 });
        assert_eq!("0.1000001".parse::<PricePerSecond>(), refused);
        assert_eq!(
            "0.100000000".parse::<PricePerSecond>().map(|p| p.amount()),
            "0.1".parse::<Amount>(),
            "trailing zeros add nothing"
        );
    }

    #[test]
    fn only_plain_decimals_are_numbers() {
        for text in [
            "", ".", "1.", ".5", "-", "--1", "-x", "+1", "1e3", "0x1", "1.2.3", " 1", "1_0",
        ] {
            assert_eq!(
                text.parse::<Amount>(),
                Err(ParseAmountError::NotDecimal),
                "{text:?}"
            );
        }
    }

    #[test]
    fn numbers_below_zero_are_said_to_be() {
        let negative = Err(ParseAmountError::Negative);
        assert_eq!("-0.10".parse::<PricePerSecond>(), negative);
        assert_eq!("-5".parse::<Amount>(), Err(ParseAmountError::Negative));
        assert_eq!("-5".parse::<Multiplier>(), Err(ParseAmountError::Negative));
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!("9223372036.854775807".parse::<Amount>(), Ok(Amount::MAX));
        assert_eq!(
            "9223372036.854775808".parse::<Amount>(),
            Err(ParseAmountError::TooLarge)
        );
        assert_eq!(Amount::MAX.checked_add(Amount(1)), None);
        let price: PricePerSecond = "9223372036".parse().unwrap();
        assert_eq!(price.times(2), None);
        let many: Multiplier = "1000000".parse().unwrap();
        assert_eq!(many.apply(Amount::MAX), None);
    }

    proptest::proptest! {
        #[test]
        fn display_and_parse_are_inverse(nanos in 0..=i64::MAX as u64) {
            let amount = Amount(nanos);
            proptest::prop_assert_eq!(amount.to_string().parse::<Amount>(), Ok(amount));
        }
    }
}
