//! Computes charges: the cost of a permit, and the corrected cost after the channel's answer.

use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use crate::catalog::{Catalog, PurchaseTerms, Quote};
use crate::channel::{Channel, PurchasePrice};
use crate::dialect::JobAnswer;
use crate::ledger::{Charge, Payer, PurchaseCost};
use crate::policy::{Key, Permit};

/// The number of slots of the cache, each for one charge: one slot for each value of a byte.
const REMEMBERED: usize = 1 << u8::BITS;

/// A cache of the latest charges, shared by all jobs with the same cost. Most requests ask for what
/// others have asked for, and a charge of its own for each job would be the largest part of the memory
/// that stays in use for the job.
pub(super) struct ChargeCache {
    /// The slots, by hash. A charge can be stored only in the slot of its hash.
    places: Vec<Mutex<Option<Arc<Charge>>>>,
    hash: RandomState,
}

impl Default for ChargeCache {
    fn default() -> Self {
        Self {
            places: (0..REMEMBERED).map(|_| Mutex::default()).collect(),
            hash: RandomState::default(),
        }
    }
}

impl ChargeCache {
    /// Returns the charge for `permit` of `key` on `channel`, from the cache if it is there.
    pub(super) fn charge(&self, key: &Key, permit: &Permit, channel: &Channel) -> Arc<Charge> {
        let (model, size) = (permit.model().name(), &permit.size().name);
        let names = [&key.name, &channel.name, model, size];
        let hash = self.hash.hash_one((names, permit.seconds()));
        // The lowest byte of the hash: there are as many slots as it has values.
        let [place, ..] = hash.to_le_bytes();
        let place = &self.places[usize::from(place)];
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Some(charge) if is_of(charge, key, permit, channel) => charge.clone(),
            _ => place.insert(charge(key, permit, Some(channel))).clone(),
        }
    }
}

/// Returns whether `charge` equals the result of the function [`charge()`] for the other parameters.
fn is_of(charge: &Charge, key: &Key, permit: &Permit, channel: &Channel) -> bool {
    let Quote { list, billed } = permit.quote();
    let Charge {
        payer,
        channel: on,
        model,
        size,
        seconds,
        list: listed,
        billed: bill,
        prices,
        purchase,
    } = charge;
    (*seconds, *listed, *bill) == (permit.seconds(), list, billed)
        && (on, model, size) == (&channel.name, permit.model().name(), &permit.size().name)
        && prices == permit.model().prices()
        && payer.is_of(key)
        && *purchase == purchase_cost(permit, channel)
}

/// Computes the charge for `permit` of `key`, on `channel` if one has been chosen.
pub(crate) fn charge(key: &Key, permit: &Permit, channel: Option<&Channel>) -> Arc<Charge> {
    let Quote { list, billed } = permit.quote();
    Arc::new(Charge {
        payer: Payer::from(key),
        channel: channel.map_or_else(Arc::default, |channel| channel.name.clone()),
        model: permit.model().name().clone(),
        size: permit.size().name.clone(),
        seconds: permit.seconds(),
        list,
        billed,
        prices: permit.model().prices().clone(),
        purchase: channel.and_then(|channel| purchase_cost(permit, channel)),
    })
}

/// Computes the cost that the channel charges to the upstream account for the permitted request; `None` if
/// the channel has no purchase price. The configuration has a purchase price for each size, or none at all.
fn purchase_cost(permit: &Permit, channel: &Channel) -> Option<PurchaseCost> {
    let purchase = channel.purchase.as_ref()?;
    let terms = match &purchase.price {
        PurchasePrice::Factor(factor) => PurchaseTerms::Factor(*factor),
        PurchasePrice::Prices(prices) => {
            PurchaseTerms::Prices(prices.get(permit.model().name())?.clone())
        }
    };
    let (size, list) = (&permit.size().name, permit.quote().list);
    Some(PurchaseCost {
        amount: terms.cost(list, size, permit.seconds())?,
        currency: purchase.currency.clone(),
        terms,
    })
}

