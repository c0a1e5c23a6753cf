//! `tollgate serve`

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::watch::{Stamps, Watcher};
use super::{log_format, open_files};
use crate::config::{self, Admin, Config, ConfigChange, LedgerUrl, Listen, Loaded, Tls};
use crate::gate::{Background, Gate};
use crate::ledger::{Ledger, MemoryLedger, PostgresLedger, SqliteLedger};
use crate::metrics::Metrics;
use crate::server::StillInProgress;
use crate::sha256::Sha256;
use crate::{admin, server};

/// How a configuration file is read, at the start and whenever it is read anew.
pub(super) type Load = fn(&Path) -> Loaded;

pub(super) fn run(path: &Path) -> ExitCode {
    let load = |path: &Path| config::load_files(path, &|name| std::env::var(name).ok());
    run_with(path, load, |_| std::future::ready(Ok(())))
}

/// Runs the gate, and `beside` on the same runtime: when the gate has its addresses, and
/// before it answers.
pub(super) fn run_with<F>(path: &Path, load: Load, beside: impl FnOnce(&Config) -> F) -> ExitCode
where
    F: Future<Output = io::Result<()>>,
{
    let Loaded { config, paths } = load(path);
    let config = match config {
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
    let load = || load(path);
    let outcome = runtime.block_on(serve(load, (config, paths), beside));
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
    load: impl Fn() -> Loaded,
    (config, paths): (Config, BTreeSet<PathBuf>),
    beside: impl Future<Output = io::Result<()>>,
) -> io::Result<Result<(), StillInProgress>> {
    // Before anybody can know that the gate is there: unhandled, each would end it.
    let signals = Signals::new()?;
    let metrics = Metrics::new().map_err(io::Error::other)?;
    log_format::set(config.log.format);
    let (socket, mut bounds) = (config.listen.clone(), config.bounds.clone());
    let started = StartupSettings::of(&config);
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

    let reloader = Reloader::new(load, paths, &gate, started);
    run_until_stopped(signals, reloader).await;
    gate.stopping();
    log::info!("stopping: requests under way may end");
    let patience = gate.snapshot().config.bounds.shutdown_timeout;
    let ended = server.stop(patience).await;
    if let Some(admin) = admin {
        let _ = admin.stop(patience).await;
    }
    background.abort();
    Ok(ended)
}

/// The signals that the gate handles.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Loads the configuration anew at each SIGHUP, and when its files have changed if that is wanted,
/// until SIGTERM or SIGINT.
async fn run_until_stopped(mut signals: Signals, mut reloader: Reloader<'_, impl Fn() -> Loaded>) {
    loop {
        let watch = reloader.gate.snapshot().config.reload.watch;
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            received = recv(&mut signals.hangup) => if received { reloader.reload() },
            () = after(watch) => reloader.reload_changed(),
        }
    }
}

/// Waits that long; for ever where there is nothing to wait for.
async fn after(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

async fn recv(signal: &mut Signal) -> bool {
    signal.recv().await.is_some()
}

/// The settings that take effect at the start only.
#[derive(Clone, PartialEq, Eq)]
struct StartupSettings {
    listen: Listen,
    admin: Option<Admin>,
    threads: usize,
    ledger: LedgerUrl,
    connections: usize,
    /// The digest of what the certificate's files held.
    certificate: Option<[u8; 32]>,
}

impl StartupSettings {
    fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            admin: config.admin.clone(),
            threads: config.threads,
            ledger: config.ledger.clone(),
            connections: config.bounds.connections,
            certificate: config.listen.tls.as_ref().and_then(digest),
        }
    }

    /// The settings that differ, by their keys.
    fn unlike(&self, other: &Self) -> Vec<&'static str> {
        let (listen, others) = (&self.listen, &other.listen);
        let differ = [
            ("listen.address", listen.address != others.address),
            ("listen.tls", listen.tls != others.tls),
            ("listen.h2c", listen.h2c != others.h2c),
            ("admin", self.admin != other.admin),
            ("server.threads", self.threads != other.threads),
            ("ledger", self.ledger != other.ledger),
            ("bounds.connections", self.connections != other.connections),
        ];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(name, _)| name).collect()
    }
}

