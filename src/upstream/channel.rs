//! Keeps what is known of a channel while the gate runs: its addresses, whether it can be
//! reached, and the headers that open it.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::FixedState;
use http::{HeaderName, HeaderValue, header};
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};

use super::channel_clock::ChannelClock;
use crate::channel::{Auth, Channel, ContentUrl, Http2, is_public};
use crate::policy::Timestamp;

/// How long a name's addresses are used before they are looked up again.
const RESOLVED_FOR_MS: u64 = 30_000;
/// How long a channel that could not be reached is asked last: this, doubled for each
/// failure in a row up to the second value.
pub(super) const DOWN_FOR_MS: u64 = 500;
const MAX_DOWN_MS: u64 = 30_000;

/// Holds a channel and what is known of its state.
#[derive(Debug)]
pub struct LiveChannel {
    spec: Arc<Channel>,
    /// See [`LiveChannel::identity`]; `None` where what was configured fits no header.
    identity: Option<Vec<(HeaderName, HeaderValue)>>,
    ca: Option<Arc<CaType>>,
    /// A hash of the trust roots, to tell connections apart by.
    trust: u64,
    resolved: Mutex<Resolved>,
    in_flight: AtomicUsize,
    failures: AtomicU64,
    /// Which address is used: the next one after each failure, and no other until then.
    address_index: AtomicUsize,
    down_until: AtomicU64,
    /// How many jobs a page of its list is asked for, at most.
    page_size: AtomicUsize,
    /// Whether addresses that are not public are left out.
    public_only: bool,
    clock: ChannelClock,
    /// Status words whose meaning is not known, and which the log has named.
    unknown_words: Mutex<HashSet<Arc<str>>>,
}

#[derive(Debug, Default, Clone)]
struct Resolved {
    peers: Arc<[Arc<HttpPeer>]>,
    at: Timestamp,
}

/// Counts a request as in flight on its channel until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<LiveChannel>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A channel's name could not be resolved.
#[derive(Debug)]
pub struct Unresolved {
    /// What the resolver said.
    pub reason: String,
}

impl LiveChannel {
    pub(super) fn new(spec: Arc<Channel>) -> Arc<Self> {
        Self::made(spec, false)
    }

    /// Makes the server that a redirect of the channel's leads to.
    pub fn content_server(&self, url: &ContentUrl) -> Arc<Self> {
        let spec = self.spec.content_server(url.server.clone());
        Self::made(Arc::new(spec), url.public_only)
    }

    fn made(spec: Arc<Channel>, public_only: bool) -> Arc<Self> {
        let roots = spec
            .ca
            .iter()
            .map(|der| WrappedX509::new(der.clone(), parse_x509));
        let roots: Arc<CaType> = roots.collect();
        Arc::new(Self {
            ca: (!roots.is_empty()).then_some(roots),
            trust: FixedState::default().hash_one(&spec.ca),
            identity: identity(&spec),
            spec,
            resolved: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            address_index: AtomicUsize::new(0),
            down_until: AtomicU64::new(0),
            page_size: AtomicUsize::new(usize::MAX),
            public_only,
            clock: ChannelClock::default(),
            unknown_words: Mutex::default(),
        })
    }

    /// The channel as configured.
    pub fn spec(&self) -> &Arc<Channel> {
        &self.spec
    }

    /// Whether the channel could be reached when it was last tried, or may be again.
    pub fn is_up(&self, now: Timestamp) -> bool {
        self.down_until.load(Ordering::Relaxed) <= now.0
    }

    /// What its clock shows.
    pub(crate) fn clock(&self) -> &ChannelClock {
        &self.clock
    }

    /// Which of the channel's addresses this is, where it has several.
    pub(crate) fn address(&self) -> Option<&Arc<str>> {
        None
    }

