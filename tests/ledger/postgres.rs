//! What PostgreSQL adds: several gates, and a server that goes away.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use tollgate::key::Secret;
use tollgate::ledger::PostgresLedger;

use crate::support::folder::Folder;
use crate::support::postgres::{Pgbouncer, shared};

pub fn open(url: &str) -> PostgresLedger {
    open_with(url, PostgresLedger::CONNECTIONS)
}

fn open_with(url: &str, connections: NonZeroUsize) -> PostgresLedger {
    PostgresLedger::new(&Secret::new(url.into()), connections).unwrap()
}

/// A ledger in a database of its own.
pub fn fresh(_: &Folder) -> Option<PostgresLedger> {
    Some(open(&shared()?.create_database()))
}

/// Likewise, behind a pooler that lends a server for one transaction.
pub fn fresh_behind_pgbouncer(_: &Folder) -> Option<PostgresLedger> {
    static POOLER: OnceLock<Option<Pgbouncer>> = OnceLock::new();
    let postgres = shared()?;
    let pooler = POOLER.get_or_init(|| Pgbouncer::start(postgres));
    let url = postgres.create_database();
    let name = postgres.psql(&url, "SELECT current_database()");
    Some(open(&pooler.as_ref()?.url(name.trim())))
}
