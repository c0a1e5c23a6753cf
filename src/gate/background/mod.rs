//! What the gate does without being asked: it keeps the ledger's accounts true though
//! clients vanish, channels lose answers and other gates die.

mod matching;
mod resolve;
mod walk;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::books::End;
use super::{Gate, State};
use crate::channel::LiveChannel;
use crate::ledger::{State as Stand, Unavailable};
use crate::policy::Timestamp;
use resolve::Resolver;
use watch::Watcher;

/// How often the gate says that it lives. A ledger that gates share takes a gate for dead
/// that has not said so for four times this long.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the end of a request may take to be noted, beyond its deadlines.
const LATE: Duration = Duration::from_secs(5);
/// How often what has expired is looked for, and how much of it goes in one step.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_AT_ONCE: u32 = 1000;
/// The shortest and the longest time between two looks at a channel's jobs.
const TICKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Follows jobs to their end, finds out what became of requests without an answer, and
/// forgets what is old. One for each gate; the ledger sees to it that of the gates that
/// share it one does each task.
///
/// A Pingora service, for servers that embed the gate:
/// `server.add_service(background_service("tollgate", Background::new(gate)))`.
pub struct Background {
    gate: Arc<Gate>,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl Background {
    /// The background of that gate.
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// Runs until it is dropped.
    pub async fn run(&self) {
        let mut tasks = JoinSet::new();
        let gate = self.gate.clone();
        tasks.spawn(async move { gate.say_alive().await });
        let gate = self.gate.clone();
        tasks.spawn(async move { gate.keep_house().await });
        let gate = self.gate.clone();
        tasks.spawn(async move { gate.tend_channels().await });
        // None of them ends; one that panicked is not to stop the others.
        while tasks.join_next().await.is_some() {
            log::error!("a background task of the gate has ended: restart the gate");
        }
    }

    /// Does once what [`run`](Self::run) does again and again: for tests that say when.
    #[doc(hidden)]
    pub async fn round(&self) {
        let (gate, state) = (&self.gate, self.gate.state());
        gate.mark_alive(&mut Reachability::default()).await;
        for channel in state.channels.all() {
            let mut memory = Memory::default();
            for task in [Task::Watch, Task::Resolve] {
                gate.tend_once(&state, channel, task, &mut memory).await;
            }
            memory.watcher.drain().await;
        }
        gate.clean_up().await;
    }
}

/// Waits between two rounds of work, a quarter of `span` within what is sensible.
fn tick(span: Duration) -> Duration {
    (span / 4).clamp(TICKS.0, TICKS.1)
}

/// A time ago.
fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(super::books::millis(span)))
}

/// Says once that the ledger is away, and once that it is back.
#[derive(Default)]
struct Reachability {
    is_away: bool,
}

impl Reachability {
    fn note<T>(&mut self, outcome: &Result<T, Unavailable>) {
        match outcome {
            Ok(_) if self.is_away => log::info!("the ledger is back"),
            Err(error) if !self.is_away => log::error!("{error}"),
            _ => {}
        }
        self.is_away = outcome.is_err();
    }
}

impl Gate {
    async fn say_alive(&self) {
        let mut ledger = Reachability::default();
        loop {
            self.mark_alive(&mut ledger).await;
            sleep(HEARTBEAT).await;
        }
    }

    async fn mark_alive(&self, ledger: &mut Reachability) {
        let marked = self.ledger().heartbeat(self.now(), self.lost_after()).await;
        ledger.note(&marked);
        if let Ok(marked @ 1..) = marked {
            log::warn!(
                "reservations without an answer that a gate has left behind: {marked}; their \
                 channels are asked"
            );
        }
    }

    /// Longer than any request can be pending here: its last bytes leave within
    /// `jobs.unknown_grace` of its reservation or never, and from then on
    /// [`create_timeout`](crate::channel::Channel::create_timeout) bounds it. Requests under way
    /// keep the configuration that they began with, so this never becomes shorter.
    fn lost_after(&self) -> Duration {
        let state = self.state();
        let specs = state.channels.all().iter().map(|channel| channel.spec());
        let longest = specs.map(|spec| spec.create_timeout()).max();
        let pending = longest.unwrap_or_default() + state.config.jobs.unknown_grace;
        // A request that is over may wait for its turn a little longer.
        let pending = super::books::millis(pending + LATE);
        let before = self.longest_pending.fetch_max(pending, Ordering::Relaxed);
        Duration::from_millis(pending.max(before))
    }

    async fn keep_house(&self) {
        loop {
            self.clean_up().await;
            let expire_after = self.state().config.jobs.expire_after;
            sleep(PRUNE_EVERY.min(expire_after / 4)).await;
        }
    }

    async fn clean_up(&self) {
        if !self.holds("housekeeping", PRUNE_EVERY * 2).await {
            return;
        }
        if let Err(error) = self.leave_gone_channels().await {
            log::debug!("channels that are gone: {error}");
        }
        let keep = self.state().config.jobs.keep;
        loop {
            let now = self.now();
            let pruned = self.ledger().prune(before(now, keep), now, PRUNE_AT_ONCE);
            match pruned.await {
                Ok(pruned) if pruned >= u64::from(PRUNE_AT_ONCE) => {
                    // Others are to get their turn.
                    sleep(TICKS.0).await;
                }
                Ok(_) => break,
                Err(error) => {
                    log::error!("old reservations were not pruned: {error}");
                    break;
                }
            }
        }
    }

