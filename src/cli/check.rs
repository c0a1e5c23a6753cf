//! `tollgate check`: finds the problems that would prevent `tollgate serve` from starting. With `--online`,
//! it also contacts the database and the channels.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::open_files;
use crate::certificate::TlsIdentity;
use crate::clock::Clock;
use crate::config::{self, Config, LedgerUrl};
use crate::gate::Gate;
use crate::ledger::{Ledger as _, MemoryLedger, PostgresLedger, SqliteLedger};
use crate::metrics::Metrics;
use crate::server;

/// The maximum time to wait for the database: a gate's maximum time to connect, and a margin.
const DATABASE_WITHIN: Duration = Duration::from_secs(15);

pub(super) fn run(path: &Path, online: bool) -> ExitCode {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(error) => return super::fail(error),
    };
    let counts = format!(
        "channels: {}, models: {}, groups: {}, keys: {}",
        config.channels.len(),
        config.catalog.models().count(),
        config.groups.len(),
        config.keys.len()
    );
    let mut problems = problems(&config);
    if let Some(limit) = open_files::raise_limit()
        && let Err(few) = open_files::check(limit, &config.bounds)
    {
        eprintln!("{}: warning: {few}", path.display());
    }
    if online {
        match ask(config) {
            Ok(found) => problems.extend(found),
            Err(error) => return super::fail(error),
        }
    }
    if problems.is_empty() {
        println!("{}: in order ({counts})", path.display());
        return ExitCode::SUCCESS;
    }
    for problem in &problems {
        eprintln!("{}: {problem}", path.display());
    }
    ExitCode::FAILURE
}

/// Returns the problems that would prevent a gate from starting on this machine: those of the certificate,
/// the SQLite file and the addresses. Prints a warning for each certificate that is not valid now.
fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    match config.listen.tls.as_ref().map(server::read_identity) {
        Some(Err(error)) => problems.push(error.to_string()),
        Some(Ok(identity)) => warn_of_validity("listen.tls", &identity),
        None => {}
    }
    if let LedgerUrl::Sqlite(path) = &config.ledger
        && let Err(error) = SqliteLedger::check(path)
    {
        problems.push(error.to_string());
    }
    for channel in &config.channels {
        if let Some(identity) = &channel.client_cert {
            let place = format!("client_cert of channel {}", channel.name);
            warn_of_validity(&place, identity);
        }
    }
    let admin = config.admin.as_ref();
    let admin = admin.map(|admin| ("admin.address", admin.address));
    for (setting, address) in
        std::iter::once(("listen.address", config.listen.address)).chain(admin)
    {
        if let Err(error) = can_listen(address) {
            problems.push(super::cannot_listen(setting, address, &error));
        }
    }
    problems
}

/// Prints a warning, which names `place`, if a certificate is not valid now. A gate starts with such a
/// certificate, but clients that check it refuse it.
fn warn_of_validity(place: &str, identity: &TlsIdentity) {
    let now = Clock::default().now().seconds();
    if let Err(not_valid) = identity.validity().check(now) {
        eprintln!("warning: {place}: {not_valid}");
    }
}

/// Checks that this machine can listen on an address. An address that is in use passes, because the gate
/// that uses this configuration may be running.
fn can_listen(address: SocketAddr) -> io::Result<()> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

/// Connects to the database, probes the channels, and returns the problems. A probe requests at most one
/// entry of the channel's list.
fn ask(config: Config) -> io::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let metrics = Arc::new(Metrics::new().map_err(io::Error::other)?);
    let found = runtime.block_on(async {
        let mut problems = Vec::new();
        if let LedgerUrl::Postgres(url) = &config.ledger {
            problems.extend(ask_database(url).await.err());
        }
        let gate = Gate::new(config, Arc::new(MemoryLedger::default()), metrics);
        for channel in gate.snapshot().channels.all() {
            let name = &channel.spec().name;
            match gate.probe(channel).await {
                Ok(status) => println!("channel {name}: answers with {status}"),
                Err(problem) => problems.push(format!("channel {name}: {problem}")),
            }
        }
        problems
    });
    runtime.shutdown_background();
    Ok(found)
}

async fn ask_database(url: &crate::key::Secret) -> Result<(), String> {
    let ledger = PostgresLedger::new(url, PostgresLedger::CONNECTIONS);
    let ledger = ledger.map_err(|error| error.to_string())?;
    match timeout(DATABASE_WITHIN, ledger.ready()).await {
        Ok(Ok(())) => {
            println!("ledger: answers");
            Ok(())
        }
        Ok(Err(error)) => Err(format!("ledger: {error}")),
        Err(_) => Err("ledger: it does not answer in time".into()),
    }
}
