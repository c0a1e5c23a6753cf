//! Runs the background work of a gate: it keeps the ledger correct when clients vanish, channels lose
//! answers and other gates die.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::channel_task::ChannelTask;
use super::job_end::JobEnd;
use super::overdue::OverdueSince;
use super::poller::{Poller, Round};
use super::prune::{MAX_PRUNED, prune_before};
use super::reachability::Reachability;
use super::reconcile::Reconciler;
use super::reserve::Billing;
use crate::channel::ChannelState;
use crate::clock::{before, millis};
use crate::ledger::{State, Unavailable};
use crate::metrics::RoundTask as Task;
use crate::plural::Counted;
use crate::runtime::{Runtime, Snapshot};
use crate::upstream::{LiveChannel, UpstreamClient, probe_health};

/// The interval of a gate's heartbeats. A shared ledger considers a gate dead after four times this interval
/// without a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The additional time, beyond the deadlines of a request, that recording the request's end may take.
const LATE: Duration = Duration::from_secs(5);
/// The maximum interval between prunings of expired entries.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// The shortest and the longest wait between two rounds of a channel's task.
const TICKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The background worker of a gate: polls jobs to their end, reconciles unknown outcomes with channels'
/// lists, and prunes old entries. Each gate has one worker. Leases in the ledger ensure that each of these
/// tasks is done by only one of the gates that share the ledger.
pub(crate) struct Worker {
    billing: Billing,
    client: Arc<UpstreamClient>,
    runtime: Arc<Runtime>,
    /// The longest result of [`Worker::lost_after`] so far, in milliseconds.
    longest_pending: AtomicU64,
    overdue_since: OverdueSince,
}

/// The state that the tasks of a channel keep between rounds.
#[derive(Default)]
struct Memory {
    poller: Poller,
    reconciler: Reconciler,
}

impl Worker {
    /// Makes the worker of a gate.
    pub(crate) fn new(
        billing: Billing,
        client: Arc<UpstreamClient>,
        runtime: Arc<Runtime>,
    ) -> Arc<Self> {
        Arc::new(Self {
            billing,
            client,
            runtime,
            longest_pending: AtomicU64::new(0),
            overdue_since: OverdueSince::default(),
        })
    }

    /// Runs all background tasks; the future never completes, and dropping it ends them.
    pub(crate) async fn run(self: &Arc<Self>) {
        let mut tasks = JoinSet::new();
        let worker = self.clone();
        tasks.spawn(async move { worker.send_heartbeats().await });
        let worker = self.clone();
        tasks.spawn(async move { worker.prune_regularly().await });
        let worker = self.clone();
        tasks.spawn(async move { worker.run_channel_tasks().await });
        // None of these tasks ends; one that panicked must not stop the others.
        while tasks.join_next().await.is_some() {
            log::error!("a background task of the gate has ended: restart the gate");
        }
    }

    /// Waits at most `within` until the pending writes to the ledger are done.
    pub(crate) async fn flush(&self, within: Duration) {
        self.billing.flush(within).await;
    }

    /// Runs one round of each task that [`run`](Self::run) repeats. For tests, which choose when a round
    /// runs.
    pub(crate) async fn round(self: &Arc<Self>) {
        let snapshot = self.runtime.snapshot();
        self.send_heartbeat(&mut Reachability::default()).await;
        for channel in snapshot.channels.all() {
            let mut memory = Memory::default();
            for task in tasks_at(&snapshot, channel) {
                let of = self.channel_task(&snapshot, channel.clone());
                self.run_once(&of, task, &mut memory).await;
            }
            memory.poller.drain().await;
        }
        self.prune().await;
    }

    async fn send_heartbeats(&self) {
        let mut ledger = Reachability::default();
        loop {
            self.send_heartbeat(&mut ledger).await;
            sleep(HEARTBEAT).await;
        }
    }

    async fn send_heartbeat(&self, reachability: &mut Reachability) {
        let (ledger, now) = (self.billing.ledger(), self.billing.now());
        let marked = ledger.heartbeat(now, self.lost_after()).await;
        reachability.note(&marked);
        if let Ok(marked @ 1..) = marked {
            log::warn!(
                "reservations without an answer that a gate has left behind: {marked}; their \
                 channels are asked"
            );
        }
    }

    /// Returns a duration that is longer than any request can be pending at this gate. The last bytes of a
    /// request leave within `jobs.unknown_grace` of its reservation or never, and from then on
    /// [`create_timeout`](crate::channel::Channel::create_timeout) limits the request. Requests under way
    /// keep the configuration that they began with, so this duration never becomes shorter.
    fn lost_after(&self) -> Duration {
        let snapshot = self.runtime.snapshot();
        let channels = snapshot.channels.all().iter();
        let longest = channels
            .map(|channel| channel.spec().create_timeout())
            .max();
        let pending = longest.unwrap_or_default() + snapshot.config.jobs.unknown_grace;
        // Recording the end of a request may take a little longer.
        let pending = millis(pending + LATE);
        let before = self.longest_pending.fetch_max(pending, Ordering::Relaxed);
        Duration::from_millis(pending.max(before))
    }

