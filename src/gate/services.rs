//! The services that the handlers of requests share, the context of a request, and the background
//! service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::refusal::{Busy, NotFound, Refusal, RequestError};
use super::upload_slots::UploadSlots;
use crate::access_log::{Ended, RequestRecord, UnderWay, client_address};
use crate::billing::{self, Billing, JobEntry, Worker};
use crate::channel::ChannelState;
use crate::dialect::{Dialect, JobAnswer};
use crate::inspect::Source;
use crate::key::KeyDigest;
use crate::ledger::Job;
use crate::metrics::Metrics;
use crate::policy::{Asked, Key, Timestamp};
use crate::route::Route;
use crate::runtime::{Runtime, Snapshot};
use crate::upstream::{ChannelControl, LiveChannel, UpstreamClient};

/// The services that all requests share.
pub(super) struct Services {
    pub(super) runtime: Arc<Runtime>,
    pub(super) client: Arc<UpstreamClient>,
    pub(super) billing: Billing,
    pub(super) metrics: Arc<Metrics>,
    pub(super) uploads: Arc<UploadSlots>,
    pub(super) under_way: UnderWay,
}

impl Services {
    /// Returns the time by the gate's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.billing.now()
    }

    /// Finds the job `id` if it belongs to `key`. A job of another key counts as not found.
    pub(super) async fn own_job(
        &self,
        snapshot: &Snapshot,
        key: &Key,
        id: &str,
    ) -> Result<Arc<JobEntry>, RequestError> {
        let channels = &snapshot.channels;
        let first = channels.all().iter().filter(|at| channels.is_first(at));
        let names = first.map(|channel| &*channel.spec().name);
        let found = billing::own_job(&self.billing, &key.name, id, names).await?;
        found.ok_or_else(|| Refusal::NotFound(NotFound::Job).into())
    }

    /// Applies `control`, an operator's change, to the channel `name`; `None` if there is no such channel.
    pub(super) fn control_channel(&self, name: &str, control: ChannelControl) -> Option<()> {
        loop {
            let snapshot = self.runtime.snapshot();
            snapshot.channels.get(name)?;
            for channel in snapshot.channels.addresses(name) {
                self.client.control(channel, control);
            }
            // A reload at the same time may have carried over the previous state.
            if Arc::ptr_eq(&snapshot, &self.runtime.snapshot()) {
                return Some(());
            }
        }
    }
}

/// The facts about one request while it is answered.
pub(super) struct RequestContext {
    /// The configuration that was in force when the request arrived.
    pub(super) snapshot: Arc<Snapshot>,
    /// The time when the request's head arrived.
    pub(super) arrived: Timestamp,
    /// The route, as metrics label it.
    pub(super) route: &'static str,
    /// The key's name, once it is known.
    pub(super) key: Option<Arc<str>>,
    /// Whether the request's body has been read to its end.
    pub(super) body_complete: bool,
    /// The record of the request for the access log.
    pub(super) record: Arc<RequestRecord>,
}

impl RequestContext {
    /// Makes the context of a request of which only the head is known.
    pub(super) fn new(snapshot: Arc<Snapshot>, session: &ServerSession, now: Timestamp) -> Self {
        Self::of(snapshot, session, &session.req_header().headers, now)
    }

    /// Makes the context of a request whose head cannot be read.
    pub(super) fn unread(snapshot: Arc<Snapshot>, session: &ServerSession, now: Timestamp) -> Self {
        Self::of(snapshot, session, &HeaderMap::new(), now)
    }

