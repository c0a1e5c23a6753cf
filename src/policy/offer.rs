//! Lists what a key may ask for, model by model, and what it costs.

use std::sync::Arc;

use super::Key;
use crate::catalog::{Catalog, Model, Quote, Seconds, Size};
use crate::money::Amount;

/// The sizes and durations that a key may ask for of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'c> {
    /// The model that the key may ask for.
    pub model: &'c Arc<Model>,
    /// The allowed sizes, at least one, each with the key's price of one second in its group's currency.
    pub sizes: Vec<(&'c Size, Amount)>,
    /// The allowed durations, at least one.
    pub seconds: Vec<&'c Seconds>,
}

/// Lists the models that a key may ask for, in the order of the catalog. At least one size and one duration
/// of each is allowed.
pub fn offers<'c>(catalog: &'c Catalog, key: &Key) -> Vec<Offer<'c>> {
    let models = catalog.models();
    models.filter_map(|model| offer(model, key)).collect()
}

fn offer<'c>(model: &'c Arc<Model>, key: &Key) -> Option<Offer<'c>> {
    if !key.allow.model(model.name()) {
        return None;
    }
    let price = |size: &Size| Quote::new(size.price, 1, key.group.multiplier);
    let sizes = model.sizes().iter();
    let sizes = sizes.filter(|size| key.allow.size(&size.name));
    let sizes: Vec<_> = sizes
        .filter_map(|size| Some((size, price(size)?.billed)))
        .collect();
    let seconds = model.seconds().iter();
    let seconds: Vec<_> = seconds.filter(|s| key.allow.seconds(&s.text)).collect();
    let is_any = !sizes.is_empty() && !seconds.is_empty();
    is_any.then_some(Offer {
        model,
        sizes,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::{Allow, Group};

    fn model(name: &str) -> Model {
        let seconds = ["4", "8"].map(|text| Seconds::parse(text).unwrap());
        let price = "0.10".parse().unwrap();
        let sizes = ["720x1280", "1280x720"].map(|name| Size::parse(name, price).unwrap());
        Model::new(name, seconds.into(), "4", sizes.into(), "720x1280", true).unwrap()
    }

    fn told(allow: Allow) -> Vec<String> {
        let catalog = Catalog::new(vec![model("a"), model("b")]).unwrap();
        let key = Key {
            name: "studio".into(),
            group: Arc::new(Group {
                name: "video".into(),
                multiplier: "5".parse().unwrap(),
                currency: "CNY".into(),
                limits: vec![],
                channels: None,
            }),
            allow,
            limits: vec![],
            channels: None,
        };
        let offers = offers(&catalog, &key).into_iter();
        let told = offers.map(|offer| {
            let sizes = offer.sizes.iter();
            let sizes: Vec<_> = sizes
                .map(|(size, price)| format!("{} {price}", size.name))
                .collect();
            let seconds: Vec<_> = offer.seconds.iter().map(|s| &*s.text).collect();
            format!(
                "{}: {}; {}",
                offer.model.name(),
                sizes.join(", "),
                seconds.join(", ")
            )
        });
        told.collect()
    }

    #[test]
    fn a_key_is_offered_what_it_may_ask_for_at_its_own_price() {
        let only = |names: &[&str]| -> Option<BTreeSet<Arc<str>>> {
            Some(names.iter().map(|name| Arc::from(*name)).collect())
        };
        let all = "720x1280 0.50, 1280x720 0.50; 4, 8";
        assert_eq!(
            told(Allow::default()),
            [format!("a: {all}"), format!("b: {all}")]
        );
        let allow = Allow {
            models: only(&["b"]),
            sizes: only(&["1280x720"]),
            seconds: only(&["8", "12"]),
        };
        assert_eq!(told(allow), ["b: 1280x720 0.50; 8"]);
        for nothing in [
            Allow {
                models: only(&["c"]),
                ..Allow::default()
            },
            Allow {
                sizes: only(&["1x1"]),
                ..Allow::default()
            },
            Allow {
                seconds: only(&["5"]),
                ..Allow::default()
            },
        ] {
            assert_eq!(told(nothing), Vec::<String>::new());
        }
    }
}