/// Returns `charge` corrected to the size and the seconds that the channel renders according to `answer`,
/// at the prices of the reservation. If the new size had no price, the size and the price of the
/// reservation stay. Prices come from `catalog` only for a reservation made before the ledger recorded
/// prices.
pub(super) fn corrected(
    charge: &Arc<Charge>,
    answer: &JobAnswer,
    catalog: &Catalog,
) -> Arc<Charge> {
    let agreed = charge.clone();
    let seconds = answer.seconds.unwrap_or(charge.seconds);
    let size = answer.size.as_deref().unwrap_or(&charge.size);
    if (size, seconds) == (&*charge.size, charge.seconds) {
        return agreed;
    }
    let price = |size: &str| match charge.prices.is_empty() {
        false => charge.prices.price(size),
        true => Some(catalog.get(&charge.model)?.find_size(size)?.price),
    };
    let (size, price) = match price(size) {
        Some(price) => (size, Some(price)),
        None => (&*charge.size, price(&charge.size)),
    };
    let quote = price.and_then(|price| Quote::new(price, seconds, charge.payer.multiplier));
    match quote {
        Some(Quote { list, billed }) => Arc::new(Charge {
            size: size.into(),
            seconds,
            list,
            billed,
            purchase: charge.purchase.as_ref().map(|cost| PurchaseCost {
                // The agreed amount stays if the channel has no purchase price for the size.
                amount: cost.terms.cost(list, size, seconds).unwrap_or(cost.amount),
                ..cost.clone()
            }),
            ..(**charge).clone()
        }),
        None => agreed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Model, PriceList, Seconds, Size};
    use crate::channel::Purchase;
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
                channels: None,
            }),
            allow: Allow::default(),
            limits: vec![],
            channels: None,
        }
    }

    #[test]
    fn what_costs_the_same_is_one_charge_and_nothing_else_is() {
        let charges = ChargeCache::default();
        let of_price = |name: &str, factor: &str| Channel {
            purchase: Some(Purchase {
                currency: "USD".into(),
                price: PurchasePrice::Factor(factor.parse().unwrap()),
            }),
            ..Channel::named(name)
        };
        let ask = |price: &str, key: &Key, size: &str, seconds: &str, channel: &Channel| {
            let asked = Asked {
                model: Some("sora-2"),
                size: Some(size),
                seconds: Some(seconds),
            };
            let permit = permit(&catalog(price), key, asked).unwrap();
            let shared = charges.charge(key, &permit, channel);
            assert_eq!(shared, charge(key, &permit, Some(channel)));
            shared
        };
        let one = key("one", "5");
        let [east, west] = ["east", "west"].map(|name| of_price(name, "0.85"));
        let first = ask("0.10", &one, "720x1280", "4", &east);
        let again = ask("0.10", &key("one", "5"), "720x1280", "4", &east);
        assert!(Arc::ptr_eq(&first, &again));
        let cost = first.purchase.as_ref().unwrap();
        assert_eq!(
            (cost.amount.to_string(), &*cost.currency),
            ("0.34".into(), "USD")
        );
        // A reload may change the meaning of a name, and the prices of other sizes.
        for (price, key, size, seconds, channel) in [
            ("0.11", &one, "720x1280", "4", &east),
            ("0.10", &key("one", "6"), "720x1280", "4", &east),
            ("0.10", &key("two", "5"), "720x1280", "4", &east),
            ("0.10", &one, "1280x720", "4", &east),
            ("0.10", &one, "720x1280", "8", &east),
            ("0.10", &one, "720x1280", "4", &west),
            ("0.10", &one, "720x1280", "4", &of_price("east", "0.86")),
            ("0.10", &one, "720x1280", "4", &Channel::named("east")),
        ] {
            assert_ne!(first, ask(price, key, size, seconds, channel));
        }
    }
    #[test]
    fn corrections_use_the_prices_of_the_reservation() {
        let (then, now) = (catalog("0.10"), catalog("0.20"));
        let asked = Asked {
            model: Some("sora-2"),
            size: Some("720x1280"),
            seconds: Some("4"),
        };
        let reserved = charge(
            &key("one", "5"),
            &permit(&then, &key("one", "5"), asked).unwrap(),
            None,
        );
        let of_old_ledger = Arc::new(Charge {
            prices: PriceList::default(),
            ..(*reserved).clone()
        });
        let answer = |size: Option<&str>, seconds| JobAnswer {
            size: size.map(Into::into),
            seconds,
            ..JobAnswer::default()
        };
        for (size, seconds, expected, expected_old) in [
            // The agreed price stays, whatever the catalog says by now.
            (None, None, ("720x1280", 4, "0.40"), ("720x1280", 4, "0.40")),
            (
                Some("720x1280"),
                Some(4),
                ("720x1280", 4, "0.40"),
                ("720x1280", 4, "0.40"),
            ),
            (
                None,
                Some(8),
                ("720x1280", 8, "0.80"),
                ("720x1280", 8, "1.60"),
            ),
            (
                Some("1280x720"),
                None,
                ("1280x720", 4, "0.40"),
                ("1280x720", 4, "0.80"),
            ),
            (
                Some("1280x720"),
                Some(2),
                ("1280x720", 2, "0.20"),
                ("1280x720", 2, "0.40"),
            ),
            // A size that had no price, with and without other seconds.
            (
                Some("1x1"),
                None,
                ("720x1280", 4, "0.40"),
                ("720x1280", 4, "0.80"),
            ),
            (
                Some("1x1"),
                Some(8),
                ("720x1280", 8, "0.80"),
                ("720x1280", 8, "1.60"),
            ),
        ] {
            let answer = answer(size, seconds);
            for (charge, (size, seconds, list)) in
                [(&reserved, expected), (&of_old_ledger, expected_old)]
            {
                let corrected = corrected(charge, &answer, &now);
                let is = (
                    &*corrected.size,
                    corrected.seconds,
                    corrected.list.to_string(),
                );
                assert_eq!(is, (size, seconds, list.into()));
                assert_eq!(corrected.billed.nanos(), corrected.list.nanos() * 5);
                assert_eq!(corrected.prices, charge.prices);
            }
        }
    }
}