    fn of(
        snapshot: Arc<Snapshot>,
        session: &ServerSession,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Self {
        let trusted = &snapshot.config.listen.trusted_proxies;
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let client = peer.map(|peer| {
            // Most gates trust no proxy, so they need not read `X-Forwarded-For`.
            if trusted.is_empty() {
                return peer.ip().to_canonical();
            }
            let forwarded = headers.get_all("x-forwarded-for").iter();
            let forwarded = forwarded.map(|value| value.to_str().unwrap_or_default());
            client_address(peer.ip(), forwarded, trusted)
        });
        Self {
            record: Arc::new(RequestRecord::new(headers, client, now, |text| {
                snapshot
                    .config
                    .digests
                    .contains_key(&KeyDigest::of(text.as_bytes()))
            })),
            snapshot,
            arrived: now,
            route: "other",
            key: None,
            body_complete: false,
        }
    }

    /// Sets the keep-alive and drain timeouts of a connection, and turns Pingora's read timeout off. The gate
    /// limits the time of each read and write itself. Pingora would read the clock for each of them, even
    /// where there is nothing to wait for.
    pub(super) fn set_timeouts(&self, session: &mut ServerSession) {
        let bounds = &self.snapshot.config.bounds;
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(bounds.keepalive_timeout.as_secs().max(1)));
        }
        session.set_read_timeout(None);
        session.set_total_drain_timeout(Some(bounds.drain_timeout));
    }

    /// Records the name of the key that the request presents.
    pub(super) fn set_key(&mut self, key: &Arc<str>) {
        self.key = Some(key.clone());
        self.record.set_key(self.route, key);
    }

    /// Writes the request's line of the access log.
    pub(super) fn write_line(&self, status: StatusCode, bytes_in: u64, bytes_out: u64) {
        let ended = Ended {
            route: self.route,
            key: self.key_name(),
            status: status.as_u16(),
            bytes_in,
            bytes_out,
        };
        self.record.write(&ended, self.snapshot.config.log.requests);
    }

    /// Records the model, size and seconds that the request asks for, if the catalog has them: nothing
    /// else of a body is written to a log. Does nothing if a reservation has recorded them.
    pub(super) fn note_asked(&self, asked: Asked<'_>) {
        if self.record.has_requested() {
            return;
        }
        let model = asked
            .model
            .and_then(|name| self.snapshot.config.catalog.get(name));
        let size = model.and_then(|model| model.find_size(asked.size?));
        let seconds = model.and_then(|model| model.find_seconds(asked.seconds?));
        let (name, size) = (model.map(|model| model.name()), size.map(|size| &size.name));
        let seconds = seconds.map(|seconds| seconds.count);
        self.record.set_requested(name, size, seconds);
    }

    /// Records the job of `entry`, which the request's path names. For a remix, records it as the source of
    /// the new job.
    pub(super) fn note_job(&self, entry: &JobEntry, route: &Route) {
        let job = &entry.job;
        if let Route::Remix(_) = route {
            return self.record.set_source(&job.id);
        }
        self.note_own_job(entry);
    }

    /// Records for the access log that the response repeats an earlier answer, and the job that the answer
    /// names; `body` is the body of that answer.
    pub(super) async fn note_replay(&self, services: &Services, body: &[u8]) {
        self.record.set_replayed();
        let answer = JobAnswer::read(body, &Dialect::default());
        let Some(id) = answer.and_then(|answer| answer.id) else {
            return;
        };
        // If the ledger is unavailable, the line lacks the job.
        if let Ok(Some(entry)) = services.billing.job(&id).await {
            self.note_own_job(&entry);
        }
    }

    fn note_own_job(&self, entry: &JobEntry) {
        let job = &entry.job;
        let channel = &job.charge.channel;
        self.record.set_known_job(&job.id, channel, job.reservation);
    }

    /// Returns the key's name; empty while it is not known.
    pub(super) fn key_name(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }
}

/// Finds the channel that made `job`, at the address that made it. Returns an error if the channel is
/// switched off, or if this process does not know the channel or the address.
pub(super) fn channel_of(snapshot: &Snapshot, job: &Job) -> Result<Arc<LiveChannel>, Refusal> {
    let address = job.address.as_deref();
    let channel = snapshot.channels.at(&job.charge.channel, address);
    let channel = channel.ok_or(Refusal::Busy(Busy::ChannelGone))?;
    match channel.state() {
        ChannelState::Off => Err(Refusal::Busy(Busy::ChannelOff)),
        ChannelState::Active | ChannelState::Drain => Ok(channel.clone()),
    }
}

/// Returns the model, size and seconds of a remix: those of its source.
pub(super) fn asked_of(source: &JobEntry) -> Source {
    let charge = &source.job.charge;
    Source {
        model: charge.model.clone(),
        size: charge.size.clone(),
        seconds: charge.seconds.to_string().into(),
    }
}

/// The background service of a gate: probes channels, follows jobs to their end, reconciles requests with
/// an unknown outcome, and prunes old entries of the ledger. Each gate needs one. Of the gates that share a
/// ledger, each probes for itself; each other task is done by one gate at a time, which the ledger ensures.
///
/// It is a Pingora service, for servers that embed the gate:
/// `server.add_service(background_service("tollgate", Background::new(gate)))`.
pub struct Background {
    pub(super) worker: Arc<Worker>,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => {}
        }
        self.worker.flush(FLUSH_WITHIN).await;
    }
}

/// The maximum time that a stopping server that embeds the gate waits for pending writes to the ledger.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

impl Background {
    /// Runs the background work; the returned future never completes, and dropping it ends the work.
    pub async fn run(&self) {
        self.worker.run().await;
    }

    /// Runs one round of the work that [`run`](Self::run) repeats, except for the probes of channels. It is
    /// for tests that decide when a round runs.
    #[doc(hidden)]
    pub async fn round(&self) {
        self.worker.round().await;
    }
}
