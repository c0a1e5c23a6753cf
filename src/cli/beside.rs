//! What the commands have in common that use a ledger beside the gates.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp as Time;
use tokio::time::timeout;

use crate::policy::Timestamp;

/// How long a ledger is waited for.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// What there is to say of a ledger in memory.
pub(super) const IN_MEMORY: &str = "the ledger is in memory: nobody but its gate can use it, and it \
     is gone with that: this command wants `ledger: sqlite:PATH` or `postgres://...`";

/// Runs what a command does to a ledger, for up to [`WITHIN`].
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

/// Writes a time as RFC 3339.
pub(super) fn shown(time: Timestamp) -> String {
    let time = i64::try_from(time.0).ok();
    let time = time.and_then(|ms| Time::from_millisecond(ms).ok());
    time.map_or_else(|| "?".into(), |time| format!("{time:.3}"))
}

/// Returns the time.
pub(super) fn now() -> Timestamp {
    Timestamp(u64::try_from(Time::now().as_millisecond()).unwrap_or_default())
}

/// Returns the name of this host; empty where it is not known.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
