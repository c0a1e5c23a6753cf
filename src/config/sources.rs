//! What a configuration refers to beyond its own text: environment and files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::key::Secret;

use super::error::{Problems, Reported};
use super::file::{Credential, Text};

/// The longest configuration file, in bytes.
pub(super) const MAX_FILE: u64 = 64 << 20;
/// The longest credential, in bytes.
const MAX_CREDENTIAL: usize = 8 << 10;

/// The environment, and the folder that relative paths start from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub dir: &'a Path,
}

impl Sources<'_> {
    /// Resolves a path of the file to the one that the program uses.
    pub fn path(&self, text: &Text, problems: &mut Problems) -> Result<PathBuf, Reported> {
        if text.value.is_empty() || text.value.contains('\0') {
            return Err(problems.report(text.referenced, "this is no path: name a file"));
        }
        Ok(self.dir.join(&text.value))
    }

    /// The path of a file that is there and may be read. It is opened, not looked into.
    pub fn readable(&self, text: &Text, problems: &mut Problems) -> Result<PathBuf, Reported> {
        let path = self.path(text, problems)?;
        match open(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(cannot_read(text, &path, &error, problems)),
        }
    }

    /// Reads the certificates of a PEM file, in DER: at least one, each fit to be a trust root.
    pub fn certificates(
        &self,
        text: &Text,
        problems: &mut Problems,
    ) -> Result<Vec<Vec<u8>>, Reported> {
        let (path, content) = self.text(text, problems)?;
        let mut roots = RootCertStore::empty();
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content.as_bytes()).collect();
        let certificates = read.unwrap_or_default();
        let fit = certificates
            .iter()
            .all(|der| roots.add(der.clone()).is_ok());
        if certificates.is_empty() || !fit {
            return Err(problems.report_hint(
                text.referenced,
                format!(
                    "`{}` holds no certificates that can be trust roots",
                    path.display()
                ),
                "name a PEM file with `BEGIN CERTIFICATE` lines",
            ));
        }
        Ok(certificates.into_iter().map(|der| der.to_vec()).collect())
    }

    /// Reads the text of a file.
    pub fn text(
        &self,
        text: &Text,
        problems: &mut Problems,
    ) -> Result<(PathBuf, String), Reported> {
        let path = self.path(text, problems)?;
        match read_text(&path, MAX_FILE) {
            Ok(content) => Ok((path, content)),
            Err(error) => Err(cannot_read(text, &path, &error, problems)),
        }
    }

    /// Reads a channel's credential. No message repeats any of it.
    pub fn credential(
        &self,
        source: &Credential,
        at: serde_saphyr::Location,
        problems: &mut Problems,
    ) -> Result<Secret, Reported> {
        let (text, mut secret) = match source {
            Credential::Env(name) => (name, self.variable(name, problems)?),
            Credential::File(path) => (path, self.text(path, problems)?.1),
            Credential::Other => {
                return Err(problems.report_hint(
                    at,
                    "a credential does not stand in the configuration",
                    "write { env: NAME } or { file: PATH }",
                ));
            }
        };
        if matches!(source, Credential::File(_)) && secret.ends_with('\n') {
            secret.pop();
            if secret.ends_with('\r') {
                secret.pop();
            }
        }
        let wrong = if secret.is_empty() {
            "the credential found there is empty"
        } else if secret.len() > MAX_CREDENTIAL {
            "the credential found there is longer than 8 KiB"
        } else if !secret.bytes().all(|b| b.is_ascii_graphic()) {
            "the credential found there holds a space, a line break or another character that \
             is not visible ASCII"
        } else {
            return Ok(Secret::new(secret));
        };
        Err(problems.report_hint(text.referenced, wrong, "put the credential alone there"))
    }

    fn variable(&self, name: &Text, problems: &mut Problems) -> Result<String, Reported> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let begins_well = name.value.starts_with(|c: char| !c.is_ascii_digit());
        if !begins_well || !name.value.bytes().all(word) {
            // Not repeated: whoever takes `env` for the place of the credential writes it here.
            return Err(problems.report_hint(
                name.referenced,
                "this is no name of an environment variable",
                "write letters, digits and underscores, such as OPENAI_API_KEY",
            ));
        }
        (self.env)(&name.value).ok_or_else(|| {
            problems.report_hint(
                name.referenced,
                format!("the environment variable `{}` is not set", name.value),
                "set it to the credential, in UTF-8",
            )
        })
    }
}

fn cannot_read(text: &Text, path: &Path, error: &io::Error, problems: &mut Problems) -> Reported {
    let message = format!("cannot read `{}`: {error}", path.display());
    problems.report(text.referenced, message)
}

/// Opens a file that can be read. A folder opens as well on Unix, so that is asked for.
fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(file)
}

/// Reads a whole file in UTF-8 of at most so many bytes.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(text)
}
