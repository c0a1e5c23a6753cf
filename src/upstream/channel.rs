//! Keeps the runtime state of a channel: its resolved addresses, its health and load, and the headers
//! with its host and credential.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderName, HeaderValue, header};
use pingora::upstreams::peer::HttpPeer;

use super::channel_clock::ChannelClock;
use super::health::{Change, Event, Standing};
use super::load::{InFlight, Load, WaitingCreate};
use super::operation::{ChannelStatus, Operation};
use super::peer::PeerTemplate;
use crate::channel::{Auth, Channel, ChannelState, ContentUrl, ServerUrl};
use crate::policy::Timestamp;

/// The time, in milliseconds, for which the addresses of a host name are used before they are looked up
/// again.
const RESOLVED_FOR_MS: u64 = 30_000;
/// A channel at one of its configured addresses, with its runtime state: health, load, resolved addresses.
#[derive(Debug)]
pub struct LiveChannel {
    spec: Arc<Channel>,
    /// The configured URL that this object connects to; `None` where the channel has only one.
    address: Option<Arc<str>>,
    /// The headers that [`LiveChannel::identity`] returns; `None` where a configured value is no valid
    /// header value.
    identity: Option<Vec<(HeaderName, HeaderValue)>>,
    peers: PeerTemplate,
    resolved: Mutex<Resolved>,
    load: Arc<Load>,
    /// The index of the resolved IP address in use, modulo the number of these addresses. A failure to
    /// connect increments it.
    address_index: AtomicUsize,
    /// The time of the last change of `address_index`, in milliseconds since the epoch.
    turned_at: AtomicU64,
    operation: Operation,
    /// The maximum number of jobs that the gate requests in one page of the channel's list of jobs.
    page_size: AtomicUsize,
    /// Whether this object is a server that a redirect leads to, rather than a channel.
    is_content_server: bool,
    /// Whether the channel is missing from the configuration in force: see [`LiveChannel::is_removed`].
    is_removed: bool,
    clock: ChannelClock,
    /// The status words of unknown meaning that have been logged already.
    unknown_words: Mutex<HashSet<Arc<str>>>,
}

#[derive(Debug, Default, Clone)]
struct Resolved {
    peers: Arc<[Arc<HttpPeer>]>,
    at: Timestamp,
}

/// The error of a channel whose host name could not be resolved.
#[derive(Debug)]
pub struct Unresolved {
    /// The reason: the resolver's error, a timeout, or that the name has no address.
    pub reason: String,
}

impl LiveChannel {
    /// Makes a live channel for each address of the configured channel `spec`.
    pub(super) fn of(spec: &Arc<Channel>) -> Vec<Arc<Self>> {
        if spec.replicas.is_empty() {
            return vec![Arc::new(Self::made(spec.clone(), None, false, false))];
        }
        let at = |url: &ServerUrl| {
            let spec = Channel {
                url: url.clone(),
                ..Channel::clone(spec)
            };
            let address = Some(url.text().into());
            Arc::new(Self::made(Arc::new(spec), address, false, false))
        };
        spec.addresses().map(at).collect()
    }

    /// Makes the object for the server of `url`, to which this channel has redirected a download.
    pub fn content_server(&self, url: &ContentUrl) -> Arc<Self> {
        let spec = self.spec.content_server(url.server.clone());
        Arc::new(Self::made(Arc::new(spec), None, true, url.public_only))
    }

    fn made(
        spec: Arc<Channel>,
        address: Option<Arc<str>>,
        is_content_server: bool,
        public_only: bool,
    ) -> Self {
        Self {
            peers: PeerTemplate::new(&spec, public_only),
            identity: identity(&spec),
            operation: Operation::new(spec.state),
            spec,
            address,
            resolved: Mutex::default(),
            load: Arc::default(),
            address_index: AtomicUsize::new(0),
            turned_at: AtomicU64::new(0),
            page_size: AtomicUsize::new(usize::MAX),
            is_content_server,
            is_removed: false,
            clock: ChannelClock::default(),
            unknown_words: Mutex::default(),
        }
    }

