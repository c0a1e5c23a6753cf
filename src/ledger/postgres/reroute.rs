//! Moves pending reservations to other channels.

use tokio_postgres::types::Type;

use super::arguments::{ChargeValues, LimitValues, PlacementValues, limit_reached};
use super::connection::ANSWER;
use super::decision::{ATTEMPTS, only, unknown_answer};
use super::function::{Argument, Function};
use super::row::{Id, column, number};
use super::{PostgresLedger, new_id};
use crate::ledger::Unavailable;
use crate::ledger::charge::{Reroute, Rerouted, ReservationId};
use crate::ledger::counters::ChannelLimits;
use crate::ledger::job::State;
use crate::policy::Timestamp;

static REROUTE: Function = Function::new("reroute", || "*".into());

/// Moves a pending reservation to another channel, if that channel's limits allow its charge.
pub(super) async fn decide(
    ledger: &PostgresLedger,
    id: ReservationId,
    to: &Reroute,
) -> Result<Rerouted, Unavailable> {
    let (charge, placement) = (&*to.charge, PlacementValues::from(&to.placement));
    let values = ChargeValues::from(charge);
    let channel = ChannelLimits::of(charge, &to.placement.limits);
    let limits = LimitValues::of(channel.scoped());
    let currencies = limits.currencies();
    let refused_by = &*to.refused_by;
    let mut operation = ledger
        .operations
        .begin(new_id(), id, State::Pending, refused_by);
    let (of, name) = (Id(id.0), operation.name);
    let own: [Argument<'_>; 4] = [
        ("p_id", &of, Type::UUID),
        ("p_operation", &name, Type::UUID),
        ("p_refused_by", &refused_by, Type::TEXT),
        ("p_currencies", &currencies, Type::TEXT_ARRAY),
    ];
    let arguments = own.into_iter().chain(values.rerouted());
    let arguments = arguments.chain(values.purchase());
    let arguments = arguments.chain(placement.arguments());
    let [_, measures, windows, maximums] = limits.arguments();
    let arguments = arguments.chain([measures, windows, maximums]);
    let (statement, parameters) = REROUTE.call(arguments);
    for _ in 0..ATTEMPTS {
        let rows = ledger
            .database
            .query(&statement, &parameters, ANSWER)
            .await?;
        let row = only(&rows)?;
        operation.answered();
        return Ok(match column(row, "o_outcome")? {
            "done" => Rerouted::Done,
            "closed" => Rerouted::Closed,
            "refused" => {
                let (number_of_limit, used) = (column(row, "o_limit")?, number(row, "o_used")?);
                let taken = Timestamp(number(row, "o_taken")?);
                let takes = |measure| charge.takes(measure);
                let scoped = channel.scoped();
                let reached = limit_reached(scoped, number_of_limit, used, takes, taken);
                Rerouted::Refused(reached.ok_or_else(unknown_answer)?)
            }
            "track" => {
                let taken = Timestamp(number(row, "o_taken")?);
                ledger.track(channel.scoped(), taken).await?;
                continue;
            }
            _ => return Err(unknown_answer()),
        });
    }
    Err(unknown_answer())
}
