//! Reloads the configuration, and reports which settings take effect only at the next start.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::watch::{Stamps, Watcher};
use super::{log_format, reloads};
use crate::admin::{ReloadOutcome, Reloaded};
use crate::calendar::format_rfc3339;
use crate::certificate::TlsIdentity;
use crate::config::{self, Admin, Config, ConfigChange, LedgerUrl, Listen, Loaded};
use crate::gate::Gate;
use crate::server::{self, CertificateError, ServerCertificate};

/// The parts of a configuration with settings that take effect only at the start of the process.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StartupSettings {
    listen: Listen,
    admin: Option<Admin>,
    threads: usize,
    ledger: LedgerUrl,
    connections: usize,
}

impl StartupSettings {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            admin: config.admin.clone(),
            threads: config.threads,
            ledger: config.ledger.clone(),
            connections: config.bounds.connections,
        }
    }

    /// Returns the names of the settings that differ in `other`. They take effect only at the next start.
    fn unlike(&self, other: &Self) -> Vec<&'static str> {
        let (listen, others) = (&self.listen, &other.listen);
        let differ = [
            ("listen.address", listen.address != others.address),
            ("listen.tls", listen.tls.is_some() != others.tls.is_some()),
            ("listen.h2c", listen.h2c != others.h2c),
            ("admin", address(&self.admin) != address(&other.admin)),
            ("server.threads", self.threads != other.threads),
            ("ledger", self.ledger != other.ledger),
            ("bounds.connections", self.connections != other.connections),
        ];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(name, _)| name).collect()
    }
}

/// Returns the address of the listener for operators. Its other settings take effect at once.
fn address(admin: &Option<Admin>) -> Option<SocketAddr> {
    admin.as_ref().map(|admin| admin.address)
}

/// The result of reading the files: the startup settings and the certificate.
#[derive(PartialEq, Eq)]
struct Reading {
    settings: StartupSettings,
    /// The content of the listener's certificate files, if it has a certificate.
    certificate: Option<Result<TlsIdentity, CertificateError>>,
}

impl Reading {
    fn of(config: &Config) -> Self {
        Self {
            settings: StartupSettings::of(config),
            certificate: config.listen.tls.as_ref().map(server::read_identity),
        }
    }
}

/// The handler of reloads. It reads the files, and applies the configuration if it is valid.
pub(super) struct Reloader<'a, L> {
    load: L,
    pub(super) gate: &'a Gate,
    /// The listener's certificate, which a reload replaces by the content of its files; `None` without TLS.
    certificate: Option<Arc<ServerCertificate>>,
    started: StartupSettings,
    /// The result of the last reading of the files.
    last: Result<Reading, config::Error>,
    /// The files that the configuration depended on when it was last read.
    paths: BTreeSet<PathBuf>,
    watcher: Watcher,
}

