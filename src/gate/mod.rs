//! The Pingora side: what a request is, where it goes, what comes back.
//!
//! [`Gate`] is a plain struct whose methods mirror the hooks of
//! [`ProxyHttp`](pingora::proxy::ProxyHttp), to be called from the hooks of one's own
//! proxy; [`Gated`] does just that for any proxy. All requests are answered within
//! [`Gate::request_filter`], by exchanges of the gate's own with channels (see `exchange.rs`
//! for why); a list is put together out of the channels' (`list.rs`).

mod answer;
mod asking;
mod background;
mod books;
mod charge;
mod claim;
mod client;
mod clock;
mod context;
mod cork;
mod create;
mod delete;
mod exchange;
mod gated;
mod head;
mod ids;
mod inquiry;
mod known;
mod list;
mod observe;
mod outcome;
mod pace;
mod poll;
mod pool;
mod probe;
mod readiness;
mod redirect;
mod refusal;
mod relay;
mod repeat;
mod repetition;
mod reply;
mod reserve;
mod route;
mod troubles;
mod upload;
mod upload_slots;
mod video;
mod wait;
mod withheld;
mod zero_series;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

pub use background::Background;
pub use client::Client;
pub use clock::{Clock, now};
pub use context::Context;
pub use gated::{Gated, GatedContext};
pub use readiness::Readiness;

use crate::channel::{Channels, LiveChannel};
use crate::config::Config;
use crate::inspect::{Inspector, Plan, SecondsType, Source};
use crate::ledger::{Job, Ledger};
use crate::metrics::Metrics;
use crate::policy::{Key, Timestamp};
use crate::{json, multipart};
use books::Books;
use charge::Charges;
use create::Accepted;
use exchange::Unreachable;
use known::Known;
use pool::Pool;
use refusal::{Busy, NotFound as Missing, Refusal};
use reply::{Reply, Response, final_status};
use route::{NoRoute, Route};
use troubles::Troubles;
use upload::Stopped;
use upload_slots::UploadSlots;

/// A configuration in force, with what is live of it.
pub struct State {
    /// The configuration.
    pub config: Config,
    /// Its channels.
    pub channels: Channels,
    plan: Arc<Plan>,
    charges: Charges,
}

impl State {
    fn new(config: Config) -> Arc<Self> {
        let bounds = &config.bounds;
        let grace = config.jobs.unknown_grace;
        for channel in config.channels.iter().filter(|c| c.answer_timeout >= grace) {
            log::warn!(
                "jobs.unknown_grace is not longer than the answer_timeout of channel {}: a job \
                 that it takes longer to create is not charged",
                channel.name
            );
        }
        let plan = Plan {
            catalog: config.catalog.clone(),
            fields: config.fields.clone(),
            prompt_chars: bounds.prompt_chars as u64,
            seconds_type: {
                let types = config.channels.iter().map(|channel| channel.seconds_type);
                types.reduce(SecondsType::or).unwrap_or_default()
            },
            multipart: multipart::Limits {
                parts: bounds.parts,
                header_bytes: bounds.part_header_bytes,
                ..multipart::Limits::default()
            },
            json: json::Limits::default(),
        };
        Arc::new(Self {
            channels: Channels::new(&config.channels),
            plan: Arc::new(plan),
            charges: Charges::default(),
            config,
        })
    }
}

/// The gate before the channels.
pub struct Gate {
    state: ArcSwap<State>,
    metrics: Arc<Metrics>,
    books: Books,
    pool: Pool,
    uploads: Arc<UploadSlots>,
    troubles: Troubles,
    stopping: AtomicBool,
    /// See `lost_after`, in milliseconds.
    longest_pending: AtomicU64,
}

impl Gate {
    /// A gate with that configuration, ledger and metrics.
    pub fn new(config: Config, ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with_clock(config, ledger, metrics, Clock::default())
    }

