//! Puts configurations in force that are read anew, and says what has to wait for the next start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::log_format;
use super::watch::{Stamps, Watcher};
use crate::config::{self, Admin, Config, ConfigChange, LedgerUrl, Listen, Loaded, Tls};
use crate::gate::Gate;
use crate::server;
use crate::sha256::Sha256;

/// The settings that take effect at the start only.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StartupSettings {
    listen: Listen,
    admin: Option<Admin>,
    threads: usize,
    ledger: LedgerUrl,
    connections: usize,
    /// The digest of what the certificate's files held.
    certificate: Option<[u8; 32]>,
}

impl StartupSettings {
    pub(super) fn of(config: &Config) -> Self {
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
pub(super) struct Reloader<'a, L> {
    load: L,
    pub(super) gate: &'a Gate,
    started: StartupSettings,
    /// What the last reading came to.
    last: Result<StartupSettings, config::Error>,
    /// The files that it was of.
    paths: BTreeSet<PathBuf>,
    watcher: Watcher,
}

impl<'a, L: Fn() -> Loaded> Reloader<'a, L> {
    pub(super) fn new(
        load: L,
        paths: BTreeSet<PathBuf>,
        gate: &'a Gate,
        started: StartupSettings,
    ) -> Self {
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
    pub(super) fn reload(&mut self) {
        let loaded = (self.load)();
        self.paths = loaded.paths;
        self.watcher.reset();
        self.apply(loaded.config);
    }

    /// Looks at the files, and reads them if they have changed and stand still.
    pub(super) fn reload_changed(&mut self) {
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
