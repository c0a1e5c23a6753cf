//! Shows the validity of the certificates that the gate presents.

use prometheus::{IntGauge, IntGaugeVec};

use super::declare::Declare;

/// The metrics of the certificates that the gate presents: the listener's to clients, and client
/// certificates to channels.
pub struct Certificates {
    not_after: IntGaugeVec,
    reload_successful: IntGauge,
}

/// The `channel` label of the listener's certificate, which belongs to no channel.
const LISTENER: &str = "";

impl Certificates {
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<Self> {
        let reload_successful = d.single(
            "tls_cert_last_reload_successful",
            "0 where the files of the listener's certificate hold another one that cannot be used.",
        )?;
        reload_successful.set(1);
        Ok(Self {
            not_after: d.gauge(
                "tls_cert_not_after_seconds",
                "The last second, since 1970, of the client certificate for a channel, or of the \
                 listener's.",
                &["channel"],
            )?,
            reload_successful,
        })
    }

    /// Shows that the listener's certificate can be used, and its last valid second, in seconds since 1970.
    pub fn set_listener(&self, not_after: u64) {
        self.set(LISTENER, not_after);
        self.reload_successful.set(1);
    }

    /// Shows that the listener's files have a new certificate that cannot be used. The old one stays in use.
    pub fn set_listener_failed(&self) {
        self.reload_successful.set(0);
    }

    /// Shows the last second in which a channel's client certificate is valid, in seconds since 1970. For
    /// `None`, removes the channel's series.
    pub fn set_channel(&self, channel: &str, not_after: Option<u64>) {
        match not_after {
            Some(not_after) => self.set(channel, not_after),
            // An error means that there was no series.
            None => drop(self.not_after.remove_label_values(&[channel])),
        }
    }

    fn set(&self, label: &str, not_after: u64) {
        let not_after = i64::try_from(not_after).unwrap_or(i64::MAX);
        self.not_after.with_label_values(&[label]).set(not_after);
    }
}
