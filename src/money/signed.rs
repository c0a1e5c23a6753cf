//! Amounts that may be negative, such as the lines of a bill and their sums.

use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

use super::{Amount, NANOS, ParseAmountError};

/// An amount in some currency that may be below zero, in nanos (10⁻⁹ units). Its range is that of `i128`,
/// so that the sum of 10¹⁹ [`Amount`]s still fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct SignedAmount(i128);

impl SignedAmount {
    /// The amount of zero.
    pub const ZERO: Self = Self(0);

    /// Makes an amount of `nanos`.
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// Returns the amount in nanos.
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// Adds two amounts; `None` if the sum is out of range.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl From<Amount> for SignedAmount {
    fn from(amount: Amount) -> Self {
        Self(i128::from(amount.nanos()))
    }
}

impl Neg for SignedAmount {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

/// Parses the text of an [`Amount`], with or without a `-` before it.
impl FromStr for SignedAmount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('-') {
            Some(text) => text.parse::<Amount>().map(|amount| -Self::from(amount)),
            None => text.parse::<Amount>().map(Self::from),
        }
    }
}

/// Formats an amount in the same way as an [`Amount`], with a `-` before it if it is below zero.
impl fmt::Display for SignedAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nanos, unit) = (self.0.unsigned_abs(), u128::from(NANOS));
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = format!("{:09}", nanos % unit);
        let (cents, rest) = fraction.split_at_checked(2).unwrap_or((&fraction, ""));
        let rest = rest.trim_end_matches('0');
        f.pad(&format!("{sign}{}.{cents}{rest}", nanos / unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_changes_nothing_else() {
        for (text, nanos, shown) in [
            ("0", 0, "0.00"),
            ("-0", 0, "0.00"),
            ("12.5", 12_500_000_000, "12.50"),
            ("-12.5", -12_500_000_000, "-12.50"),
            ("-0.000000001", -1, "-0.000000001"),
            (
                "9223372036.854775807",
                i64::MAX.into(),
                "9223372036.854775807",
            ),
        ] {
            let amount: SignedAmount = text.parse().unwrap();
            assert_eq!((amount.nanos(), &*amount.to_string()), (nanos, shown));
        }
        for text in ["", "-", "--1", "+1", "1e3", "1.0000000001", "9223372036.9"] {
            assert!(text.parse::<SignedAmount>().is_err(), "{text}");
        }
        let most = SignedAmount::from_nanos(i128::MAX);
        assert_eq!(most.checked_add(SignedAmount::from_nanos(1)), None);
        let many = SignedAmount::from(Amount::MAX).checked_add(Amount::MAX.into());
        assert_eq!(many.unwrap().to_string(), "18446744073.709551614");
        assert_eq!(format!("{:>8}", SignedAmount::ZERO), "    0.00");
    }
}
