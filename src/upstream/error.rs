//! The errors of requests to channels.

use std::io;

use nix::errno::Errno;
use pingora::protocols::Digest;
use thiserror::Error;

use super::proxy::ProxyError;
use crate::ledger::ChannelAnswer;

/// The reason why a request to a channel got no answer, or only a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UpstreamError {
    /// No connection was made, the head of the request could not be written, or the channel refused the
    /// gate's client certificate, or asked for one. The channel has read no byte of the body.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer came in time, or only a part of one.
    #[error("no answer in time")]
    Timeout,
    /// The channel broke off the request or its answer.
    #[error("{}", match answer_begun {
        true => "its answer cannot be read to its end",
        false => "no answer",
    })]
    Broken {
        /// Whether the channel broke off after its answer had begun, so that a stale pooled connection was
        /// not the cause; `false` where it broke off before.
        answer_begun: bool,
    },
}

impl UpstreamError {
    /// Returns the error as the ledger keeps it for disputes.
    pub(crate) fn evidence(&self) -> ChannelAnswer {
        ChannelAnswer {
            error: Some(self.to_string().into()),
            ..ChannelAnswer::default()
        }
    }

    /// Returns the error's value of the label `kind` in the metric `channel_errors_total`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind,
            Self::Timeout => "timeout",
            Self::Broken { .. } => "broken",
        }
    }
}

/// The reason why a channel cannot be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub(crate) struct ConnectError {
    /// The kind of the failure in metrics: `resolve` (the channel's host name cannot be resolved), `connect`
    /// (no connection was made, or the head could not be written to it) or `account` (the channel refuses
    /// the gate's client certificate, or asks for one).
    pub(crate) kind: &'static str,
    /// The description of the failure for operators, without anything that was sent.
    pub(crate) reason: String,
    /// Whether a pooled connection was used, which the channel may have closed meanwhile.
    pub(crate) was_pooled: bool,
    /// Whether the cause is that the gate's process or system may open no more files: the channel may work.
    pub(crate) is_local: bool,
}

impl ConnectError {
    /// The kind of a failure where the channel refuses the gate's client certificate, or asks for one: the
    /// channel does not know the gate's account.
    pub(super) const REFUSED_CLIENT: &str = "account";

    /// Makes the error of a handshake that the channel has broken off because it got no client
    /// certificate that it accepts.
    pub(super) fn refused_client() -> Self {
        Self {
            kind: Self::REFUSED_CLIENT,
            reason: "it refuses the gate's client certificate, or asks for one: see `client_cert`"
                .into(),
            was_pooled: false,
            is_local: false,
        }
    }

    /// Makes the error of a host name that cannot be resolved, for `reason`.
    pub(super) fn unresolved(reason: String) -> Self {
        Self {
            kind: "resolve",
            reason,
            was_pooled: false,
            is_local: false,
        }
    }
}

impl From<Box<pingora::Error>> for ConnectError {
    /// Converts an error of Pingora, and keeps only its type, since its text could repeat the head. The text
    /// of a [`ProxyError`] is kept.
    fn from(error: Box<pingora::Error>) -> Self {
        let cause = error.root_cause();
        let of_proxy = cause.downcast_ref::<ProxyError>();
        let cause = match of_proxy {
            Some(ProxyError::Unreachable(cause)) => Some(cause),
            _ => cause.downcast_ref::<io::Error>(),
        };
        let code = cause.and_then(io::Error::raw_os_error);
        let shortages = [Errno::EMFILE, Errno::ENFILE].map(|errno| errno as i32);
        let is_local = code.is_some_and(|code| shortages.contains(&code));
        Self {
            kind: "connect",
            reason: match of_proxy {
                _ if is_local => "no more files may be open here".to_owned(),
                Some(of_proxy) => of_proxy.to_string(),
                None => error.etype().as_str().to_owned(),
            },
            was_pooled: false,
            is_local,
        }
    }
}

/// Returns whether reading has failed because the channel refuses the gate's client certificate, or asks for
/// one. The channel then sends a TLS alert, and processes nothing that was sent on the connection. With TLS
/// 1.3 the gate gets this alert only when it reads (RFC 8446, section 4.4.2.4). With older versions it comes
/// before anything is sent, so that such an alert during a read proves nothing: the result is `false`.
///
/// The alert is recognised by the text of rustls's error, since the HTTP/2 client keeps no more of the cause.
/// `tests/tls.rs` fails if that text changes.
pub(super) fn is_client_refused(error: &pingora::Error, connection: Option<&Digest>) -> bool {
    let tls = connection.and_then(|connection| connection.ssl_digest.as_ref());
    if !tls.is_some_and(|tls| matches!(&*tls.version, "TLSv1_3" | "TLSv1.3")) {
        return false;
    }
    const ALERTS: [&str; 8] = [
        "AccessDenied",
        "BadCertificate",
        "CertificateExpired",
        "CertificateRequired",
        "CertificateRevoked",
        "CertificateUnknown",
        "UnknownCA",
        "UnsupportedCertificate",
    ];
    let cause = error.root_cause().to_string();
    let alert = cause.strip_prefix("received fatal alert: ");
    alert.is_some_and(|alert| ALERTS.contains(&alert))
}

/// The reason why a query about a channel's jobs has no usable answer. It has been counted and logged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum QueryError {
    /// The channel gave no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The channel refuses the gate's account (401 to 403), or its rate limit is reached (429).
    #[error("the channel refuses to be asked")]
    Refused,
    /// The channel has no such job.
    #[error("the channel has no such job")]
    NotFound,
    /// The channel's answer does not contain what was asked for: its body is not in the expected form, or
    /// its status is another error than those above.
    #[error("the channel's answer cannot be read")]
    Unreadable,
}

impl QueryError {
    /// Returns whether the channel cannot be connected to or refuses queries, so that queries about other
    /// jobs would fail now as well.
    pub(crate) fn is_channel_down(&self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Upstream(UpstreamError::Connect(_))
        )
    }

    /// Returns whether the channel gave no whole answer in time, or broke off.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::Upstream(UpstreamError::Timeout | UpstreamError::Broken { .. })
        )
    }
}
