//! The reasons why a request is not permitted, and the values that are permitted instead.

use std::fmt;
use std::sync::Arc;

use super::Param;

/// The reason why a request is not permitted, with the values that are permitted instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The body ended without a model.
    NoModel {
        /// The models that this key may ask for.
        allowed: Vec<Arc<str>>,
    },
    /// The value is not on offer: no model has it or, if the model is known, that model does not have it.
    NotOffered {
        /// The field of the value.
        param: Param,
        /// The value that was asked for.
        asked: String,
        /// The values that this key may ask for instead.
        allowed: Vec<Arc<str>>,
    },
    /// The catalog offers the value, but this key may not ask for it.
    NotAllowed {
        /// The field of the value.
        param: Param,
        /// The value that was asked for, or the default of a field that was left out.
        asked: String,
        /// Whether the value is the default of a field that was left out.
        default: bool,
        /// The values that this key may ask for instead.
        allowed: Vec<Arc<str>>,
    },
    /// The cost is larger than any amount can be.
    TooExpensive,
}

impl Refusal {
    /// Returns the field that is missing or has the refused value; `None` for [`Self::TooExpensive`].
    pub fn param(&self) -> Option<Param> {
        match self {
            Self::NoModel { .. } => Some(Param::Model),
            Self::NotOffered { param, .. } | Self::NotAllowed { param, .. } => Some(*param),
            Self::TooExpensive => None,
        }
    }
}

fn listed(f: &mut fmt::Formatter<'_>, allowed: &[Arc<str>]) -> fmt::Result {
    if allowed.is_empty() {
        return f.write_str("this key may use none");
    }
    f.write_str("this key may use: ")?;
    for (i, value) in allowed.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{value}")?;
    }
    Ok(())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel { allowed } => {
                f.write_str("The field 'model' is required; ")?;
                listed(f, allowed)
            }
            Self::NotOffered {
                param,
                asked,
                allowed,
            } => {
                write!(f, "Invalid {}: '{asked}' is not offered; ", param.name())?;
                listed(f, allowed)
            }
            Self::NotAllowed {
                param,
                asked,
                default,
                allowed,
            } => {
                let which = if *default { "The default " } else { "The " };
                let verb = match param {
                    Param::Seconds => "are",
                    Param::Model | Param::Size => "is",
                };
                let name = param.name();
                write!(
                    f,
                    "{which}{name} '{asked}' {verb} not allowed for this key; "
                )?;
                listed(f, allowed)
            }
            Self::TooExpensive => f.write_str("The cost of this request cannot be expressed."),
        }
    }
}
