//! Reads X.509 certificates and private keys from PEM, and checks whether they can be used. Bytes in,
//! values out: this module opens no file and reads no clock.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::calendar::format_rfc3339;
use crate::sha256::Sha256;

/// A certificate chain (the end-entity certificate first) with its private key. `Debug` prints only the
/// validity, and nothing of the key.
#[derive(Clone)]
pub struct TlsIdentity(Arc<Inner>);

struct Inner {
    certified: Arc<CertifiedKey>,
    /// The private key in DER, for callers that cannot use the signer of `certified`.
    key: PrivateKeyDer<'static>,
    validity: Validity,
    /// The SHA-256 digest of the chain and the key.
    digest: [u8; 32],
}

/// The period in which a certificate is valid, in seconds since 1970, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second in which the certificate is valid.
    pub not_before: u64,
    /// The last second in which the certificate is valid.
    pub not_after: u64,
}

/// The file that has a problem: that of the certificates, or that of the private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The file of the certificates.
    Certificate,
    /// The file of the private key.
    Key,
}

/// The error of a certificate and a key that cannot be used. It repeats nothing of the key file's content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct IdentityError {
    /// The file that the problem is in.
    pub part: Part,
    /// The problem and its remedy, in words for operators.
    pub problem: String,
}

/// The reason why a certificate is not valid at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotValid {
    /// The certificate has expired. The value is its last valid second, in seconds since 1970.
    #[error("the certificate expired at {}", format_rfc3339(*.0))]
    Expired(u64),
    /// The certificate is not valid yet. The value is its first valid second, in seconds since 1970.
    #[error("the certificate is not valid before {}", format_rfc3339(*.0))]
    NotYet(u64),
}

impl Validity {
    /// Reads the validity of a certificate in DER; `None` if the bytes are not a certificate.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        // Times before 1970 count as 1970.
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        let validity = certificate.validity();
        Some(Self {
            not_before: seconds(validity.not_before.timestamp()),
            not_after: seconds(validity.not_after.timestamp()),
        })
    }

    /// Checks that the certificate is valid at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// If the certificate has expired, or is not valid yet.
    pub fn check(self, now: u64) -> Result<(), NotValid> {
        if now > self.not_after {
            return Err(NotValid::Expired(self.not_after));
        }
        if now < self.not_before {
            return Err(NotValid::NotYet(self.not_before));
        }
        Ok(())
    }
}

