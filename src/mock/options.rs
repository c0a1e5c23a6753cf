//! The options of a mock channel.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

use super::Fault;

/// The options of a mock channel. By default the mock offers the Sora models, accepts the credential
/// `mock-channel-key`, and completes a job after four seconds.
#[derive(Clone)]
pub struct Options {
    /// The credential that a request must present.
    pub credential: String,
    /// The place where a request presents its credential.
    pub auth: Auth,
    /// A path before `/v1/videos`, such as `/openai`; empty for none.
    pub prefix: String,
    /// The time for which a job is `queued`.
    pub queued: Duration,
    /// The time for which a job is then `in_progress`, until it ends.
    pub rendering: Duration,
    /// The models on offer; the first is the default of a request that names none.
    pub catalog: Vec<Model>,
    /// The faults that are set at the start and after a reset.
    pub faults: Vec<Fault>,
    /// The certificate and key for TLS (HTTP/2 and HTTP/1.1 by ALPN); `None` for plain text.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            credential: "mock-channel-key".into(),
            auth: Auth::Bearer,
            prefix: String::new(),
            queued: Duration::from_secs(1),
            rendering: Duration::from_secs(3),
            catalog: sora(),
            faults: Vec::new(),
            tls: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("auth", &self.auth)
            .field("prefix", &self.prefix)
            .field("queued", &self.queued)
            .field("rendering", &self.rendering)
            .field("catalog", &self.catalog)
            .field("faults", &self.faults)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// The place where a request presents its credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// The header `Authorization: Bearer CREDENTIAL`.
    Bearer,
    /// The whole value of this header, such as `api-key`.
    Header(HeaderName),
}

/// The result of checking a request's credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented {
    Right,
    Wrong,
    Nothing,
}

impl Options {
    /// Checks the credential of a request. If the request has several, all of them must be right.
    pub(super) fn check(&self, headers: &HeaderMap) -> Presented {
        let mut presented = Presented::Nothing;
        for value in headers.get_all(self.credential_header()) {
            if !self.is_credential(value.as_bytes()) {
                return Presented::Wrong;
            }
            presented = Presented::Right;
        }
        presented
    }

    pub(super) fn credential_header(&self) -> &HeaderName {
        match &self.auth {
            Auth::Bearer => &AUTHORIZATION,
            Auth::Header(name) => name,
        }
    }

    /// Returns whether `value`, a value of the header for the credential, holds the right credential.
    pub(super) fn is_credential(&self, value: &[u8]) -> bool {
        match self.auth {
            Auth::Bearer => value
                .split_at_checked(7)
                .is_some_and(|(scheme, credential)| {
                    scheme.eq_ignore_ascii_case(b"Bearer ")
                        && credential == self.credential.as_bytes()
                }),
            Auth::Header(_) => value == self.credential.as_bytes(),
        }
    }

    pub(super) fn model(&self, name: &str) -> Option<&Model> {
        self.catalog.iter().find(|model| model.name == name)
    }
}

/// A model on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The model's name in requests.
    pub name: String,
    /// The lengths of video that the model renders, in seconds; the first is the default.
    pub seconds: Vec<String>,
    /// The sizes that the model renders; the first is the default.
    pub sizes: Vec<Size>,
}

impl Model {
    /// Returns the list cost of a video in micro-dollars; zero if the model has no such size or `seconds` is
    /// not a whole number.
    pub(super) fn list_cost_micro_usd(&self, size: &str, seconds: &str) -> u64 {
        let price = self.sizes.iter().find(|offered| offered.name == size);
        let seconds: u64 = seconds.parse().unwrap_or(0);
        price.map_or(0, |size| size.micro_usd_per_second.saturating_mul(seconds))
    }
}

/// A size on offer, with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// The size, `WIDTHxHEIGHT` in pixels.
    pub name: String,
    /// The list price of one second of video, in millionths of a US dollar.
    pub micro_usd_per_second: u64,
}

/// Returns the Sora models with their list prices.
fn sora() -> Vec<Model> {
    let model = |name: &str, sizes: &[(&str, u64)]| Model {
        name: name.into(),
        seconds: ["4", "8", "12"].map(String::from).into(),
        sizes: sizes
            .iter()
            .map(|&(name, micro_usd_per_second)| Size {
                name: name.into(),
                micro_usd_per_second,
            })
            .collect(),
    };
    vec![
        model("sora-2", &[("720x1280", 100_000), ("1280x720", 100_000)]),
        model(
            "sora-2-pro",
            &[
                ("720x1280", 300_000),
                ("1280x720", 300_000),
                ("1024x1792", 500_000),
                ("1792x1024", 500_000),
            ],
        ),
    ]
}

/// A certificate chain and its private key, in a TLS configuration for the server.
#[derive(Clone)]
pub struct Tls(pub(super) Arc<rustls::ServerConfig>);

impl Tls {
    /// Reads a certificate chain and a private key, both in PEM.
    ///
    /// # Errors
    ///
    /// If one of them is not PEM, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Tls, TlsError> {
        Self::with_verifier(certificates, key, WebPkiClientVerifier::no_client_auth())
    }

    /// Reads a certificate chain and a private key as [`from_pem`](Self::from_pem) does, and requires that
    /// clients present a certificate issued by one of `authorities` (certificates in PEM).
    ///
    /// # Errors
    ///
    /// If one of the texts is not PEM, the certificate and the key do not belong together, or clients cannot
    /// be verified by the certificates of the authorities.
    pub fn asking_clients(
        certificates: &[u8],
        key: &[u8],
        authorities: &[u8],
    ) -> Result<Tls, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities) {
            let authority = authority.map_err(TlsError::Certificate)?;
            roots.add(authority).map_err(TlsError::Pair)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(TlsError::Authorities)?;
        Self::with_verifier(certificates, key, verifier)
    }

    fn with_verifier(
        certificates: &[u8],
        key: &[u8],
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<Tls, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain, key)
            })
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }
}

/// The reason why a certificate and key cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain, or a certificate of the authorities, is not PEM.
    #[error("the certificate is not PEM: {0}")]
    Certificate(pem::Error),
    /// The private key is not PEM.
    #[error("the private key is not PEM: {0}")]
    Key(pem::Error),
    /// The certificates of the authorities cannot be used to verify those of clients.
    #[error("clients cannot be verified: {0}")]
    Authorities(VerifierBuilderError),
    /// The certificate and the key do not belong together, or one of them, or a certificate of the
    /// authorities, is of a kind that TLS does not support.
    #[error("certificate and key cannot be served with: {0}")]
    Pair(rustls::Error),
}
