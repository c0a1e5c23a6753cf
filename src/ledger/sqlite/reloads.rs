//! Stores and reads the records of configurations that gates have loaded.

use std::path::Path;

use rusqlite::{Connection, Row, params};

use super::super::reload::{ConfigLoad, LoadEvent};
use super::columns::{int, text, time, unreadable};
use super::error::OpenError;
use super::open::read_only;

/// Stores the record of a configuration that a gate has loaded, unless it is stored already.
pub(super) fn insert(db: &Connection, load: &ConfigLoad) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO reload (id, at_ms, event, host, process, version, hash, hash_before, changes)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         WHERE NOT EXISTS (SELECT 1 FROM reload WHERE id = ?1)",
    )?;
    insert.execute(params![
        load.id.to_be_bytes(),
        int(load.at.0),
        load.event.name(),
        &*load.host,
        load.process,
        &*load.version,
        &*load.hash,
        load.hash_before.as_deref(),
        &*load.changes,
    ])?;
    Ok(())
}

/// Reads the last `most` records of configurations that gates have loaded, the newest first. A gate may be
/// using the ledger at `path`.
///
/// # Errors
/// Where there is no ledger of this program's version.
pub fn read_reloads(path: &Path, most: u32) -> Result<Vec<ConfigLoad>, OpenError> {
    read_only(path, |db| {
        let mut read = db.prepare(
            "SELECT id, at_ms, event, host, process, version, hash, hash_before, changes
             FROM reload ORDER BY at_ms DESC, number DESC LIMIT ?1",
        )?;
        let found = read.query_map([most], load)?;
        found.collect()
    })
}

fn load(row: &Row<'_>) -> rusqlite::Result<ConfigLoad> {
    let event = LoadEvent::from_name(text(row, "event")?);
    Ok(ConfigLoad {
        id: row.get("id").map(u128::from_be_bytes)?,
        at: time(row, "at_ms")?,
        event: event.ok_or_else(|| unreadable(row, "event", "no event"))?,
        host: row.get("host")?,
        process: row.get("process")?,
        version: row.get("version")?,
        hash: row.get("hash")?,
        hash_before: row.get("hash_before")?,
        changes: row.get("changes")?,
    })
}
