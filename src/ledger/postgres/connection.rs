//! Pools connections to the database, repeats calls, and reports why no connection is available.
//!
//! Every statement is unnamed and complete in itself. So the gate may connect through a pooler that assigns
//! a server for each transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Manager, Object, Pool, PoolError, Runtime, TimeoutType};
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;
use tokio_postgres::error::Error;
use tokio_postgres::types::{ToSql, Type};

use super::error::{Kind, explain, kind, unavailable};
use super::row::Id;
use super::schema::{self, SchemaError};
use super::url::Target;
use crate::ledger::Unavailable;

/// The maximum time that a call waits while every connection is in use.
const WAIT: Duration = Duration::from_secs(2);
/// The maximum time that the database may take for one statement, except those of [`LONG_ANSWER`].
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// The maximum time for a slow statement: one that applies the schema, sums up a new counter, or searches
/// for records.
pub(super) const LONG_ANSWER: Duration = Duration::from_secs(60);
/// The maximum time for which a call is repeated.
const REPEAT: Duration = Duration::from_secs(3);
/// The maximum number of attempts of a call.
const ATTEMPTS: u32 = 4;
/// The pause before the first repetition of a call.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause after a failed attempt to connect, while the database cannot be reached. Then one call may try
/// again. All other calls that need a new connection fail at once.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// A parameter of a statement, with its type. The types spare the statement a second round trip, in which
/// the driver would ask the server for them.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A database, with a pool of a bounded number of connections to it.
pub(super) struct Database {
    pool: Pool,
    connections: usize,
    instance: Id,
    /// Whether the database is known to have the schema.
    prepared: AtomicBool,
    /// The lock of the one call that checks or makes the schema.
    preparing: tokio::sync::Mutex<()>,
    away: Mutex<Option<Away>>,
}

/// The last failure to reach the database, while the database cannot be reached.
struct Away {
    why: Unavailable,
    /// The time from which on the next call may try to connect.
    probe_at: Instant,
}

/// The failure of a call, after all its repetitions.
pub(super) struct Failed {
    why: Unavailable,
    /// Whether the call may have been executed, or may still be executed.
    pub(super) may_be_done: bool,
}

impl From<Failed> for Unavailable {
    fn from(failed: Failed) -> Self {
        failed.why
    }
}

/// The failure of one attempt.
enum Failure {
    /// The connection broke and must not be used again. The statement may have been executed.
    Broken(Unavailable),
    /// The statement was not executed, for a reason that passes.
    Passing(Unavailable),
    /// The database refused the statement, for a reason that does not pass: the statement was not executed.
    Refused(Unavailable),
    /// The statement was not answered in time. It may have been executed, or may still be executed.
    Silent(Unavailable),
    /// No connection was available.
    NoConnection(Unavailable),
}

