//! Connects to a database that gates may be using, for one command of an operator.

use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, IsolationLevel, Row, Transaction};

use super::connection::{ANSWER, Database, Parameter};
use super::error::{explain, unavailable};
use super::row::{Id, bigint, column, number, text};
use super::schema;
use super::url::Target;
use crate::key::Secret;
use crate::ledger::Unavailable;
use crate::ledger::bill::{AdjustmentLine, BillLine, BillQuery, BillReading, LineKind};
use crate::ledger::reload::{ConfigLoad, LoadEvent};
use crate::money::{Amount, Multiplier, SignedAmount};
use crate::policy::Timestamp;

/// Connects to the database at `url`, without creating or upgrading anything there.
pub(super) async fn connect(url: &Secret) -> Result<Client, Unavailable> {
    let target = Target::parse(url).map_err(|error| Unavailable::permanent(error.to_string()))?;
    let connected = timeout(target.patience, target.config.connect(target.tls)).await;
    let connected = connected.map_err(|_| Unavailable::transient("connecting took too long"))?;
    let (client, connection) = connected.map_err(failed)?;
    // The task ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// Begins a read-only transaction. A standby is enough for it, and a role that may only read.
///
/// # Errors
/// Where the database has no ledger of this program's version.
pub(super) async fn read_only(client: &mut Client) -> Result<Transaction<'_>, Unavailable> {
    // Read committed, whatever the database's default: then each read sees all that was committed before it.
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .read_only(true);
    let transaction = transaction.start().await.map_err(failed)?;
    schema::check_newest(&transaction).await?;
    Ok(transaction)
}

/// Begins a read-write transaction for a decision, with the lock timeout of the database's functions.
///
/// # Errors
/// Where the database has no ledger of this program's version.
pub(super) async fn read_write(client: &mut Client) -> Result<Transaction<'_>, Unavailable> {
    let transaction = client.build_transaction();
    let transaction = transaction.isolation_level(IsolationLevel::ReadCommitted);
    let transaction = transaction.start().await.map_err(failed)?;
    let patience = transaction.batch_execute("SET LOCAL lock_timeout = '4s'");
    patience.await.map_err(failed)?;
    schema::check_newest(&transaction).await?;
    Ok(transaction)
}

pub(super) fn failed(error: Error) -> Unavailable {
    unavailable(explain(&error), error)
}

/// Reads the lines of a bill from the ledger in the database at `url`, which gates may be using. Charges
/// with the same key, group, currency, multiplier, model, size and list price are added up in one line.
///
/// # Errors
/// Where the database cannot be reached, or has no ledger of this program's version.
pub async fn read_bill(url: &Secret, query: &BillQuery) -> Result<BillReading, Unavailable> {
    let mut client = connect(url).await?;
    let transaction = read_only(&mut client).await?;
    // Read before the lines, so that the lines include everything that was replayed up to this time.
    let replayed = replayed(&transaction).await?;
    let of_key = match query.key {
        Some(_) => "AND key = $3",
        None => "",
    };
    let statement = format!(
        "SELECT kind, key, group_name, currency, multiplier_thousandths, model, size,
             list_price_nanos, sum(jobs)::bigint AS jobs, sum(video_seconds)::bigint AS video_seconds,
             (sum(list_cost_usd) * 1000000000)::numeric(60, 0)::text AS list_nanos,
             (sum(billed_cost) * 1000000000)::numeric(60, 0)::text AS billed_nanos,
             adjustment, max(at_ms) AS at_ms, max(job) AS job, max(reason) AS reason,
             max(made_by) AS made_by
         FROM tollgate.bill_line WHERE at_ms >= $1 AND at_ms < $2 {of_key}
         GROUP BY kind, key, group_name, currency, multiplier_thousandths, model, size,
             list_price_nanos, adjustment
         ORDER BY key COLLATE \"C\", currency COLLATE \"C\", kind <> 'charge',
             group_name COLLATE \"C\", model COLLATE \"C\" NULLS FIRST,
             size COLLATE \"C\" NULLS FIRST, list_price_nanos NULLS FIRST,
             multiplier_thousandths NULLS FIRST, max(at_ms), adjustment"
    );
    let span = [query.from, query.until].map(|at| bigint(at.0));
    let key = query.key.as_deref();
    let mut parameters: Vec<Parameter<'_>> = span
        .iter()
        .map(|at| (at as &(dyn ToSql + Sync), Type::INT8))
        .collect();
    if key.is_some() {
        parameters.push((&key, Type::TEXT));
    }
    let rows = transaction.query_typed(&statement, &parameters).await;
    let lines = rows
        .map_err(failed)?
        .iter()
        .map(line)
        .collect::<Result<_, _>>()?;
    Ok(BillReading { lines, replayed })
}

