//! Gates before the scripted channels, and the clients: carries a history out, step by step.

use std::collections::{BTreeSet, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tollgate::clock::Clock;
use tollgate::gate::{Background, Gate};
use tollgate::ledger::{Ledger, Unavailable};
use tollgate::metrics::Metrics;
use tollgate::policy::Timestamp;
use tollgate::server::{self, Server};

use crate::channel::{Channels, Truth};
use crate::plan::{CHANNELS, Plan};
use crate::requests::{Made, Sent};
use crate::row::Row;
use crate::step::{Change, History, Listing, Play, Polling, Start, Step};
use crate::store::{PATIENCE, Store};
use crate::support::client::{Answer, Connection, Request};

/// The pause before a ledger that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A gate, on threads of its own, so that it can die as a process does.
pub struct Node {
    pub handle: Arc<Gate>,
    pub clock: Clock,
    /// By how many milliseconds its clock is wrong.
    pub skew: i64,
    pub address: SocketAddr,
    server: Option<Server>,
    runtime: Option<Runtime>,
    pub connection: Option<Connection>,
    /// What other gates know it by.
    lease: Vec<String>,
}

pub struct World<'a> {
    pub store: &'a Store,
    pub channels: Channels,
    pub gates: Vec<Node>,
    pub plan: Arc<Plan>,
    /// Of gates that are gone, too.
    pub metrics: Vec<Arc<Metrics>>,
    /// The reservations after the last step.
    pub rows: Vec<Row>,
    /// Those that the ledger had before, and has no longer.
    pub forgotten: Vec<Row>,
    /// The requests that clients made.
    pub made: Vec<Made>,
    /// Those that have no answer yet, by number.
    pub in_progress: Vec<(usize, JoinHandle<std::io::Result<Answer>>)>,
    /// What clients were told that may not be: found while a step was taken.
    pub faults: Vec<String>,
    /// Whether the ledger was replaced by one that had missed something.
    pub has_failed_over: bool,
    /// Whether the way to the ledger was cut.
    pub was_cut: bool,
    /// Whether any gate's clock was wrong at all.
    pub was_skewed: bool,
    /// By how many milliseconds any gate's clock has ever been wrong.
    pub skews: BTreeSet<i64>,
    /// Whether failed jobs were ever charged.
    pub charged_failed: bool,
    /// Whether all lists have always had the jobs' prompts.
    pub has_prompts: bool,
    /// Which channels have ever listed their jobs late.
    pub was_late: [bool; CHANNELS],
    /// Jobs of which a gate has been told how they ended.
    pub ended: Vec<String>,
    times: HashSet<u64>,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        self.in_progress.iter().for_each(|(_, task)| task.abort());
        for node in &mut self.gates {
            if let Some(runtime) = node.runtime.take() {
                runtime.shutdown_background();
            }
        }
    }
}

impl<'a> World<'a> {
    pub async fn start(store: &'a Store, history: &History, gates: usize) -> Self {
        let Start {
            listing: [list, other_list],
            polling: [poll, other_poll],
            ..
        } = history.start;
        let channels = Channels::start(Truth {
            listing: [list, other_list, Listing::Whole],
            polling: [poll, other_poll, Polling::Whole],
            now: history.start.time,
            skew: history.start.channel_skew,
            ids: history.start.ids,
            ..Truth::default()
        });
        let mut world = Self {
            store,
            channels: channels.await,
            gates: vec![],
            plan: Arc::new(Plan::new(&history.start)),
            metrics: vec![],
            rows: vec![],
            made: vec![],
            in_progress: vec![],
            faults: vec![],
            has_failed_over: false,
            forgotten: vec![],
            was_cut: false,
            was_skewed: false,
            skews: BTreeSet::from([0]),
            charged_failed: false,
            has_prompts: !history.start.listing.contains(&Listing::NoPrompts),
            was_late: [false; CHANNELS],
            ended: vec![],
            times: HashSet::new(),
        };
        for _ in 0..gates {
            let node = world.start_gate(0).await;
            world.gates.push(node);
        }
        world
    }

