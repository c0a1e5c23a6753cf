//! Hash maps and sets for keys that clients cannot choose: names from the configuration, from the gate
//! itself or from a channel.

use std::collections::{HashMap, HashSet};

/// A map with a fast, seeded hash. Do not use it for keys that clients can choose and insert: unlike the
/// standard library's hash, this one does not resist keys that were chosen to collide.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A set with the same fast, seeded hash.
pub(crate) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