    /// How many requests are in flight here.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request as in flight here.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Notes that the channel was reached.
    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.down_until.store(0, Ordering::Relaxed);
    }

    /// Notes that the channel could not be reached: it is chosen last for a while.
    pub fn failed(&self, now: Timestamp) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        let pause = (DOWN_FOR_MS << failures).min(MAX_DOWN_MS);
        self.down_until.store(now.0 + pause, Ordering::Relaxed);
        // Another address may answer, of those known or of those that the name has by now.
        self.address_index.fetch_add(1, Ordering::Relaxed);
        self.lock_resolved().at = Timestamp(0);
    }

    fn lock_resolved(&self) -> std::sync::MutexGuard<'_, Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves where to connect to, without blocking the thread: Pingora's own lookup in
    /// `HttpPeer::new` would, and panics where it fails.
    ///
    /// # Errors
    /// Where the name cannot be resolved and no earlier answer is known.
    pub async fn peer(&self, now: Timestamp) -> Result<Arc<HttpPeer>, Unresolved> {
        let known = self.lock_resolved().clone();
        let fresh = now.since(known.at) < RESOLVED_FOR_MS;
        let peers = if fresh && !known.peers.is_empty() {
            known.peers
        } else {
            match self.look_up().await {
                // In an order of their own, since resolvers shuffle them: the address in use
                // stays the one in use.
                Ok(mut found) => {
                    found.sort_unstable();
                    self.resolved_to(&found, now)
                }
                Err(reason) if known.peers.is_empty() => {
                    return Err(Unresolved { reason });
                }
                Err(_) => known.peers,
            }
        };
        let address_index = self.address_index.load(Ordering::Relaxed);
        let peer = peers.get(address_index % peers.len().max(1)).cloned();
        peer.ok_or_else(|| Unresolved {
            reason: "the name has no address".into(),
        })
    }

    pub(super) fn resolved_to(
        &self,
        addresses: &[SocketAddr],
        at: Timestamp,
    ) -> Arc<[Arc<HttpPeer>]> {
        let peers = addresses
            .iter()
            .map(|address| Arc::new(self.peer_at(*address)));
        let peers: Arc<[_]> = peers.collect();
        *self.lock_resolved() = Resolved {
            peers: peers.clone(),
            at,
        };
        peers
    }

    fn peer_at(&self, address: SocketAddr) -> HttpPeer {
        let url = &self.spec.url;
        // The SNI is never empty: Pingora would take that as "do not verify".
        let mut peer = HttpPeer::new(address, url.tls, url.host.clone());
        // Pingora does not tell connections apart by the roots that they were verified by.
        peer.group_key = self.trust;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.spec.connect_timeout);
        options.total_connection_timeout = Some(self.spec.connect_timeout * 2);
        options.ca = self.ca.clone();
        options.h2_ping_interval = Some(Duration::from_secs(30));
        // A connection for each request under way. Pingora gives a stream the whole window of
        // its connection: a client that takes its video slowly would hold up all the others.
        options.max_h2_streams = 1;
        options.alpn = match self.spec.http2 {
            Http2::Auto if url.tls => ALPN::H2H1,
            Http2::Auto | Http2::Never => ALPN::H1,
            Http2::Always => ALPN::H2,
        };
        peer
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        let url = &self.spec.url;
        let found = tokio::net::lookup_host((url.host.as_str(), url.port));
        match tokio::time::timeout(self.spec.connect_timeout, found).await {
            Ok(Ok(found)) => Ok(found.filter(|at| self.is_allowed_address(at)).collect()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer from the resolver in time".into()),
        }
    }

    /// Judged by the address that is connected to, whatever the name said a moment before.
    fn is_allowed_address(&self, address: &SocketAddr) -> bool {
        !self.public_only || is_public(address.ip())
    }

    /// Chooses how many jobs a page of its list is asked for: the first of these sizes, largest
    /// first, that has not been too much for it.
    pub fn page_size(&self, sizes: &[usize]) -> usize {
        let page_size = self.page_size.load(Ordering::Relaxed);
        let fitting = sizes.iter().copied().find(|size| *size <= page_size);
        fitting.or(sizes.last().copied()).unwrap_or(1)
    }

    /// Notes that a page of that many jobs could not be read. Returns whether a smaller one can be
    /// asked for.
    pub fn reduce_page_size(&self, size: usize) -> bool {
        self.page_size
            .fetch_min(size.saturating_sub(1).max(1), Ordering::Relaxed);
        size > 1
    }

    /// Notes a status word whose meaning is not known. Returns whether it is new. The number of
    /// words is bounded, for a channel that makes them up.
    pub fn is_new_word(&self, word: &Arc<str>) -> bool {
        const MAX_WORDS: usize = 32;
        let words = self.unknown_words.lock();
        let mut words = words.unwrap_or_else(PoisonError::into_inner);
        words.len() < MAX_WORDS && words.insert(word.clone())
    }

    /// The channel's host and credential, as headers of a request to it: each stands in place
    /// of whatever a client has sent under its name.
    ///
    /// # Errors
    /// Never for a validated channel: both were checked to be header values.
    pub fn identity(&self) -> pingora::Result<&[(HeaderName, HeaderValue)]> {
        // The error names no value: it could be the credential.
        let invalid = || pingora::Error::explain(pingora::InternalError, "no header value");
        self.identity.as_deref().ok_or_else(invalid)
    }
}

/// Made once: a poll would spend more on it than on all else that the gate does to its head.
fn identity(spec: &Channel) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let host = HeaderValue::try_from(spec.url.authority()).ok()?;
    let mut headers = vec![(header::HOST, host)];
    if let Some(credential) = &spec.credential {
        let (name, value) = match &spec.auth {
            Auth::None => return Some(headers),
            Auth::Bearer => (
                header::AUTHORIZATION,
                HeaderValue::try_from(format!("Bearer {}", credential.expose())),
            ),
            Auth::Header(name) => (name.clone(), HeaderValue::from_str(credential.expose())),
        };
        let mut value = value.ok()?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    Some(headers)
}
