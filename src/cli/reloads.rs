//! `tollgate reloads`, and the recording in the ledger of the configurations that a gate has loaded.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::beside::{self, IN_MEMORY, shown};
use crate::config::{self, ConfigChange, ConfigHash, LedgerUrl};
use crate::gate::Gate;
use crate::ledger::{ConfigLoad, LoadEvent, read_postgres_reloads, read_sqlite_reloads};

/// The arguments of `tollgate reloads`.
#[derive(Args)]
pub(super) struct Wanted {
    /// The number of the latest entries to list.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    last: u32,
    /// Print JSON: an object in each line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, wanted: &Wanted) -> ExitCode {
    let ledger = config::load_ledger(config).map_err(|error| error.to_string());
    let loads = match ledger.and_then(|ledger| beside::run(read(ledger, wanted.last))) {
        Ok(loads) => loads,
        Err(problem) => return super::fail(problem),
    };
    let mut out = std::io::stdout().lock();
    for load in loads.iter().rev() {
        let written = match wanted.json {
            true => writeln!(out, "{}", to_json(load)),
            false => writeln!(out, "{}", to_text(load)),
        };
        // A closed pipe is no error: the reader, such as `head`, has what it wanted.
        if written.is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

async fn read(ledger: LedgerUrl, last: u32) -> Result<Vec<ConfigLoad>, String> {
    match ledger {
        LedgerUrl::Memory => Err(IN_MEMORY.into()),
        LedgerUrl::Sqlite(path) => {
            read_sqlite_reloads(&path, last).map_err(|error| error.to_string())
        }
        LedgerUrl::Postgres(url) => {
            let loads = read_postgres_reloads(&url, last).await;
            loads.map_err(|error| error.to_string())
        }
    }
}

fn to_text(load: &ConfigLoad) -> String {
    let ConfigLoad { host, process, .. } = load;
    let at = shown(load.at);
    let (event, version) = (load.event.name(), &load.version);
    format!(
        "{at}  {event}  {host} (process {process}, version {version})  {}",
        load.changes
    )
}

fn to_json(load: &ConfigLoad) -> serde_json::Value {
    json!({
        "at": shown(load.at),
        "event": load.event.name(),
        "host": &*load.host,
        "process": load.process,
        "version": &*load.version,
        "hash": &*load.hash,
        "hash_before": load.hash_before.as_deref(),
        "changes": &*load.changes,
    })
}

/// The maximum time for which a failed write of a configuration load (a start or reload) to the ledger is
/// retried. [`MAX_WAITING`] is the maximum number of such writes that are being retried.
const KEEP_WITHIN: Duration = Duration::from_secs(600);
const MAX_WAITING: usize = 32;
/// The first and the longest pause before another attempt to write.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Records the start of the gate and the hash of its configuration in the ledger, in the background.
pub(super) fn keep_start(gate: &Gate) {
    let hash = gate.snapshot().config.hash;
    keep(gate, LoadEvent::Start, hash, None, hash.to_string());
}

/// Records a reload and its changes in the ledger, in the background.
pub(super) fn keep_reload(gate: &Gate, change: &ConfigChange) {
    let before = Some(change.before);
    keep(
        gate,
        LoadEvent::Reload,
        change.now,
        before,
        change.to_string(),
    );
}

/// The number of configuration loads whose write to the ledger has failed, and is being retried.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of configuration loads whose write to the ledger has failed, and is being retried.
pub(super) fn waiting() -> usize {
    WAITING.load(Ordering::Relaxed)
}

/// Records a load of the configuration in the ledger in the background, with retries. The caller does not
/// wait for the ledger, because a reload does not depend on the record, and the log has the load too.
fn keep(
    gate: &Gate,
    event: LoadEvent,
    hash: ConfigHash,
    before: Option<ConfigHash>,
    changes: String,
) {
    let load = ConfigLoad {
        id: Uuid::now_v7().as_u128(),
        at: gate.now(),
        event,
        host: beside::host().into(),
        process: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        hash: hash.to_string().into(),
        hash_before: before.map(|hash| hash.to_string().into()),
        changes: Arc::from(changes),
    };
    let ledger = gate.ledger().clone();
    if waiting() >= MAX_WAITING {
        return log_not_kept(&load);
    }
    let retry = {
        let (ledger, load) = (ledger.clone(), load.clone());
        async move {
            let (end, mut pause) = (Instant::now() + KEEP_WITHIN, PAUSES.0);
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                let Err(error) = ledger.note_load(&load).await else {
                    break;
                };
                if Instant::now() + pause >= end {
                    let changes = &load.changes;
                    log::warn!("not kept in the ledger: configuration {changes}: {error}");
                    break;
                }
            }
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
    };
    // A stop of the gate waits for the first attempt, but not for the retries.
    gate.spawn_write(async move {
        if ledger.note_load(&load).await.is_err() {
            if WAITING.fetch_add(1, Ordering::Relaxed) < MAX_WAITING {
                tokio::spawn(retry);
            } else {
                WAITING.fetch_sub(1, Ordering::Relaxed);
                log_not_kept(&load);
            }
        }
    });
}

/// Logs that a load of the configuration is not recorded, because too many writes of loads are being retried.
fn log_not_kept(load: &ConfigLoad) {
    let changes = &load.changes;
    log::warn!("not kept in the ledger, which is away: configuration {changes}");
}
