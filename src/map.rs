//! `HashMap` and `HashSet` with a faster hash function, for entries that no client can choose: those whose
//! names or ids come from the configuration, from the gate itself or from a channel.

use std::collections::{HashMap, HashSet};

/// A hash map with a fast, seeded hash. Do not use it where clients can choose the entries: unlike the hash
/// of the standard library, this one does not resist entries that were chosen to collide.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A hash set with the same fast, seeded hash.
pub(crate) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
