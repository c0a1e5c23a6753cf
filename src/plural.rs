//! Formats a number with its noun in the singular or the plural for messages: `1 request`, `2 requests`.

use std::fmt;

/// A number with its noun, such as `1 request` or `2 requests`. The noun must form its plural with `s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = self;
        let plural = if *number == 1 { "" } else { "s" };
        write!(f, "{number} {noun}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        for (number, text) in [(0, "0 requests"), (1, "1 request"), (2, "2 requests")] {
            assert_eq!(Counted(number, "request").to_string(), text);
        }
    }
}
