//! The error of a ledger that cannot be used: the reason, and whether a retry can help.

use std::error::Error;
use std::sync::Arc;

/// The error of a ledger that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger is unavailable: {reason}")]
pub struct Unavailable {
    reason: String,
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
    transient: bool,
}

impl Unavailable {
    /// Makes the error of a failure that may pass by itself, such as a database that cannot be reached.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            source: None,
            transient: true,
        }
    }

    /// Makes the error of a failure that lasts until somebody has repaired its cause.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            transient: false,
            ..Self::transient(reason)
        }
    }

    /// Adds `source`, the error that caused this one. Both are printed together, so `source` must contain no
    /// secret and no data of the ledger.
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Returns whether a repetition of the same call may succeed although nobody has repaired anything.
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

/// Compares the reason and whether a retry can help. The source is not compared.
impl PartialEq for Unavailable {
    fn eq(&self, other: &Self) -> bool {
        (&self.reason, self.transient) == (&other.reason, other.transient)
    }
}

impl Eq for Unavailable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_cause_and_whether_a_retry_can_help() {
        let full = std::io::Error::other("no space left");
        let error = Unavailable::permanent("the disk is full").with_source(full);
        assert_eq!(
            error.to_string(),
            "the ledger is unavailable: the disk is full"
        );
        assert_eq!(error.source().unwrap().to_string(), "no space left");
        assert!(!error.is_transient());
        assert_eq!(error, Unavailable::permanent("the disk is full"));
        assert_ne!(error, Unavailable::transient("the disk is full"));
    }
}
