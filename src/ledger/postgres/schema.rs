//! Applies the versioned schema, when a gate first connects to the database.

use std::cmp::Ordering;

use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, IsolationLevel, Transaction};

use super::error::{explain, unavailable};
use super::row::Id;
use crate::ledger::Unavailable;

/// The changes to the tables, one for each version, the oldest first. A released change is never edited.
/// The second, the fifth, the sixth, the eighth and the twelfth version are empty, since they changed
/// functions only.
const VERSIONS: [&str; 12] = [
    include_str!("../schema/postgres/001_tables.sql"),
    "",
    include_str!("../schema/postgres/003_ids_and_prices.sql"),
    include_str!("../schema/postgres/004_counters.sql"),
    "",
    "",
    include_str!("../schema/postgres/007_channels.sql"),
    "",
    include_str!("../schema/postgres/009_evidence.sql"),
    include_str!("../schema/postgres/010_adjustments.sql"),
    include_str!("../schema/postgres/011_uncorrected.sql"),
    "",
];

/// The database's functions, as they are in the newest version. Every upgrade replaces all of them.
const DECISIONS: &str = include_str!("../schema/postgres/decisions.sql");

/// The statement that takes the lock under which one gate at a time applies the schema. The lock's number is
/// arbitrary: no other program is likely to use it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7813579224517437)";

const VERSION: &str = "SELECT coalesce(max(version), 0) AS version FROM tollgate.schema_version";

const ISOLATION: &str = "SELECT current_setting('default_transaction_isolation') AS level";

const CREATE: &str = "
    CREATE SCHEMA IF NOT EXISTS tollgate;
    CREATE TABLE IF NOT EXISTS tollgate.schema_version (
        version    integer PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE tollgate.schema_version IS
        'The versions of this schema that were applied. Gates of an older version refuse it.'";

/// The reason why the database cannot be used with this program's version of the schema.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    /// A statement failed, or the connection broke.
    #[error(transparent)]
    Database(#[from] Error),
    /// The database has this version of the schema, which is newer than this program's.
    #[error(
        "the database has version {0} of the ledger's schema, which is newer than this program: \
         start the version that made it, or a later one"
    )]
    Newer(i32),
    /// The default isolation level of transactions is this one, not `read committed`. A decision that has
    /// taken a lock must read what the lock's last holder wrote, which only `read committed` ensures.
    #[error(
        "transactions are {0} by default, under which decisions about limits would be wrong: \
         set default_transaction_isolation to read committed for the role or the database"
    )]
    Isolation(String),
}

/// The statement that takes the lease by which other gates see that this gate is running. Without the lease,
/// they would treat the reservations that it makes before its first heartbeat as lost.
const LEASE: &str = "INSERT INTO tollgate.lease \
     VALUES ('gate:' || $1, $1, now() + interval '20 seconds') \
     ON CONFLICT (name) DO UPDATE SET until = excluded.until";

/// Makes the database ready for the gate `instance`: checks the isolation level, applies the schema, and
/// takes the gate's lease.
pub(super) async fn prepare(client: &mut Client, instance: Id) -> Result<(), SchemaError> {
    let row = client.query_typed_one(ISOLATION, &[]).await?;
    let level: String = row.try_get("level")?;
    if level != "read committed" {
        return Err(SchemaError::Isolation(level));
    }
    apply(client).await?;
    let parameters = [(&instance as _, Type::UUID)];
    client.execute_typed(LEASE, &parameters).await?;
    Ok(())
}

/// Brings the database to this program's version of the schema. If the database has that version already,
/// this takes one query, and the gate's role needs no right to change the schema.
async fn apply(client: &mut Client) -> Result<(), SchemaError> {
    let newest = VERSIONS.len() as i32;
    match client.query_typed_one(VERSION, &[]).await {
        Ok(row) if row.try_get::<_, i32>("version")? == newest => return Ok(()),
        Ok(row) if row.try_get::<_, i32>("version")? > newest => {
            return Err(SchemaError::Newer(row.try_get("version")?));
        }
        Ok(_) => {}
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    // Read committed, whatever the database's default: a read after taking the lock must see what the
    // lock's last holder wrote.
    let transaction = client.build_transaction();
    let transaction = transaction.isolation_level(IsolationLevel::ReadCommitted);
    let transaction = transaction.start().await?;
    transaction.batch_execute(LOCK).await?;
    transaction.batch_execute(CREATE).await?;
    let row = transaction.query_typed_one(VERSION, &[]).await?;
    let version: i32 = row.try_get("version")?;
    if version > newest {
        return Err(SchemaError::Newer(version));
    }
    for (number, statements) in (1..)
        .zip(VERSIONS)
        .skip(usize::try_from(version).unwrap_or(0))
    {
        transaction.batch_execute(statements).await?;
        let noted = format!("INSERT INTO tollgate.schema_version VALUES ({number})");
        transaction.batch_execute(&noted).await?;
    }
    if version < newest {
        transaction.batch_execute(DECISIONS).await?;
    }
    Ok(transaction.commit().await?)
}

/// Checks that the database has this program's version of the schema, and changes nothing.
///
/// # Errors
/// Where the version cannot be read, or is another one: the error then says what to do.
pub(super) async fn check_newest(transaction: &Transaction<'_>) -> Result<(), Unavailable> {
    let found = transaction.query_typed_one(VERSION, &[]).await;
    let newest = VERSIONS.len() as i32;
    let version = match found.and_then(|row| row.try_get::<_, i32>("version")) {
        Ok(version) => version,
        Err(error) if is_missing(&error) => 0,
        Err(error) => return Err(unavailable(explain(&error), error)),
    };
    match version.cmp(&newest) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Unavailable::permanent(
            SchemaError::Newer(version).to_string(),
        )),
        Ordering::Less => Err(Unavailable::permanent(format!(
            "the database has version {version} of the ledger's schema, and this program reads \
             version {newest}: start a gate of this version, which brings it up to date"
        ))),
    }
}

/// Tests whether an error says that the schema, or a part of it, is missing.
pub(super) fn is_missing(error: &Error) -> bool {
    let missing = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    error.code().is_some_and(|code| missing.contains(code))
}
