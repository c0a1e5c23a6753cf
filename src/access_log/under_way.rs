//! The register of requests that have not ended, which a stopping gate logs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use super::RequestRecord;

/// The number of parts of the register. Each part has a lock of its own, so that threads seldom wait for
/// each other.
const PARTS: usize = 16;

/// The register of the requests under way.
#[derive(Default)]
pub(crate) struct UnderWay {
    parts: [Mutex<Slab<Arc<RequestRecord>>>; PARTS],
    next: AtomicUsize,
}

/// The entry of one request in the register, removed when this value is dropped.
pub(crate) struct Entered<'a> {
    part: &'a Mutex<Slab<Arc<RequestRecord>>>,
    slot: usize,
}

impl UnderWay {
    /// Registers a request until the returned entry is dropped.
    pub(crate) fn enter(&self, record: &Arc<RequestRecord>) -> Entered<'_> {
        let part = &self.parts[self.next.fetch_add(1, Ordering::Relaxed) % PARTS];
        let slot = locked(part).insert(record.clone());
        Entered { part, slot }
    }

    /// Describes at most `most` requests that have not ended, the oldest first.
    pub(crate) fn describe(&self, most: usize) -> Vec<String> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(locked(part).iter().map(|(_, record)| record.clone()));
        }
        all.sort_by_key(|record| record.began);
        let all = all.into_iter().take(most);
        all.map(|record| record.description()).collect()
    }
}

/// Locks a part. No panic can leave it half-written, so the content of a poisoned lock is used unchanged.
fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        locked(self.part).try_remove(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::HeaderValue;

    use super::*;
    use crate::policy::Timestamp;

    #[test]
    fn what_has_ended_is_not_under_way() {
        let register = UnderWay::default();
        let record = |id| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", HeaderValue::from_static(id));
            Arc::new(RequestRecord::new(&headers, None, Timestamp(1), |_| false))
        };
        let first = register.enter(&record("first"));
        let _second = register.enter(&record("second"));
        let _third = register.enter(&record("third"));
        drop(first);
        let [only] = <[String; 1]>::try_from(register.describe(1)).unwrap();
        assert!(only.starts_with("request second, since "), "{only}");
        assert_eq!(register.describe(9).len(), 2);
    }
}
