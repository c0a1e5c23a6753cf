//! JSON values that are no strings, where the API expects a string or a file.

use super::Refusal;
use super::seconds::is_digits;
use crate::policy::Param;

/// The maximum number of digits of a `seconds` number that is read: any number on offer is shorter.
const DIGITS: usize = 9;

/// A JSON value that is no string, of a field that expects a string or a file.
pub(super) struct Raw {
    name: Box<str>,
    /// The policy's field of this name; `None` where the policy knows no such field.
    param: Option<Param>,
    /// The type of value that the field expects, for a message.
    wanted: &'static str,
    value: Vec<u8>,
}

impl Raw {
    pub(super) fn new(name: &str, param: Option<Param>, wanted: &'static str) -> Self {
        Self {
            name: name.into(),
            param,
            wanted,
            value: Vec::new(),
        }
    }

    /// Adds the next bytes of the value. Refuses the value as soon as it can become neither `null`, which
    /// counts as absent, nor a number of seconds. `numbers` says whether some channel accepts such a number.
    pub(super) fn push(&mut self, bytes: &[u8], numbers: bool) -> Result<(), Refusal> {
        self.value
            .extend_from_slice(bytes.get(..=DIGITS).unwrap_or(bytes));
        let numbers = numbers && self.param == Some(Param::Seconds);
        let is_number = numbers && self.value.len() <= DIGITS && is_digits(&self.value);
        if is_number || b"null".starts_with(&self.value) {
            return Ok(());
        }
        Err(Refusal::WrongKind {
            name: self.name.to_string(),
            wanted: self.wanted,
        })
    }

    pub(super) fn is_null(&self) -> bool {
        self.value == b"null"
    }

    /// Returns the number, as digits, with its policy field; `None` where the value is `null`. Other
    /// values are refused earlier: see [`push`](Self::push).
    pub(super) fn into_number(self) -> Option<(Param, String)> {
        let param = self.param.filter(|_| !self.is_null())?;
        let digits = String::from_utf8(self.value).ok()?;
        Some((param, digits))
    }
}
