//! Decides whether a client key lets its client in at a given time.

use std::fmt;
use std::sync::Arc;

use super::{Key, Timestamp};
use crate::calendar::format_rfc3339;

/// The key that one digest opens, and when. A key has several digests while it is replaced.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// The key, which stays the same when its digests are replaced.
    pub key: Arc<Key>,
    /// The time in which the digest opens the key.
    pub validity: Validity,
}

impl KeyEntry {
    /// Returns the key, if it lets its client in at `now`.
    ///
    /// # Errors
    /// The reason why the key does not let its client in.
    pub fn valid_key(&self, now: Timestamp) -> Result<&Arc<Key>, KeyFault> {
        self.validity.judge(now).map(|()| &self.key)
    }
}

/// The time in which a digest of a client key lets its client in. The default is always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// Whether the key is switched off.
    pub disabled: bool,
    /// The last moment at which the key is valid; `None` where it does not expire.
    pub not_after: Option<Timestamp>,
    /// The time at which the digest stops counting, since another has replaced it; `None` where it stays.
    pub until: Option<Timestamp>,
}

impl Validity {
    /// Decides whether the key lets its client in at `now`. A fault of the key comes before a fault of
    /// this digest.
    ///
    /// # Errors
    /// The reason why the client is not let in.
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

/// The reason why a request has no client key that lets its client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// The request has no key.
    Missing,
    /// The digest of the request's key is that of no client key.
    Unknown,
    /// The key is switched off.
    Disabled,
    /// The key has expired.
    Expired {
        /// The last moment at which the key was valid.
        at: Timestamp,
    },
    /// This digest has been replaced; its key has another.
    Replaced {
        /// The time at which the digest stopped counting.
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
