//! Keeps the state of a channel while the gate runs: its addresses, whether it can be reached, and the
//! headers that open it.

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
/// A channel at one of its addresses, with the state that it has while the gate runs.
#[derive(Debug)]
pub struct LiveChannel {
    spec: Arc<Channel>,
    /// The address of the channel that this object stands for, where the channel has several.
    address: Option<Arc<str>>,
    /// The headers of [`LiveChannel::identity`]; `None` where the configured values fit no header.
    identity: Option<Vec<(HeaderName, HeaderValue)>>,
    peers: PeerTemplate,
    resolved: Mutex<Resolved>,
    load: Arc<Load>,
    /// The index of the resolved address that is used: the next one after each failure, and no other
    /// until then.
    address_index: AtomicUsize,
    /// The time of the last change of `address_index`, in milliseconds since the epoch.
    turned_at: AtomicU64,
    operation: Operation,
    /// The maximum number of jobs that a page of the channel's list is asked for.
    page_size: AtomicUsize,
    /// Whether this is a server that a redirect leads to, rather than a channel.
    is_content_server: bool,
    /// Whether the channel is missing from the configuration in force: see [`LiveChannel::is_removed`].
    is_removed: bool,
    clock: ChannelClock,
    /// The status words whose meaning is not known, and which the log has named.
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
    /// The reason that the resolver gave.
    pub reason: String,
}

impl LiveChannel {
    /// Makes the live objects of the channel `spec`: one for each of its addresses.
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

    /// Makes the server that a redirect of the channel leads to.
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

    /// Makes the object that takes the channel's place when it is not configured any more: drained, or off
    /// where the channel was off.
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

    /// Returns whether the channel is missing from the configuration in force: it is kept for the jobs
    /// that it has.
    pub fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// Returns the channel as configured.
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

    /// Returns whether the channel is not switched off, and is either not ejected or due for a trial.
    pub fn is_up(&self, now: Timestamp) -> bool {
        let rests = matches!(self.standing(now), Standing::Resting { .. });
        !rests && self.state() != ChannelState::Off
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        self.operation.standing(now)
    }

    /// Begins a trial of the ejected channel. Returns the latest end of the trial; `None` where the channel
    /// is not due for a trial, or another trial is under way.
    pub(super) fn begin_trial(&self, now: Timestamp) -> Option<Timestamp> {
        self.operation.begin_trial(now, self.spec.create_timeout())
    }

    /// Ends the trial whose latest end is `ends`, if it is still under way.
    pub(super) fn end_trial(&self, ends: Timestamp) {
        self.operation.end_trial(ends);
    }

    /// Notes that the ledger has found a limit of the channel reached: other channels are tried before it
    /// for a second.
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

    /// Returns whether `event` is a success of a channel in good health, which changes nothing.
    pub(super) fn is_settled(&self, event: Event) -> bool {
        self.operation.is_settled(event)
    }

    /// Notes an event of a request that began at `began`. Returns the change, if the event begins, prolongs
    /// or ends an ejection.
    pub(super) fn note(&self, event: Event, began: Timestamp, now: Timestamp) -> Option<Change> {
        self.operation.note(event, began, &self.spec.ejection, now)
    }

    /// Ends the channel's ejection at once, if it is ejected.
    pub(super) fn restore(&self, now: Timestamp) -> Option<Change> {
        self.operation.restore(now)
    }

    pub(super) fn is_content_server(&self) -> bool {
        self.is_content_server
    }

    /// Returns the estimate of the time on the channel's clock.
    pub(crate) fn clock(&self) -> &ChannelClock {
        &self.clock
    }

    /// Returns the address of the channel that this object stands for, where the channel has several.
    pub fn address(&self) -> Option<&Arc<str>> {
        self.address.as_ref()
    }

    /// Returns the number of requests in flight at this address.
    pub(super) fn in_flight(&self) -> usize {
        self.load.in_flight()
    }

    /// Returns the load of the channel, to be compared with that of others: its requests in flight, and
    /// more where complete creates wait without an answer.
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

    /// Notes that a request that began at `began` could not connect to the channel: the next connection is
    /// made to another address of the host name, where it has several.
    pub(super) fn failed(&self, began: Timestamp, now: Timestamp) -> Option<Change> {
        // Another address may answer, of those known or of those that the name has by now. Requests that
        // fail together have tried the same one.
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

    /// Resolves the address to connect to, without blocking the thread: Pingora's own lookup in
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
            match self.peers.look_up(&self.spec).await {
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
            .map(|address| Arc::new(self.peers.peer_at(&self.spec, *address)));
        let peers: Arc<[_]> = peers.collect();
        *self.lock_resolved() = Resolved {
            peers: peers.clone(),
            at,
        };
        peers
    }

    /// Returns the number of jobs that a page of the channel's list is asked for: the first of `sizes`,
    /// largest first, that has not been too much for the channel.
    pub fn page_size(&self, sizes: &[usize]) -> usize {
        let page_size = self.page_size.load(Ordering::Relaxed);
        let fitting = sizes.iter().copied().find(|size| *size <= page_size);
        fitting.or(sizes.last().copied()).unwrap_or(1)
    }

    /// Notes that a page of `size` jobs could not be read. Returns whether a smaller page can be asked
    /// for.
    pub fn reduce_page_size(&self, size: usize) -> bool {
        self.page_size
            .fetch_min(size.saturating_sub(1).max(1), Ordering::Relaxed);
        size > 1
    }

    /// Notes a status word whose meaning is not known. Returns whether the word is new. The number of
    /// words is bounded, for a channel that makes them up.
    pub fn is_new_word(&self, word: &Arc<str>) -> bool {
        const MAX_WORDS: usize = 32;
        let words = self.unknown_words.lock();
        let mut words = words.unwrap_or_else(PoisonError::into_inner);
        words.len() < MAX_WORDS && words.insert(word.clone())
    }

    /// Returns the channel's host and credential, as headers of a request to the channel. Each replaces
    /// whatever a client has sent under its name.
    ///
    /// # Errors
    /// Never for a validated channel: both were checked to be header values.
    pub fn identity(&self) -> pingora::Result<&[(HeaderName, HeaderValue)]> {
        // The error names no value: it could be the credential.
        let invalid = || pingora::Error::explain(pingora::InternalError, "no header value");
        self.identity.as_deref().ok_or_else(invalid)
    }
}

/// Makes the headers of the channel's host and credential once: a poll would spend more on them than on
/// all else that the gate does to its head.
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