    async fn prune_regularly(&self) {
        loop {
            self.prune().await;
            let expire_after = self.runtime.snapshot().config.jobs.expire_after;
            sleep(PRUNE_EVERY.min(expire_after / 4)).await;
        }
    }

    async fn prune(&self) {
        let keep = || self.runtime.snapshot().config.jobs.keep;
        let oldest_kept = before(self.billing.now(), keep());
        self.billing.jobs.forget_before(oldest_kept);
        if !self.has_lease("housekeeping", PRUNE_EVERY * 2).await {
            return;
        }
        if let Err(error) = self.expire_removed_channels().await {
            log::debug!("channels that were removed: {error}");
        }
        // The configuration may have been reloaded meanwhile.
        let time = oldest_kept.min(before(self.billing.now(), keep()));
        if let Err(error) = prune_before(&self.billing, time).await {
            log::error!("old reservations were not pruned: {error}");
        }
    }

    /// Expires the reservations and jobs of channels that are switched off or that this process does not
    /// know, since nobody can be asked about them. After `jobs.expire_after`, an unknown reservation is
    /// voided, and a job stays charged.
    async fn expire_removed_channels(&self) -> Result<(), Unavailable> {
        let (billing, ledger) = (&self.billing, self.billing.ledger());
        let snapshot = self.runtime.snapshot();
        let open = ledger.count_unresolved().await?;
        let names: HashSet<_> = open.into_iter().map(|open| open.channel).collect();
        let is_removed = |name: &&Arc<str>| {
            let channel = snapshot.channels.get(name);
            channel.is_none_or(|channel| channel.state() == ChannelState::Off)
        };
        let (at, expiry) = (billing.now(), millis(snapshot.config.jobs.expire_after));
        for name in names.iter().filter(is_removed) {
            for unmatched in ledger.unmatched(name, MAX_PRUNED).await? {
                // A reservation without a channel's name was never sent to a channel.
                let is_over = name.is_empty() || at.since(unmatched.since) > expiry;
                let id = unmatched.id;
                let is_unknown = unmatched.state == State::Unknown;
                if is_over && is_unknown && !billing.is_being_confirmed(id) {
                    log::error!(
                        "reservation {id}: channel {name} is gone or off, it is not charged"
                    );
                    billing.void_by_id(id, "channel gone").await?;
                }
            }
            for job in ledger.due(name, at, MAX_PRUNED).await? {
                if at.since(job.created) > expiry && !billing.is_being_confirmed(job.reservation) {
                    let id = &job.id;
                    log::warn!("job {id}: channel {name} is gone or off, the job stays charged");
                    let entry = billing.entry(&job);
                    billing.resolve_job(&entry, JobEnd::EXPIRED).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes or renews the lease of `task` for `span`. Returns whether this gate holds it; `false` if the
    /// ledger is unavailable.
    async fn has_lease(&self, task: &str, span: Duration) -> bool {
        let leased = self.billing.ledger().lease(task, span).await;
        leased.unwrap_or(false)
    }

    /// Runs the tasks of every configured channel, each separately, so that a task that hangs does not
    /// delay the others.
    async fn run_channel_tasks(self: Arc<Self>) {
        let (mut tasks, mut before) = (JoinSet::new(), None);
        loop {
            let snapshot = self.runtime.snapshot();
            if let Some(before) = before.replace(snapshot.clone()) {
                let worker = self.clone();
                let (before, now) = (before, snapshot.clone());
                tasks.spawn(async move { worker.warn_of_removed(&before, &now).await });
            }
            for channel in snapshot.channels.all() {
                let (worker, of) = (self.clone(), self.channel_task(&snapshot, channel.clone()));
                tasks.spawn(async move { worker.probe_regularly(&of).await });
                for task in tasks_at(&snapshot, channel) {
                    let of = self.channel_task(&snapshot, channel.clone());
                    let worker = self.clone();
                    tasks.spawn(async move { worker.supervise(of, task).await });
                }
            }
            // The old tasks end when their round does; the new ones need not wait for that.
            while self.is_in_force(&snapshot) {
                while tasks.try_join_next().is_some() {}
                sleep(TICKS.0).await;
            }
        }
    }

    /// Logs a warning for each channel of `before` that is removed in `now`, or of which an address is
    /// removed, if the channel still has unfinished jobs.
    async fn warn_of_removed(&self, before: &Snapshot, now: &Snapshot) {
        // An address that an earlier change has removed was warned of then.
        let was_there = |now: &&Arc<LiveChannel>| {
            let mut before = before.channels.addresses(&now.spec().name);
            before.any(|before| before.spec().url == now.spec().url && !before.is_removed())
        };
        let removed = now.channels.all().iter().filter(|at| at.is_removed());
        let mut removed: BTreeMap<_, u64> = removed
            .filter(was_there)
            .map(|channel| (channel.spec().name.clone(), 0))
            .collect();
        if removed.is_empty() {
            return;
        }
        // If the ledger is unavailable, that has been logged already.
        let open = self.billing.ledger().count_unresolved().await;
        for open in open.unwrap_or_default() {
            if let Some(count) = removed.get_mut(&open.channel) {
                *count += open.count;
            }
        }
        for (name, count) in removed.into_iter().filter(|(_, count)| *count > 0) {
            let jobs = Counted(count, "unfinished job");
            // The ledger counts the jobs of a channel, and not those of each address.
            let (what, which) = match now.channels.addresses(&name).all(|at| at.is_removed()) {
                true => ("channel", "them"),
                false => ("an address of channel", "those of that address"),
            };
            log::warn!(
                "{what} {name} was removed from the configuration while the channel has {jobs}: this process \
                 goes on to poll and download {which}, and after its end nobody can; to end its use, write \
                 `state: drain` for the channel and remove it later"
            );
        }
    }

    /// Probes a channel while its configuration is in force, if it has a probe configured. Every gate
    /// probes for itself: one gate may reach a channel that another cannot.
    async fn probe_regularly(&self, of: &ChannelTask) {
        let Some(probe) = &of.channel.spec().probe else {
            return;
        };
        while self.is_in_force(&of.snapshot) {
            if of.channel.state() != ChannelState::Off {
                probe_health(&self.client, &of.channel, probe).await;
            }
            let next = Instant::now() + probe.every;
            while self.is_in_force(&of.snapshot) && Instant::now() < next {
                sleep_until(next.min(Instant::now() + TICKS.1)).await;
            }
        }
    }

    fn is_in_force(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(snapshot, &self.runtime.snapshot())
    }

    fn channel_task(&self, snapshot: &Arc<Snapshot>, channel: Arc<LiveChannel>) -> ChannelTask {
        ChannelTask {
            billing: self.billing.clone(),
            client: self.client.clone(),
            snapshot: snapshot.clone(),
            channel,
        }
    }

    /// Runs a task of a channel while its configuration is in force, and restarts it after a panic.
    async fn supervise(self: Arc<Self>, of: ChannelTask, task: Task) {
        while self.is_in_force(&of.snapshot) {
            let (worker, of) = (self.clone(), of.clone());
            let mut round = JoinSet::new();
            round.spawn(async move { worker.run_task(&of, task).await });
            if let Some(Err(error)) = round.join_next().await {
                log::error!("a background task of the gate has failed and begins anew: {error}");
                sleep(TICKS.1).await;
            }
        }
    }

    async fn run_task(&self, of: &ChannelTask, task: Task) {
        let jobs = &of.snapshot.config.jobs;
        let mut memory = Memory::default();
        while self.is_in_force(&of.snapshot) {
            if self.run_once(of, task, &mut memory).await {
                continue;
            }
            let span = match task {
                Task::Poll => jobs.poll_after,
                Task::Reconcile => jobs.unknown_grace,
            };
            sleep(tick(span)).await;
        }
        // Jobs whose end is seen by a poll under way are still settled, and counted in the metrics.
        memory.poller.drain().await;
    }

    /// Runs one round of a task. Returns whether the next round should follow at once.
    async fn run_once(&self, of: &ChannelTask, task: Task, memory: &mut Memory) -> bool {
        if of.channel.state() == ChannelState::Off {
            // Nothing is sent to a channel that is off, and none of its work is late.
            self.note_round(of, task);
            return false;
        }
        let name = of.name();
        let lease = match (task, of.channel.address()) {
            (Task::Poll, _) => format!("watch:{name}"),
            (Task::Reconcile, None) => format!("resolve:{name}"),
            (Task::Reconcile, Some(address)) => format!("resolve:{name} {address}"),
        };
        if !self.has_lease(&lease, HEARTBEAT * 4).await {
            return false;
        }
        let round = match task {
            Task::Poll => memory.poller.round(of).await,
            Task::Reconcile => {
                let note_overdue = |is_overdue| self.overdue_since.note(&lease, is_overdue);
                memory.reconciler.round(of, note_overdue).await
            }
        };
        self.overdue_since.keep(&lease);
        match &round {
            Ok(Round::Complete) => self.note_round(of, task),
            Ok(Round::More | Round::HeldUp) => {}
            Err(error) => log::debug!("{lease}: {error}"),
        }
        matches!(round, Ok(Round::More))
    }

    /// Records in the metrics that a round is done. Rounds at an address that is no longer configured are
    /// not recorded, since no alert watches them.
    fn note_round(&self, of: &ChannelTask, task: Task) {
        if of.channel.is_removed() {
            return;
        }
        let (metrics, at) = (&self.billing.metrics, self.billing.now());
        metrics.ledger.round_done(of.name(), task, at);
    }
}

/// Returns the tasks that run for one address of a channel. Each address has its own list of jobs to
/// reconcile, and the task of the first address polls the jobs of all addresses.
fn tasks_at(snapshot: &Snapshot, channel: &Arc<LiveChannel>) -> Vec<Task> {
    match snapshot.channels.is_first(channel) {
        true => vec![Task::Poll, Task::Reconcile],
        false => vec![Task::Reconcile],
    }
}

/// Computes the wait between two rounds of work: a quarter of `span`, limited to the range of [`TICKS`].
fn tick(span: Duration) -> Duration {
    (span / 4).clamp(TICKS.0, TICKS.1)
}
