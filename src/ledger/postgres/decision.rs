//! Makes the ledger's decisions. Each of them is a call of one stored function in the database.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::arguments::{ChargeValues, LimitValues, PlacementValues, limit_reached};
use super::connection::{ANSWER, LONG_ANSWER};
use super::function::{Argument, Function};
use super::row::{self, CHARGE, CORRECTED, Id, bigint, column, number};
use super::{PostgresLedger, new_id};
use crate::ledger::charge::ReservationId;
use crate::ledger::charge::{Charge, Confirmation, Confirmed, Draft, FirstAnswer};
use crate::ledger::counters::all_limits;
use crate::ledger::counters::{BindingLimits, ChannelLimits, Counters, Scope, ScopedLimit};
use crate::ledger::job::State;
use crate::ledger::{Claimed, Reserved, Unavailable};
use crate::policy::{Key, Timestamp};

static RESERVE: Function = Function::new("reserve", || "*".into());
/// The function `confirm`. Its result contains the reservation as it was before the call. Only what a
/// correction may change is read: each of these columns costs a create one percent of the database's time.
static CONFIRM: Function = Function::new("confirm", || {
    let mut columns = vec!["o_outcome, o_job, o_corrected, o_limit, o_used".to_owned()];
    columns.extend(CORRECTED.split(", ").map(|name| format!("(o_was).{name}")));
    columns.join(", ").into()
});
static RESOLVE: Function = Function::new("resolve", || CHARGE.into());
const TRACK: &str = "SELECT tollgate.track($1, $2, $3, $4, $5, $6)";
const COUNTERS: &str = "SELECT l.n, coalesce(c.used, 0) AS used \
     FROM unnest($1, $2, $3, $4, $5) \
         WITH ORDINALITY AS l (scope, name, measure, currency, window_name, n) \
     CROSS JOIN tollgate.window_start(l.window_name, $6) AS w (start) \
     JOIN tollgate.counted AS t USING (scope, name, measure, currency, window_name) \
     LEFT JOIN tollgate.counter AS c ON c.window_start_ms = w.start \
         AND (c.scope, c.name, c.measure) = (l.scope, l.name, l.measure) \
         AND (c.currency, c.window_name) = (l.currency, l.window_name) \
     WHERE t.since_ms <= w.start";

/// The maximum number of attempts at a decision. A decision for which counters are missing is repeated after
/// they were summed up.
pub(super) const ATTEMPTS: u32 = 3;

impl PostgresLedger {
    pub(super) async fn decide_reserve(
        &self,
        draft: &Draft,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Reserved, Box<[u64]>), Unavailable> {
        let charge = &*draft.charge;
        let values = ChargeValues::from(charge);
        let placement = PlacementValues::from(&draft.placement);
        let all = || all_limits(key, ChannelLimits::of(charge, &draft.placement.limits));
        let limits = LimitValues::of(all());
        let (names, currencies) = (limits.names(), limits.currencies());
        let claim = draft.claim.as_ref();
        let idempotency_key = claim.map(|claim| &*claim.idempotency_key);
        let fingerprint = claim.map(|claim| &claim.fingerprint[..]);
        let expires = claim.map(|claim| bigint(claim.expires.0));
        let prompt = &draft.prompt.0[..];
        let (id, now_ms, next_poll) = (Id(draft.id.0), bigint(now.0), bigint(draft.next_poll.0));
        let remix_of = draft.remix_of.as_deref();
        let request_id = draft.request_id.as_deref();
        let own: [Argument<'_>; 12] = [
            ("p_id", &id, Type::UUID),
            ("p_request_id", &request_id, Type::TEXT),
            ("p_now", &now_ms, Type::INT8),
            ("p_gate", &self.instance, Type::UUID),
            ("p_prompt", &prompt, Type::BYTEA),
            ("p_remix_of", &remix_of, Type::TEXT),
            ("p_next_poll", &next_poll, Type::INT8),
            ("p_idempotency_key", &idempotency_key, Type::TEXT),
            ("p_fingerprint", &fingerprint, Type::BYTEA),
            ("p_expires", &expires, Type::INT8),
            ("p_names", &names, Type::TEXT_ARRAY),
            ("p_currencies", &currencies, Type::TEXT_ARRAY),
        ];
        let charged = values.kept().into_iter().chain(values.corrected());
        let charged = charged.chain(values.purchase());
        let arguments = own.into_iter().chain(charged).chain(placement.arguments());
        let arguments = arguments.chain(limits.arguments());
        let (statement, parameters) = RESERVE.call(arguments);
        for _ in 0..ATTEMPTS {
            let reserved = self
                .database
                .try_query(&statement, &parameters, ANSWER)
                .await;
            let rows = reserved.map_err(|failed| {
                if failed.may_be_done {
                    self.orphans.add(draft.id, Instant::now());
                }
                Unavailable::from(failed)
            })?;
            let row = only(&rows)?;
            let reserved = match column(row, "o_outcome")? {
                "done" => return Ok((Reserved::Done, counts(row, key))),
                "refused" => {
                    let number_of_limit = column(row, "o_limit")?;
                    let used = number(row, "o_used")?;
                    let takes = |measure| charge.takes(measure);
                    let reached = limit_reached(all(), number_of_limit, used, takes, now);
                    Reserved::Refused(reached.ok_or_else(unknown_answer)?)
                }
                "track" => {
                    self.track(all(), now).await?;
                    continue;
                }
                _ => Reserved::Claimed(claimed(row)?),
            };
            return Ok((reserved, Box::default()));
        }
        Err(unknown_answer())
    }

