//! Tests what a key may ask for.

use super::*;
use crate::catalog::{Catalog, Model, Seconds, Size};

fn model(name: &str, price: &str, sizes: &[&str]) -> Model {
    let price = price.parse().unwrap();
    let seconds = ["4", "8", "12"];
    Model::new(
        name,
        seconds.iter().map(|t| Seconds::parse(t).unwrap()).collect(),
        "4",
        sizes
            .iter()
            .map(|n| Size::parse(n, price).unwrap())
            .collect(),
        sizes[0],
        true,
    )
    .unwrap()
}

fn catalog() -> Catalog {
    let small = ["720x1280", "1280x720"];
    let large = ["720x1280", "1280x720", "1024x1792"];
    Catalog::new(vec![
        model("sora-2", "0.10", &small),
        model("sora-2-pro", "0.30", &large),
    ])
    .unwrap()
}

fn set(values: &[&str]) -> Option<BTreeSet<Arc<str>>> {
    Some(values.iter().map(|v| Arc::from(*v)).collect())
}

fn key(allow: Allow) -> Key {
    Key {
        name: "studio".into(),
        group: Arc::new(Group {
            name: "sora2".into(),
            multiplier: "5".parse().unwrap(),
            currency: "CNY".into(),
            limits: vec![],
            channels: None,
        }),
        allow,
        limits: vec![],
        channels: None,
    }
}

fn asked<'a>(model: &'a str, size: &'a str, seconds: &'a str) -> Asked<'a> {
    let some = |text: &'a str| Some(text).filter(|t| !t.is_empty());
    Asked {
        model: some(model),
        size: some(size),
        seconds: some(seconds),
    }
}

#[test]
fn defaults_fill_what_is_left_out() {
    let permit = permit(&catalog(), &key(Allow::default()), asked("sora-2", "", "")).unwrap();
    assert_eq!(&*permit.size().name, "720x1280");
    assert_eq!(permit.seconds(), 4);
    assert_eq!(permit.quote().list.to_string(), "0.40");
    assert_eq!(permit.quote().billed.to_string(), "2.00");
}

#[test]
fn each_field_is_judged_by_catalog_and_key() {
    let restricted = Allow {
        models: set(&["sora-2"]),
        sizes: set(&["720x1280", "1280x720"]),
        seconds: set(&["4", "8"]),
    };
    let key = key(restricted);
    let refuse = |a| permit(&catalog(), &key, a).unwrap_err();
    let param = |a| {
        (
            refuse(a).param(),
            matches!(refuse(a), Refusal::NotAllowed { .. }),
        )
    };

    assert_eq!(param(asked("", "", "")), (Some(Param::Model), false));
    assert_eq!(param(asked("sora-3", "", "")), (Some(Param::Model), false));
    assert_eq!(
        param(asked("sora-2-pro", "", "")),
        (Some(Param::Model), true)
    );
    assert_eq!(
        param(asked("sora-2", "1x1", "")),
        (Some(Param::Size), false)
    );
    assert_eq!(
        param(asked("sora-2", "1024x1792", "")),
        (Some(Param::Size), false)
    );
    assert_eq!(
        param(asked("sora-2", "", "12")),
        (Some(Param::Seconds), true)
    );
    for odd in ["5", " 4", "4 ", "04", "4.0", "\"4\""] {
        assert_eq!(
            param(asked("sora-2", "", odd)),
            (Some(Param::Seconds), false),
            "{odd}"
        );
    }
    assert!(permit(&catalog(), &key, asked("sora-2", "1280x720", "8")).is_ok());
}

#[test]
fn names_are_compared_byte_for_byte() {
    let key = key(Allow::default());
    for odd in ["Sora-2", "sora-2 ", " sora-2", "sora-2\0", "sora\u{2010}2"] {
        assert!(
            permit(&catalog(), &key, asked(odd, "", "")).is_err(),
            "{odd:?}"
        );
    }
}

