//! Channels (upstream accounts) as the configuration describes them. No IO.

mod content;
mod operation;
mod proxy;
mod url;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use content::is_public;
pub use content::{ContentHost, ContentUrl, NotFollowed, ParseContentHostError};
pub use operation::{ChannelState, EjectionRules, Probe, Purchase, PurchasePrice};
pub use proxy::{EgressProxy, ParseProxyError};
pub use url::{ParseUrlError, ServerUrl};

use crate::certificate::TlsIdentity;
use crate::dialect::Dialect;
use crate::inspect::SecondsType;
use crate::key::Secret;
use crate::policy::Limit;

/// A channel: an upstream account, with all its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The channel's name, which labels and logs show.
    pub name: Arc<str>,
    /// The URL of the channel's first address.
    pub url: ServerUrl,
    /// Further addresses with the same credential. Requests about a job go to the address that created it.
    pub replicas: Vec<ServerUrl>,
    /// The credential: non-empty, visible ASCII. Present exactly if `auth` is not [`Auth::None`].
    pub credential: Option<Secret>,
    /// The way in which the credential is sent.
    pub auth: Auth,
    /// The models that the channel serves, at least one, each in the catalog.
    pub models: BTreeSet<Arc<str>>,
    /// The JSON types in which the channel takes `seconds`.
    pub seconds_type: SecondsType,
    /// The use of HTTP/2 on connections to the channel.
    pub http2: Http2,
    /// The trust roots of a private channel, in DER; if there are none, the system's are used.
    pub ca: Vec<Vec<u8>>,
    /// The client certificate for mutual TLS, if one is configured.
    pub client_cert: Option<TlsIdentity>,
    /// The egress proxy for all connections to the channel and to its content hosts.
    pub proxy: Option<EgressProxy>,
    /// The maximum time to connect, directly or through a proxy; with TLS the maximum is twice this time.
    pub connect_timeout: Duration,
    /// The maximum time from the last byte of a request to the head of its answer.
    pub answer_timeout: Duration,
    /// The maximum time for the rest of an answer after its head, between two reads of a video, and for
    /// one write of a request.
    pub read_timeout: Duration,
    /// The time after which an unused pooled connection is closed.
    pub idle_timeout: Duration,
    /// The minimum rate of a download in bytes per second, on average over `read_timeout`.
    pub min_download_rate: u64,
    /// The channel's dialect of the API.
    pub dialect: Dialect,
    /// The hosts to which the channel may redirect the gate for a video's bytes.
    pub content_hosts: Vec<ContentHost>,
    /// The channel's tier. A channel gets only the creates that no channel of a lower tier can take.
    pub tier: u32,
    /// The channel's weight in its tier, 1 to 1000. A channel with the weight 80 gets four times the creates
    /// of one with the weight 20.
    pub weight: u32,
    /// The state of the channel: active, draining (no creates), or off (nothing is sent to it).
    pub state: ChannelState,
    /// The limits on the creates that are sent to the channel, counted over all keys.
    pub limits: Vec<Limit>,
    /// The prices that the channel charges the gate's operator, if they are configured.
    pub purchase: Option<Purchase>,
    /// The rules for ejecting the channel when it fails. During the pause that follows, it gets only the
    /// creates that no other channel can take.
    pub ejection: EjectionRules,
    /// The probe that checks whether the channel works, if one is configured.
    pub probe: Option<Probe>,
}

/// The maximum time of each of these waits: for an answer after a write to a channel has failed, for the
/// closing of a connection, and for the end of an answer's body that is discarded.
pub const EARLY_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Channel {
    /// Replaces the channel's credential in `text`, a text from the channel, by `[credential]`: some channels
    /// repeat what they were sent.
    pub fn redacted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.credential {
            Some(credential) if text.contains(credential.expose()) => {
                text.replace(credential.expose(), "[credential]").into()
            }
            _ => text.into(),
        }
    }

    /// Returns the maximum time from the moment when the gate begins to send the last bytes of a create until
    /// it has the whole answer or gives up. After that, no task waits for the answer. Each wait in this time
    /// has a total deadline, in `upstream/exchange.rs`.
    pub fn create_timeout(&self) -> Duration {
        let last_bytes = self.read_timeout;
        let rest_of_answer = self.read_timeout;
        let waits = last_bytes + self.answer_timeout + rest_of_answer;
        // The early answer after a failed write, and the closing.
        waits + EARLY_RESPONSE_TIMEOUT * 2
    }

    /// Returns all addresses of the channel.
    pub fn addresses(&self) -> impl Iterator<Item = &ServerUrl> {
        std::iter::once(&self.url).chain(&self.replicas)
    }

    /// Makes the settings for another server that holds a video of this channel: it gets neither the
    /// credential nor the client certificate.
    pub fn content_server(&self, url: ServerUrl) -> Self {
        Self {
            name: self.name.clone(),
            url,
            replicas: Vec::new(),
            credential: None,
            auth: Auth::None,
            models: BTreeSet::new(),
            seconds_type: SecondsType::default(),
            http2: Http2::Auto,
            ca: self.ca.clone(),
            client_cert: None,
            proxy: self.proxy.clone(),
            connect_timeout: self.connect_timeout,
            answer_timeout: self.answer_timeout,
            read_timeout: self.read_timeout,
            idle_timeout: self.idle_timeout,
            min_download_rate: self.min_download_rate,
            dialect: Dialect::default(),
            content_hosts: Vec::new(),
            tier: 0,
            weight: 1,
            state: ChannelState::default(),
            limits: Vec::new(),
            purchase: None,
            ejection: EjectionRules::default(),
            probe: None,
        }
    }
}

/// The way in which a channel's credential is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer CREDENTIAL` (RFC 6750, section 2.1).
    Bearer,
    /// The credential as the whole value of the header with this name.
    Header(http::HeaderName),
    /// No credential is sent: the channel asks for none.
    None,
}

/// The use of HTTP/2 on connections to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Http2 {
    /// HTTP/2 or HTTP/1.1 as ALPN negotiates with TLS; HTTP/1.1 for an `http://` URL.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Never,
    /// HTTP/2 only; for an `http://` URL with prior knowledge.
    Always,
}

#[cfg(test)]
impl Channel {
    /// Makes a channel named `name`, for tests that do not depend on the other settings.
    pub(crate) fn named(name: &str) -> Self {
        let url = ServerUrl::parse("http://127.0.0.1:8081").unwrap();
        let second = Duration::from_secs(1);
        Self {
            name: name.into(),
            url,
            replicas: Vec::new(),
            credential: None,
            auth: Auth::None,
            models: BTreeSet::new(),
            seconds_type: SecondsType::default(),
            http2: Http2::Auto,
            ca: vec![],
            client_cert: None,
            proxy: None,
            connect_timeout: second,
            answer_timeout: second,
            read_timeout: second,
            idle_timeout: second,
            min_download_rate: 1024,
            dialect: Dialect::default(),
            content_hosts: vec![],
            tier: 0,
            weight: 1,
            state: ChannelState::Active,
            limits: vec![],
            purchase: None,
            ejection: EjectionRules::default(),
            probe: None,
        }
    }
}
