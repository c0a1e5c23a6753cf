//! The ledger in PostgreSQL, for one gate or a fleet of them.
//!
//! Every decision of a gate is a stored function, so that it is one statement, one transaction and one round
//! trip; see `schema/postgres`. The database's clock decides only on leases and on deleting old counters.

mod adjustments;
mod arguments;
mod beside;
mod connection;
mod decision;
mod error;
mod evidence;
mod function;
mod operations;
mod orphans;
mod queries;
mod reroute;
mod row;
mod schema;
mod url;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::types::Type;
use uuid::Uuid;

use self::connection::{ANSWER, Database};
use self::operations::Operations;
use self::orphans::Orphans;
use self::row::{Id, bigint, number};
use self::url::Target;
use super::adjustment::AdjustmentSum;
use super::charge::{Charge, Claim, Confirmation, Confirmed, Draft};
use super::charge::{Reroute, Rerouted, ReservationId, Resolution};
use super::counters::{BindingLimits, ChannelLimits, KEPT, LimitReached, Usage, limits};
use super::evidence::{DisputeRecord, Note, RecordQuery};
use super::job::{Job, JobsAfter, State, Unmatched, UnresolvedCount};
use super::reload::ConfigLoad;
use super::{ClaimState, Claimed, Ledger, Reserved, Unavailable};
use crate::key::Secret;
use crate::policy::{Key, Limit, Timestamp};

pub use self::adjustments::{credit, void};
pub use self::beside::{read_bill, read_reloads};
pub use self::evidence::read_records;
pub use self::url::ParseUrlError;

/// A [`Ledger`] in the schema `tollgate` of a PostgreSQL database, version 13 or later.
///
/// The schema is made before the first use. While the database cannot be reached, calls fail; they work
/// again once it is back. A call whose connection broke is repeated on another connection for up to 3
/// seconds, and returns what has really happened. The outcome of a call is unknown only if the repetitions
/// fail too, or if the database does not answer for 5 seconds. If the caller then repeats the call, the
/// repetition is recognised, and reports that it made the change if the first call did. A reservation is
/// voided by the next [`Ledger::heartbeat`] if the outcome of its [`Ledger::reserve`] was unknown. The
/// server's `synchronous_commit` decides how durable a commit is.
///
/// The repetition of a [`Ledger::confirm`] that was committed returns the charge after the confirmation as
/// both `before` and `after`, and no limit.
pub struct PostgresLedger {
    database: Database,
    /// The id of this ledger object, unique among all that use the database.
    instance: Id,
    /// The semaphores that limit how many reservations of one key are made at a time. Without this limit, a
    /// key's reservations would wait for each other in the database and occupy every connection.
    key_slots: Vec<Semaphore>,
    names: RandomState,
    operations: Operations,
    orphans: Orphans,
}

/// The number of key slots. Each is a semaphore that limits the reservations of the keys that share it.
const KEY_SLOTS: usize = 64;
/// The maximum time that a reservation waits for its key's slot.
const KEY_SLOT_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints no field: the URL holds a password.
impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresLedger(..)")
    }
}

impl PostgresLedger {
    /// The recommended number of connections for one gate.
    pub const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

    /// Makes the ledger of the database at `url`, such as `postgres://user:password@host:5432/database`,
    /// with at most `connections` open at a time. Several hosts may be named, separated by commas, with
    /// `target_session_attrs=read-write`. No connection is made yet.
    pub fn new(url: &Secret, connections: NonZeroUsize) -> Result<Self, ParseUrlError> {
        let instance = new_id();
        Ok(Self {
            database: Database::new(Target::parse(url)?, connections.get(), instance),
            instance,
            key_slots: (0..KEY_SLOTS)
                .map(|_| Semaphore::new(connections.get().div_ceil(4)))
                .collect(),
            names: RandomState::new(),
            operations: Operations::default(),
            orphans: Orphans::default(),
        })
    }

