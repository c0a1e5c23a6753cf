//! Reads the environment variables and files that a configuration refers to.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::certificate::Validity;
use crate::key::Secret;
use crate::sha256::Sha256;

use super::error::{Problems, Reported};
use super::file::{Credential, OneOrMany, Text};

/// The maximum length of a configuration file, in bytes.
pub(super) const MAX_FILE: u64 = 64 << 20;
/// The maximum length of a credential, token or secret URL, in bytes.
const MAX_CREDENTIAL: usize = 8 << 10;
/// The maximum number of files of client keys. Once their total length exceeds [`MAX_KEY_BYTES`], no further
/// file is read.
const MAX_KEY_FILES: usize = 4096;
const MAX_KEY_BYTES: u64 = 256 << 20;

/// The sources of what a configuration refers to: the environment and the folder of relative paths.
/// `read` records the files that are read.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub dir: &'a Path,
    pub read: &'a RefCell<FilesRead>,
}

/// The record of the files that are read while a configuration is built.
#[derive(Default)]
pub(super) struct FilesRead {
    /// The files and folders that the configuration depends on, whether or not they exist.
    pub paths: BTreeSet<PathBuf>,
    /// The hash, so far, of all file contents that are not secret.
    hash: Sha256,
}

impl FilesRead {
    /// Adds a text to the hash, after the text's length, so that different lists of texts hash differently.
    pub fn hash(&mut self, text: &str) {
        self.hash.update(text.len().to_le_bytes());
        self.hash.update(text);
    }

    /// Returns the SHA-256 of all texts that were added so far.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finish()
    }
}

impl Sources<'_> {
    /// Resolves a path in the configuration file relative to the file's folder, and records it.
    pub fn path(&self, text: &Text, problems: &mut Problems) -> Result<PathBuf, Reported> {
        if text.value.is_empty() || text.value.contains('\0') {
            return Err(problems.report(text.referenced, "this is no path: name a file"));
        }
        let path = self.dir.join(&text.value);
        self.read.borrow_mut().paths.insert(path.clone());
        Ok(path)
    }

    /// Resolves the path of a file, and checks that the file can be opened. Does not read the file.
    pub fn readable(&self, text: &Text, problems: &mut Problems) -> Result<PathBuf, Reported> {
        let path = self.path(text, problems)?;
        match open(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(cannot_read(text, &path, &error, problems)),
        }
    }

    /// Reads a PEM file of certificates, and returns them in DER. There must be at least one, and each must
    /// be usable as a trust root.
    pub fn certificates(
        &self,
        text: &Text,
        problems: &mut Problems,
    ) -> Result<Vec<Vec<u8>>, Reported> {
        let (path, content) = self.text(text, problems)?;
        self.read.borrow_mut().hash(&content);
        let mut roots = RootCertStore::empty();
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content.as_bytes()).collect();
        let certificates = read.unwrap_or_default();
        let fit = certificates
            .iter()
            .all(|der| roots.add(der.clone()).is_ok() && Validity::of(der).is_some());
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

    /// Reads the files of client keys that `keys_from` names: a file, a folder, or a list of both. Returns
    /// each file's path and text. Problems are reported for the file that contains `keys_from`.
    pub fn key_files(
        &self,
        from: Option<Spanned<OneOrMany>>,
        problems: &mut Problems,
    ) -> Result<Vec<(PathBuf, String)>, Reported> {
        let mut files = Vec::new();
        let Some(from) = from else {
            return Ok(files);
        };
        let at = from.referenced;
        let paths = match from.value {
            OneOrMany::Many(paths) => paths,
            OneOrMany::One(path) => vec![Spanned::new(path, at, from.defined)],
            OneOrMany::Other => {
                let message = "write a path, or a list of paths: [a.yaml, keys.d]";
                return Err(problems.report(at, message));
            }
        };
        for path in &paths {
            // An error is ignored: its problem was reported, and the other paths may have problems as well.
            let _ = self.add_key_files(path, &mut files, problems);
        }
        Ok(files)
    }

    /// Reads the files of client keys at the path `text`, a file or a folder, and adds them to `files`.
    fn add_key_files(
        &self,
        text: &Text,
        files: &mut Vec<(PathBuf, String)>,
        problems: &mut Problems,
    ) -> Result<(), Reported> {
        let path = self.path(text, problems)?;
        let paths = match path.is_dir() {
            true => key_files_of(&path),
            false => Ok(vec![path.clone()]),
        };
        let paths = paths.map_err(|error| cannot_read(text, &path, &error, problems))?;
        if paths.is_empty() {
            return Err(problems.report_hint(
                text.referenced,
                format!(
                    "the folder `{}` has no *.yaml or *.yml file",
                    path.display()
                ),
                "put one there; one that says `keys: []` is enough",
            ));
        }
        let mut wrong = None;
        for path in paths {
            let bytes: u64 = files.iter().map(|(_, text)| text.len() as u64).sum();
            if files.len() == MAX_KEY_FILES || bytes > MAX_KEY_BYTES {
                let message = format!(
                    "too many client keys: at most {MAX_KEY_FILES} files and {} MiB are read",
                    MAX_KEY_BYTES >> 20
                );
                return Err(problems.report_hint(text.referenced, message, "write fewer files"));
            }
            let mut read = self.read.borrow_mut();
            read.paths.insert(path.clone());
            match read_text(&path, MAX_FILE) {
                Ok(content) => {
                    let name = path.file_name().unwrap_or_default();
                    read.hash(&name.to_string_lossy());
                    read.hash(&content);
                    files.push((path, content));
                }
                Err(error) => wrong = Some(cannot_read(text, &path, &error, problems)),
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Reads a file of at most 64 MiB, and returns its resolved path and its text.
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

    /// Reads a secret from its source. The secret must be visible ASCII of 1 byte to 8 KiB. A line break at
    /// the end of a file is dropped. No message repeats any part of the secret.
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
            // The message does not repeat the name: it may be the credential, written here by mistake.
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

/// Lists the `*.yaml` and `*.yml` files of a folder in the order of their names, at most one more than
/// [`MAX_KEY_FILES`]. Unfinished files of editors are not among them: `.a.yaml.swp`, `#a.yaml#`, `a.yaml~`.
fn key_files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let is_hidden = name.as_encoded_bytes().first() == Some(&b'.');
        let extension = Path::new(&name).extension();
        if !is_hidden && extension.is_some_and(|e| e == "yaml" || e == "yml") {
            paths.insert(folder.join(name));
        }
        if paths.len() > MAX_KEY_FILES {
            break;
        }
    }
    Ok(paths.into_iter().collect())
}

/// Opens a file for reading. A folder or a pipe is an error: on Unix a folder can be opened too, and opening
/// a pipe would wait for its writer. Pipes below `/dev/fd` and `/proc`, as shells pass them, are allowed.
fn open(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_fifo() && !path.starts_with("/dev/fd") && !path.starts_with("/proc") {
        let error = "this is a pipe: name a file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(file)
}

/// Reads a whole file as UTF-8. A file of more than `max_bytes` bytes is an error.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(text)
}
