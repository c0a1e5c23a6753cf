//! Enforces a minimum rate on uploads from clients, and on downloads of videos from channels.

use std::time::Duration;

/// Measures the rate of a sender over windows of time. Only the time in which the gate waits for the sender
/// counts: the sender is not at fault while the receiver reads nothing.
#[derive(Debug)]
pub(crate) struct MinRate {
    /// The minimum rate, in bytes per second.
    rate: u64,
    /// The length of a window: the rate is checked each time that the gate has waited this long in total.
    window: Duration,
    waited: Duration,
    bytes: u64,
}

/// The error of a sender that is slower than the minimum rate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl MinRate {
    pub(crate) fn new(rate: u64, window: Duration) -> Self {
        Self {
            rate,
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Records that `bytes` bytes came after the gate had waited for the sender for the time `waited`.
    ///
    /// # Errors
    /// Fails at the end of a window in which fewer bytes came than the minimum rate demands.
    pub(crate) fn record_bytes(&mut self, bytes: u64, waited: Duration) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.window {
            return Ok(());
        }
        let wanted = u128::from(self.rate) * self.waited.as_millis();
        if u128::from(self.bytes) * 1000 < wanted {
            return Err(TooSlow);
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_judged_by_windows_of_waiting() {
        let pace = || MinRate::new(100, 10 * SECOND);
        // Nothing is judged before a window is over.
        let mut silent = pace();
        assert_eq!(silent.record_bytes(1, 9 * SECOND), Ok(()));
        assert_eq!(silent.record_bytes(1, SECOND), Err(TooSlow));
        let mut steady = pace();
        for _ in 0..100 {
            assert_eq!(steady.record_bytes(300, 3 * SECOND), Ok(()));
        }
        // Fast bytes in one window do not make up for a later window.
        let mut falls = pace();
        assert_eq!(falls.record_bytes(1 << 20, 10 * SECOND), Ok(()));
        assert_eq!(falls.record_bytes(500, 5 * SECOND), Ok(()));
        assert_eq!(falls.record_bytes(499, 5 * SECOND), Err(TooSlow));
        // The bytes after a pause make up for it within the same window.
        let mut pauses = pace();
        assert_eq!(pauses.record_bytes(0, 9 * SECOND), Ok(()));
        assert_eq!(pauses.record_bytes(1000, SECOND), Ok(()));
        // Bytes that are at hand cost no wait.
        let mut at_hand = pace();
        assert_eq!(at_hand.record_bytes(0, 9 * SECOND), Ok(()));
        assert_eq!(at_hand.record_bytes(1000, Duration::ZERO), Ok(()));
        assert_eq!(at_hand.record_bytes(0, SECOND), Ok(()));
    }
}
