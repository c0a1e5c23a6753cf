//! Parses the database's URL, and sets up TLS for connections to it.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::key::Secret;

/// The time for connecting that the hosts of a URL share, unless the URL has a `connect_timeout`.
const CONNECT: Duration = Duration::from_secs(2);
/// The minimum time for connecting to one host, however many hosts share [`CONNECT`].
const CONNECT_TO_ONE: Duration = Duration::from_millis(500);

/// The reason why a text cannot be used as the URL of a PostgreSQL database. It never contains any of the
/// text, which holds a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseUrlError {
    /// The text is no database URL, or has an option that the driver does not know.
    #[error(
        "the database's URL cannot be read: write postgres://user:password@host:5432/database, \
         with special characters in the password percent-encoded; after `?` the options sslmode, \
         target_session_attrs, connect_timeout, application_name, options, keepalives and \
         channel_binding are known"
    )]
    NotAUrl,
    /// The URL names no host.
    #[error("the database's URL names no host")]
    NoHost,
    /// The URL has a `sslmode` that means less than it seems to (`allow`) or is unknown.
    #[error(
        "sslmode in the database's URL is to be disable, prefer, require, verify-ca or \
         verify-full; the server's certificate is verified whenever TLS is used"
    )]
    SslMode,
    /// TLS is demanded, and this machine has no root certificates.
    #[error(
        "sslmode demands TLS, but this machine has no root certificates: install \
         ca-certificates, or set SSL_CERT_FILE to a file that holds them"
    )]
    NoRoots,
}

/// The configuration that connections are made with.
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// The maximum time for making one connection, over all hosts.
    pub(super) patience: Duration,
}

impl Target {
    pub(super) fn parse(url: &Secret) -> Result<Self, ParseUrlError> {
        let url = with_plain_ssl_mode(url.expose())?;
        let mut config: Config = url.parse().map_err(|_| ParseUrlError::NotAUrl)?;
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        if hosts == 0 {
            return Err(ParseUrlError::NoHost);
        }
        let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
        let mut each = (CONNECT / hosts).max(CONNECT_TO_ONE);
        if let Some(asked) = config.get_connect_timeout() {
            each = *asked;
        }
        config.connect_timeout(each);
        if config.get_application_name().is_none() {
            config.application_name("tollgate");
        }
        let local = |host: &Host| matches!(host, Host::Unix(_));
        let all_local = config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(local);
        if config.get_ssl_mode() == SslMode::Prefer && all_local {
            // A server never encrypts a Unix socket, so TLS is not even asked for.
            config.ssl_mode(SslMode::Disable);
        }
        let tls = tls(config.get_ssl_mode())?;
        Ok(Self {
            config,
            tls,
            patience: each.saturating_mul(hosts).saturating_add(CONNECT_TO_ONE),
        })
    }
}

/// Returns `url` with a value of `sslmode` that the driver knows. The certificate is always verified in
/// full, so `verify-ca` and `verify-full` become `require`.
fn with_plain_ssl_mode(url: &str) -> Result<String, ParseUrlError> {
    let Some((place, query)) = url.rsplit_once('?') else {
        return Ok(url.to_owned());
    };
    let options = query.split('&').map(|option| match option {
        "sslmode=disable" | "sslmode=prefer" | "sslmode=require" => Ok(option),
        "sslmode=verify-ca" | "sslmode=verify-full" => Ok("sslmode=require"),
        _ if option.starts_with("sslmode=") => Err(ParseUrlError::SslMode),
        _ => Ok(option),
    });
    let options: Vec<_> = options.collect::<Result<_, _>>()?;
    Ok(format!("{place}?{}", options.join("&")))
}

/// Sets up TLS that trusts the system's root certificates, or those in the file `SSL_CERT_FILE`.
fn tls(mode: SslMode) -> Result<MakeRustlsConnect, ParseUrlError> {
    let mut roots = RootCertStore::empty();
    if mode != SslMode::Disable {
        let found = rustls_native_certs::load_native_certs().unwrap_or_default();
        roots.add_parsable_certificates(found);
    }
    if mode == SslMode::Require && roots.is_empty() {
        return Err(ParseUrlError::NoRoots);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| ParseUrlError::SslMode)?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, ParseUrlError> {
        Target::parse(&Secret::new(url.into()))
    }

    #[test]
    fn several_hosts_share_the_time_to_connect() {
        let url = "postgres://u:p@a:5432,b:5433/db?target_session_attrs=read-write";
        let target = parse(url).unwrap();
        assert_eq!(target.config.get_hosts().len(), 2);
        assert_eq!(target.patience, Duration::from_millis(2500));
        let asked = parse("postgres://a/db?connect_timeout=1").unwrap();
        assert_eq!(asked.patience, Duration::from_millis(1500));
    }

    #[test]
    fn tls_is_demanded_by_every_mode_that_says_so() {
        for (mode, expected) in [
            ("disable", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::Require),
            ("verify-full", SslMode::Require),
        ] {
            match parse(&format!("postgres://a/db?sslmode={mode}&keepalives=1")) {
                Ok(target) => assert_eq!(target.config.get_ssl_mode(), expected),
                Err(e) => assert_eq!((e, expected), (ParseUrlError::NoRoots, SslMode::Require)),
            }
        }
        for mode in ["allow", "", "Require"] {
            let refused = parse(&format!("postgres://a/db?sslmode={mode}")).err();
            assert_eq!(refused, Some(ParseUrlError::SslMode), "{mode}");
        }
    }

    #[test]
    fn errors_do_not_tell_the_password() {
        for url in [
            "postgres://u:pass-word@host:pass-word/db",
            "postgres://u:pass-word@host/db?pass-word=1",
            "pass-word",
            "postgres://u:pass-word@host/db?sslmode=pass-word",
        ] {
            let error = parse(url).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("pass-word"), "{url}");
        }
    }
}
