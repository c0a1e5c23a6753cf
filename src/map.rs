//! Hash maps and sets for names that the configuration, the gate itself or a channel has given.

use std::collections::{HashMap, HashSet};

/// A map whose hash is seeded and fast. Not for what clients can choose and have inserted:
/// the standard library's hash is the one that stands up to that.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A set of that kind.
pub(crate) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