    /// Makes the object that replaces this one when the configuration no longer has the channel or address.
    /// Its state is `Off` where the channel was off, else `Drain`.
    pub(super) fn removed(&self) -> Arc<Self> {
        let (spec, address) = (self.spec.clone(), self.address.clone());
        let removed = Self {
            is_removed: true,
            ..Self::made(spec, address, false, false)
        };
        removed.set_state(match self.state() {
            ChannelState::Off => ChannelState::Off,
            ChannelState::Active | ChannelState::Drain => ChannelState::Drain,
        });
        Arc::new(removed)
    }

    /// Returns whether the configuration in force no longer has this channel or address. Such a channel is
    /// kept so that its jobs can be polled and downloaded.
    pub fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// Returns the channel's configured settings; their `url` is the address of this object.
    pub fn spec(&self) -> &Arc<Channel> {
        &self.spec
    }

    /// Returns the state that the configuration or an operator has set: active, drained or off.
    pub fn state(&self) -> ChannelState {
        self.operation.state()
    }

    /// Sets the channel's state. Returns the state before.
    pub(super) fn set_state(&self, state: ChannelState) -> ChannelState {
        self.operation.set_state(state)
    }

    /// Returns whether the channel is up: its state is not `Off`, and neither a pause nor a trial after an
    /// ejection is under way.
    pub fn is_up(&self, now: Timestamp) -> bool {
        let rests = matches!(self.standing(now), Standing::Resting { .. });
        !rests && self.state() != ChannelState::Off
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        self.operation.standing(now)
    }

    /// Begins a trial of the ejected channel: one create that shows whether it works again. Returns the
    /// latest end of the trial; `None` where no trial is due, or another one is under way.
    pub(super) fn begin_trial(&self, now: Timestamp) -> Option<Timestamp> {
        self.operation.begin_trial(now, self.spec.create_timeout())
    }

    /// Ends the trial for which [`Self::begin_trial`] returned `ends`, if it is still under way.
    pub(super) fn end_trial(&self, ends: Timestamp) {
        self.operation.end_trial(ends);
    }

    /// Notes that the ledger has found a limit of the channel reached. For one second, other channels are
    /// tried before this one.
    pub(crate) fn note_full(&self, now: Timestamp) {
        self.operation.note_full(now);
    }

    pub(super) fn is_full(&self, now: Timestamp) -> bool {
        self.operation.is_full(now)
    }

    /// Describes the state of the channel for operators.
    pub fn status(&self, now: Timestamp) -> ChannelStatus {
        self.operation.status(self.in_flight(), now)
    }

    /// Returns whether `event` is a success and the channel's health is good already, so that noting the
    /// event changes nothing.
    pub(super) fn is_settled(&self, event: Event) -> bool {
        self.operation.is_settled(event)
    }

    /// Notes an event of a request that began at `began`. Returns the change, if the event begins, prolongs
    /// or ends an ejection.
    pub(super) fn note(&self, event: Event, began: Timestamp, now: Timestamp) -> Option<Change> {
        self.operation.note(event, began, &self.spec.ejection, now)
    }

    /// Ends the channel's ejection at once, and sets its numbers of failures to zero. Returns the change;
    /// `None` where the channel was not ejected.
    pub(super) fn restore(&self, now: Timestamp) -> Option<Change> {
        self.operation.restore(now)
    }

    pub(super) fn is_content_server(&self) -> bool {
        self.is_content_server
    }

    /// Returns the estimator of the time on the channel's own clock.
    pub(crate) fn clock(&self) -> &ChannelClock {
        &self.clock
    }

    /// Returns the configured URL that this object connects to; `None` where the channel has only one.
    pub fn address(&self) -> Option<&Arc<str>> {
        self.address.as_ref()
    }

    /// Returns the number of requests in flight at this address.
    pub(super) fn in_flight(&self) -> usize {
        self.load.in_flight()
    }

    /// Returns the load at this address, for comparison with other channels: the number of requests in
    /// flight, plus a growing amount while complete creates wait without an answer.
    pub(super) fn load(&self, now: Timestamp) -> usize {
        self.load.at(now)
    }

