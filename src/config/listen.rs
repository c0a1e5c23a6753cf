//! The listeners of the gate: for clients, and for operators.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::error::{Problems, Reported};
use super::file::{self, Credential, WordOr};
use super::log;
use super::scalar::{address, duration, parsed, parsed_or};
use super::sources::Sources;
use crate::access_log::Network;
use crate::key::Secret;

/// The minimum length of the operators' token, in bytes.
const MIN_TOKEN: usize = 16;

/// The settings of the listener for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The IP address and port to bind.
    pub address: SocketAddr,
    /// The files of the certificate and its key, for HTTPS with HTTP/2 by ALPN; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Whether the plain port accepts HTTP/2 with prior knowledge (RFC 9113, section 3.3). Never together
    /// with TLS.
    pub h2c: bool,
    /// The networks of the proxies whose header `X-Forwarded-For` is trusted for a client's address.
    pub trusted_proxies: Vec<Network>,
    /// The time for which the gate, once it was asked to stop, still accepts requests but reports that it is
    /// not ready, so that load balancers can notice; zero by default.
    pub grace: Duration,
}

/// The paths of a TLS listener's PEM files. Both files could be opened when the configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The path of the certificate chain, leaf first.
    pub cert: PathBuf,
    /// The path of the private key.
    pub key: PathBuf,
}

/// The settings of the listener for operators: metrics, health and control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The IP address and port to bind.
    pub address: SocketAddr,
    /// Whether requests may reload the configuration and change channels. If a token is set, or the address
    /// is a loopback address, they may in any case.
    pub control: bool,
    /// The token that a request must present, as a Bearer token or as the password of Basic
    /// credentials; `None` if no token is required.
    pub token: Option<Secret>,
    /// Whether the metrics can be read without the token.
    pub open_metrics: bool,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
        Self {
            address,
            control: false,
            token: None,
            open_metrics: false,
        }
    }
}

impl Listen {
    /// Builds the settings of the listener for clients from the file.
    pub(super) fn build(
        file: &file::Listen,
        sources: Sources<'_>,
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let address = parsed(&file.address, address, problems);
        let tls = match &file.tls {
            Some(tls) => {
                let cert = sources.readable(&tls.cert, problems);
                let key = sources.readable(&tls.key, problems);
                cert.and_then(|cert| Ok(Some(Tls { cert, key: key? })))
            }
            None => Ok(None),
        };
        let h2c = match &file.h2c {
            Some(h2c) if h2c.value && file.tls.is_some() => Err(problems.report_hint(
                h2c.referenced,
                "`h2c` is for a plain port, and this one has `tls`",
                "remove `h2c`: under TLS, HTTP/2 is on",
            )),
            Some(h2c) => Ok(h2c.value),
            None => Ok(file.tls.is_none()),
        };
        let trusted_proxies = log::build_trusted(file, problems);
        let grace = parsed_or(&file.grace, duration, Duration::ZERO, problems);
        Ok(Self {
            address: address?,
            tls: tls?,
            h2c: h2c?,
            trusted_proxies: trusted_proxies?,
            grace: grace?,
        })
    }
}

impl Admin {
    /// Builds the settings of the listener for operators from the file; `None` for `admin: off`.
    pub(super) fn build(
        file: &Option<Spanned<WordOr<file::Admin>>>,
        listen: &Result<Listen, Reported>,
        sources: Sources<'_>,
        problems: &mut Problems,
    ) -> Result<Option<Self>, Reported> {
        let (admin, at) = match file {
            None => (Self::default(), Location::UNKNOWN),
            Some(section) => match &section.value {
                WordOr::Word(word) if word == "off" => return Ok(None),
                WordOr::Word(_) | WordOr::Other => {
                    return Err(problems.report(
                        section.referenced,
                        "write `admin: off`, or `admin: { address: 127.0.0.1:9090 }`",
                    ));
                }
                WordOr::Section(admin) => {
                    let or = Self::default();
                    let address = parsed_or(&admin.address, address, or.address, problems)?;
                    let at = admin.address.as_ref().map(|text| text.referenced);
                    let built = Self {
                        address,
                        control: admin.control.unwrap_or(or.control),
                        token: token(&admin.token, sources, problems)?,
                        open_metrics: admin.open_metrics.unwrap_or(or.open_metrics),
                    };
                    (built, at.unwrap_or(section.referenced))
                }
            },
        };
        match listen {
            Ok(listen) if collide(listen.address, admin.address) => Err(problems.report_hint(
                at,
                format!("`listen` takes the address {} as well", admin.address),
                "give `admin` another port, or write `admin: off`",
            )),
            _ => Ok(Some(admin)),
        }
    }
}

/// Reads the operators' token, of at least [`MIN_TOKEN`] bytes; `None` if the file has none.
fn token(
    file: &Option<Spanned<Credential>>,
    sources: Sources<'_>,
    problems: &mut Problems,
) -> Result<Option<Secret>, Reported> {
    let Some(credential) = file else {
        return Ok(None);
    };
    let token = sources.credential(&credential.value, credential.referenced, problems)?;
    if token.expose().len() < MIN_TOKEN {
        return Err(problems.report_hint(
            credential.referenced,
            format!("the token found there is shorter than {MIN_TOKEN} characters"),
            "make one with `openssl rand -hex 32`",
        ));
    }
    Ok(Some(token))
}

/// Returns whether two sockets cannot both be bound: they have the same port, and the same or an
/// unspecified IP address. Port 0 means any free port, so it never collides.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_ip
}
