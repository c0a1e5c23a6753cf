//! The error of a catalog that is not valid.

/// The reason why a part of a catalog is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A duration that is not a whole number of seconds from 1 to 3600, in digits without a leading zero.
    #[error("`{0}` is no duration: write whole seconds from 1 to 3600, such as \"4\"")]
    BadSeconds(String),
    /// A size that is not `WIDTHxHEIGHT`, where each is from 1 to 65535 pixels, in digits without a leading
    /// zero.
    #[error("`{0}` is no size: write WIDTHxHEIGHT, such as 1280x720")]
    BadSize(String),
    /// A default that is not among the values on offer.
    #[error("the default `{0}` is not among what is on offer: add it or change it")]
    DefaultNotOffered(String),
    /// An entry that occurs twice.
    #[error("`{0}` stands here twice: remove one")]
    Twice(String),
    /// An empty list where at least one entry is required.
    #[error("no {0} on offer: name at least one")]
    Empty(&'static str),
    /// A model whose longest duration in its most expensive size costs more than
    /// [`Amount::MAX`](crate::money::Amount::MAX).
    #[error("the cost of `{0}` is larger than any amount can be")]
    TooExpensive(String),
}