    /// A gate that goes by that clock.
    pub fn with_clock(
        config: Config,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Self> {
        metrics.show_cost_labels(config.metrics.cost_labels);
        zero_series::start(&config, &metrics);
        metrics.config_loaded(true, clock.now());
        Arc::new(Self {
            state: ArcSwap::new(State::new(config)),
            books: Books::new(ledger, metrics.clone(), clock),
            metrics,
            pool: Pool::new(),
            uploads: Arc::default(),
            troubles: Troubles::default(),
            stopping: AtomicBool::new(false),
            longest_pending: AtomicU64::new(0),
        })
    }

    /// Puts another configuration in force. Requests under way keep the one that they
    /// began with.
    pub fn reload(&self, config: Config) {
        self.metrics.show_cost_labels(config.metrics.cost_labels);
        zero_series::start(&config, &self.metrics);
        let before = self.state.swap(State::new(config));
        warn_of_currencies(&self.state().config, &before.config);
        self.metrics.config_loaded(true, self.now());
    }

    /// Notes that another configuration was tried and does not hold together: the one in
    /// force stays.
    pub fn reload_failed(&self) {
        self.metrics.config_loaded(false, self.now());
    }

    /// Notes that its server stops: `/readyz` says so from then on, so that no new requests
    /// are sent here while those under way end. Requests that come all the same are answered.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether its server stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The configuration in force.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// The time, by the clock that it goes by.
    pub fn now(&self) -> Timestamp {
        self.books.now()
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        self.books.ledger()
    }

    /// Mirrors [`ProxyHttp::new_ctx`](pingora::proxy::ProxyHttp::new_ctx).
    pub fn new_ctx(&self) -> Context {
        Context::new(self.state())
    }

    /// Whether a request is the gate's: its target is that of the Videos API, or some server
    /// could take it for that. Judged on the target as it came, since Pingora's URI of a
    /// target that it cannot parse is `/`. [`request_filter`](Self::request_filter) is for
    /// these alone.
    pub fn claims(&self, request: &RequestHeader) -> bool {
        claim::is_claimed(request.raw_path())
    }

    /// Mirrors [`ProxyHttp::early_request_filter`](pingora::proxy::ProxyHttp::early_request_filter):
    /// sets the bounds of the connection.
    pub fn early_request_filter(&self, session: &mut ServerSession, ctx: &mut Context) {
        self.bound(session, ctx);
        // For what the host does with requests that are not the gate's.
        let bounds = &ctx.state.config.bounds;
        session.set_read_timeout(Some(bounds.read_timeout));
        session.set_write_timeout(Some(bounds.read_timeout));
    }

    /// Sets the bounds of a connection that the gate alone reads and writes. It bounds each
    /// read and write by itself: Pingora's own bounds do it with a look at the clock for each,
    /// whether or not there is anything to wait for.
    pub(crate) fn bound(&self, session: &mut ServerSession, ctx: &Context) {
        let bounds = &ctx.state.config.bounds;
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(bounds.keepalive_timeout.as_secs().max(1)));
        }
        session.set_read_timeout(None);
        session.set_total_drain_timeout(Some(bounds.drain_timeout));
    }

    /// Mirrors [`ProxyHttp::request_filter`](pingora::proxy::ProxyHttp::request_filter):
    /// answers the request, so that hook then returns `true`.
    ///
    /// # Errors
    /// Where the client is gone, or the channel in the middle of a download: the connection
    /// is to be broken off.
    pub async fn request_filter(
        &self,
        client: &mut impl Client,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        match self.respond(client.session(), ctx).await? {
            Response::Reply(reply) => self.give(client, ctx, reply).await,
            Response::Refusal(refusal) => self.refuse(client, ctx, &refusal).await,
        }
    }

    /// Mirrors [`ProxyHttp::logging`](pingora::proxy::ProxyHttp::logging): settles what the
    /// answer told about a job, and counts the request.
    pub async fn logging(&self, session: &ServerSession, ctx: &mut Context) {
        if !ctx.claimed {
            return;
        }
        if let Some(seen) = ctx.seen.take() {
            self.learn(&ctx.state, seen).await;
        }
        let code = final_status(session);
        // 499: the client was gone before an answer could be written.
        let gone = http::StatusCode::from_u16(499).unwrap_or(http::StatusCode::REQUEST_TIMEOUT);
        self.metrics
            .request(ctx.route, ctx.key(), code.unwrap_or(gone));
        let (received, sent) = (session.body_bytes_read(), session.body_bytes_sent());
        self.metrics.bodies(ctx.route, received as u64, sent as u64);
    }

    async fn answer(
        &self,
        session: &mut ServerSession,
        state: &Arc<State>,
        ctx: &mut Context,
    ) -> Result<Reply, Stopped> {
        let request = session.req_header();
        let bounds = &state.config.bounds;
        head::check_size(request, bounds)?;
        let route = Route::find(&request.method, request.uri.path());
        if let Ok(route) = &route {
            ctx.route = route.label();
        }
        let digest = head::presented_key(&request.headers)?;
        let key = state.config.keys.get(&digest);
        let key = key.ok_or(Refusal::Key { presented: true })?.clone();
        ctx.key = Some(key.name.clone());
        let route = route.map_err(|no| match no {
            NoRoute::Path => Refusal::NotFound(Missing::Route),
            NoRoute::Method(allowed) => Refusal::Method { allowed },
        })?;
        let job = match route.job() {
            Some(id) => Some(self.own_job(&key, id).await?),
            None => None,
        };
        let creates = matches!(route, Route::Create | Route::Remix(_));
        if !creates {
            let expects_continue = head::no_body(request)?;
            upload::nothing_follows(session, expects_continue, bounds).await?;
        }
        // Boxed: each is large, and would be moved about for all others.
        match (&route, job) {
            (Route::Retrieve(_), Some(known)) => {
                Box::pin(self.poll(session, state, &route, known, ctx)).await
            }
            (Route::Content(_), Some(known)) => {
                Box::pin(self.download(session, state, &route, &known)).await
            }
            (Route::Delete(_), Some(known)) => {
                Box::pin(self.delete(session, state, &route, known)).await
            }
            (Route::Create | Route::Remix(_), source) => {
                let request = session.req_header();
                let accepted = self.accept(request, state, key, route, source)?;
                Box::pin(self.cross(session, state, accepted, ctx)).await
            }
            _ => {
                let request = session.req_header();
                Box::pin(self.list(state, &key, request)).await
            }
        }
    }

    /// The job of that id, if it is this key's. Whether another key has such a job is not
    /// told.
    async fn own_job(&self, key: &Key, id: &str) -> Result<Arc<Known>, Stopped> {
        let none = Err(Refusal::NotFound(Missing::Job).into());
        match self.books.job(id).await? {
            Some(known) if known.job.charge.payer.key == key.name => Ok(known),
            Some(_) => {
                // The ledger is asked as for an id that nobody has, so that it is away, or
                // slow, for both.
                self.ledger().job(id).await?;
                none
            }
            None => none,
        }
    }

    fn accept(
        &self,
        request: &RequestHeader,
        state: &State,
        key: Arc<Key>,
        route: Route,
        source: Option<Arc<Known>>,
    ) -> Result<Accepted, Refusal> {
        let body = head::body_head(request, &state.config.bounds)?;
        let idempotency_key = head::idempotency_key(&request.headers)?;
        let pinned = match &source {
            Some(known) => Some(channel_of(state, &known.job)?),
            None => None,
        };
        let asked = source.as_ref().map(|known| {
            let charge = &known.job.charge;
            Source {
                model: charge.model.clone(),
                size: charge.size.clone(),
                seconds: charge.seconds.to_string().into(),
            }
        });
        let syntax = body.syntax.clone();
        let mut inspector = Inspector::new(state.plan.clone(), key.clone(), syntax, asked);
        if idempotency_key.is_some() {
            inspector = inspector.fingerprinting();
        }
        Ok(Accepted {
            route,
            key,
            body,
            inspector: Box::new(inspector),
            idempotency_key,
            pinned,
            source,
        })
    }

    /// Notes that a channel cannot be reached.
    fn unreachable(&self, channel: &LiveChannel, error: &Unreachable) {
        let name = &channel.spec().name;
        self.channel_failed(name, error.kind, &error.reason);
        if !error.is_shortage {
            channel.failed(self.now());
        }
    }
}

/// Says which keys pay in another currency from now on: budgets in it begin at what was charged
/// in it so far, which is easily overlooked.
fn warn_of_currencies(config: &Config, before: &Config) {
    const NAMED: usize = 10;
    for ([was, is], keys) in config.changed_currencies(before) {
        let names: Vec<_> = keys.iter().take(NAMED).map(|key| &**key).collect();
        let more = match keys.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more keys"),
        };
        log::warn!(
            "key {}{more}: charged in {is} from now on, in {was} until now. Limits of billed_cost \
             count the charges in {is} alone",
            names.join(", ")
        );
    }
}

/// The channel that made a job.
fn channel_of(state: &State, job: &Job) -> Result<Arc<LiveChannel>, Refusal> {
    let channel = state.channels.get(&job.charge.channel);
    channel.cloned().ok_or(Refusal::Busy(Busy::ChannelGone))
}