impl TlsIdentity {
    /// Reads a certificate chain and its private key, each from PEM text.
    ///
    /// # Errors
    /// If either cannot be used, or they do not belong together.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let of_cert = |problem: String| IdentityError {
            part: Part::Certificate,
            problem,
        };
        let of_key = |problem: &str| IdentityError {
            part: Part::Key,
            problem: problem.into(),
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
        let chain = chain.map_err(|error| of_cert(format!("it is no PEM: {error}")))?;
        let Some(own) = chain.first() else {
            let problem = "it holds no certificate: name a PEM file with `BEGIN CERTIFICATE` lines, \
                           the own certificate first";
            return Err(of_cert(problem.into()));
        };
        let validity = Validity::of(own);
        if !chain.iter().all(|der| Validity::of(der).is_some()) {
            return Err(of_cert("one of its certificates cannot be read".into()));
        }
        let validity = validity.ok_or_else(|| of_cert("it holds no certificate".into()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                of_key("it holds no private key: name a PEM file with a `BEGIN PRIVATE KEY` line")
            }
            // The error could repeat a part of the key.
            _ => of_key("it is no PEM"),
        })?;
        let unusable = "its private key cannot be read: write an RSA, ECDSA or Ed25519 key in PEM, \
                        without a passphrase";
        // Pingora guesses the key's kind from its DER, and panics if it cannot.
        let guessed = PrivateKeyDer::try_from(key.secret_der().to_vec());
        if guessed.is_err() {
            return Err(of_key(unusable));
        }
        let signer = ring::default_provider()
            .key_provider
            .load_private_key(key.clone_key());
        let signer = signer.map_err(|_| of_key(unusable))?;
        let mut digest = Sha256::default();
        for part in chain.iter().map(|der| &**der).chain([key.secret_der()]) {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(of_key("it is not the key of the first certificate"));
            }
            Err(error) => {
                return Err(of_cert(format!(
                    "its first certificate cannot be read: {error}"
                )));
            }
        }
        Ok(Self(Arc::new(Inner {
            certified: Arc::new(certified),
            key,
            validity,
            digest: digest.finish(),
        })))
    }

    /// Returns the chain and the signer, as rustls needs them.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.0.certified
    }

    /// Returns copies of the certificates, in DER.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        let chain = self.0.certified.cert.iter();
        chain.map(|der| der.to_vec()).collect()
    }

    /// Exposes the private key in DER, for the one place that signs with it.
    pub fn expose_key(&self) -> &[u8] {
        self.0.key.secret_der()
    }

    /// Returns the validity of the end-entity certificate, the first of the chain.
    pub fn validity(&self) -> Validity {
        self.0.validity
    }

    /// Returns the SHA-256 digest of the chain and the key, by which identities are compared.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for TlsIdentity {}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("validity", &self.0.validity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_named() {
        let ((cert, key), (other_cert, other)) = (made(), made());
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let half_chain = format!("{cert}{garbled}");
        let read = |cert: &str, key: &str| TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes());
        assert!(read(&cert, &key).is_ok());
        for (cert, key, part, wanted) in [
            ("junk\n", &*key, Part::Certificate, "holds no certificate"),
            (&key, &key, Part::Certificate, "holds no certificate"),
            (garbled, &key, Part::Certificate, "cannot be read"),
            (&half_chain, &key, Part::Certificate, "cannot be read"),
            (&cert[..60], &key, Part::Certificate, "is no PEM"),
            (&cert, &other, Part::Key, "not the key of the first"),
            (&other_cert, &key, Part::Key, "not the key of the first"),
            (&cert, "junk\n", Part::Key, "holds no private key"),
            (&cert, &cert, Part::Key, "holds no private key"),
            (&cert, no_key, Part::Key, "cannot be read"),
            (&cert, &key[..60], Part::Key, "is no PEM"),
        ] {
            let error = read(cert, key).unwrap_err();
            assert_eq!(error.part, part, "{error}");
            assert!(error.to_string().contains(wanted), "{wanted}: {error}");
        }
    }

    #[test]
    fn pairs_are_told_apart_and_keys_do_not_print() {
        let ((cert, key), (other_cert, other)) = (made(), made());
        let read =
            |cert: &str, key: &str| TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
        let identity = read(&cert, &key);
        assert_eq!(identity, read(&cert, &key));
        assert_ne!(identity, read(&other_cert, &other));
        // A longer chain is another identity.
        assert_ne!(identity, read(&format!("{cert}{other_cert}"), &key));
        let shown = format!("{identity:?}");
        assert!(shown.starts_with("TlsIdentity { validity: "), "{shown}");
        assert!(shown.len() < 120, "{shown}");
    }

    #[test]
    fn both_ends_of_a_validity_belong_to_it() {
        let validity = Validity {
            not_before: 1_000,
            not_after: 2_000,
        };
        for (now, found) in [
            (999, Err(NotValid::NotYet(1_000))),
            (1_000, Ok(())),
            (2_000, Ok(())),
            (2_001, Err(NotValid::Expired(2_000))),
        ] {
            assert_eq!(validity.check(now), found, "{now}");
        }
        let expired = NotValid::Expired(1_795_844_433).to_string();
        assert_eq!(expired, "the certificate expired at 2026-11-28T05:40:33Z");
    }

    #[test]
    fn the_validity_is_the_certificates() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2026, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let validity = Validity::of(cert.der()).unwrap();
        assert_eq!(format_rfc3339(validity.not_before), "2026-01-02T00:00:00Z");
        assert_eq!(format_rfc3339(validity.not_after), "2026-03-04T00:00:00Z");
        assert_eq!(Validity::of(b"junk"), None);
    }
}
