//! The certificate of the clients' listener, which can be replaced while the listener is open.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::certificate::{Part, TlsIdentity};
use crate::config::Tls;

/// The maximum length of a certificate file or a key file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The error of a certificate or key file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot use {}: {problem}", file.display())]
pub struct CertificateError {
    file: PathBuf,
    problem: String,
}

/// Reads the certificate chain and the private key from the two files that `tls` names.
///
/// # Errors
/// If either file cannot be read or used, or they do not belong together.
pub fn read_identity(tls: &Tls) -> Result<TlsIdentity, CertificateError> {
    let read = |file: &Path| {
        read(file).map_err(|error| CertificateError {
            file: file.to_owned(),
            problem: format!("it cannot be read: {error}"),
        })
    };
    TlsIdentity::from_pem(&read(&tls.cert)?, &read(&tls.key)?).map_err(|error| CertificateError {
        file: match error.part {
            Part::Certificate => tls.cert.clone(),
            Part::Key => tls.key.clone(),
        },
        problem: error.problem,
    })
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(file)?;
    file.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// The certificate of a listener, which can be replaced. Each TLS handshake uses the certificate that is in
/// force at that moment. A replacement does not affect connections that are already open.
#[derive(Debug)]
pub struct ServerCertificate(ArcSwap<TlsIdentity>);

impl ServerCertificate {
    pub(super) fn new(identity: TlsIdentity) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(identity)))
    }

    /// Returns the certificate in force.
    pub fn current(&self) -> Arc<TlsIdentity> {
        self.0.load_full()
    }

    /// Replaces the certificate for all later handshakes.
    pub fn replace(&self, identity: TlsIdentity) {
        self.0.store(Arc::new(identity));
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_with_the_problem_is_named() {
        let folder = std::env::temp_dir().join(format!("tollgate-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        for (name, text) in [
            ("cert", made.cert.pem()),
            ("key", made.signing_key.serialize_pem()),
            ("long", "a".repeat(1 << 20) + "a"),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let read = |cert: &str, key: &str| {
            read_identity(&Tls {
                cert: folder.join(cert),
                key: folder.join(key),
            })
        };
        assert!(read("cert", "key").is_ok());
        for (cert, key, file, wanted) in [
            ("key", "key", "key", "holds no certificate"),
            ("cert", "cert", "cert", "holds no private key"),
            ("missing", "key", "missing", "cannot be read: No such file"),
            ("cert", "missing", "missing", "cannot be read: No such file"),
            ("cert", "long", "long", "cannot be read: file too large"),
        ] {
            let error = read(cert, key).unwrap_err().to_string();
            let path = folder.join(file);
            let named = format!("cannot use {}: ", path.display());
            assert!(error.starts_with(&named), "{error}");
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
