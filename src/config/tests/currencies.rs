//! Tests which limits apply to a charge that was made under an earlier configuration, and which keys now
//! pay in another currency.

use super::*;
use crate::ledger::Payer;

/// Returns a configuration with the keys `a` and `b` in these groups; `a` has limits of its own.
fn config(a: &str, b: &str, currency_of_g: &str) -> Config {
    let keys = format!(
        "groups:
  g: {{ multiplier: 7.25, currency: {currency_of_g}, limits: {{ billed_cost: 9/day, list_cost_usd: 9/total }} }}
  h: {{ multiplier: 1, currency: USD, limits: {{ video_seconds: 9/day }} }}
keys:
  - name: a
    sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    group: {a}
    limits: {{ billed_cost: 5/day, requests: 5/min }}
  - name: b
    sha256: 179510ee3e248a7bfae1a518d344461ddef0e32bbf53b40845f2d3e157c5973f
    group: {b}
"
    );
    let offer = BASE.split("groups:").next().unwrap();
    accepted(&format!("{offer}{keys}"))
}

#[test]
fn corrections_are_bound_by_what_their_charge_counts_in() {
    let before = config("g", "h", "CNY");
    let payer = Payer::from(&**before.key_named("a").unwrap());
    let shown = |config: &Config, payer: &Payer| {
        let limits = config.limits_of(payer);
        let [own, shared] = [limits.key, limits.group].map(|limits| {
            let limits = limits.iter().map(|l| format!("{} {l}", l.measure.name()));
            limits.collect::<Vec<_>>().join(", ")
        });
        format!("{own}; {shared}")
    };
    let as_before = "requests 5/min, billed_cost 5.00/day; \
                     list_cost_usd 9.00/total, billed_cost 9.00/day";
    assert_eq!(shown(&before, &payer), as_before);
    // The key moved to another group with another currency: its own limit of money now counts that.
    let moved = config("h", "h", "CNY");
    let of_group = "requests 5/min; list_cost_usd 9.00/total, billed_cost 9.00/day";
    assert_eq!(shown(&moved, &payer), of_group);
    // The group itself changed its currency.
    let changed = config("g", "h", "EUR");
    assert_eq!(
        shown(&changed, &payer),
        "requests 5/min; list_cost_usd 9.00/total"
    );
    let gone = Payer {
        key: "c".into(),
        group: "i".into(),
        ..payer
    };
    assert_eq!(shown(&before, &gone), "; ");
}

#[test]
fn keys_that_pay_in_another_currency_are_told() {
    let before = config("g", "h", "CNY");
    let told = |config: &Config| {
        let changed = config.changed_currencies(&before).into_iter();
        let changed = changed.map(|([was, is], keys)| {
            let keys: Vec<_> = keys.iter().map(|key| &**key).collect();
            format!("{}: {was} to {is}", keys.join(", "))
        });
        changed.collect::<Vec<_>>()
    };
    assert!(told(&config("g", "h", "CNY")).is_empty());
    assert_eq!(told(&config("h", "h", "CNY")), ["a: CNY to USD"]);
    assert_eq!(
        told(&config("g", "g", "EUR")),
        ["a: CNY to EUR", "b: USD to EUR"]
    );
}
