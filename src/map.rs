//! Hash maps for names that the configuration, the gate itself or a channel has given.

use std::collections::HashMap;

/// A map whose hash is seeded and fast. Not for what clients can choose and have inserted:
/// the standard library's hash is the one that stands up to that.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