impl Database {
    /// Makes a pool of at most `connections`. Its first connection takes the lease that shows other gates
    /// that the gate `instance` is running.
    pub(super) fn new(target: Target, connections: usize, instance: Id) -> Self {
        let manager = Manager::new(target.config, target.tls);
        let pool = Pool::builder(manager)
            .max_size(connections)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(target.patience))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build();
        // Building fails only if there are timeouts but no runtime.
        let pool = pool.unwrap_or_else(|e| unreachable!("{e}"));
        Self {
            pool,
            connections,
            instance,
            prepared: AtomicBool::new(false),
            preparing: tokio::sync::Mutex::default(),
            away: Mutex::default(),
        }
    }

    /// Runs one statement in one round trip, and returns its rows. `patience` is the maximum time for an
    /// attempt. The statement is repeated if a connection breaks, so a repetition must do no harm.
    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        patience: Duration,
    ) -> Result<Vec<Row>, Unavailable> {
        let rows = self.try_query(statement, parameters, patience).await;
        rows.map_err(Unavailable::from)
    }

    /// Runs one statement like [`Self::query`]. The error says whether the statement may have been executed.
    pub(super) async fn try_query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        patience: Duration,
    ) -> Result<Vec<Row>, Failed> {
        let started = Instant::now();
        let (mut attempts, mut pause, mut may_be_done) = (0, PAUSE, false);
        loop {
            let failure = match self.attempt(statement, parameters, patience).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            let in_time = started.elapsed() + pause < REPEAT;
            let (again, why) = match failure {
                Failure::Refused(why) => (false, why),
                Failure::Silent(why) => {
                    may_be_done = true;
                    (false, why)
                }
                // If an earlier attempt has sent the statement, its outcome is worth waiting for.
                Failure::NoConnection(why) => (attempts > 0, why),
                Failure::Passing(why) => {
                    attempts += 1;
                    (attempts < ATTEMPTS, why)
                }
                Failure::Broken(why) => {
                    attempts += 1;
                    may_be_done = true;
                    self.forget_before(started);
                    (attempts < ATTEMPTS, why)
                }
            };
            if !(again && in_time) {
                return Err(Failed { why, may_be_done });
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn attempt(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        patience: Duration,
    ) -> Result<Vec<Row>, Failure> {
        let client = self.connection().await?;
        let answer = timeout(patience, client.query_typed(statement, parameters)).await;
        match answer {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                if schema::is_missing(&error) {
                    self.prepared.store(false, Ordering::Release);
                }
                Err(self.judge(client, error))
            }
            Err(_) => {
                drop(Object::take(client));
                let seconds = patience.as_secs();
                Err(Failure::Silent(Unavailable::transient(format!(
                    "the database did not answer within {seconds} s: see what it is busy with"
                ))))
            }
        }
    }

    /// Gets a connection to a database that has the schema.
    async fn connection(&self) -> Result<Client, Failure> {
        // An idle connection may well work. Only without one does the known failure end the call.
        if self.pool.status().available == 0
            && let Some(why) = self.is_away()
        {
            return Err(Failure::NoConnection(why));
        }
        let mut client = match self.pool.get().await {
            Ok(client) => client,
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                return Err(Failure::NoConnection(Unavailable::transient(format!(
                    "all {} connections to the database are in use: it is slow, or the \
                     gate needs more of them",
                    self.connections
                ))));
            }
            Err(error) => return Err(self.gone(error)),
        };
        *self.away() = None;
        if !self.prepared.load(Ordering::Acquire)
            && let Err(failure) = self.prepare(&mut client).await
        {
            drop(Object::take(client));
            return Err(failure);
        }
        Ok(client)
    }

    async fn prepare(&self, client: &mut Client) -> Result<(), Failure> {
        let _turn = self.preparing.lock().await;
        if self.prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        match timeout(LONG_ANSWER, schema::prepare(client, self.instance)).await {
            Ok(Ok(())) => {
                self.prepared.store(true, Ordering::Release);
                Ok(())
            }
            Ok(Err(SchemaError::Database(error))) => {
                let why = explain(&error);
                Err(match kind(&error) {
                    Kind::Broken => Failure::Broken(unavailable(why, error)),
                    Kind::Passing => Failure::Passing(unavailable(why, error)),
                    Kind::Refused => Failure::Refused(unavailable(
                        format!("the schema tollgate cannot be made in the database: {why}"),
                        error,
                    )),
                })
            }
            Ok(Err(error)) => Err(Failure::Refused(
                Unavailable::permanent(error.to_string()).with_source(error),
            )),
            Err(_) => Err(Failure::Refused(Unavailable::transient(
                "the schema tollgate could not be made in time: see what locks the database",
            ))),
        }
    }

    fn judge(&self, client: Client, error: Error) -> Failure {
        let kind = kind(&error);
        let why = unavailable(explain(&error), error);
        match kind {
            Kind::Broken => {
                drop(Object::take(client));
                Failure::Broken(why)
            }
            Kind::Passing => Failure::Passing(why),
            Kind::Refused if client.is_closed() => Failure::Broken(why),
            Kind::Refused => Failure::Refused(why),
        }
    }

    /// Closes the idle connections that were made before `started`: if one is broken, all of them may be.
    fn forget_before(&self, started: Instant) {
        self.pool.retain(|_, metrics| metrics.created > started);
    }

    fn is_away(&self) -> Option<Unavailable> {
        let mut away = self.away();
        let away = away.as_mut()?;
        let now = Instant::now();
        if now < away.probe_at {
            return Some(away.why.clone());
        }
        away.probe_at = now + self.pool.timeouts().create.unwrap_or(WAIT) + WAIT;
        None
    }

    fn gone(&self, error: PoolError) -> Failure {
        let why = match error {
            PoolError::Backend(error) => {
                let why = format!("the database cannot be reached: {}", explain(&error));
                unavailable(why, error)
            }
            PoolError::Timeout(_) => Unavailable::transient(
                "the database cannot be reached: connecting took too long, see whether its host \
                 answers",
            ),
            _ => Unavailable::permanent("the connections to the database are closed"),
        };
        *self.away() = Some(Away {
            why: why.clone(),
            probe_at: Instant::now() + PROBE_EVERY,
        });
        Failure::NoConnection(why)
    }

    fn away(&self) -> MutexGuard<'_, Option<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
