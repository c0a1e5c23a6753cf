//! What is to be charged, as the permit says and as the channel's answer corrects it.

use std::sync::Arc;

use super::answer::JobAnswer;
use crate::catalog::{Catalog, Quote};
use crate::ledger::{Charge, Payer, ReservationId};
use crate::policy::{Key, Permit, Timestamp};

/// What a permit costs a key on a channel.
pub(super) fn charge(key: &Arc<Key>, permit: &Permit, channel: Arc<str>) -> Arc<Charge> {
    let Quote { list, billed } = permit.quote();
    Arc::new(Charge {
        payer: Payer::from(&**key),
        channel,
        model: permit.model().name().clone(),
        size: permit.size().name.clone(),
        seconds: permit.seconds(),
        list,
        billed,
    })
}

/// The charge for what the answer says is rendered. A size that has no price keeps the
/// price that was agreed on.
pub(super) fn corrected(
    charge: &Arc<Charge>,
    answer: &JobAnswer,
    catalog: &Catalog,
) -> Arc<Charge> {
    let agreed = charge.clone();
    let Some(model) = catalog.get(&charge.model) else {
        return agreed;
    };
    let answered = answer
        .size
        .as_deref()
        .and_then(|name| model.find_size(name));
    let Some(size) = answered.or_else(|| model.find_size(&charge.size)) else {
        return agreed;
    };
    let seconds = answer.seconds.unwrap_or(charge.seconds);
    match Quote::new(size.price, seconds, charge.payer.multiplier) {
        Some(Quote { list, billed })
            if (&size.name, seconds, list, billed)
                != (&charge.size, charge.seconds, charge.list, charge.billed) =>
        {
            Arc::new(Charge {
                size: size.name.clone(),
                seconds,
                list,
                billed,
                ..(**charge).clone()
            })
        }
        _ => agreed,
    }
}

/// The time in milliseconds, then 80 random bits, from the keys that the standard library
/// seeds its hash maps with and a counter: unique for what they name, and no secret. With the
/// time first, a ledger on disk adds to the end of its index; random names would touch a page
/// each.
pub(super) fn random_id(at: Timestamp) -> ReservationId {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static SEEDS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (high, low) = SEEDS.get_or_init(|| (RandomState::new(), RandomState::new()));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = at.0;
    let random =
        u128::from(high.hash_one((time, count))) << 64 | u128::from(low.hash_one((count, time)));
    ReservationId(u128::from(time) << 80 | random >> 48)
}
