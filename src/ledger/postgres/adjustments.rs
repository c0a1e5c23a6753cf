//! Adjustments of the bill. Operators' commands write them while gates may be running.

use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Row, Transaction};

use super::beside::{connect, failed, read_write};
use super::connection::{ANSWER, Database};
use super::evidence::Select;
use super::row::{Id, bigint, column, number, strange, text, text_if_any};
use crate::catalog::PriceList;
use crate::key::Secret;
use crate::ledger::Unavailable;
use crate::ledger::adjustment::{
    Adjustment, AdjustmentKind, AdjustmentSum, Author, CreditDecision, NamedCharge, VoidDecision,
    VoidedCharge, decide_credit, decide_void, find_charge,
};
use crate::ledger::charge::{Charge, Payer};
use crate::ledger::evidence::{DisputeRecord, RecordQuery};
use crate::ledger::job::State;
use crate::ledger::reservation_id::ReservationId;
use crate::money::{Amount, Multiplier, SignedAmount};
use crate::policy::Timestamp;

const COLUMNS: &str = "id, kind, at_ms, made_by, reason, key, group_name, currency, billed_nanos, \
     list_nanos, seconds, reservation, reserved_ms, job, channel, model, size, multiplier_thousandths";

/// Voids the posted charge that `name` names in the ledger in the database at `url`, which gates may be
/// using.
///
/// # Errors
/// Where the database cannot be reached, or has no ledger of this program's version.
pub async fn void(url: &Secret, name: &str, author: &Author) -> Result<VoidDecision, Unavailable> {
    let mut client = connect(url).await?;
    let transaction = read_write(&mut client).await?;
    let id = match named(&transaction, name).await? {
        NamedCharge::Found(id) => id,
        NamedCharge::Pruned(void) => return Ok(VoidDecision::Already(void)),
        NamedCharge::Refuse(refusal) => return Ok(VoidDecision::Refuse(refusal)),
    };
    // The record is read anew under the lock, when nobody else can resolve, void or prune the charge.
    let lock = "SELECT 1 FROM tollgate.reservation WHERE id = $1 FOR UPDATE";
    let parameter = Id(id.0);
    let locked = transaction
        .query_typed(lock, &[(&parameter, Type::UUID)])
        .await;
    locked.map_err(failed)?;
    let text = id.to_string();
    let found = records(&transaction, &RecordQuery::Exactly(text.as_str().into())).await?;
    let record = found.iter().find(|record| record.id == id);
    let pruned = match record {
        Some(_) => None,
        None => void_named(&transaction, &text).await?,
    };
    let decision = decide_void(record, pruned.filter(|void| void.is_of(id)), author.clone());
    if let VoidDecision::Record(void) = &decision {
        insert(&transaction, void).await?;
        if let AdjustmentKind::Void(voided) = &void.kind {
            let id = Id(voided.reservation.0);
            let give_back = "SELECT tollgate.give_back($1)";
            let parameters = [(&id as _, Type::UUID)];
            let done = transaction.query_typed(give_back, &parameters).await;
            done.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
    }
    Ok(decision)
}

/// Records the credit or debit `wanted` in the ledger in the database at `url`, which gates may be using.
///
/// # Errors
/// The errors are those of [`void`].
pub async fn credit(url: &Secret, wanted: &Adjustment) -> Result<CreditDecision, Unavailable> {
    let mut client = connect(url).await?;
    let transaction = read_write(&mut client).await?;
    // Waits for any other process that is recording an adjustment with this id.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('tollgate adjustment ' || $1, 0))";
    let parameters = [(&&*wanted.id as _, Type::TEXT)];
    let locked = transaction.query_typed(lock, &parameters).await;
    locked.map_err(failed)?;
    let found = find(&transaction, "id = $1", &wanted.id).await?;
    let decision = decide_credit(found, wanted);
    if decision == CreditDecision::Record {
        insert(&transaction, wanted).await?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(decision)
}

/// Reads the records of charges that `query` selects, with any adjustments that voided posted ones.
pub(super) async fn records(
    transaction: &Transaction<'_>,
    query: &RecordQuery,
) -> Result<Vec<DisputeRecord>, Unavailable> {
    let mut records = Select::read(transaction, query).await?;
    let posted = posted(&records);
    if !posted.is_empty() {
        let parameters = [(&posted as _, Type::UUID_ARRAY)];
        let rows = transaction
            .query_typed(&of_reservations(), &parameters)
            .await;
        add_voids(&mut records, &rows.map_err(failed)?)?;
    }
    Ok(records)
}

/// Sums up the adjustments, by key, currency and kind.
pub(super) async fn sums(database: &Database) -> Result<Vec<AdjustmentSum>, Unavailable> {
    let statement = "SELECT key, currency, kind, count(*) AS count, \
             sum(abs(billed_nanos))::text AS nanos \
         FROM tollgate.adjustment GROUP BY key, currency, kind";
    let rows = database.query(statement, &[], ANSWER).await?;
    let sums = rows.iter().map(|row| {
        let nanos: &str = column(row, "nanos")?;
        Ok(AdjustmentSum {
            key: text(row, "key")?,
            currency: text(row, "currency")?,
            kind: text(row, "kind")?,
            count: number(row, "count")?,
            amount: SignedAmount::from_nanos(nanos.parse().map_err(|_| strange("nanos"))?),
        })
    });
    sums.collect()
}

/// Reads the adjustments that voided posted charges of `records`, and adds them to the records.
pub(super) async fn add(
    database: &Database,
    records: &mut [DisputeRecord],
) -> Result<(), Unavailable> {
    let posted = posted(records);
    if posted.is_empty() {
        return Ok(());
    }
    let parameters = [(&posted as _, Type::UUID_ARRAY)];
    let rows = database
        .query(&of_reservations(), &parameters, ANSWER)
        .await;
    add_voids(records, &rows?)
}

fn posted(records: &[DisputeRecord]) -> Vec<Id> {
    let posted = records
        .iter()
        .filter(|record| record.state == State::Posted);
    posted.map(|record| Id(record.id.0)).collect()
}

fn of_reservations() -> String {
    format!("SELECT {COLUMNS} FROM tollgate.adjustment WHERE reservation = ANY ($1)")
}

fn add_voids(records: &mut [DisputeRecord], rows: &[Row]) -> Result<(), Unavailable> {
    for row in rows {
        let void = adjustment(row)?;
        let AdjustmentKind::Void(voided) = &void.kind else {
            continue;
        };
        let record = records
            .iter_mut()
            .find(|record| record.id == voided.reservation);
        if let Some(record) = record {
            record.voided_by = Some(void);
        }
    }
    Ok(())
}

/// Finds the charge that an operator wants to void. `name` is the id that the operator has given.
async fn named(transaction: &Transaction<'_>, name: &str) -> Result<NamedCharge, Unavailable> {
    let mut found = records(transaction, &RecordQuery::Exactly(name.into())).await?;
    let void = void_named(transaction, name).await?;
    if found.is_empty() && void.is_none() {
        found = records(transaction, &RecordQuery::Named(name.into())).await?;
    }
    Ok(find_charge(name, &found, void))
}

/// Finds the adjustment that voided the charge of reservation `name`, or else of a job with that public id.
async fn void_named(
    transaction: &Transaction<'_>,
    name: &str,
) -> Result<Option<Adjustment>, Unavailable> {
    let id = ReservationId::read(name).map(|id| Id(id.0));
    let statement = format!(
        "SELECT {COLUMNS} FROM tollgate.adjustment
         WHERE kind = 'void' AND (reservation = $1 OR job = $2)
         ORDER BY reservation IS NOT DISTINCT FROM $1 DESC, number LIMIT 1"
    );
    let parameters = [(&id as _, Type::UUID), (&name as _, Type::TEXT)];
    let rows = transaction.query_typed(&statement, &parameters).await;
    rows.map_err(failed)?.first().map(adjustment).transpose()
}

async fn find(
    transaction: &Transaction<'_>,
    condition: &str,
    name: &str,
) -> Result<Option<Adjustment>, Unavailable> {
    let statement = format!("SELECT {COLUMNS} FROM tollgate.adjustment WHERE {condition}");
    let parameters = [(&name as _, Type::TEXT)];
    let rows = transaction.query_typed(&statement, &parameters).await;
    rows.map_err(failed)?.first().map(adjustment).transpose()
}

async fn insert(transaction: &Transaction<'_>, adjustment: &Adjustment) -> Result<(), Unavailable> {
    let author = &adjustment.author;
    let (voided, payer) = match &adjustment.kind {
        AdjustmentKind::Void(voided) => {
            let payer = &voided.charge.payer;
            (Some(voided), (&payer.key, &payer.group, &payer.currency))
        }
        AdjustmentKind::Credit {
            key,
            group,
            currency,
            ..
        } => (None, (key, group, currency)),
    };
    let charge = voided.map(|voided| &*voided.charge);
    let billed = i64::try_from(adjustment.billed().nanos());
    let billed = billed.map_err(|_| Unavailable::permanent("the amount is too large"))?;
    let zero_or = |value: fn(&Charge) -> i64| charge.map_or(0, value);
    let parameters = [
        (&&*adjustment.id as _, Type::TEXT),
        (&adjustment.kind_name() as _, Type::TEXT),
        (&bigint(author.at.0) as _, Type::INT8),
        (&&*author.made_by as _, Type::TEXT),
        (&&*author.reason as _, Type::TEXT),
        (&&**payer.0 as _, Type::TEXT),
        (&&**payer.1 as _, Type::TEXT),
        (&&**payer.2 as _, Type::TEXT),
        (&billed as _, Type::INT8),
        (
            &zero_or(|charge| -bigint(charge.list.nanos())) as _,
            Type::INT8,
        ),
        (&zero_or(|_| -1) as _, Type::INT8),
        (
            &zero_or(|charge| -i64::from(charge.seconds)) as _,
            Type::INT8,
        ),
        (
            &voided.map(|voided| Id(voided.reservation.0)) as _,
            Type::UUID,
        ),
        (
            &voided.map(|voided| bigint(voided.reserved.0)) as _,
            Type::INT8,
        ),
        (
            &voided.and_then(|voided| voided.job.as_deref()) as _,
            Type::TEXT,
        ),
        (&charge.map(|charge| &*charge.channel) as _, Type::TEXT),
        (&charge.map(|charge| &*charge.model) as _, Type::TEXT),
        (&charge.map(|charge| &*charge.size) as _, Type::TEXT),
        (
            &charge.map(|charge| bigint(charge.payer.multiplier.thousandths())) as _,
            Type::INT8,
        ),
    ];
    let statement = "INSERT INTO tollgate.adjustment (id, kind, at_ms, made_by, reason, key, \
             group_name, currency, billed_nanos, list_nanos, jobs, seconds, reservation, \
             reserved_ms, job, channel, model, size, multiplier_thousandths) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
             $19)";
    let inserted = transaction.query_typed(statement, &parameters).await;
    inserted.map(drop).map_err(failed)
}

fn adjustment(row: &Row) -> Result<Adjustment, Unavailable> {
    let kind = match column(row, "kind")? {
        "void" => AdjustmentKind::Void(voided(row)?),
        _ => AdjustmentKind::Credit {
            group: text(row, "group_name")?,
            key: text(row, "key")?,
            currency: text(row, "currency")?,
            amount: -SignedAmount::from_nanos(column::<i64>(row, "billed_nanos")?.into()),
        },
    };
    Ok(Adjustment {
        id: text(row, "id")?,
        author: Author {
            at: Timestamp(number(row, "at_ms")?),
            made_by: text(row, "made_by")?,
            reason: text(row, "reason")?,
        },
        kind,
    })
}

/// Reads a voided charge from the adjustment that voided it, where its amounts have the opposite sign.
fn voided(row: &Row) -> Result<VoidedCharge, Unavailable> {
    let taken = |name: &str| {
        let value = column::<i64>(row, name)?.checked_neg();
        let value = value.and_then(|value| u64::try_from(value).ok());
        value.ok_or_else(|| strange(name))
    };
    let amount = |name: &str| Amount::from_nanos(taken(name)?).ok_or_else(|| strange(name));
    let multiplier = Multiplier::from_thousandths(number(row, "multiplier_thousandths")?);
    Ok(VoidedCharge {
        reservation: ReservationId(column::<Id>(row, "reservation")?.0),
        reserved: Timestamp(number(row, "reserved_ms")?),
        job: text_if_any(row, "job")?,
        charge: Arc::new(Charge {
            payer: Payer {
                key: text(row, "key")?,
                group: text(row, "group_name")?,
                currency: text(row, "currency")?,
                multiplier: multiplier.ok_or_else(|| strange("multiplier_thousandths"))?,
            },
            channel: text(row, "channel")?,
            model: text(row, "model")?,
            size: text(row, "size")?,
            seconds: u32::try_from(taken("seconds")?).map_err(|_| strange("seconds"))?,
            list: amount("list_nanos")?,
            billed: amount("billed_nanos")?,
            prices: PriceList::default(),
            purchase: None,
        }),
    })
}
