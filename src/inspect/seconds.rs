//! The JSON type of `seconds`: the API has a string, some upstreams want a number.

/// The types of `seconds` that a channel accepts in a JSON body. A form has no types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecondsType {
    /// Only a string: `"4"`.
    #[default]
    String,
    /// Only a number: `4`.
    Number,
    /// A string or a number.
    Either,
}

/// The JSON type in which a body has written its `seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A string, in quotes.
    String,
    /// A number: its digits and nothing else.
    Number,
}

impl SecondsType {
    /// Returns whether `seconds` of the type `written` are accepted. `None`, for a body that leaves `seconds`
    /// out or is a form, is always accepted.
    pub fn takes(self, written: Option<Written>) -> bool {
        match written {
            None => true,
            Some(Written::String) => self != Self::Number,
            Some(Written::Number) => self != Self::String,
        }
    }

    /// Returns the types that `self` or `other` accepts.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Either }
    }

    /// Returns a description of the accepted type, for a message.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::String => "a string, in quotes",
            Self::Number => "a whole number without quotes, written with its digits only",
            Self::Either => "a string, in quotes, or a whole number written with its digits only",
        }
    }
}

/// Returns whether `bytes` are a number's digits: no sign, fraction, exponent or leading zero. An empty slice
/// passes.
pub(super) fn is_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit) && !bytes.starts_with(b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_apart() {
        use SecondsType as T;
        let takes = |t: T| [None, Some(Written::String), Some(Written::Number)].map(|w| t.takes(w));
        assert_eq!(takes(T::String), [true, true, false]);
        assert_eq!(takes(T::Number), [true, false, true]);
        assert_eq!(takes(T::Either), [true, true, true]);
        assert_eq!(T::String.or(T::String), T::String);
        assert_eq!(T::String.or(T::Number), T::Either);
        assert_eq!(T::Either.or(T::Number), T::Either);
    }
}