/// Reads the time up to which a standby has followed its primary: the time of the primary's last commit
/// that the standby has replayed. `None` where the database is the primary.
async fn replayed(transaction: &Transaction<'_>) -> Result<Option<Timestamp>, Unavailable> {
    let statement = "SELECT CASE WHEN pg_is_in_recovery() THEN coalesce( \
             (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000)::bigint, 0) END AS at_ms";
    let row = transaction.query_typed_one(statement, &[]).await;
    let at = column::<Option<i64>>(&row.map_err(failed)?, "at_ms")?;
    Ok(at.map(|at| Timestamp(u64::try_from(at).unwrap_or_default())))
}

fn line(row: &Row) -> Result<BillLine, Unavailable> {
    let kind = LineKind::from_name(column(row, "kind")?);
    let sum = |name: &str| {
        let nanos = column::<&str>(row, name)?.parse();
        let nanos = nanos.map_err(|_| unreadable(name))?;
        Ok::<_, Unavailable>(SignedAmount::from_nanos(nanos))
    };
    let positive = |name: &str| {
        let value = column::<Option<i64>>(row, name)?;
        Ok::<_, Unavailable>(value.and_then(|value| u64::try_from(value).ok()))
    };
    let optional = |name: &str| column::<Option<&str>>(row, name);
    let adjustment = match optional("adjustment")? {
        Some(id) => Some(AdjustmentLine {
            id: id.into(),
            at: Timestamp(number(row, "at_ms")?),
            job: optional("job")?.map(Into::into),
            reason: text(row, "reason")?,
            made_by: text(row, "made_by")?,
        }),
        None => None,
    };
    Ok(BillLine {
        kind: kind.ok_or_else(|| unreadable("kind"))?,
        key: text(row, "key")?,
        group: text(row, "group_name")?,
        currency: text(row, "currency")?,
        model: optional("model")?.map(Into::into),
        size: optional("size")?.map(Into::into),
        list_price: positive("list_price_nanos")?.and_then(Amount::from_nanos),
        multiplier: positive("multiplier_thousandths")?.and_then(Multiplier::from_thousandths),
        jobs: column(row, "jobs")?,
        video_seconds: column(row, "video_seconds")?,
        list: sum("list_nanos")?,
        billed: sum("billed_nanos")?,
        adjustment,
    })
}

fn unreadable(column: &str) -> Unavailable {
    Unavailable::permanent(format!("the column {column} holds what no gate writes"))
}

/// Stores the record of a configuration that a gate has loaded, unless it is stored already.
pub(super) async fn note_load(database: &Database, load: &ConfigLoad) -> Result<(), Unavailable> {
    let statement = "INSERT INTO tollgate.reload (id, at_ms, event, host, process, version, hash, \
             hash_before, changes) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
    let parameters = [
        (&Id(load.id) as _, Type::UUID),
        (&bigint(load.at.0) as _, Type::INT8),
        (&load.event.name() as _, Type::TEXT),
        (&&*load.host as _, Type::TEXT),
        (&i64::from(load.process) as _, Type::INT8),
        (&&*load.version as _, Type::TEXT),
        (&&*load.hash as _, Type::TEXT),
        (&load.hash_before.as_deref() as _, Type::TEXT),
        (&&*load.changes as _, Type::TEXT),
    ];
    database.query(statement, &parameters, ANSWER).await?;
    Ok(())
}

/// Reads the last `most` records of configurations that gates have loaded, the newest first. Gates may be
/// using the ledger in the database at `url`.
///
/// # Errors
/// Where the database cannot be reached, or has no ledger of this program's version.
pub async fn read_reloads(url: &Secret, most: u32) -> Result<Vec<ConfigLoad>, Unavailable> {
    let mut client = connect(url).await?;
    let transaction = read_only(&mut client).await?;
    let statement = "SELECT id, at_ms, event, host, process, version, hash, hash_before, changes \
         FROM tollgate.reload ORDER BY at_ms DESC, number DESC LIMIT $1";
    let parameters = [(&i64::from(most) as _, Type::INT8)];
    let rows = transaction.query_typed(statement, &parameters).await;
    rows.map_err(failed)?.iter().map(load).collect()
}

fn load(row: &Row) -> Result<ConfigLoad, Unavailable> {
    let event = LoadEvent::from_name(column(row, "event")?);
    let process = u32::try_from(number(row, "process")?);
    Ok(ConfigLoad {
        id: column::<Id>(row, "id")?.0,
        at: Timestamp(number(row, "at_ms")?),
        event: event.ok_or_else(|| unreadable("event"))?,
        host: text(row, "host")?,
        process: process.map_err(|_| unreadable("process"))?,
        version: text(row, "version")?,
        hash: text(row, "hash")?,
        hash_before: column::<Option<&str>>(row, "hash_before")?.map(Into::into),
        changes: text(row, "changes")?,
    })
}
