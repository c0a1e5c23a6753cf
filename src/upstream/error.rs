//! Names the ways in which a request to a channel fails.

use std::io;

use nix::errno::Errno;
use thiserror::Error;

use crate::ledger::ChannelAnswer;

/// Why a request to a channel has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UpstreamError {
    /// No connection, or one that did not take the head. No byte of a body has left.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer, or not all of it, within the time.
    #[error("no answer in time")]
    Timeout,
    /// The channel broke off.
    #[error("{}", match answer_begun {
        true => "its answer cannot be read to its end",
        false => "no answer",
    })]
    Broken {
        /// In its answer, rather than before it: a stale pooled connection was not the cause.
        answer_begun: bool,
    },
}

impl UpstreamError {
    /// Describes it for disputes.
    pub(crate) fn evidence(&self) -> ChannelAnswer {
        ChannelAnswer {
            error: Some(self.to_string().into()),
            ..ChannelAnswer::default()
        }
    }

    /// The label of its kind in `channel_errors_total`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind,
            Self::Timeout => "timeout",
            Self::Broken { .. } => "broken",
        }
    }
}

/// Why a channel cannot be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub(crate) struct ConnectError {
    /// `resolve` or `connect`, as the metrics label it.
    pub(crate) kind: &'static str,
    /// What went wrong, without what was sent.
    pub(crate) reason: String,
    /// Whether a pooled connection was used, which the channel may have closed meanwhile.
    pub(crate) was_pooled: bool,
    /// Whether this process may open no more files, which is no fault of the channel's.
    pub(crate) is_local: bool,
}

impl ConnectError {
    /// Describes a name that cannot be resolved.
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
    /// Keeps the kind of Pingora's error only: its text could repeat what stands in the head.
    fn from(error: Box<pingora::Error>) -> Self {
        let cause = error.root_cause().downcast_ref::<io::Error>();
        let code = cause.and_then(io::Error::raw_os_error);
        let shortages = [Errno::EMFILE, Errno::ENFILE].map(|errno| errno as i32);
        let is_local = code.is_some_and(|code| shortages.contains(&code));
        Self {
            kind: "connect",
            reason: match is_local {
                true => "no more files may be open here".to_owned(),
                false => error.etype().as_str().to_owned(),
            },
            was_pooled: false,
            is_local,
        }
    }
}

/// Names why a question about a channel's jobs has no usable answer. It has been counted and logged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum QueryError {
    /// There is no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The channel refuses the gate's account, or asks it to come back later.
    #[error("the channel refuses to be asked")]
    Refused,
    /// The channel has no such job.
    #[error("the channel has no such job")]
    NotFound,
    /// The channel answered with something else.
    #[error("the channel's answer cannot be read")]
    Unreadable,
}

impl QueryError {
    /// Whether asking the channel about other jobs is of no use now.
    pub(crate) fn is_channel_down(&self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Upstream(UpstreamError::Connect(_))
        )
    }

    /// Whether the channel gave no whole answer in time, or broke off.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::Upstream(UpstreamError::Timeout | UpstreamError::Broken { .. })
        )
    }
}