    async fn start_gate(&mut self, skew: i64) -> Node {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let before = self.store.living().await;
        let metrics = Arc::new(Metrics::new().unwrap());
        self.metrics.push(metrics.clone());
        let clock = Clock::manual(Timestamp(0));
        let config = self.plan.config(&self.channels.addresses);
        let (listen, bounds) = (config.listen.clone(), config.bounds.clone());
        let handle = Gate::with_clock(config, self.store.open(), metrics, clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = {
            let _guard = runtime.enter();
            server::serve(handle.clone(), listener, &listen, &bounds).unwrap()
        };
        let ready = runtime.spawn(answering(handle.ledger().clone()));
        ready.await.unwrap().unwrap();
        let mut lease = self.store.living().await;
        lease.retain(|name| !before.contains(name));
        let node = Node {
            address: server.address(),
            handle,
            clock,
            skew,
            server: Some(server),
            runtime: Some(runtime),
            connection: None,
            lease,
        };
        node.set_clock(self.channels.truth().now);
        node
    }

    /// The true time, in milliseconds.
    pub fn now(&self) -> u64 {
        self.channels.truth().now
    }

    /// Lets a moment pass, so that no two steps have the same time by any gate's clock.
    fn tick(&mut self, millis: u64) {
        let mut now = self.now() + millis;
        let times = |now: u64| self.gates.iter().map(move |gate| gate.time_at(now));
        while times(now).any(|time| self.times.contains(&time)) {
            now += 1;
        }
        let used: Vec<_> = times(now).collect();
        self.times.extend(used);
        self.channels.truth().now = now;
        self.gates.iter().for_each(|gate| gate.set_clock(now));
    }

    pub async fn take(&mut self, step: Step) {
        self.tick(3);
        match step {
            Step::Create(create) => self.create(create).await,
            Step::Together(create, times) => self.create_together(create, times).await,
            Step::Repeat(which, play) => self.repeat(which, play).await,
            Step::Release(which, play) => self.release(which, play).await,
            Step::Poll(gate, which) => self.poll(gate, which).await,
            Step::Delete(gate, which, deletion) => self.delete(gate, which, deletion).await,
            Step::List(gate, key) => {
                let request = Request::get("/v1/videos?limit=100");
                self.send(gate, key, request).await;
            }
            Step::Round(gate) => self.round(gate).await,
            Step::End(which, status) => {
                let mut truth = self.channels.truth();
                let jobs = truth.jobs.len();
                if let Some(job) = truth.jobs.get_mut(which % jobs.max(1))
                    && job.status == crate::step::Status::Queued
                {
                    job.status = status;
                }
            }
            Step::Listing(channel, listing) => {
                self.has_prompts &= listing != Listing::NoPrompts;
                self.was_late[channel] |= listing == Listing::Late;
                self.channels.truth().listing[channel] = listing;
            }
            Step::Polling(channel, polling) => self.channels.truth().polling[channel] = polling,
            Step::Reload(change) => self.reload(change),
            Step::Pass(seconds) => self.tick(seconds * 1000),
            Step::Skew(gate, seconds) => {
                self.gates[gate].skew = seconds * 1000;
                self.skews.insert(seconds * 1000);
                self.was_skewed = true;
                self.tick(1);
            }
            Step::Restart(gate) => self.restart(gate).await,
            Step::Crash(gate) => self.crash(gate).await,
            Step::Cut(kind) => {
                self.was_cut = true;
                self.store.cut(kind == 1);
            }
            Step::MissedPoll(gate, which) => {
                self.store.note().await;
                self.poll(gate, which).await;
                self.store.lose().await;
                // That it has ended is to be seen once more.
                self.ended.clear();
                (self.has_failed_over, self.was_cut) = (true, true);
            }
        }
    }

    pub async fn round(&mut self, gate: usize) {
        self.store.end_leases().await;
        let node = &self.gates[gate];
        let background = Background::new(node.handle.clone());
        let runtime = node.runtime.as_ref().unwrap();
        let round = runtime.spawn(async move { background.round().await });
        match timeout(PATIENCE, round).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self
                .faults
                .push(format!("a round of the background: {error}")),
            Err(_) => self
                .faults
                .push("a round of the background does not end".into()),
        }
    }

