//! Decides whether a client key is valid at a given time.

use std::fmt;
use std::sync::Arc;

use super::{Key, Timestamp};
use crate::calendar::format_rfc3339;

/// The key that one digest belongs to, and the digest's validity. A key has several digests while its secret
/// is being replaced.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// The key, which stays the same when its digests are replaced.
    pub key: Arc<Key>,
    /// The time in which the digest is valid.
    pub validity: Validity,
}

impl KeyEntry {
    /// Returns the key, if the digest is valid at `now`.
    ///
    /// # Errors
    /// The reason why the digest is not valid.
    pub fn valid_key(&self, now: Timestamp) -> Result<&Arc<Key>, KeyFault> {
        self.validity.judge(now).map(|()| &self.key)
    }
}

/// The time in which a digest of a client key is valid. By default it is always valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// Whether the key is switched off.
    pub disabled: bool,
    /// The last moment at which the key is valid; `None` where it does not expire.
    pub not_after: Option<Timestamp>,
    /// The time from which the digest is not valid, since another has replaced it; `None` if it stays valid.
    pub until: Option<Timestamp>,
}

impl Validity {
    /// Checks that the digest is valid at `now`. A reason of the whole key (disabled or expired) is returned
    /// before one of this digest (replaced).
    ///
    /// # Errors
    /// The reason why the digest is not valid.
    pub fn judge(&self, now: Timestamp) -> Result<(), KeyFault> {
        if self.disabled {
            return Err(KeyFault::Disabled);
        }
        if let Some(at) = self.not_after.filter(|at| now > *at) {
            return Err(KeyFault::Expired { at });
        }
        match self.until.filter(|until| now >= *until) {
            Some(at) => Err(KeyFault::Replaced { at }),
            None => Ok(()),
        }
    }
}

/// The reason why a request has no valid client key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// The request has no key.
    Missing,
    /// No client key has the digest of the request's key.
    Unknown,
    /// The key is switched off.
    Disabled,
    /// The key has expired.
    Expired {
        /// The last moment at which the key was valid.
        at: Timestamp,
    },
    /// The digest has been replaced by another digest of the same key.
    Replaced {
        /// The time from which the digest is not valid.
        at: Timestamp,
    },
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("No API key. Send it in the header 'Authorization: Bearer YOUR_KEY'.")
            }
            Self::Unknown => {
                f.write_str("Incorrect API key. Check the key that this service gave you.")
            }
            Self::Disabled => {
                f.write_str("This API key is disabled. Ask whoever runs this service.")
            }
            Self::Expired { at } => write!(
                f,
                "This API key expired at {}. Ask whoever runs this service for a new one.",
                format_rfc3339(at.seconds())
            ),
            Self::Replaced { at } => write!(
                f,
                "This API key was replaced by another, and is not valid since {}. Use the newer \
                 key that this service gave you.",
                format_rfc3339(at.seconds())
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_lets_in_within_its_time() {
        let at = |second: u64| Some(Timestamp(second * 1000));
        let (not_after, until) = (at(20).unwrap(), at(10).unwrap());
        let always = Validity::default();
        let replaced = Validity {
            until: Some(until),
            ..always
        };
        let expiring = Validity {
            not_after: Some(not_after),
            ..always
        };
        let both = Validity {
            until: Some(until),
            ..expiring
        };
        let disabled = Validity {
            disabled: true,
            ..both
        };
        let gone = KeyFault::Replaced { at: until };
        let expired = KeyFault::Expired { at: not_after };
        for (validity, now, expected) in [
            (always, 0, Ok(())),
            (always, u64::MAX, Ok(())),
            (replaced, 9_999, Ok(())),
            (replaced, 10_000, Err(gone)),
            (replaced, u64::MAX, Err(gone)),
            (expiring, 20_000, Ok(())),
            (expiring, 20_001, Err(expired)),
            (both, 9_999, Ok(())),
            (both, 10_000, Err(gone)),
            (both, 20_000, Err(gone)),
            (both, 20_001, Err(expired)),
            (disabled, 0, Err(KeyFault::Disabled)),
            (disabled, u64::MAX, Err(KeyFault::Disabled)),
        ] {
            let judged = validity.judge(Timestamp(now));
            assert_eq!(judged, expected, "{validity:?} at {now}");
        }
    }
}
