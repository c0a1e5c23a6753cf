//! `tollgate serve`: runs the gate until it is asked to stop.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use sd_notify::NotifyState;

use super::reload::{Reloader, StartupSettings};
use super::systemd::{self, Activated};
use super::{log_format, open_files, reloads};
use crate::admin::{ReloadOutcome, ReloadRequests};
use crate::config::{self, Config, LedgerUrl, Loaded};
use crate::gate::{Background, Gate};
use crate::ledger::{Ledger, MemoryLedger, PostgresLedger, SqliteLedger};
use crate::metrics::Metrics;
use crate::plural::Counted;
use crate::server::{Server, StillInProgress};
use crate::{admin, server};

/// A function that reads the configuration file, at the start and at each reload.
pub(super) type Load = fn(&Path) -> Loaded;

pub(super) fn run(path: &Path) -> ExitCode {
    let load = |path: &Path| config::load_files(path, &|name| std::env::var(name).ok());
    run_with(path, load, |_| std::future::ready(Ok(())))
}

/// Runs the gate until it is stopped. The future of `beside` runs on the same runtime, after the gate has
/// bound its addresses and before it answers requests.
pub(super) fn run_with<F>(path: &Path, load: Load, beside: impl FnOnce(&Config) -> F) -> ExitCode
where
    F: Future<Output = io::Result<()>>,
{
    let Loaded { config, paths } = load(path);
    let config = match config {
        Ok(config) => config,
        Err(error) => return super::fail(error),
    };
    // Before other threads start, which could read the environment at the same time.
    let activated = Activated::take();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    let beside = beside(&config);
    let load = || load(path);
    let served = serve(load, (config, paths), activated, beside);
    let outcome = runtime.block_on(served);
    // The runtime drops its tasks, and the last of them closes the ledger. Work that has not ended within
    // CLOSE_WITHIN is abandoned.
    let began = Instant::now();
    runtime.shutdown_timeout(CLOSE_WITHIN);
    if began.elapsed() >= CLOSE_WITHIN {
        log::warn!(
            "not all was closed within {CLOSE_WITHIN:?}: with a ledger in SQLite, keep its file and the \
             -wal beside it together"
        );
    }
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(still)) => super::fail(still),
        Err(error) => super::fail(error),
    }
}

/// Returns a listening socket at `address`: one from systemd if there is one, otherwise a new one.
///
/// # Errors
/// The error names the setting and the address.
fn listen(
    setting: &str,
    address: SocketAddr,
    activated: &mut Activated,
) -> io::Result<TcpListener> {
    if let Some(listener) = activated.at(address) {
        log::info!("the socket at {address} is one that was given to this process");
        return Ok(listener);
    }
    TcpListener::bind(address).map_err(|error| {
        let problem = super::cannot_listen(setting, address, &error);
        io::Error::new(error.kind(), problem)
    })
}

/// Opens the ledger. A PostgreSQL database need not be available yet; the gate is not ready until it is.
fn open_ledger(url: &LedgerUrl) -> io::Result<Arc<dyn Ledger>> {
    match url {
        LedgerUrl::Memory => {
            log::warn!("the ledger is in memory: it is gone with this process");
            Ok(Arc::new(MemoryLedger::default()))
        }
        LedgerUrl::Sqlite(path) => {
            let ledger = SqliteLedger::open(path).map_err(io::Error::other)?;
            log::info!("ledger in {}", path.display());
            Ok(Arc::new(ledger))
        }
        LedgerUrl::Postgres(url) => {
            let ledger = PostgresLedger::new(url, PostgresLedger::CONNECTIONS);
            Ok(Arc::new(ledger.map_err(io::Error::other)?))
        }
    }
}

async fn serve(
    load: impl Fn() -> Loaded,
    (config, paths): (Config, BTreeSet<PathBuf>),
    mut activated: Activated,
    beside: impl Future<Output = io::Result<()>>,
) -> io::Result<Result<(), StillInProgress>> {
    // The handlers come first: without them, each of these signals would end the process.
    let signals = Signals::new()?;
    let metrics = Metrics::new().map_err(io::Error::other)?;
    log_format::set(config.log.format);
    let (socket, mut bounds) = (config.listen.clone(), config.bounds.clone());
    let started = StartupSettings::of(&config);
    if let Some(limit) = open_files::raise_limit()
        && let Err(few) = open_files::check(limit, &bounds)
    {
        log::warn!("{few}");
        // A client that is refused with a message is better off than one that nobody accepts.
        bounds.connections = few.fitting;
    }
    let ledger = open_ledger(&config.ledger)?;
    let listener = listen("listen.address", socket.address, &mut activated)?;
    let admin_listener = match &config.admin {
        Some(admin) => Some(listen("admin.address", admin.address, &mut activated)?),
        None => None,
    };
    for address in activated.left() {
        log::warn!(
            "the socket at {address} was given to this process, which does not listen there"
        );
    }
    beside.await?;

    let gate = Gate::new(config, ledger, Arc::new(metrics));
    let server = server::serve(gate.clone(), listener, &socket, &bounds)?;
    log::info!("gate listens on {}", server.address());
    let (trigger, reloads) = admin::reload_trigger();
    let admin = match admin_listener {
        Some(listener) => {
            let admin = admin::serve_with(gate.clone(), listener, Some(trigger))?;
            log::info!("metrics and health on {}", admin.address());
            Some(admin)
        }
        None => None,
    };

    let background = Background::new(gate.clone());
    let background = tokio::spawn(async move { background.run().await });

    reloads::keep_start(&gate);
    let reloader = Reloader::new(load, paths, (&gate, server.certificate()), started);
    systemd::notify(&[NotifyState::Ready]);
    let watched = systemd::watch();
    let signals = run_until_stopped(signals, reloads, reloader).await;
    let running = Running {
        gate,
        server,
        admin,
        background,
        watched,
    };
    Ok(running.stop(signals).await)
}

