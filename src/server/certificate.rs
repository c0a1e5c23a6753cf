//! The certificate of the clients' listener and its key, read here because Pingora panics
//! over files that it cannot use.

use std::path::{Path, PathBuf};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

use crate::config::Tls;

/// A certificate or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {problem}", file.display())]
pub struct CertificateError {
    file: PathBuf,
    problem: String,
}

/// The certificate chain and its key, which belong together.
///
/// # Errors
/// Where either file cannot be read or used, or they do not belong together.
pub fn certified_key(tls: &Tls) -> Result<CertifiedKey, CertificateError> {
    let cannot = |file: &Path, problem: String| CertificateError {
        file: file.to_owned(),
        problem,
    };
    let chain = CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| cannot(&tls.cert, unreadable(&error)))?;
    if chain.is_empty() {
        let problem = "it holds no certificate: name a PEM file with `BEGIN CERTIFICATE` lines, \
                       the gate's own certificate first";
        return Err(cannot(&tls.cert, problem.into()));
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| match error {
        pem::Error::NoItemsFound => cannot(
            &tls.key,
            "it holds no private key: name a PEM file with a `BEGIN PRIVATE KEY` line".into(),
        ),
        error => cannot(&tls.key, unreadable(&error)),
    })?;
    let provider = ring::default_provider();
    let signing = provider.key_provider.load_private_key(key);
    let signing = signing.map_err(|_| {
        let problem = "its private key cannot be read: write an RSA, ECDSA or Ed25519 key in PEM, \
                       without a passphrase";
        cannot(&tls.key, problem.into())
    })?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let problem = format!(
                "it is not the key of the first certificate in {}",
                tls.cert.display()
            );
            Err(cannot(&tls.key, problem))
        }
        Err(error) => Err(cannot(
            &tls.cert,
            format!("its first certificate cannot be read: {error}"),
        )),
    }
}

fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("it cannot be read: {error}"),
        error => format!("it is no PEM: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_named() {
        let folder = std::env::temp_dir().join(format!("tollgate-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = || {
            let names = vec!["localhost".to_owned()];
            rcgen::generate_simple_self_signed(names).unwrap()
        };
        let (one, other) = (made(), made());
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        for (name, text) in [
            ("cert", cert.as_str()),
            ("key", key.as_str()),
            ("other", &other.signing_key.serialize_pem()),
            ("junk", "junk\n"),
            ("garbled", garbled),
            ("half", &cert[..60]),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let load = |cert: &str, key: &str| {
            let tls = Tls {
                cert: folder.join(cert),
                key: folder.join(key),
            };
            let loaded = certified_key(&tls);
            loaded.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(load("cert", "key"), Ok(()));
        for (cert, key, file, wanted) in [
            ("junk", "key", "junk", "holds no certificate"),
            ("key", "key", "key", "holds no certificate"),
            (
                "garbled",
                "key",
                "garbled",
                "first certificate cannot be read",
            ),
            ("half", "key", "half", "is no PEM"),
            ("missing", "key", "missing", "cannot be read: No such file"),
            (
                "cert",
                "other",
                "other",
                "it is not the key of the first certificate",
            ),
            ("cert", "junk", "junk", "holds no private key"),
            ("cert", "cert", "cert", "holds no private key"),
        ] {
            let error = load(cert, key).unwrap_err();
            let path = folder.join(file);
            assert!(
                error.starts_with(&format!("cannot use {}: ", path.display())),
                "{error}"
            );
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
