//! What a channel is, as configured.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Upstream;
use crate::inspect::SecondsType;
use crate::key::Secret;

/// An upstream account.
#[derive(Debug)]
pub struct Channel {
    /// What the channel is labelled by.
    pub name: Arc<str>,
    /// Where it is.
    pub url: Upstream,
    /// What opens it: non-empty, visible ASCII. There is one exactly where `auth` is not
    /// [`Auth::None`].
    pub credential: Option<Secret>,
    /// How the credential is shown.
    pub auth: Auth,
    /// The models it serves, at least one, each in the catalog.
    pub models: BTreeSet<Arc<str>>,
    /// How a JSON body may write `seconds` for it.
    pub seconds_type: SecondsType,
    /// Whether HTTP/2 is spoken to it.
    pub http2: Http2,
    /// The trust roots of a private channel, in DER; where there are none, the system's.
    pub ca: Vec<Vec<u8>>,
    /// How long a connection may take to be made; with TLS, twice that.
    pub connect_timeout: Duration,
    /// From the last byte of a request to the head of its answer.
    pub answer_timeout: Duration,
    /// Between two reads of an answer, and for one write of a request.
    pub read_timeout: Duration,
    /// How long a pooled connection is kept without use.
    pub idle_timeout: Duration,
}

/// How a channel's credential is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer CREDENTIAL` (RFC 6750, section 2.1).
    Bearer,
    /// The credential as the whole value of that header.
    Header(http::HeaderName),
    /// Not at all: the channel asks for none.
    None,
}

/// Whether HTTP/2 is spoken to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Http2 {
    /// As ALPN finds out under TLS; HTTP/1.1 on a plain URL.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Never,
    /// HTTP/2 only, with prior knowledge on a plain URL.
    Always,
}