/// The running parts of the process, which a stop ends.
struct Running {
    gate: Arc<Gate>,
    server: Server,
    admin: Option<Server>,
    background: JoinHandle<()>,
    watched: Option<JoinHandle<()>>,
}

impl Running {
    /// Stops all parts when the requests under way have ended, or when their time is over.
    async fn stop(self, mut signals: Signals) -> Result<(), StillInProgress> {
        let began = Instant::now();
        self.gate.stopping();
        let (grace, patience) = stop_times(&self.gate);
        // The stop may take the grace, the time for clients' requests, and that for the admin listener's.
        systemd::notify(&[NotifyState::Stopping]);
        systemd::extend_stop(grace + patience * 2 + STOP_MARGIN);
        if !grace.is_zero() {
            log::info!("stopping: not ready any more, and for {grace:?} requests are still taken");
            tokio::select! {
                () = tokio::time::sleep(grace) => {}
                () = signals.stop() => log::info!("asked again to stop: it takes no more requests"),
            }
        }
        log::info!("stopping: requests under way may end");
        let ended = self.server.stop(patience).await;
        if ended.is_err() {
            log_under_way(&self.gate);
        }
        if let Some(admin) = self.admin {
            let _ = admin.stop(patience).await;
        }
        self.background.abort();
        // The error says that the task was aborted, and is ignored. A round in progress may still begin a
        // write. If the write is lost, the next start finds the charge unresolved and asks the channel.
        let _ = self.background.await;
        let left = self.gate.flush(FLUSH_WITHIN).await + reloads::waiting();
        if let Some(watched) = self.watched {
            watched.abort();
        }
        log_end(ended.is_ok(), left, began.elapsed());
        // The gate is dropped when the runtime shuts down, within CLOSE_WITHIN: closing the ledger may block.
        let gate = self.gate;
        tokio::spawn(async move {
            let () = std::future::pending().await;
            drop(gate);
        });
        ended
    }
}

/// The signals that the gate handles: SIGHUP reloads, SIGTERM and SIGINT stop.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Waits until SIGTERM or SIGINT asks the gate to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// The maximum time of a stop beyond the configured times: to end writes to the ledger and to close it.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// The maximum time to flush background writes to the ledger.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// The maximum time to end all tasks and to close the ledger, which for SQLite moves its write-ahead log into
/// its file.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

/// Logs that the gate has stopped with nothing left to do, or how many writes to the ledger are left. Logs
/// nothing if only requests are left.
fn log_end(all_ended: bool, left: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    match (all_ended, left) {
        (true, 0) => log::info!(
            "stopped: all requests have ended, and the ledger has all that was to be written, in \
             {seconds:.1} s"
        ),
        // The number of requests that have not ended is printed when the process ends.
        (_, 0) => {}
        (_, left) => log::warn!(
            "stopped before the ledger had {}: it was away or slow. The next start finds the charges \
             as they are in the ledger and asks the channels; jobs that it has no charge of are named \
             above, and evidence for disputes may be missing",
            Counted(left as u64, "write")
        ),
    }
}

/// Returns for how long a stopping gate still accepts requests (`listen.grace`), and for how long running
/// requests may continue after that (`bounds.shutdown_timeout`).
fn stop_times(gate: &Gate) -> (Duration, Duration) {
    let config = &gate.snapshot().config;
    (config.listen.grace, config.bounds.shutdown_timeout)
}

/// The maximum number of unfinished requests that a stopping gate logs.
const NAMED: usize = 20;

/// Logs at most [`NAMED`] requests that have not ended, the oldest first.
fn log_under_way(gate: &Gate) {
    for request in gate.requests_under_way(NAMED) {
        log::warn!("still under way: {request}");
    }
}

/// Reloads the configuration at each SIGHUP, at an operator's request, and, if it is configured, when its
/// files have changed; returns at SIGTERM or SIGINT.
async fn run_until_stopped(
    mut signals: Signals,
    mut reloads: ReloadRequests,
    mut reloader: Reloader<'_, impl Fn() -> Loaded>,
) -> Signals {
    loop {
        let watch = reloader.gate.snapshot().config.reload.watch;
        tokio::select! {
            _ = signals.terminate.recv() => return signals,
            _ = signals.interrupt.recv() => return signals,
            received = recv(&mut signals.hangup) => if received {
                let _ = reload(&mut reloader);
            },
            Some(reply) = reloads.recv() => {
                // An error is ignored: the operator's request may have been cancelled.
                let _ = reply.send(reload(&mut reloader));
            }
            () = after(watch) => reloader.reload_changed(),
        }
    }
}

/// Reloads the configuration, and notifies systemd.
fn reload(reloader: &mut Reloader<'_, impl Fn() -> Loaded>) -> ReloadOutcome {
    systemd::notify_reloading();
    let outcome = reloader.reload();
    systemd::notify(&[NotifyState::Ready]);
    outcome
}

/// Waits for `span`; never returns if `span` is `None`.
async fn after(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

async fn recv(signal: &mut Signal) -> bool {
    signal.recv().await.is_some()
}