impl<'a, L: Fn() -> Loaded> Reloader<'a, L> {
    pub(super) fn new(
        load: L,
        paths: BTreeSet<PathBuf>,
        (gate, certificate): (&'a Gate, Option<&Arc<ServerCertificate>>),
        started: StartupSettings,
    ) -> Self {
        let in_force = certificate.map(|certificate| certificate.current());
        Self {
            load,
            gate,
            certificate: certificate.cloned(),
            last: Ok(Reading {
                settings: started.clone(),
                certificate: in_force.map(|identity| Ok(TlsIdentity::clone(&identity))),
            }),
            started,
            paths,
            watcher: Watcher::default(),
        }
    }

    /// Reads the files and applies them, at an operator's request.
    pub(super) fn reload(&mut self) -> ReloadOutcome {
        let loaded = (self.load)();
        self.paths = loaded.paths;
        self.watcher.reset();
        self.apply(with_reading(loaded.config))
    }

    /// Checks the files, and reads and applies them if they have changed and are not being written.
    pub(super) fn reload_changed(&mut self) {
        let before = Stamps::of(&self.paths);
        if !self.watcher.is_due(&before) {
            return;
        }
        let loaded = (self.load)();
        self.paths = loaded.paths;
        let read = with_reading(loaded.config);
        let after = Stamps::of(&self.paths);
        if self.watcher.is_whole(before, after) && !self.is_known(&read) {
            // The outcome is in the log.
            let _ = self.apply(read);
        }
    }

    /// Returns whether `read` is the same as the configuration in force and the last reading, or has the
    /// same errors as the last reading.
    fn is_known(&self, read: &Result<(Config, Reading), config::Error>) -> bool {
        match (read, &self.last) {
            (Ok((config, reading)), Ok(last)) => {
                let change = ConfigChange::between(&self.gate.snapshot().config, config);
                change.before == change.now && change.is_empty() && reading == last
            }
            (Err(error), Err(last)) => error == last,
            _ => false,
        }
    }

    /// Applies the result of reading the files. An invalid configuration is logged, and replaces nothing.
    fn apply(&mut self, read: Result<(Config, Reading), config::Error>) -> ReloadOutcome {
        match read {
            Ok((config, reading)) => {
                let (change, next_start) = self.apply_config(config, &reading.settings);
                let certificate = match (&self.certificate, &reading.certificate) {
                    (Some(in_force), Some(read)) => replace_certificate(in_force, read, self.gate),
                    _ => Ok(None),
                };
                self.last = Ok(reading);
                Ok(Reloaded {
                    change,
                    next_start,
                    certificate,
                })
            }
            Err(error) => {
                self.gate.reload_failed();
                log::error!("configuration not loaded, the old one stays in force:\n{error}");
                self.last = Err(error.clone());
                Err(error)
            }
        }
    }

    /// Applies a configuration. Returns its differences from the one before, and the names of the settings
    /// that take effect only at the next start.
    fn apply_config(
        &self,
        config: Config,
        settings: &StartupSettings,
    ) -> (ConfigChange, Vec<&'static str>) {
        let waiting = self.started.unlike(settings);
        log_format::set(config.log.format);
        let change = self.gate.reload(config);
        reloads::keep_reload(self.gate, &change);
        match waiting.is_empty() {
            true => log::info!("configuration loaded anew"),
            false => log::warn!(
                "configuration loaded anew, but for what takes effect at the next start only: {}",
                waiting.join(", ")
            ),
        }
        (change, waiting)
    }
}

/// Adds the startup settings and the certificate to a configuration that was read.
fn with_reading(config: Result<Config, config::Error>) -> Result<(Config, Reading), config::Error> {
    config.map(|config| {
        let reading = Reading::of(&config);
        (config, reading)
    })
}

/// Replaces the listener's certificate for future handshakes by `read`, the content of its files.
///
/// The old certificate stays if the new one cannot be used or is not valid now: clients that check it
/// would refuse the new one, and the old one is no worse. Returns the end of the new certificate's validity,
/// in seconds since 1970; `None` if the certificate is unchanged. The error says why the old one stays.
fn replace_certificate(
    in_force: &ServerCertificate,
    read: &Result<TlsIdentity, CertificateError>,
    gate: &Gate,
) -> Result<Option<u64>, String> {
    let current = in_force.current();
    let now = gate.now().seconds();
    let usable = read.as_ref().map_err(ToString::to_string);
    let usable = usable.and_then(|read| {
        let is_new = *read != *current;
        let valid = read.validity().check(now);
        match valid {
            Err(not_valid) if is_new => Err(not_valid.to_string()),
            _ => Ok(is_new.then_some(read)),
        }
    });
    let metrics = &gate.metrics().certificates;
    match usable {
        Ok(None) => {
            metrics.set_listener(current.validity().not_after);
            Ok(None)
        }
        Ok(Some(identity)) => {
            let validity = identity.validity();
            in_force.replace(identity.clone());
            metrics.set_listener(validity.not_after);
            log::info!(
                "the listener's certificate is replaced, by one that is valid until {}",
                format_rfc3339(validity.not_after)
            );
            Ok(Some(validity.not_after))
        }
        Err(problem) => {
            metrics.set_listener_failed();
            log::error!("the listener's certificate stays the old one: {problem}");
            Err(problem)
        }
    }
}