    /// Counts a complete create as waiting for its answer until the returned guard is dropped.
    pub(crate) fn wait_for_create(&self, now: Timestamp) -> WaitingCreate {
        self.load.begin_wait(now)
    }

    /// Counts a request as in flight at this address until the returned guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.load.begin()
    }

    /// Notes that a connection to the channel was made.
    pub(super) fn succeeded(&self, now: Timestamp) {
        self.note(Event::Connected, now, now);
    }

    /// Notes that a request that began at `began` could not connect to the channel. The next connection is
    /// made to another IP address of the host name, if it has several. Returns the change, if the failure
    /// begins or prolongs an ejection.
    pub(super) fn failed(&self, began: Timestamp, now: Timestamp) -> Option<Change> {
        // Another address may answer, of those known or of those that the name resolves to by now. Requests
        // that fail together have tried the same address, so only the first of them moves the index.
        if began.0 >= self.turned_at.load(Ordering::Relaxed) || now < began {
            self.turned_at.store(now.0, Ordering::Relaxed);
            self.address_index.fetch_add(1, Ordering::Relaxed);
            self.lock_resolved().at = Timestamp(0);
        }
        self.note(Event::Unreachable, began, now)
    }

    fn lock_resolved(&self) -> std::sync::MutexGuard<'_, Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves the host name and returns the peer to connect to. Does not block the thread: Pingora's own
    /// lookup in `HttpPeer::new` would block it, and panics where it fails.
    ///
    /// # Errors
    /// Where the name has no usable address, or cannot be resolved and no earlier result is known.
    pub async fn peer(&self, now: Timestamp) -> Result<Arc<HttpPeer>, Unresolved> {
        let known = self.lock_resolved().clone();
        let fresh = now.since(known.at) < RESOLVED_FOR_MS;
        let peers = if fresh && !known.peers.is_empty() {
            known.peers
        } else {
            match self.peers.look_up(&self.spec).await {
                // Sorted, since resolvers shuffle the addresses: the index stays on the address
                // in use.
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
            .map(|address| Arc::new(self.peers.peer_at(&self.spec, *address)));
        let peers: Arc<[_]> = peers.collect();
        *self.lock_resolved() = Resolved {
            peers: peers.clone(),
            at,
        };
        peers
    }

    /// Returns the number of jobs to request in one page of the channel's list of jobs. Of `sizes`, which are
    /// in descending order, it is the largest that the channel's maximum so far allows, or else the last.
    pub fn page_size(&self, sizes: &[usize]) -> usize {
        let page_size = self.page_size.load(Ordering::Relaxed);
        let fitting = sizes.iter().copied().find(|size| *size <= page_size);
        fitting.or(sizes.last().copied()).unwrap_or(1)
    }

    /// Lowers the maximum page size below `size`, but not below 1, since a page of `size` jobs could not be
    /// read. Returns whether a smaller page can be requested: whether `size` is above 1.
    pub fn reduce_page_size(&self, size: usize) -> bool {
        self.page_size
            .fetch_min(size.saturating_sub(1).max(1), Ordering::Relaxed);
        size > 1
    }

    /// Records a status word of unknown meaning. Returns whether the word is new. At most 32 words are
    /// recorded, in case a channel makes them up; after that no word counts as new.
    pub fn is_new_word(&self, word: &Arc<str>) -> bool {
        const MAX_WORDS: usize = 32;
        let words = self.unknown_words.lock();
        let mut words = words.unwrap_or_else(PoisonError::into_inner);
        words.len() < MAX_WORDS && words.insert(word.clone())
    }

    /// Returns the headers of the channel's host and credential, for a request to the channel. Each replaces
    /// the client's header of the same name.
    ///
    /// # Errors
    /// Where a value is no valid header value: never for a validated channel.
    pub fn identity(&self) -> pingora::Result<&[(HeaderName, HeaderValue)]> {
        // The error names no value: it could be the credential.
        let invalid = || pingora::Error::explain(pingora::InternalError, "no header value");
        self.identity.as_deref().ok_or_else(invalid)
    }
}

/// Makes the headers of the channel's host and credential; `None` where a value is no valid header value.
/// They are made once for each channel: made for each poll, they would cost more than all else that the
/// gate does to a poll's head.
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
