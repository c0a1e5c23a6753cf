//! The ledger in PostgreSQL, for one gate or a fleet of them.
//!
//! Every decision is a function of the database, so that it is one statement, one
//! transaction and one round trip; see `schema/postgres`. The database's clock is asked for
//! nothing but leases.

mod connection;
mod decision;
mod error;
mod operations;
mod orphans;
mod row;
mod schema;
mod url;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::types::Type;

use self::connection::{ANSWER, Database};
use self::operations::Operations;
use self::orphans::Orphans;
use self::row::{CHARGE, Id, JOB, JOBLESS, bigint, column, number, text};
use self::url::Target;
use super::charge::{Charge, Claim, Confirmation, Confirmed, Draft, ReservationId, Resolution};
use super::counters::{BindingLimits, KEPT, LimitReached, Usage, limits};
use super::job::{Job, Jobless, JobsAfter, NOT_CREATED, NOT_FOUND_OUT, Open, State};
use super::{ClaimState, Claimed, FARTHEST_LOOK, Ledger, Reserved, Unavailable};
use crate::key::Secret;
use crate::policy::{Key, Timestamp};

pub use self::url::ParseUrlError;

/// A [`Ledger`] in the schema `tollgate` of a PostgreSQL database, version 13 or later.
///
/// The schema is made before the first use. While the database is away calls fail, and
/// they work again by themselves once it is back. A call whose connection broke is repeated
/// on another one for up to 3 seconds and tells what is true; only when that fails too, or the
/// database is silent for 5 seconds, its outcome is not known. Then the caller's repetition of
/// that very call is recognised, and told that it made the change if the first one did. A reservation of which that holds is voided by the next
/// [`Ledger::heartbeat`]. How durable "durable" is, the server's `synchronous_commit` says.
///
/// The repetition of a [`Ledger::confirm`] that was committed answers with the charge as it
/// has become, for `before` too.
pub struct PostgresLedger {
    database: Database,
    /// This object, among all that use the database.
    instance: Id,
    ids: RandomIds,
    /// Reservations of one key wait for each other in the database: here they do so without
    /// holding every connection, which those of other keys need. Keys share turns.
    turns: Vec<Semaphore>,
    names: RandomState,
    operations: Operations,
    orphans: Orphans,
}

/// How many turns there are, and how long one is waited for.
const TURNS: usize = 64;
const TURN: Duration = Duration::from_secs(5);

/// It tells nothing: the URL holds a password.
impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresLedger(..)")
    }
}

impl PostgresLedger {
    /// How many connections serve a gate well.
    pub const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

    /// Takes the database's URL, `postgres://user:password@host:5432/database`, and how many
    /// connections may be open at a time. Several hosts may be named, separated by commas,
    /// with `target_session_attrs=read-write`. Does not connect.
    pub fn new(url: &Secret, connections: NonZeroUsize) -> Result<Self, ParseUrlError> {
        let ids = RandomIds::default();
        let instance = ids.next();
        Ok(Self {
            database: Database::new(Target::parse(url)?, connections.get(), instance),
            instance,
            ids,
            turns: (0..TURNS)
                .map(|_| Semaphore::new(connections.get().div_ceil(4)))
                .collect(),
            names: RandomState::new(),
            operations: Operations::default(),
            orphans: Orphans::default(),
        })
    }

    /// Waits for the turn of a key.
    async fn turn(&self, key: &str) -> Result<SemaphorePermit<'_>, Unavailable> {
        let at = self.names.hash_one(key) % TURNS as u64;
        let turn = usize::try_from(at).ok().and_then(|at| self.turns.get(at));
        let turn = turn.map(|turn| timeout(TURN, turn.acquire()));
        match turn {
            Some(turn) => turn.await.ok().and_then(Result::ok),
            None => None,
        }
        .ok_or_else(|| {
            Unavailable::transient(
                "more requests of one key wait than the database can take: \
                 see how fast it commits, or limit the key",
            )
        })
    }
}