    fn reload(&mut self, change: Change) {
        let mut plan = (*self.plan).clone();
        plan.change(change);
        self.charged_failed |= plan.charge_failed;
        self.plan = Arc::new(plan);
        for node in &self.gates {
            let config = self.plan.config(&self.channels.addresses);
            // Its parts may start tasks.
            let _guard = node.runtime.as_ref().unwrap().enter();
            node.handle.reload(config);
        }
    }

    async fn restart(&mut self, gate: usize) {
        if !self.in_progress.is_empty() {
            return;
        }
        let node = &mut self.gates[gate];
        node.connection = None;
        let server = node.server.take().unwrap();
        let runtime = node.runtime.as_ref().unwrap();
        let stopped = runtime.spawn(server.stop(Duration::from_secs(20)));
        if stopped.await.unwrap().is_err() {
            self.faults.push("a gate does not stop".into());
        }
        self.replace(gate).await;
    }

    async fn crash(&mut self, gate: usize) {
        for (number, task) in std::mem::take(&mut self.in_progress) {
            if self.made[number].create.gate != gate {
                self.in_progress.push((number, task));
                continue;
            }
            task.abort();
            self.made[number].sent = Sent::Crashed;
            self.channels.truth().held.remove(&number);
        }
        self.replace(gate).await;
    }

    async fn replace(&mut self, gate: usize) {
        let old = self.gates.remove(gate);
        let (skew, lease) = (old.skew, old.lease.clone());
        let ledger = Arc::downgrade(old.handle.ledger());
        old.runtime.unwrap().shutdown_background();
        drop((old.handle, old.connection, old.server));
        self.store.closed(ledger).await;
        self.store.bury(&lease).await;
        let node = self.start_gate(skew).await;
        self.gates.insert(gate, node);
    }

    /// What is under way is answered.
    pub async fn release_all(&mut self) {
        while self.has_in_progress() {
            self.tick(3);
            self.release(0, Play::Answer).await;
        }
    }

    /// All is made as well as can be.
    pub fn finish(&mut self) {
        for gate in 0..self.gates.len() {
            self.gates[gate].skew = 0;
        }
        self.tick(1);
        {
            let mut truth = self.channels.truth();
            // What is only odd stays so.
            for listing in &mut truth.listing {
                if matches!(listing, Listing::Fails | Listing::Garbage | Listing::Late) {
                    *listing = Listing::Whole;
                }
            }
            for polling in &mut truth.polling {
                if !matches!(polling, Polling::OtherWords | Polling::Unreadable) {
                    *polling = Polling::Whole;
                }
            }
        }
        for key in 0..crate::plan::KEYS {
            self.reload(Change::Return(key));
        }
        for channel in 0..CHANNELS {
            self.reload(Change::Channel(channel, true));
        }
    }

    /// Lets time pass, and a gate look at what became of things.
    pub async fn pass(&mut self, seconds: u64) {
        self.tick(seconds * 1000);
        self.round(0).await;
    }

    /// Waits until each gate's ledger answers and no gate has anything left to write: a gate retries what
    /// the ledger has not answered, and remembers for a while, by the real clock, that it was away.
    pub async fn written(&mut self) {
        for node in &self.gates {
            let (gate, runtime) = (node.handle.clone(), node.runtime.as_ref().unwrap());
            let ready = runtime.spawn(answering(gate.ledger().clone()));
            if let Err(error) = ready.await.unwrap() {
                self.faults.push(format!("a ledger stays away: {error}"));
            }
            let left = runtime.spawn(async move { gate.flush(PATIENCE).await });
            if left.await.unwrap() > 0 {
                self.faults
                    .push("a gate does not write what it owes".into());
            }
        }
    }

    /// All jobs end.
    pub fn end_all(&mut self) {
        for job in &mut self.channels.truth().jobs {
            if job.status == crate::step::Status::Queued {
                job.status = crate::step::Status::Completed;
            }
        }
    }
}

/// Waits until a ledger answers: one that is slow, or was away, is asked again.
async fn answering(ledger: Arc<dyn Ledger>) -> Result<(), Unavailable> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ledger.ready().await {
            Err(error) if error.is_transient() && Instant::now() < until => sleep(AGAIN).await,
            ready => return ready,
        }
    }
}

impl Node {
    pub fn time_at(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew)
    }

    fn set_clock(&self, now: u64) {
        self.clock.set(Timestamp(self.time_at(now)));
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }
}