    pub(super) async fn decide_confirm(
        &self,
        id: ReservationId,
        confirmation: &Confirmation,
        limits: &BindingLimits,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        let charge = &confirmation.charge;
        let values = ChargeValues::from(&**charge);
        let binding = LimitValues::of(limits.of(&charge.payer));
        let job = &*confirmation.job;
        let upstream_id = Some(&*confirmation.upstream_id).filter(|id| *id != job);
        let upstream_id = upstream_id.map(row::escaped);
        let answer = confirmation.answer.as_ref();
        let status = answer.map(|answer| i32::from(answer.status));
        let body = answer.map(|answer| &answer.body[..]);
        let mut operation = self.operations.begin(new_id(), id, State::Confirmed, job);
        let (of, name, now_ms) = (Id(id.0), operation.name, bigint(now.0));
        let channel_answer = &confirmation.channel_answer;
        let answer_status = channel_answer.status.map(i32::from);
        let answer_request_id = channel_answer.request_id.as_deref();
        let own: [Argument<'_>; 9] = [
            ("p_id", &of, Type::UUID),
            ("p_operation", &name, Type::UUID),
            ("p_job", &job, Type::TEXT),
            ("p_upstream_id", &upstream_id, Type::TEXT),
            ("p_now", &now_ms, Type::INT8),
            ("p_status", &status, Type::INT4),
            ("p_body", &body, Type::BYTEA),
            ("p_answer_status", &answer_status, Type::INT4),
            ("p_answer_request_id", &answer_request_id, Type::TEXT),
        ];
        let arguments = own.into_iter().chain(values.corrected());
        let (statement, parameters) = CONFIRM.call(arguments.chain(binding.arguments()));
        for _ in 0..ATTEMPTS {
            let rows = self.database.query(&statement, &parameters, ANSWER).await?;
            let row = only(&rows)?;
            if column::<&str>(row, "o_outcome")? == "track" {
                self.track(limits.of(&charge.payer), now).await?;
                continue;
            }
            operation.answered();
            return confirmed(row, charge, limits, now);
        }
        Err(unknown_answer())
    }

    /// Posts or voids the reservation `id`, as `state` says, if it is in one of the states `from`. Returns
    /// its charge; `None` where it is in another state.
    pub(super) async fn resolve(
        &self,
        id: ReservationId,
        from: &[State],
        state: State,
        outcome: &'static str,
        now: Timestamp,
    ) -> Result<Option<Arc<Charge>>, Unavailable> {
        let from: Vec<_> = from.iter().map(|state| state.name()).collect();
        let mut operation = self.operations.begin(new_id(), id, state, outcome);
        let arguments: [Argument<'_>; 6] = [
            ("p_id", &Id(id.0), Type::UUID),
            ("p_operation", &operation.name, Type::UUID),
            ("p_from", &from, Type::TEXT_ARRAY),
            ("p_state", &state.name(), Type::TEXT),
            ("p_outcome", &outcome, Type::TEXT),
            ("p_now", &bigint(now.0), Type::INT8),
        ];
        let (statement, parameters) = RESOLVE.call(arguments);
        let rows = self.database.query(&statement, &parameters, ANSWER).await?;
        operation.answered();
        rows.first().map(row::charge).transpose()
    }

    /// Runs `statement`, which sets a column of the reservation `id` to `time`.
    pub(super) async fn set(
        &self,
        id: ReservationId,
        statement: &str,
        time: Timestamp,
    ) -> Result<(), Unavailable> {
        let parameters = [
            (&Id(id.0) as _, Type::UUID),
            (&bigint(time.0) as _, Type::INT8),
        ];
        self.database.query(statement, &parameters, ANSWER).await?;
        Ok(())
    }