#[test]
fn a_default_that_is_not_allowed_is_named_as_such() {
    let key = key(Allow {
        sizes: set(&["1280x720"]),
        ..Allow::default()
    });
    let refusal = permit(&catalog(), &key, asked("sora-2", "", "")).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "The default size '720x1280' is not allowed for this key; this key may use: 1280x720"
    );
}

#[test]
fn refused_seconds_are_told_in_the_plural() {
    let key = key(Allow {
        seconds: set(&["4", "8"]),
        ..Allow::default()
    });
    let refusal = permit(&catalog(), &key, asked("sora-2", "1280x720", "12")).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "The seconds '12' are not allowed for this key; this key may use: 4, 8"
    );
}

/// Checks that a request that is refused early is refused in the end, and that one that is permitted in the
/// end was never refused before, in whatever order its fields came.
#[test]
fn early_judgement_agrees_with_the_last_one() {
    let catalog = catalog();
    let keys = [
        key(Allow::default()),
        key(Allow {
            models: set(&["sora-2"]),
            sizes: set(&["720x1280"]),
            seconds: set(&["8"]),
        }),
    ];
    let models = ["", "sora-2", "sora-2-pro", "other"];
    let sizes = ["", "720x1280", "1024x1792", "1x1"];
    let seconds = ["", "4", "8", "9"];
    for key in &keys {
        for (m, z, s) in models
            .iter()
            .flat_map(|m| sizes.iter().map(move |z| (m, z)))
            .flat_map(|(m, z)| seconds.iter().map(move |s| (m, z, s)))
        {
            let last = permit(&catalog, key, asked(m, z, s));
            for known in 0..8 {
                let pick = |bit: u8, value: &'static str| if known & bit > 0 { value } else { "" };
                let part = asked(pick(1, m), pick(2, z), pick(4, s));
                if judge(&catalog, key, part).is_err() {
                    assert!(last.is_err(), "{part:?} of {m} {z} {s}");
                }
            }
            let whole = judge(&catalog, key, asked(m, z, s));
            if !m.is_empty() && !z.is_empty() && !s.is_empty() {
                assert_eq!(whole.is_ok(), last.is_ok(), "{m} {z} {s}");
            }
        }
    }
}

/// Checks that the seconds of a source need not be on offer: a remix of it costs as much.
#[test]
fn a_remix_has_the_seconds_of_its_source() {
    let all = || Allow::default();
    let up_to_8 = || Allow {
        seconds: set(&["4", "8"]),
        ..Allow::default()
    };
    let remix = |allow: Allow, seconds: &str| {
        let permit = permit_remix(
            &catalog(),
            &key(allow),
            asked("sora-2", "1280x720", seconds),
        );
        permit.map(|permit| (permit.seconds(), permit.quote().list.to_string()))
    };
    for (allow, seconds, list) in [
        (all(), "8", "0.80"),
        (all(), "10", "1.00"),
        (all(), "16", "1.60"),
        (up_to_8(), "5", "0.50"),
        (up_to_8(), "8", "0.80"),
    ] {
        let expected = (seconds.parse().unwrap(), list.to_owned());
        assert_eq!(remix(allow, seconds), Ok(expected), "{seconds}");
    }
    for seconds in ["10", "12", "16"] {
        let refused = remix(up_to_8(), seconds).unwrap_err();
        assert!(
            matches!(refused, Refusal::NotAllowed { .. }),
            "{seconds}: {refused}"
        );
        assert_eq!(refused.param(), Some(Param::Seconds));
    }
    let beyond = permit_remix(&catalog(), &key(all()), asked("sora-2", "1x1", "10"));
    assert_eq!(beyond.unwrap_err().param(), Some(Param::Size));
    let create = permit(&catalog(), &key(all()), asked("sora-2", "1280x720", "10"));
    assert!(create.is_err(), "a create asks for what is on offer");
}