    /// Whether this gate is the one that does a task. Where the ledger is away, none is.
    async fn holds(&self, task: &str, span: Duration) -> bool {
        self.ledger().lease(task, span).await.unwrap_or(false)
    }

    /// Follows the jobs of every channel that is configured, each in a task of its own, so
    /// that one that hangs holds up no other.
    async fn tend_channels(self: Arc<Self>) {
        let mut tended = JoinSet::new();
        loop {
            let state = self.state();
            for channel in state.channels.all() {
                let name = channel.spec().name.clone();
                for task in [Task::Watch, Task::Resolve] {
                    let (gate, state, name) = (self.clone(), state.clone(), name.clone());
                    tended.spawn(async move { gate.keep_tending(state, name, task).await });
                }
            }
            // The old ones end when their round does; the new ones need not wait for that.
            while Arc::ptr_eq(&state, &self.state()) {
                while tended.try_join_next().is_some() {}
                sleep(TICKS.0).await;
            }
        }
    }

    /// Tends a channel while its configuration is in force, whatever goes wrong.
    async fn keep_tending(self: Arc<Self>, state: Arc<State>, name: Arc<str>, task: Task) {
        while Arc::ptr_eq(&state, &self.state()) {
            let (gate, of, name) = (self.clone(), state.clone(), name.clone());
            let mut round = JoinSet::new();
            round.spawn(async move { gate.tend(&of, &name, task).await });
            if let Some(Err(error)) = round.join_next().await {
                log::error!("a background task of the gate has failed and begins anew: {error}");
                sleep(TICKS.1).await;
            }
        }
    }

    /// Reservations on channels that are not configured any more cannot be asked about:
    /// they are given up like those whose end nobody has seen.
    async fn leave_gone_channels(&self) -> Result<(), Unavailable> {
        let state = self.state();
        let open = self.ledger().open().await?;
        let names: HashSet<_> = open.into_iter().map(|open| open.channel).collect();
        let gone = names
            .iter()
            .filter(|name| state.channels.get(name).is_none());
        let (at, expiry) = (
            self.now(),
            super::books::millis(state.config.jobs.expire_after),
        );
        for name in gone {
            for jobless in self.ledger().jobless(name, PRUNE_AT_ONCE).await? {
                // Without a channel's name, it was never to be sent to one.
                let over = name.is_empty() || at.since(jobless.since) > expiry;
                if over && jobless.state == Stand::Unknown {
                    let id = jobless.id;
                    log::error!("reservation {id}: channel {name} is gone, it is not charged");
                    self.books.try_abandon(id, "channel gone").await?;
                }
            }
            for job in self.ledger().due(name, at, PRUNE_AT_ONCE).await? {
                if at.since(job.created) > expiry {
                    let id = &job.id;
                    log::warn!("job {id}: channel {name} is gone, the job stays charged");
                    self.books.end(&self.books.know(&job), End::EXPIRED).await?;
                }
            }
        }
        Ok(())
    }

    async fn tend(self: &Arc<Self>, state: &Arc<State>, name: &str, task: Task) {
        let Some(channel) = state.channels.get(name) else {
            return;
        };
        let jobs = &state.config.jobs;
        let mut memory = Memory::default();
        while Arc::ptr_eq(state, &self.state()) {
            if self.tend_once(state, channel, task, &mut memory).await {
                continue;
            }
            let span = match task {
                Task::Watch => jobs.poll_after,
                Task::Resolve => jobs.unknown_grace,
            };
            sleep(tick(span)).await;
        }
        // What they have seen is to be settled, and shown in the metrics.
        memory.watcher.drain().await;
    }

    /// Does a task once. Whether it is to be done again at once.
    async fn tend_once(
        self: &Arc<Self>,
        state: &Arc<State>,
        channel: &Channel,
        task: Task,
        memory: &mut Memory,
    ) -> bool {
        let name = &channel.spec().name;
        let lease = match task {
            Task::Watch => format!("watch:{name}"),
            Task::Resolve => format!("resolve:{name}"),
        };
        if !self.holds(&lease, HEARTBEAT * 4).await {
            return false;
        }
        let done = match task {
            Task::Watch => self.watch(state, channel, &mut memory.watcher).await,
            Task::Resolve => {
                let resolved = self.resolve(state, channel, &mut memory.resolver);
                resolved.await.map(|()| false)
            }
        };
        done.unwrap_or_else(|error| {
            log::debug!("{lease}: {error}");
            false
        })
    }
}

/// What the tasks of a channel remember between their rounds.
#[derive(Default)]
struct Memory {
    watcher: Watcher,
    resolver: Resolver,
}

/// What is done for a channel.
#[derive(Clone, Copy)]
enum Task {
    /// Looks at jobs that have not ended.
    Watch,
    /// Finds out what became of requests without an answer.
    Resolve,
}

/// A channel, as the tasks see it.
type Channel = Arc<LiveChannel>;