/// The digest of a certificate's files; `None` where they cannot be read.
fn digest(tls: &Tls) -> Option<[u8; 32]> {
    let read = |path: &Path| std::fs::read(path).ok().map(Sha256::of);
    let files = [read(&tls.cert)?, read(&tls.key)?];
    Some(Sha256::of(files.concat()))
}

/// Puts configurations in force that are read anew; one that is not valid replaces nothing.
struct Reloader<'a, L> {
    load: L,
    gate: &'a Gate,
    started: StartupSettings,
    /// What the last reading came to.
    last: Result<StartupSettings, config::Error>,
    /// The files that it was of.
    paths: BTreeSet<PathBuf>,
    watcher: Watcher,
}

impl<'a, L: Fn() -> Loaded> Reloader<'a, L> {
    fn new(load: L, paths: BTreeSet<PathBuf>, gate: &'a Gate, started: StartupSettings) -> Self {
        Self {
            load,
            gate,
            last: Ok(started.clone()),
            started,
            paths,
            watcher: Watcher::default(),
        }
    }

    /// Reads the files because somebody says so.
    fn reload(&mut self) {
        let loaded = (self.load)();
        self.paths = loaded.paths;
        self.watcher.reset();
        self.apply(loaded.config);
    }

    /// Looks at the files, and reads them if they have changed and stand still.
    fn reload_changed(&mut self) {
        let before = Stamps::of(&self.paths);
        if !self.watcher.is_due(&before) {
            return;
        }
        let loaded = (self.load)();
        self.paths = loaded.paths;
        let after = Stamps::of(&self.paths);
        if self.watcher.is_whole(before, after) && !self.is_known(&loaded.config) {
            self.apply(loaded.config);
        }
    }

    /// Whether what was read comes to the same as before.
    fn is_known(&self, config: &Result<Config, config::Error>) -> bool {
        match (config, &self.last) {
            (Ok(config), Ok(last)) => {
                let change = ConfigChange::between(&self.gate.snapshot().config, config);
                change.before == change.now
                    && change.is_empty()
                    && *last == StartupSettings::of(config)
            }
            (Err(error), Err(last)) => error == last,
            _ => false,
        }
    }

    fn apply(&mut self, config: Result<Config, config::Error>) {
        self.last = match &config {
            Ok(config) => Ok(StartupSettings::of(config)),
            Err(error) => Err(error.clone()),
        };
        apply(config, self.gate, &self.started);
    }
}

/// Applies a configuration that was read anew; one that is not valid replaces nothing.
fn apply(loaded: Result<Config, config::Error>, gate: &Gate, started: &StartupSettings) {
    match loaded {
        Ok(config) => {
            let now = StartupSettings::of(&config);
            let waiting = started.unlike(&now);
            let tls = config.listen.tls.clone();
            log_format::set(config.log.format);
            gate.reload(config);
            match waiting.is_empty() {
                true => log::info!("configuration loaded anew"),
                false => log::warn!(
                    "configuration loaded anew, but for what takes effect at the next start \
                     only: {}",
                    waiting.join(", ")
                ),
            }
            if let Some(tls) = tls
                && started.listen.tls == now.listen.tls
                && started.certificate != now.certificate
            {
                log_certificate_changed(&tls);
            }
        }
        Err(error) => {
            gate.reload_failed();
            log::error!("configuration not loaded, the old one stays in force:\n{error}");
        }
    }
}

/// Logs that the certificate in use is not the one in its files.
fn log_certificate_changed(tls: &Tls) {
    let cert = tls.cert.display();
    match server::certified_key(tls) {
        Ok(_) => log::warn!(
            "the certificate in {cert} has changed since the start, and takes effect at the next \
             start only"
        ),
        Err(error) => log::error!(
            "the certificate has changed since the start, and the next start would fail: {error}"
        ),
    }
}
