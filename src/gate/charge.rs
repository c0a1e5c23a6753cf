//! What is to be charged, as the permit says and as the channel's answer corrects it.

use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::answer::JobAnswer;
use crate::catalog::{Catalog, Quote};
use crate::ledger::{Charge, Payer, ReservationId};
use crate::policy::{Key, Permit, Timestamp};

/// How many charges are remembered: one for each value of a byte.
const REMEMBERED: usize = 1 << u8::BITS;

/// The charges that were made last, to be shared by all jobs that cost the same: most requests
/// ask for what others have asked for, and a charge of its own for each would be the largest
/// part of what stays of a job.
pub(super) struct Charges {
    /// Each charge has one place where it can be.
    places: Vec<Mutex<Option<Arc<Charge>>>>,
    hash: RandomState,
}

impl Default for Charges {
    fn default() -> Self {
        Self {
            places: (0..REMEMBERED).map(|_| Mutex::default()).collect(),
            hash: RandomState::default(),
        }
    }
}

impl Charges {
    /// What a permit costs a key on a channel.
    pub(super) fn charge(&self, key: &Key, permit: &Permit, channel: &Arc<str>) -> Arc<Charge> {
        let (model, size) = (permit.model().name(), &permit.size().name);
        let names = [&key.name, channel, model, size];
        let hash = self.hash.hash_one((names, permit.seconds()));
        // The lowest byte: as many places as it has values.
        let [place, ..] = hash.to_le_bytes();
        let place = &self.places[usize::from(place)];
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Some(charge) if is_of(charge, key, permit, channel) => charge.clone(),
            _ => place.insert(charge(key, permit, channel.clone())).clone(),
        }
    }
}

/// Whether a charge is what [`charge`] would make.
fn is_of(charge: &Charge, key: &Key, permit: &Permit, channel: &Arc<str>) -> bool {
    let Quote { list, billed } = permit.quote();
    let Charge {
        payer,
        channel: on,
        model,
        size,
        seconds,
        list: listed,
        billed: bill,
    } = charge;
    (*seconds, *listed, *bill) == (permit.seconds(), list, billed)
        && (on, model, size) == (channel, permit.model().name(), &permit.size().name)
        && payer.is_of(key)
}

/// What a permit costs a key on a channel.
pub(super) fn charge(key: &Key, permit: &Permit, channel: Arc<str>) -> Arc<Charge> {
    let Quote { list, billed } = permit.quote();
    Arc::new(Charge {
        payer: Payer::from(key),
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
    use std::hash::RandomState;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Model, Seconds, Size};
    use crate::policy::{Allow, Asked, Group, permit};

    fn catalog(price: &str) -> Catalog {
        let seconds = ["4", "8"].map(|text| Seconds::parse(text).unwrap());
        let price = price.parse().unwrap();
        let sizes = ["720x1280", "1280x720"].map(|name| Size::parse(name, price).unwrap());
        let model = Model::new(
            "sora-2",
            seconds.into(),
            "4",
            sizes.into(),
            "720x1280",
            true,
        );
        Catalog::new(vec![model.unwrap()]).unwrap()
    }

    fn key(name: &str, multiplier: &str) -> Key {
        Key {
            name: name.into(),
            group: Arc::new(Group {
                name: "sora2".into(),
                multiplier: multiplier.parse().unwrap(),
                currency: "CNY".into(),
                limits: vec![],
            }),
            allow: Allow::default(),
            limits: vec![],
        }
    }

    #[test]
    fn what_costs_the_same_is_one_charge_and_nothing_else_is() {
        let charges = Charges::default();
        let ask = |price: &str, key: &Key, size: &str, seconds: &str, channel: &str| {
            let asked = Asked {
                model: Some("sora-2"),
                size: Some(size),
                seconds: Some(seconds),
            };
            let permit = permit(&catalog(price), key, asked).unwrap();
            let shared = charges.charge(key, &permit, &channel.into());
            assert_eq!(shared, charge(key, &permit, channel.into()));
            shared
        };
        let one = key("one", "5");
        let first = ask("0.10", &one, "720x1280", "4", "east");
        let again = ask("0.10", &key("one", "5"), "720x1280", "4", "east");
        assert!(Arc::ptr_eq(&first, &again));
        // A reload may change what a name stands for.
        for (price, key, size, seconds, channel) in [
            ("0.11", &one, "720x1280", "4", "east"),
            ("0.10", &key("one", "6"), "720x1280", "4", "east"),
            ("0.10", &key("two", "5"), "720x1280", "4", "east"),
            ("0.10", &one, "1280x720", "4", "east"),
            ("0.10", &one, "720x1280", "8", "east"),
            ("0.10", &one, "720x1280", "4", "west"),
        ] {
            assert_ne!(first, ask(price, key, size, seconds, channel));
        }
    }
}