/// Random from the keys that the standard library seeds its hash maps with and a counter:
/// unique, and no secret.
#[derive(Default)]
struct RandomIds {
    seeds: [RandomState; 2],
    count: AtomicU64,
}

impl RandomIds {
    fn next(&self) -> Id {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low] = &self.seeds;
        Id(u128::from(high.hash_one(count)) << 64 | u128::from(low.hash_one(count)))
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn check(
        &self,
        key: &Key,
        charge: Option<&Charge>,
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        if limits(key).next().is_none() {
            self.ready().await?;
            return Ok(None);
        }
        let takes = |measure| charge.map_or(1, |charge| charge.takes(measure));
        let counters = self.counters(key, now).await?;
        Ok(counters.reached(key, takes, now))
    }

    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable> {
        let statement = "SELECT status IS NOT NULL AS answered FROM tollgate.idempotency \
             WHERE key = $1 AND idempotency_key = $2 AND (expires_ms > $3 OR status IS NULL)";
        let rows = self
            .database
            .query(
                statement,
                &[
                    (&key, Type::TEXT),
                    (&idempotency_key, Type::TEXT),
                    (&bigint(now.0), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(if column(row, "answered")? {
            ClaimState::Answered
        } else {
            ClaimState::InFlight
        }))
    }

    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable> {
        let statement = "SELECT c.* FROM tollgate.idempotency AS i, \
             tollgate.claimed(i, NULL, $3) AS c (o_outcome, o_status, o_body) \
             WHERE key = $1 AND idempotency_key = $2 AND (expires_ms > $4 OR status IS NULL)";
        let rows = self
            .database
            .query(
                statement,
                &[
                    (&key, Type::TEXT),
                    (&&*claim.idempotency_key, Type::TEXT),
                    (&&claim.fingerprint[..], Type::BYTEA),
                    (&bigint(now.0), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        rows.first().map(decision::claimed).transpose()
    }

    async fn reserve(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<Reserved, Unavailable> {
        let _turn = self.turn(&key.name).await?;
        self.decide_reserve(draft, key, now).await
    }

    async fn confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        self.decide_confirm(id, confirmation, limits, now).await
    }

    async fn mark_unknown(&self, id: ReservationId, now: Timestamp) -> Result<(), Unavailable> {
        let statement = "UPDATE tollgate.reservation SET state = 'unknown', \
             unknown_since_ms = $2 WHERE id = $1 AND state = 'pending'";
        self.set(id, statement, now).await
    }

    async fn abandon(
        &self,
        id: ReservationId,
        why: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let from = [State::Pending, State::Unknown];
        self.resolve(id, &from, State::Voided, why, now).await
    }

    async fn settle(
        &self,
        id: ReservationId,
        resolution: Resolution,
        end: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let from = [State::Confirmed];
        self.resolve(id, &from, resolution.into(), end, now).await
    }

    async fn job(&self, job: &str) -> Result<Option<Job>, Unavailable> {
        let statement = format!("SELECT {JOB}, {CHARGE} FROM tollgate.reservation WHERE job = $1");
        let parameters = [(&job as _, Type::TEXT)];
        let rows = self.database.query(&statement, &parameters, ANSWER).await?;
        rows.first().map(row::job).transpose()
    }

    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable> {
        let statement = format!(
            "SELECT {JOB}, {CHARGE} FROM tollgate.reservation \
             WHERE job = $2 AND channel = $1 AND upstream_id IS NULL \
             UNION ALL SELECT {JOB}, {CHARGE} FROM tollgate.reservation \
             WHERE channel = $1 AND upstream_id = $2"
        );
        let parameters = [
            (&channel as _, Type::TEXT),
            (&row::escaped(upstream_id) as _, Type::TEXT),
        ];
        let rows = self.database.query(&statement, &parameters, ANSWER).await?;
        rows.first().map(row::job).transpose()
    }

    async fn found(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Jobless>, Unavailable> {
        let statement = format!(
            "SELECT {JOBLESS}, {CHARGE} FROM tollgate.reservation \
             WHERE id = tollgate.owner($1, $2) AND unknown_since_ms IS NOT NULL"
        );
        let parameters = [
            (&channel as _, Type::TEXT),
            (&row::escaped(upstream_id) as _, Type::TEXT),
        ];
        let rows = self.database.query(&statement, &parameters, ANSWER).await?;
        rows.first().map(row::jobless).transpose()
    }

    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable> {
        let (after, order) = if page.ascending {
            ("place > a.place", "ASC")
        } else {
            ("place < a.place", "DESC")
        };
        // One row at least: it tells the place that the page comes after, if there is one.
        let statement = format!(
            "SELECT a.place AS after_place, page.* FROM (SELECT CASE \
                 WHEN $2::text IS NOT NULL THEN (SELECT place FROM tollgate.reservation \
                     WHERE job = $2 AND key = $1) \
                 ELSE $3 END AS place) AS a \
             LEFT JOIN LATERAL (SELECT {JOB}, {CHARGE}, place FROM tollgate.reservation \
                 WHERE key = $1 AND {after} AND NOT deleted ORDER BY place {order} LIMIT $4 \
             ) AS page ON true ORDER BY page.place {order}"
        );
        let edge = if page.ascending { 0 } else { i64::MAX };
        let rows = self
            .database
            .query(
                &statement,
                &[
                    (&key, Type::TEXT),
                    (&page.after, Type::TEXT),
                    (&edge, Type::INT8),
                    (&i64::from(page.limit), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        let Some(first) = rows.first() else {
            return Ok(Some(Vec::new()));
        };
        if column::<Option<i64>>(first, "after_place")?.is_none() {
            return Ok(None);
        }
        if column::<Option<Id>>(first, "id")?.is_none() {
            return Ok(Some(Vec::new()));
        }
        rows.iter()
            .map(row::job)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    async fn mark_deleted(&self, id: ReservationId, _now: Timestamp) -> Result<(), Unavailable> {
        let statement = "UPDATE tollgate.reservation SET deleted = true \
             WHERE id = $1 AND NOT deleted";
        let parameters = [(&Id(id.0) as _, Type::UUID)];
        self.database.query(statement, &parameters, ANSWER).await?;
        Ok(())
    }

    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        Ok(self.counters(key, now).await?.usage(key, now))
    }

    async fn open(&self) -> Result<Vec<Open>, Unavailable> {
        let statement = "SELECT key, channel, state, count(*) AS count \
             FROM tollgate.reservation WHERE state IN ('pending', 'unknown', 'confirmed') \
             GROUP BY key, channel, state";
        let rows = self.database.query(statement, &[], ANSWER).await?;
        let open = rows.iter().map(|row| {
            Ok(Open {
                key: text(row, "key")?,
                channel: text(row, "channel")?,
                state: row::state(row)?,
                count: number(row, "count")?,
            })
        });
        open.collect()
    }

    async fn heartbeat(&self, now: Timestamp, lost_after: Duration) -> Result<u64, Unavailable> {
        let lost_after = u64::try_from(lost_after.as_millis()).unwrap_or(u64::MAX);
        let statement = "SELECT tollgate.heartbeat($1, $2, $3) AS count";
        let rows = self
            .database
            .query(
                statement,
                &[
                    (&self.instance, Type::UUID),
                    (&bigint(now.0), Type::INT8),
                    (&bigint(lost_after), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        self.void_orphans(now).await?;
        rows.first().map_or(Ok(0), |row| number(row, "count"))
    }

    async fn lease(&self, name: &str, span: Duration) -> Result<bool, Unavailable> {
        let statement = "INSERT INTO tollgate.lease AS l \
             VALUES ($1, $2, now() + $3 * interval '1 millisecond') \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
                 WHERE l.holder = excluded.holder OR l.until <= now() \
             RETURNING true";
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let rows = self
            .database
            .query(
                statement,
                &[
                    (&name, Type::TEXT),
                    (&self.instance, Type::UUID),
                    (&bigint(span), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        Ok(!rows.is_empty())
    }

    async fn jobless(&self, channel: &str, most: u32) -> Result<Vec<Jobless>, Unavailable> {
        let statement = format!(
            "SELECT {JOBLESS}, {CHARGE} FROM tollgate.reservation \
             WHERE state IN ('pending', 'unknown') AND channel = $1 ORDER BY created_ms, id LIMIT $2"
        );
        let parameters = [
            (&channel as _, Type::TEXT),
            (&i64::from(most) as _, Type::INT8),
        ];
        let rows = self.database.query(&statement, &parameters, ANSWER).await?;
        rows.iter().map(row::jobless).collect()
    }

    async fn rivals(
        &self,
        channel: &str,
        since: Timestamp,
        most: u32,
    ) -> Result<Vec<Jobless>, Unavailable> {
        let statement = format!(
            "SELECT {JOBLESS}, {CHARGE} FROM tollgate.reservation \
             WHERE state = 'voided' AND outcome IN ('{NOT_CREATED}', '{NOT_FOUND_OUT}') \
                 AND channel = $1 AND resolved_ms >= $2 ORDER BY created_ms, id LIMIT $3"
        );
        let rows = self
            .database
            .query(
                &statement,
                &[
                    (&channel, Type::TEXT),
                    (&bigint(since.0), Type::INT8),
                    (&i64::from(most), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        rows.iter().map(row::jobless).collect()
    }

    async fn due(&self, channel: &str, now: Timestamp, most: u32) -> Result<Vec<Job>, Unavailable> {
        let of = |bound: &str| {
            format!(
                "(SELECT {JOB}, {CHARGE} FROM tollgate.reservation \
                 WHERE state = 'confirmed' AND channel = $1 AND look_at_ms {bound} \
                 ORDER BY look_at_ms, id LIMIT $3)"
            )
        };
        // Each by the index, and in this order.
        let (come, far) = (of("<= $2"), of("> $4"));
        let statement = format!("{come} UNION ALL {far} LIMIT $3");
        let rows = self
            .database
            .query(
                &statement,
                &[
                    (&channel, Type::TEXT),
                    (&bigint(now.0), Type::INT8),
                    (&i64::from(most), Type::INT8),
                    (&bigint(now.0.saturating_add(FARTHEST_LOOK)), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        rows.iter().map(row::job).collect()
    }

    async fn look_at(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable> {
        let statement = "UPDATE tollgate.reservation SET look_at_ms = $2 \
             WHERE id = $1 AND resolved_ms IS NULL AND look_at_ms <> $2";
        self.set(id, statement, at).await
    }

    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        most: u32,
    ) -> Result<u64, Unavailable> {
        let forget = "SELECT tollgate.forget_counters($1, $2)";
        let parameters = [
            (&bigint(now.0) as _, Type::INT8),
            (&bigint(1000 * KEPT) as _, Type::INT8),
        ];
        // What it fails over keeps nothing else from being forgotten.
        let forgotten = self.database.query(forget, &parameters, ANSWER).await;
        let statement = "SELECT tollgate.prune($1, $2, $3) AS count";
        let rows = self
            .database
            .query(
                statement,
                &[
                    (&bigint(before.0), Type::INT8),
                    (&bigint(now.0), Type::INT8),
                    (&i64::from(most), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        forgotten?;
        rows.first().map_or(Ok(0), |row| number(row, "count"))
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        let statement = "SELECT pg_is_in_recovery() \
             OR current_setting('transaction_read_only')::boolean AS read_only";
        let rows = self.database.query(statement, &[], ANSWER).await?;
        match rows.first().map(|row| column(row, "read_only")) {
            Some(Ok(false)) => Ok(()),
            Some(Err(error)) => Err(error),
            // As in the middle of a failover.
            _ => Err(Unavailable::transient(
                "the database is read-only: name the primary, or all hosts of the cluster \
                 with target_session_attrs=read-write",
            )),
        }
    }
}
