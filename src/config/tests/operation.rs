//! Tests which operational settings of channels are accepted and which are refused.

use std::time::Duration;

use super::*;
use crate::catalog::PriceList;
use crate::channel::{ChannelState, EjectionRules, Probe, PurchasePrice};
use crate::policy::Window;

const MODELS: &str = "    models: [m, n]\n";

fn with_channel(lines: &str) -> String {
    changed(&[(MODELS, &format!("{MODELS}{lines}\n"))])
}

fn channel(lines: &str) -> Arc<Channel> {
    accepted(&with_channel(lines)).channels[0].clone()
}

/// Checks that each case is refused. A case is lines of a channel, with marks, and the words that each
/// problem's message must contain.
fn refused_channel(cases: &[(&str, &[&str])]) {
    for (lines, wanted) in cases {
        refused_in(Path::new("/nonexistent"), &with_channel(lines), wanted);
    }
}

#[test]
fn a_channel_takes_its_share_of_all_creates_where_the_file_says_nothing() {
    let channel = channel("");
    assert_eq!((channel.tier, channel.weight), (0, 1));
    assert_eq!(channel.state, ChannelState::Active);
    assert!(channel.limits.is_empty());
    assert_eq!((&channel.purchase, &channel.probe), (&None, &None));
    let rules = EjectionRules {
        failures: 1,
        pause: Duration::from_secs(30),
        max_pause: Duration::from_secs(600),
    };
    assert_eq!(channel.ejection, rules);
}

#[test]
fn channels_have_tiers_weights_and_states() {
    let lines =
        "    tier: 2\n    weight: 80\n    state: off\n    ejection: { failures: 5, pause: 1h }";
    let channel = channel(lines);
    assert_eq!((channel.tier, channel.weight), (2, 80));
    assert_eq!(channel.state, ChannelState::Off);
    let rules = EjectionRules {
        failures: 5,
        pause: Duration::from_secs(3600),
        max_pause: Duration::from_secs(3600),
    };
    assert_eq!(channel.ejection, rules);
    refused_channel(&[
        ("    tier: §-1", &["from 0 to 1000"]),
        ("    weight: §0", &["from 1 to 1000"]),
        ("    weight: §1001", &["from 1 to 1000"]),
        ("    weight: §0.5", &["from 1 to 1000"]),
        ("    state: §drained", &["did you mean `drain`?"]),
        ("    state: §on", &["no choice for `state`"]),
        ("    ejection: { failures: §0 }", &["at least 1"]),
        ("    ejection: { pause: §0s }", &["at least 1"]),
        (
            "    ejection: { pause: 1min, max_pause: §30s }",
            &["shorter than `pause`"],
        ),
    ]);
}

#[test]
fn probes_have_a_path_and_are_no_more_than_one_a_second() {
    let probe = |lines| channel(lines).probe.clone().unwrap();
    let every = |seconds| Duration::from_secs(seconds);
    assert_eq!(
        probe("    probe: {}"),
        Probe {
            path: "/v1/videos?limit=1".into(),
            every: every(30),
        }
    );
    assert_eq!(
        probe("    probe: { path: /v1/models, every: 1min }"),
        Probe {
            path: "/v1/models".into(),
            every: every(60),
        }
    );
    refused_channel(&[
        ("    probe: { path: §v1/models }", &["no path to ask"]),
        ("    probe: { path: §\"/a b\" }", &["no path to ask"]),
        ("    probe: { path: §\"/a#b\" }", &["no path to ask"]),
        ("    probe: { every: §500ms }", &["once a second"]),
    ]);
}

#[test]
fn channels_have_limits_of_their_own() {
    let lines = "    purchase: { currency: USD, factor: 0.85 }\n    limits: { requests: 5/min, \
                 video_seconds: [60/hour], cost: [1.50/day, 20/total], in_flight: 3 }";
    let limits = channel(lines).limits.clone();
    let limits = limits.iter().map(|l| (l.measure, l.window, l.max));
    assert_eq!(
        limits.collect::<Vec<_>>(),
        [
            (Measure::Requests, Window::Minute, 5),
            (Measure::VideoSeconds, Window::Hour, 60),
            (Measure::Cost, Window::Day, 1_500_000_000),
            (Measure::Cost, Window::Total, 20_000_000_000),
            (Measure::InFlight, Window::Total, 3),
        ]
    );
    refused_channel(&[
        (
            "    limits: { §list_cost_usd: 1/day }",
            &["unknown key `list_cost_usd`"],
        ),
        (
            "    limits: { §billed_cost: 1/day }",
            &["unknown key `billed_cost`"],
        ),
        (
            "    limits: { cost: §1/day }",
            &["what this channel charges is not known"],
        ),
        ("    limits: { requests: §5 }", &["add a window"]),
    ]);
    // A channel's purchase cost does not concern its clients.
    refused(&[(
        "    group: g\n",
        "    group: g\n    limits: { §cost: 1/day }\n",
        &["unknown key `cost`"],
    )]);
}

