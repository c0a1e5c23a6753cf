//! Describes channels, the upstream accounts, as the configuration has them. No IO.

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

/// An upstream account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What the channel is labelled by.
    pub name: Arc<str>,
    /// Where it is.
    pub url: ServerUrl,
    /// Further addresses of it, with the same credential: each job is asked for where it was made.
    pub replicas: Vec<ServerUrl>,
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
    /// What the gate proves itself by in TLS (mTLS), where the channel asks for that.
    pub client_cert: Option<TlsIdentity>,
    /// What it is connected to through, its content hosts included.
    pub proxy: Option<EgressProxy>,
    /// How long a connection may take to be made, through a proxy as well; with TLS, twice that.
    pub connect_timeout: Duration,
    /// From the last byte of a request to the head of its answer.
    pub answer_timeout: Duration,
    /// For the rest of an answer after its head, between two reads of a video, and for one write
    /// of a request.
    pub read_timeout: Duration,
    /// How long a pooled connection is kept without use.
    pub idle_timeout: Duration,
    /// The fewest bytes of a video in a second, on average over `read_timeout`.
    pub min_download_rate: u64,
    /// How it spells the API.
    pub dialect: Dialect,
    /// Where its redirects for a video may lead.
    pub content_hosts: Vec<ContentHost>,
    /// Which tier it is in: the next tier takes what no channel of a lower one can take.
    pub tier: u32,
    /// Its weight among the channels of its tier, 1 to 1000: one of 80 gets four times the creates of
    /// one of 20.
    pub weight: u32,
    /// Whether it takes creates, and is asked for its jobs.
    pub state: ChannelState,
    /// How much may be asked of it.
    pub limits: Vec<Limit>,
    /// What it charges.
    pub purchase: Option<Purchase>,
    /// For how long it gets no creates after it has failed.
    pub ejection: EjectionRules,
    /// How it is asked whether it works, where it is asked at all.
    pub probe: Option<Probe>,
}

/// How long an answer is waited for after a write to a channel has failed, and how long closing its
/// connection may take.
pub const EARLY_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Channel {
    /// Replaces the channel's credential in a text of the channel's: some repeat what they were sent.
    pub fn redacted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.credential {
            Some(credential) if text.contains(credential.expose()) => {
                text.replace(credential.expose(), "[credential]").into()
            }
            _ => text.into(),
        }
    }

    /// **The** bound of a create: from the moment when its last bytes are let go to the moment when
    /// its answer is there as a whole, or is given up. What is pending for longer is nobody's any
    /// more: each wait that makes it up has a total deadline, in `upstream/exchange.rs`.
    pub fn create_timeout(&self) -> Duration {
        let last_bytes = self.read_timeout;
        let rest_of_answer = self.read_timeout;
        let waits = last_bytes + self.answer_timeout + rest_of_answer;
        // What the channel has to say after a failed write, and the closing.
        waits + EARLY_RESPONSE_TIMEOUT * 2
    }

    /// Lists all addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &ServerUrl> {
        std::iter::once(&self.url).chain(&self.replicas)
    }

    /// Makes another server that has a video of this channel's: nothing shows it the credential or
    /// the client certificate.
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

#[cfg(test)]
impl Channel {
    /// Makes a channel of that name, for tests of what does not depend on the rest.
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
