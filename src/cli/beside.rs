//! Helpers of the commands that use a ledger while gates may be running.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp as Time;
use tokio::time::timeout;

use crate::policy::Timestamp;

/// The maximum time that a command waits for the ledger.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// The error message for a command that needs a ledger outside of a gate's memory.
pub(super) const IN_MEMORY: &str = "the ledger is in memory: nobody but its gate can use it, and it \
     is gone with that: this command wants `ledger: sqlite:PATH` or `postgres://...`";

/// Runs a command's work on a ledger. Fails if the work takes longer than [`WITHIN`].
pub(super) fn run<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let done = runtime.block_on(async {
        let done = timeout(WITHIN, work).await;
        done.unwrap_or_else(|_| Err("the ledger does not answer in time".into()))
    });
    runtime.shutdown_background();
    done
}

/// Formats a time as RFC 3339 in UTC, with milliseconds; `?` if the time is out of range.
pub(super) fn shown(time: Timestamp) -> String {
    let time = i64::try_from(time.0).ok();
    let time = time.and_then(|ms| Time::from_millisecond(ms).ok());
    time.map_or_else(|| "?".into(), |time| format!("{time:.3}"))
}

/// Returns the current time of the machine's clock.
pub(super) fn now() -> Timestamp {
    Timestamp(u64::try_from(Time::now().as_millisecond()).unwrap_or_default())
}

/// Returns the name of this host; empty if it is not known.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