#[test]
fn a_channel_charges_a_factor_or_a_price_for_everything_that_it_serves() {
    let purchase = |lines| channel(lines).purchase.clone().unwrap();
    let factor = purchase("    purchase: { currency: USD, factor: 0.85 }");
    assert_eq!(&*factor.currency, "USD");
    assert_eq!(factor.price, PurchasePrice::Factor("0.85".parse().unwrap()));
    let priced =
        "    purchase: { currency: CNY, prices: { m: { 1x2: 0.35, 2x1: 0.5 }, n: { 3x3: 0 } } }";
    let PurchasePrice::Prices(prices) = purchase(priced).price else {
        panic!("no prices");
    };
    let price = |model: &str, size| prices.get(model).and_then(|p: &PriceList| p.price(size));
    assert_eq!(price("m", "1x2"), Some("0.35".parse().unwrap()));
    assert_eq!(price("m", "2x1"), Some("0.5".parse().unwrap()));
    assert_eq!(price("n", "3x3"), Some("0".parse().unwrap()));

    let purchase = |rest: &str| with_channel(&format!("    purchase: {rest}"));
    for (rest, wanted) in [
        ("§{ currency: USD }", &["told in one way"][..]),
        (
            "§{ currency: USD, factor: 1, prices: { m: { 1x2: 1 } } }",
            &["told in one way"],
        ),
        ("{ currency: §U/S, factor: §1e0 }", &["no name", "decimal"]),
        (
            "{ currency: USD, prices: §{ m: { 1x2: 1, 2x1: 1 } } }",
            &["for the model `n` is missing"],
        ),
        (
            "{ currency: USD, prices: { m: §{ 1x2: 1 }, n: { 3x3: 1 } } }",
            &["for the size `2x1` is missing"],
        ),
        (
            "{ currency: USD, prices: { m: { 1x2: 1, 2x1: 1, §9x9: 1 }, n: { 3x3: 1 }, §o: {} } }",
            &["no size `9x9`", "serves no model `o`"],
        ),
        (
            "{ currency: USD, prices: { m: { 1x2: §-1, 2x1: 1 }, n: { §3x3: 9000000000 } } }",
            &["negative", "more than any amount"],
        ),
    ] {
        refused_in(Path::new("/nonexistent"), &purchase(rest), wanted);
    }
    let dear = purchase("{ currency: USD, factor: §1000000 }").replace("0.5 }", "9000000 }");
    refused_in(Path::new("/nonexistent"), &dear, &["the dearest video"]);
}

const TWO: &str = "    models: [m, n]\n  two:\n    url: https://b.example\n    auth: none\n    \
                   models: [m]\n";

#[test]
fn keys_and_groups_may_be_restricted_to_channels() {
    let text = changed(&[
        (MODELS, TWO),
        ("currency: CNY", "currency: CNY, channels: [one, two]"),
        ("    group: g\n", "    group: g\n    channels: [two]\n"),
    ]);
    let config = accepted(&text);
    let key = config.key_named("a").unwrap();
    assert!(key.may_use_channel("two") && !key.may_use_channel("one"));
    let text = changed(&[
        (MODELS, TWO),
        ("currency: CNY", "currency: CNY, channels: [one]"),
    ]);
    let key = accepted(&text).key_named("a").unwrap().clone();
    assert!(key.may_use_channel("one") && !key.may_use_channel("two"));

    let key = |lines: &str| changed(&[(MODELS, TWO), ("    group: g\n", lines)]);
    for (lines, wanted) in [
        (
            "    group: g\n    channels: [§twoo]\n",
            "did you mean `two`?",
        ),
        ("    group: g\n    channels: [§x]\n", "there are: one, two"),
        ("    group: g\n    channels: §[]\n", "allows nothing"),
        (
            "    group: g\n    channels: [one, §one]\n",
            "stands here twice",
        ),
        (
            "    group: g\n    channels: §[two]\n    allow: { models: [n] }\n",
            "no channel that this key may use serves a model",
        ),
    ] {
        refused_in(Path::new("/nonexistent"), &key(lines), &[wanted]);
    }
    let text = changed(&[
        (MODELS, TWO),
        ("currency: CNY", "currency: CNY, channels: [one, §three]"),
    ]);
    refused_in(Path::new("/nonexistent"), &text, &["no channel `three`"]);
    let text = changed(&[
        (MODELS, TWO),
        ("currency: CNY", "currency: CNY, channels: [one]"),
        ("    group: g\n", "    group: g\n    channels: §[two]\n"),
    ]);
    let wanted = "no channel that this key may use";
    refused_in(Path::new("/nonexistent"), &text, &[wanted]);
}
