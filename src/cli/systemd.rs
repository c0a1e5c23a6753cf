//! The interface to systemd: sockets, readiness, the watchdog.
//!
//! Without systemd nothing here has an effect, since the environment variables that request it are not set.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// Notifies systemd of the state of the service. A failure is logged.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    // The variables are not removed: other threads may read the environment.
    if let Err(error) = sd_notify::notify(false, states) {
        log::warn!("systemd was not told how the gate stands: {error}");
    }
}

/// Notifies systemd that a reload begins; [`NotifyState::Ready`] ends it.
pub(super) fn notify_reloading() {
    let states = NotifyState::monotonic_usec_now().map(|at| [NotifyState::Reloading, at]);
    match states {
        Ok(states) => notify(&states),
        Err(error) => log::warn!("systemd was not told of a reload: {error}"),
    }
}

/// Starts a task that notifies systemd's watchdog for as long as the runtime works. `None` if systemd does
/// not request it (`WatchdogSec`).
pub(super) fn watch() -> Option<JoinHandle<()>> {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) || micros == 0 {
        return None;
    }
    let limit = Duration::from_micros(micros);
    // Twice in each interval, as sd_watchdog_enabled(3) recommends.
    let mut ticks = tokio::time::interval(limit / 2);
    Some(tokio::spawn(async move {
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    }))
}

/// The listening sockets that systemd passed to the process (`LISTEN_FDS`): connections wait in them
/// while no gate runs.
pub(super) struct Activated(Vec<TcpListener>);

impl Activated {
    /// Takes all TCP sockets that systemd passed to the process; none if it passed none.
    pub(super) fn take() -> Self {
        let mut given = ListenFd::from_env();
        let count = given.len();
        let listeners = (0..count).filter_map(|index| match given.take_tcp_listener(index) {
            Ok(listener) => listener,
            Err(error) => {
                log::warn!("socket {index} of those that systemd gave is of no use: {error}");
                None
            }
        });
        Self(listeners.collect())
    }

    /// Removes and returns the socket for the configured `address`; `None` if systemd passed no such socket.
    pub(super) fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().map(|listener| listener.local_addr().ok());
        let index = choose(found, address)?;
        Some(self.0.swap_remove(index))
    }

    /// Returns the addresses of the sockets that were not taken.
    pub(super) fn left(&self) -> Vec<SocketAddr> {
        let left = self.0.iter();
        left.filter_map(|listener| listener.local_addr().ok())
            .collect()
    }
}

/// Returns the place in `found` of the socket for the configured address `wanted`. If no socket is bound to
/// `wanted` itself, one that is bound to `[::]` also serves `0.0.0.0`. The exact address comes first, because
/// systemd may have opened the socket at `[::]` for IPv6 alone.
fn choose(
    found: impl Iterator<Item = Option<SocketAddr>> + Clone,
    wanted: SocketAddr,
) -> Option<usize> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, wanted.port()));
    let place = |address| found.clone().position(|found| found == Some(address));
    place(wanted).or_else(|| place(any).filter(|_| wanted.ip().is_unspecified()))
}

/// Asks systemd not to kill this process, which is stopping, until the time `by` from now.
pub(super) fn extend_stop(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_the_address_of_the_configuration() {
        for (found, wanted, place) in [
            (&["127.0.0.1:80"][..], "127.0.0.1:80", Some(0)),
            (&["[::]:80"], "0.0.0.0:80", Some(0)),
            (&["[::]:80", "0.0.0.0:80"], "0.0.0.0:80", Some(1)),
            (&["127.0.0.1:80"], "0.0.0.0:80", None),
            (&["0.0.0.0:80"], "127.0.0.1:80", None),
            (&["[::]:80"], "127.0.0.1:80", None),
            (&["0.0.0.0:80"], "[::]:80", None),
            (&["[::]:80"], "[::]:81", None),
            (&[], "[::]:80", None),
        ] {
            let found = found.iter().map(|found| Some(found.parse().unwrap()));
            let chosen = choose(found, wanted.parse().unwrap());
            assert_eq!(chosen, place, "{wanted}");
        }
    }

    #[test]
    fn each_socket_is_taken_once() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (bind(), bind());
        let [at_one, at_other] = [&one, &other].map(|socket| socket.local_addr().unwrap());
        let mut given = Activated(vec![one, other]);
        assert!(given.at(at_one).is_some());
        assert!(given.at(at_one).is_none());
        assert_eq!(given.left(), [at_other]);
    }
}