    /// Reads the counters of `limits` in the windows that contain `now`, and sums up those that are missing.
    pub(super) async fn counters(
        &self,
        limits: &[ScopedLimit],
        now: Timestamp,
    ) -> Result<Counters, Unavailable> {
        let values = LimitValues::of(limits.iter().cloned());
        let (names, currencies) = (values.names(), values.currencies());
        let mut counters = Counters::default();
        if values.maximums.is_empty() {
            return Ok(counters);
        }
        let parameters = [
            (&values.scopes as _, Type::TEXT_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
            (&values.measures as _, Type::TEXT_ARRAY),
            (&currencies as _, Type::TEXT_ARRAY),
            (&values.windows as _, Type::TEXT_ARRAY),
            (&bigint(now.0) as _, Type::INT8),
        ];
        let mut rows = self.database.query(COUNTERS, &parameters, ANSWER).await?;
        if rows.len() < values.maximums.len() {
            self.track(limits.iter().cloned(), now).await?;
            rows = self.database.query(COUNTERS, &parameters, ANSWER).await?;
        }
        for row in &rows {
            let index = usize::try_from(number(row, "n")?).unwrap_or(0);
            let Some(scoped) = limits.get(index.saturating_sub(1)) else {
                return Err(unknown_answer());
            };
            let start = scoped.limit.window.start(now);
            counters.track(scoped, start, [(start, number(row, "used")?)]);
        }
        Ok(counters)
    }

    /// Adds the counters of `limits` that are missing, with the sums of the existing reservations.
    pub(super) async fn track(
        &self,
        limits: impl Iterator<Item = ScopedLimit>,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        let mut by_scope = Vec::<(Scope, Vec<ScopedLimit>)>::new();
        for scoped in limits {
            match by_scope
                .iter_mut()
                .find(|(scope, _)| *scope == scoped.scope)
            {
                Some((_, limits)) => limits.push(scoped),
                None => by_scope.push((scoped.scope.clone(), vec![scoped])),
            }
        }
        for (scope, limits) in by_scope {
            let (kind, name) = scope.parts();
            let name = &**name;
            let values = LimitValues::of(limits.into_iter());
            self.database
                .query(
                    TRACK,
                    &[
                        (&kind, Type::TEXT),
                        (&name, Type::TEXT),
                        (&values.measures, Type::TEXT_ARRAY),
                        (&values.currencies(), Type::TEXT_ARRAY),
                        (&values.windows, Type::TEXT_ARRAY),
                        (&bigint(now.0), Type::INT8),
                    ],
                    LONG_ANSWER,
                )
                .await?;
        }
        Ok(())
    }
}

/// Reads the outcome of a confirmation from a row.
fn confirmed(
    row: &Row,
    charge: &Arc<Charge>,
    limits: &BindingLimits,
    now: Timestamp,
) -> Result<Confirmed, Unavailable> {
    Ok(match column(row, "o_outcome")? {
        "now" => {
            let before = row::charge_before(row, charge)?;
            let after = match column(row, "o_corrected")? {
                true => charge.clone(),
                false => before.clone(),
            };
            let limit_reached = match column(row, "o_limit")? {
                None => None,
                Some(number_of_limit) => {
                    let used = number(row, "o_used")?;
                    let adds = |m| charge.takes(m).saturating_sub(before.takes(m));
                    let limits = limits.of(&charge.payer);
                    let reached = limit_reached(limits, number_of_limit, used, adds, now);
                    Some(reached.ok_or_else(unknown_answer)?)
                }
            };
            Confirmed::Done {
                before,
                after,
                limit_reached,
            }
        }
        "already" => Confirmed::Already {
            job: row::text(row, "o_job")?,
        },
        "taken" => Confirmed::Taken,
        "id_taken" => Confirmed::IdTaken,
        "closed" => Confirmed::Closed,
        _ => return Err(unknown_answer()),
    })
}

/// Reads from a row how much of each limit of `key`, and then of its group, is used after a reservation.
/// Returns an empty list where these amounts cannot be read: the reservation is made all the same.
fn counts(row: &Row, key: &Key) -> Box<[u64]> {
    let counts: Vec<i64> = column(row, "o_counts").unwrap_or_default();
    let told = key.limits.len() + key.group.limits.len();
    let counts = counts.into_iter().take(told);
    let counts: Option<_> = counts.map(|count| u64::try_from(count).ok()).collect();
    counts.unwrap_or_default()
}

/// Reads from a row what became of the earlier request that has used the same idempotency key.
pub(super) fn claimed(row: &Row) -> Result<Claimed, Unavailable> {
    Ok(match column(row, "o_outcome")? {
        "in_flight" => Claimed::InFlight,
        "other" => Claimed::Other,
        "answered" => Claimed::Answered(first_answer(row)?),
        _ => return Err(unknown_answer()),
    })
}

fn first_answer(row: &Row) -> Result<FirstAnswer, Unavailable> {
    let status: i32 = column(row, "o_status")?;
    let body: &[u8] = column(row, "o_body")?;
    Ok(FirstAnswer {
        status: u16::try_from(status).map_err(|_| unknown_answer())?,
        body: Bytes::copy_from_slice(body),
    })
}

pub(super) fn only(rows: &[Row]) -> Result<&Row, Unavailable> {
    rows.first().ok_or_else(unknown_answer)
}

pub(super) fn unknown_answer() -> Unavailable {
    Unavailable::permanent(
        "the database's functions answer with something that this program does not know: \
         see whether somebody has changed the schema tollgate",
    )
}
