//! Gates before the scripted channels, and the clients: carries a history out, step by step.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tollgate::gate::{Background, Clock, Gate};
use tollgate::metrics::Metrics;
use tollgate::policy::Timestamp;
use tollgate::server::{self, Server};

use crate::channel::{Channels, Truth};
use crate::plan::{DRIP, MODELS, Plan, SECONDS, SIZES, secret};
use crate::requests::{Made, Sent};
use crate::step::{Change, Create, Deletion, History, Listing, Play, Polling, Start, Step};
use crate::store::{PATIENCE, Row, Store};
use crate::support::client::{Answer, Connection, Request};

/// A gate, on threads of its own, so that it can die as a process does.
pub struct Node {
    pub handle: Arc<Gate>,
    pub clock: Clock,
    /// By how many milliseconds its clock is wrong.
    pub skew: i64,
    address: SocketAddr,
    server: Option<Server>,
    runtime: Option<Runtime>,
    connection: Option<Connection>,
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
    /// The requests that clients made.
    pub made: Vec<Made>,
    /// Those that have no answer yet, by number.
    under_way: Vec<(usize, JoinHandle<std::io::Result<Answer>>)>,
    /// What clients were told that may not be: found while a step was taken.
    pub faults: Vec<String>,
    /// Whether the ledger was replaced by one that had missed something.
    pub has_failed_over: bool,
    /// Whether the way to the ledger was cut.
    pub was_cut: bool,
    /// Whether any clock was wrong by more than channels and gates may lie apart.
    pub was_far_off: bool,
    /// Whether any gate's clock was wrong at all.
    pub was_skewed: bool,
    /// Whether failed jobs were ever charged.
    pub charged_failed: bool,
    /// Whether all lists have always had the jobs' prompts.
    pub has_prompts: bool,
    /// Jobs of which a gate has been told how they ended.
    pub ended: Vec<String>,
    times: HashSet<u64>,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        self.under_way.iter().for_each(|(_, task)| task.abort());
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
            under_way: vec![],
            faults: vec![],
            has_failed_over: false,
            was_cut: false,
            was_far_off: false,
            was_skewed: false,
            charged_failed: false,
            has_prompts: !history.start.listing.contains(&Listing::NoPrompts),
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
        let ledger = handle.ledger().clone();
        let ready = runtime.spawn(async move { ledger.ready().await });
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
                self.channels.truth().listing[channel] = listing;
            }
            Step::Polling(channel, polling) => self.channels.truth().polling[channel] = polling,
            Step::Reload(change) => self.reload(change),
            Step::Pass(seconds) => self.tick(seconds * 1000),
            Step::Skew(gate, seconds) => {
                self.gates[gate].skew = seconds * 1000;
                self.was_skewed = true;
                self.was_far_off |= seconds.abs() > 100;
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
                (self.has_failed_over, self.was_cut) = (true, true);
            }
        }
    }

    /// Notes a request, and makes it the one that a channel sees next.
    fn note(&mut self, create: Create, idem: Option<String>, source: Option<String>) -> Request {
        let (asked, number) = (create.asked, self.made.len());
        let made = Made::new(create, idem.clone(), source.clone(), self);
        let mut body = serde_json::Map::new();
        let mut field = |name: &str, value: &str| body.insert(name.into(), value.into());
        field("prompt", crate::plan::PROMPTS[asked.prompt]);
        if source.is_none() {
            field("model", MODELS[asked.model].0);
            field("seconds", &SECONDS[asked.seconds].to_string());
            field("size", SIZES[asked.size]);
        }
        self.made.push(made);
        let play = match create.play {
            Play::Drip if asked.model != DRIP || source.is_some() => Play::Half,
            play => play,
        };
        self.channels.truth().next = Some((number, play, create.render));
        let path = match source {
            Some(id) => format!("/v1/videos/{}/remix", crate::requests::encoded(&id)),
            None => "/v1/videos".to_owned(),
        };
        let body = serde_json::Value::Object(body).to_string().into_bytes();
        let mut request = Request::new("POST", &path).key(&secret(asked.key));
        request = request.header("Content-Type", "application/json");
        if let Some(idem) = idem {
            request = request.header("Idempotency-Key", &idem);
        }
        request.body = Some(crate::support::client::Body::Length(body, vec![]));
        request
    }

    /// The request of a create, if what it is a remix of can be had.
    fn prepare(&mut self, create: Create) -> Option<Request> {
        let idem = create.asked.idem.map(|name| format!("idem-{name}"));
        let source = match create.asked.remix {
            Some(which) => Some(self.told_to(create.asked.key, which)?),
            None => None,
        };
        Some(self.note(create, idem, source))
    }

    async fn create(&mut self, create: Create) {
        if let Some(request) = self.prepare(create) {
            self.send_create(create, request).await;
        }
    }

    async fn send_create(&mut self, create: Create, request: Request) {
        let number = self.made.len() - 1;
        if create.leaves {
            return self.send_and_leave(create, request).await;
        }
        let holds = matches!(create.play, Play::Hold | Play::HoldMade);
        let address = self.gates[create.gate].address;
        let mut task = tokio::spawn(async move { request.send(address).await });
        if holds {
            if !self.arrives(number, &task).await {
                return self.note_answer(number, (&mut task).await.unwrap());
            }
            self.made[number].sent = Sent::UnderWay;
            self.under_way.push((number, task));
            return;
        }
        let answer = task.await.unwrap();
        self.note_answer(number, answer);
        self.settle_down(create.gate).await;
    }

    /// Whether a channel has a request, rather than that it was answered.
    async fn arrives(&self, number: usize, task: &JoinHandle<std::io::Result<Answer>>) -> bool {
        loop {
            if self.channels.truth().held.contains_key(&number) {
                return true;
            }
            if task.is_finished() {
                return false;
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }

    /// The client goes once its request is at the channel.
    async fn send_and_leave(&mut self, create: Create, request: Request) {
        let number = self.made.len() - 1;
        let play = self.channels.truth().next.unwrap().1;
        // Held until the client is gone.
        let hold = if play.makes() {
            Play::HoldMade
        } else {
            Play::Hold
        };
        self.channels.truth().next = Some((number, hold, create.render));
        let address = self.gates[create.gate].address;
        let mut task = tokio::spawn(async move { request.send(address).await });
        if !self.arrives(number, &task).await {
            return self.note_answer(number, (&mut task).await.unwrap());
        }
        task.abort();
        let _ = task.await;
        self.made[number].sent = Sent::Left;
        let held = self.channels.truth().held.remove(&number);
        let _ = held.unwrap().send(play);
        self.resolves(number).await;
    }

    /// Waits until a gate has made something of a request whose client is gone.
    async fn resolves(&mut self, number: usize) {
        let at = self.made[number].at;
        let done = async || {
            let rows = self.store.rows().await;
            let mut own = rows.iter().filter(|row| row.created == at);
            !own.any(|row| row.state == "pending")
        };
        let resolved = timeout(Duration::from_secs(15), async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        if resolved.await.is_err() {
            self.faults.push(format!(
                "request {number} stays pending though it has its answer"
            ));
        }
    }

    async fn create_together(&mut self, mut create: Create, times: usize) {
        if matches!(create.play, Play::Hold | Play::HoldMade | Play::Drip) {
            create.play = Play::Answer;
        }
        create.leaves = false;
        let first = self.made.len();
        let mut tasks = Vec::new();
        for _ in 0..times {
            let Some(request) = self.prepare(create) else {
                return;
            };
            let address = self.gates[create.gate].address;
            tasks.push(async move { request.send(address).await });
        }
        // The channel cannot tell them apart.
        self.channels.truth().next.as_mut().unwrap().0 = first;
        let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
        for (number, task) in (first..).zip(tasks) {
            self.made[number].together = Some(first);
            let answer = task.await.unwrap();
            self.note_answer(number, answer);
        }
        self.settle_down(create.gate).await;
    }

    async fn repeat(&mut self, which: usize, play: Play) {
        let named: Vec<_> = self
            .made
            .iter()
            .filter(|made| made.idem.is_some())
            .collect();
        let Some(made) = named.get(which % named.len().max(1)) else {
            return;
        };
        let (idem, source) = (made.idem.clone(), made.source.clone());
        let mut create = Create {
            play,
            ..made.create
        };
        create.leaves = false;
        let request = self.note(create, idem, source);
        self.send_create(create, request).await;
    }

    async fn release(&mut self, which: usize, play: Play) {
        if self.under_way.is_empty() {
            return;
        }
        let (number, task) = self.under_way.remove(which % self.under_way.len());
        let held = self.channels.truth().held.remove(&number);
        // The gate may have given it up.
        let _ = held.map(|held| held.send(play));
        let answer = timeout(PATIENCE, task).await;
        let answer =
            answer.map_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()), Result::unwrap);
        self.note_answer(number, answer);
    }

    pub fn has_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// A request about something else than a create. One that fails on a connection that has
    /// served before is sent again on another.
    pub async fn send(&mut self, gate: usize, key: usize, request: Request) -> Option<Answer> {
        let request = request.key(&secret(key));
        let node = &mut self.gates[gate];
        let mut answer = None;
        if let Some(connection) = &mut node.connection {
            answer = connection.send(&request).await.ok();
        }
        if answer.is_none() {
            let mut connection = Connection::open(node.address).await.unwrap();
            answer = connection.send(&request).await.ok();
            node.connection = Some(connection);
        }
        let closes = |answer: &Answer| answer.header("connection") == Some("close");
        if answer.as_ref().is_none_or(closes) {
            node.connection = None;
        }
        if answer.is_none() {
            let what = format!("{} {}", request.method, request.path);
            self.faults
                .push(format!("no answer to {what} of key {key}"));
        }
        answer
    }

    /// What a gate does after an answer is done before it reads the next request.
    async fn settle_down(&mut self, gate: usize) {
        self.send(gate, 0, Request::get("/nothing")).await;
    }

    async fn poll(&mut self, gate: usize, which: usize) {
        let Some((id, key)) = self.told(which) else {
            return;
        };
        let path = format!("/v1/videos/{}", crate::requests::encoded(&id));
        let answer = self.send(gate, key, Request::get(&path)).await;
        self.settle_down(gate).await;
        let told = answer.is_some_and(|answer| answer.status == 200);
        if told && !self.was_cut && self.has_ended(&id).await {
            self.ended.push(id);
        }
    }

    /// Whether the channel says to who asks that a job has ended.
    async fn has_ended(&self, id: &str) -> bool {
        let job = self.known_by(id).await;
        job.is_some_and(|job| {
            let polling = self.channels.truth().polling[job.channel];
            let clear = [Polling::Whole, Polling::OtherWords, Polling::Unreadable];
            job.status != crate::step::Status::Queued && clear.contains(&polling)
        })
    }

    async fn delete(&mut self, gate: usize, which: usize, deletion: Deletion) {
        let Some((id, key)) = self.told(which) else {
            return;
        };
        self.channels.truth().deletion = deletion;
        let path = format!("/v1/videos/{}", crate::requests::encoded(&id));
        self.send(gate, key, Request::new("DELETE", &path)).await;
        self.settle_down(gate).await;
    }

    /// One of the jobs that clients were told of, and whose it is.
    fn told(&self, which: usize) -> Option<(String, usize)> {
        let told = self
            .made
            .iter()
            .filter_map(|made| Some((made.told()?, made.asked.key)));
        let told: Vec<_> = told.collect();
        let (id, key) = *told.get(which % told.len().max(1))?;
        Some((id.to_owned(), key))
    }

    fn told_to(&self, key: usize, which: usize) -> Option<String> {
        let own = self.made.iter().filter(|made| made.asked.key == key);
        let own: Vec<_> = own.filter_map(Made::told).collect();
        own.get(which % own.len().max(1)).map(|id| (*id).to_owned())
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
        if !self.under_way.is_empty() {
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
        for (number, task) in std::mem::take(&mut self.under_way) {
            if self.made[number].create.gate != gate {
                self.under_way.push((number, task));
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

    /// All is made as well as can be.
    pub async fn finish(&mut self) {
        while self.has_under_way() {
            self.tick(3);
            self.release(0, Play::Answer).await;
        }
        for gate in 0..self.gates.len() {
            self.gates[gate].skew = 0;
        }
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
        for channel in 0..crate::plan::CHANNELS {
            self.reload(Change::Channel(channel, true));
        }
    }

    /// Lets time pass, and a gate look at what became of things.
    pub async fn pass(&mut self, seconds: u64) {
        self.tick(seconds * 1000);
        self.round(0).await;
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
