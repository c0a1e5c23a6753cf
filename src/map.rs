//! Hash maps and sets for names that the configuration, the gate itself or a channel gives.

use std::collections::{HashMap, HashSet};

/// A map with a fast, seeded hash. Do not use it for keys that clients can choose and insert: the
/// standard library's hash resists those.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A set with the same fast, seeded hash.
pub(crate) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
