//! The location of the ledger: in memory, in an SQLite file or in a PostgreSQL database.

use std::path::PathBuf;

use serde_saphyr::Spanned;

use crate::key::Secret;
use crate::ledger::PostgresLedger;

use super::error::{Problems, Reported};
use super::file::{Credential, WordOr};
use super::sources::Sources;

/// The location of the ledger: in memory, in an SQLite file or in a PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerUrl {
    /// A ledger in the memory of this process. It is lost when the process ends.
    Memory,
    /// The path of an SQLite file, which only one gate uses.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL database, which several gates can share. The URL can contain a password.
    Postgres(Secret),
}

/// The name of the SQLite file in the configuration's folder that is used if no ledger is configured.
const DEFAULT_FILE: &str = "tollgate.db";
const HINT: &str = "write `sqlite:tollgate.db`, `postgres://...`, { env: NAME } or { file: PATH } \
                    for what holds such a URL, or `memory`";

impl LedgerUrl {
    /// Builds the location from the file's setting `ledger`. Without that setting, the location is the SQLite
    /// file `tollgate.db` in the configuration's folder.
    pub(super) fn build(
        file: &Option<Spanned<WordOr<Credential>>>,
        sources: Sources<'_>,
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let Some(ledger) = file else {
            return Ok(Self::Sqlite(sources.dir.join(DEFAULT_FILE)));
        };
        let at = ledger.referenced;
        let url = match &ledger.value {
            WordOr::Word(word) => Secret::new(word.clone()),
            WordOr::Section(source @ (Credential::Env(_) | Credential::File(_))) => {
                sources.credential(source, at, problems)?
            }
            _ => return Err(problems.report_hint(at, "this is no ledger", HINT)),
        };
        // No message repeats the text, because the URL of a database contains its password.
        let text = url.expose();
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(['\0', '?']) {
                return Err(problems.report_hint(at, "this names no file", HINT));
            }
            return Ok(Self::Sqlite(sources.dir.join(path)));
        }
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return match PostgresLedger::new(&url, PostgresLedger::CONNECTIONS) {
                Ok(_) => Ok(Self::Postgres(url)),
                Err(error) => Err(problems.report(at, error.to_string())),
            };
        }
        Err(problems.report_hint(at, "this is no ledger", HINT))
    }
}
