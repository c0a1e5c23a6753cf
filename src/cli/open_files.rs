//! Raises the limit of open files at the start, and checks whether the bounds fit into it.
//!
//! A gate that reaches the limit cannot accept connections, nor connect to channels. Many systems start
//! processes with a soft limit of 1,024 (for the sake of programs that call `select`) and a hard limit of
//! hundreds of thousands.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Bounds;

/// The number of open files that the process needs besides clients' connections and uploads: for the
/// ledger, listeners, the gate's own requests to channels, and the runtime.
const OWN: u64 = 64;

/// Raises the soft limit to the hard limit, and returns the resulting limit; `None` if the system does
/// not report the limit.
pub(super) fn raise_limit() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft == hard {
        return Some(soft);
    }
    // Some systems (macOS) have a limit even lower than the one reported here.
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        log::warn!("the limit of open files stays {soft}, it cannot be raised to {hard}: {error}");
        return Some(soft);
    }
    log::info!("limit of open files raised from {soft} to {hard}");
    Some(hard)
}

/// The error that the bounds need more open files than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "at most {limit} files may be open, too few for bounds.connections ({connections}) \
     + 2 x bounds.concurrent_uploads ({uploads}) + {OWN} of the gate's own: only \
     {fitting} client connections are kept open at once. Raise the hard limit \
     (LimitNOFILE= of systemd, --ulimit nofile= of Docker, ulimit -Hn), or lower the \
     bounds"
)]
pub(super) struct TooFewFiles {
    limit: u64,
    connections: u64,
    uploads: u64,
    /// The number of client connections that can be open at once, each with a connection to a channel.
    pub(super) fitting: usize,
}

/// Checks that the configured bounds fit into `limit`, the limit of open files.
///
/// Besides its client's connection, each upload needs one to a channel. `concurrent_uploads` counts twice:
/// once for large bodies and once for small ones. A client may make several uploads over one HTTP/2
/// connection, so the maximum number of connections does not bound the uploads.
pub(super) fn check(limit: u64, bounds: &Bounds) -> Result<(), TooFewFiles> {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let connections = count(bounds.connections);
    let uploads = count(bounds.concurrent_uploads);
    let needed = uploads.saturating_mul(2).saturating_add(connections);
    if needed.saturating_add(OWN) <= limit {
        return Ok(());
    }
    let fitting = (limit.saturating_sub(OWN) / 2).clamp(1, connections);
    Err(TooFewFiles {
        limit,
        connections,
        uploads,
        fitting: usize::try_from(fitting).unwrap_or(bounds.connections),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_fit_into_the_limit_or_fewer_connections_do() {
        let bounds = |connections, concurrent_uploads| Bounds {
            connections,
            concurrent_uploads,
            ..Bounds::default()
        };
        let fitting = |limit, bounds| check(limit, &bounds).err().map(|few| few.fitting);
        assert_eq!(fitting(10_000 + 2 * 1024 + 64, bounds(10_000, 1024)), None);
        assert_eq!(fitting(u64::MAX, bounds(usize::MAX, usize::MAX)), None);
        assert_eq!(
            fitting(10_000 + 2 * 1024 + 63, bounds(10_000, 1024)),
            Some(6023)
        );
        assert_eq!(fitting(256, bounds(10_000, 1024)), Some(96));
        assert_eq!(fitting(4096, bounds(500, 4000)), Some(500));
        assert_eq!(fitting(20, bounds(10_000, 1024)), Some(1));
        let few = check(256, &bounds(10_000, 1024)).unwrap_err().to_string();
        assert!(few.contains("only 96 client connections"), "{few}");
    }
}