    /// Waits for a permit of a key's slot, a semaphore that several keys share, and returns the permit.
    async fn key_slot(&self, key: &str) -> Result<SemaphorePermit<'_>, Unavailable> {
        let at = self.names.hash_one(key) % KEY_SLOTS as u64;
        let slot = usize::try_from(at)
            .ok()
            .and_then(|at| self.key_slots.get(at));
        let slot = slot.map(|slot| timeout(KEY_SLOT_TIMEOUT, slot.acquire()));
        match slot {
            Some(slot) => slot.await.ok().and_then(Result::ok),
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

/// Makes the id of a ledger object or of a call of a decision: a UUID of version 7 (RFC 9562).
fn new_id() -> Id {
    Id(Uuid::now_v7().as_u128())
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
        let own: Vec<_> = limits(key).collect();
        let counters = self.counters(&own, now).await?;
        Ok(counters.reached(key, None, takes, now))
    }

    async fn check_channel(
        &self,
        charge: &Charge,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Option<LimitReached>, Unavailable> {
        let channel = ChannelLimits::of(charge, limits);
        let scoped: Vec<_> = channel.scoped().collect();
        let counters = self.counters(&scoped, now).await?;
        Ok(counters.channel_reached(channel, charge, now))
    }

    async fn reroute(&self, id: ReservationId, to: &Reroute) -> Result<Rerouted, Unavailable> {
        reroute::decide(self, id, to).await
    }

    async fn claim(
        &self,
        key: &str,
        idempotency_key: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimState>, Unavailable> {
        queries::claim_state(&self.database, key, idempotency_key, now).await
    }

    async fn claimed(
        &self,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Unavailable> {
        queries::claimed(&self.database, key, claim, now).await
    }

    async fn reserve_counted(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable> {
        let _slot = self.key_slot(&key.name).await?;
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

    async fn void(
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
        queries::job(&self.database, job).await
    }

    async fn job_of_channel(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Job>, Unavailable> {
        queries::job_of_channel(&self.database, channel, upstream_id).await
    }

    async fn reconciled(
        &self,
        channel: &str,
        upstream_id: &str,
    ) -> Result<Option<Unmatched>, Unavailable> {
        queries::reconciled(&self.database, channel, upstream_id).await
    }

    async fn jobs(&self, key: &str, page: &JobsAfter<'_>) -> Result<Option<Vec<Job>>, Unavailable> {
        queries::jobs(&self.database, key, page).await
    }

    async fn mark_deleted(&self, id: ReservationId, _now: Timestamp) -> Result<(), Unavailable> {
        let statement = "UPDATE tollgate.reservation SET deleted = true \
             WHERE id = $1 AND NOT deleted";
        let parameters = [(&Id(id.0) as _, Type::UUID)];
        self.database.query(statement, &parameters, ANSWER).await?;
        Ok(())
    }

    async fn usage(&self, key: &Key, now: Timestamp) -> Result<Vec<Usage>, Unavailable> {
        let own: Vec<_> = limits(key).collect();
        Ok(self.counters(&own, now).await?.usage(key, now))
    }

    async fn count_unresolved(&self) -> Result<Vec<UnresolvedCount>, Unavailable> {
        queries::count_unresolved(&self.database).await
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

    async fn unmatched(&self, channel: &str, limit: u32) -> Result<Vec<Unmatched>, Unavailable> {
        queries::unmatched(&self.database, channel, limit).await
    }

    async fn recently_voided(
        &self,
        channel: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Unmatched>, Unavailable> {
        queries::recently_voided(&self.database, channel, since, limit).await
    }

    async fn due(
        &self,
        channel: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, Unavailable> {
        queries::due(&self.database, channel, now, limit).await
    }

    async fn set_next_poll(&self, id: ReservationId, at: Timestamp) -> Result<(), Unavailable> {
        let statement = "UPDATE tollgate.reservation SET look_at_ms = $2 \
             WHERE id = $1 AND resolved_ms IS NULL AND look_at_ms <> $2";
        self.set(id, statement, at).await
    }

    async fn prune(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, Unavailable> {
        let forget = "SELECT tollgate.forget_counters($1, $2)";
        let parameters = [
            (&bigint(now.0) as _, Type::INT8),
            (&bigint(1000 * KEPT) as _, Type::INT8),
        ];
        // A failure of this statement must not keep the rest from being pruned.
        let forgotten = self.database.query(forget, &parameters, ANSWER).await;
        let statement = "SELECT tollgate.prune($1, $2, $3) AS count";
        let rows = self
            .database
            .query(
                statement,
                &[
                    (&bigint(before.0), Type::INT8),
                    (&bigint(now.0), Type::INT8),
                    (&i64::from(limit), Type::INT8),
                ],
                ANSWER,
            )
            .await?;
        forgotten?;
        rows.first().map_or(Ok(0), |row| number(row, "count"))
    }

    async fn note(&self, id: ReservationId, note: &Note) -> Result<(), Unavailable> {
        evidence::note(&self.database, id, note).await
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<DisputeRecord>, Unavailable> {
        evidence::records(&self.database, query).await
    }

    async fn note_load(&self, load: &ConfigLoad) -> Result<(), Unavailable> {
        beside::note_load(&self.database, load).await
    }

    async fn adjustments(&self) -> Result<Vec<AdjustmentSum>, Unavailable> {
        adjustments::sums(&self.database).await
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        queries::ready(&self.database).await
    }
}
