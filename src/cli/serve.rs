//! `tollgate serve`

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::open_files;
use crate::config::{self, Admin, Bounds, Config, LedgerUrl, Listen};
use crate::gate::{Background, Gate};
use crate::ledger::{Ledger, MemoryLedger, PostgresLedger, SqliteLedger};
use crate::metrics::Metrics;
use crate::server::StillUnderWay;
use crate::{admin, server};

/// How a configuration file is read, at the start and whenever it is read anew.
pub(super) type Load = fn(&Path) -> Result<Config, config::Error>;

pub(super) fn run(path: &Path) -> ExitCode {
    run_with(path, config::load, |_| std::future::ready(Ok(())))
}

/// Runs the gate, and `beside` on the same runtime: when the gate has its addresses, and
/// before it answers.
pub(super) fn run_with<F>(path: &Path, load: Load, beside: impl FnOnce(&Config) -> F) -> ExitCode
where
    F: Future<Output = io::Result<()>>,
{
    let config = match load(path) {
        Ok(config) => config,
        Err(error) => return super::fail(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    let beside = beside(&config);
    let outcome = runtime.block_on(serve(path, load, config, beside));
    // What has not ended within its time does not get more.
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(still)) => super::fail(still),
        Err(error) => super::fail(error),
    }
}

/// A listening socket, or an error that names the address.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Opens the ledger. A database that gates share need not be there yet: until it is, the
/// gate is not ready.
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
    path: &Path,
    load: Load,
    config: Config,
    beside: impl Future<Output = io::Result<()>>,
) -> io::Result<Result<(), StillUnderWay>> {
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let (socket, mut bounds) = (config.listen.clone(), config.bounds.clone());
    let started = AtStart::of(&config);
    if let Some(limit) = open_files::raise_limit()
        && let Err(few) = open_files::check(limit, &bounds)
    {
        log::warn!("{few}");
        // A client that is told so is better off than one that nobody accepts.
        bounds.connections = few.fitting;
    }
    let ledger = open_ledger(&config.ledger)?;
    let listener = listen(socket.address)?;
    let admin_listener = config.admin.as_ref().map(|admin| listen(admin.address));
    let admin_listener = admin_listener.transpose()?;
    beside.await?;

    let gate = Gate::new(config, ledger, Arc::new(metrics));
    let server = server::serve(gate.clone(), listener, &socket, &bounds)?;
    log::info!("gate listens on {}", server.address());
    let admin = match admin_listener {
        Some(listener) => {
            let admin = admin::serve(gate.clone(), listener)?;
            log::info!("metrics and health on {}", admin.address());
            Some(admin)
        }
        None => None,
    };

    let background = Background::new(gate.clone());
    let background = tokio::spawn(async move { background.run().await });

    run_until_stopped(|| load(path), &gate, &started).await?;
    gate.stopping();
    log::info!("stopping: requests under way may end");
    let ended = server.stop(bounds.shutdown_timeout).await;
    if let Some(admin) = admin {
        let _ = admin.stop(bounds.shutdown_timeout).await;
    }
    background.abort();
    Ok(ended)
}

/// Loads the configuration anew at each SIGHUP, until SIGTERM or SIGINT.
async fn run_until_stopped(
    load: impl Fn() -> Result<Config, config::Error>,
    gate: &Gate,
    started: &AtStart,
) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            received = recv(&mut hangup) => if received { reload(load(), gate, started) },
        }
    }
}

async fn recv(signal: &mut Signal) -> bool {
    signal.recv().await.is_some()
}

/// What of a configuration is set up once, at the start.
struct AtStart {
    listen: Listen,
    admin: Option<Admin>,
    threads: usize,
    ledger: LedgerUrl,
    bounds: Bounds,
}

impl AtStart {
    fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            admin: config.admin.clone(),
            threads: config.threads,
            ledger: config.ledger.clone(),
            bounds: config.bounds.clone(),
        }
    }

    /// Which parts of it differ, by their keys.
    fn unlike(&self, other: &Self) -> Vec<&'static str> {
        let (bounds, others) = (&self.bounds, &other.bounds);
        let differ = [
            ("listen", self.listen != other.listen),
            ("admin", self.admin != other.admin),
            ("server", self.threads != other.threads),
            ("ledger", self.ledger != other.ledger),
            (
                "bounds.connections",
                bounds.connections != others.connections,
            ),
            (
                "bounds.keepalive_requests",
                bounds.keepalive_requests != others.keepalive_requests,
            ),
            (
                "bounds.keepalive_timeout",
                bounds.keepalive_timeout != others.keepalive_timeout,
            ),
            (
                "bounds.read_timeout",
                bounds.read_timeout != others.read_timeout,
            ),
            (
                "bounds.shutdown_timeout",
                bounds.shutdown_timeout != others.shutdown_timeout,
            ),
        ];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(name, _)| name).collect()
    }
}

/// A configuration that does not hold together replaces nothing.
fn reload(loaded: Result<Config, config::Error>, gate: &Gate, started: &AtStart) {
    match loaded {
        Ok(config) => {
            let differ = started.unlike(&AtStart::of(&config));
            if !differ.is_empty() {
                log::warn!("takes effect at the next start only: {}", differ.join(", "));
            }
            gate.reload(config);
            log::info!("configuration loaded anew");
        }
        Err(error) => {
            gate.reload_failed();
            log::error!("configuration not loaded, the old one stays in force:\n{error}");
        }
    }
}
