//! What PostgreSQL adds: several gates on one database, and a server that goes away.

mod failures;
mod fleet;
mod schema;
mod wire;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use tollgate::key::Secret;
use tollgate::ledger::PostgresLedger;
use tollgate::policy::{Key, Measure};

use crate::suite::{group, key_in, limit};
use crate::support::folder::Folder;
use crate::support::postgres::{Pgbouncer, Postgres, shared};

fn open(url: &str) -> PostgresLedger {
    open_with(url, PostgresLedger::CONNECTIONS.get())
}

fn open_with(url: &str, connections: usize) -> PostgresLedger {
    let connections = NonZeroUsize::new(connections).unwrap();
    PostgresLedger::new(&Secret::new(url.into()), connections).unwrap()
}

/// Connections for one test of many that run at a time.
const FEW: usize = 4;

/// A ledger in a database of its own.
pub fn fresh(_: &Folder) -> Option<PostgresLedger> {
    Some(open_with(&shared()?.create_database(), FEW))
}

/// Likewise, behind a pooler that lends a server for one transaction.
pub fn fresh_behind_pgbouncer(_: &Folder) -> Option<PostgresLedger> {
    static POOLER: OnceLock<Option<Pgbouncer>> = OnceLock::new();
    let postgres = shared()?;
    let pooler = POOLER.get_or_init(|| Pgbouncer::start(postgres));
    let name = name_of(postgres, &postgres.create_database());
    Some(open_with(&pooler.as_ref()?.url(&name), FEW))
}

fn name_of(postgres: &Postgres, url: &str) -> String {
    postgres.psql(url, "SELECT current_database()")
}

/// Lists counters that are not the sum of what they count.
const WRONG_COUNTERS: &str = "
    SELECT c.*, s.used FROM tollgate.counter AS c, LATERAL (
        SELECT coalesce(sum(tollgate.takes(
            c.measure, seconds, list_nanos, billed_nanos, purchase_nanos)), 0) AS used
        FROM tollgate.reservation AS r
        WHERE c.name = CASE c.scope
                WHEN 'key' THEN r.key WHEN 'group' THEN r.group_name ELSE r.channel END
          AND c.window_start_ms = tollgate.window_start(c.window_name, r.created_ms)
          AND c.currency IN ('', tollgate.currency_of(c.scope, r.currency, r.purchase_currency))
          AND state <> 'voided' AND (state <> 'posted' OR c.measure <> 'in_flight')) AS s
    WHERE c.used <> s.used";

/// A key under many limits, none of which is reached.
fn limited() -> Arc<Key> {
    let limits = vec![
        limit(Measure::Requests, "100000/min"),
        limit(Measure::VideoSeconds, "1000000/month"),
        limit(Measure::InFlight, "50000"),
    ];
    let group = group(vec![limit(Measure::ListCost, "100000/total")]);
    key_in(&group, "studio", limits)
}
