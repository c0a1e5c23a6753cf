//! Tests the configuration files in `conf/`.

use super::*;
use crate::policy::{Asked, permit};

#[test]
fn every_shipped_file_loads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let names = std::fs::read_dir(&dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    let known = ["demo.yaml", "drill.yaml", "tollgate.yaml"];
    assert_eq!(names, known.map(String::from).into());
    for name in &names {
        if let Err(error) = parse(&conf(name), name, &env, &dir) {
            panic!("{error}");
        }
    }
}

#[test]
fn the_defaults_that_the_shipped_file_shows_are_the_defaults() {
    let shown = accepted(&conf("tollgate.yaml"));
    let default = accepted(BASE);
    assert_eq!(shown.bounds, default.bounds);
    assert_eq!(shown.fields, default.fields);
    assert_eq!(shown.admin, default.admin);
    assert_eq!(shown.ledger, default.ledger);
    assert_eq!(shown.jobs, default.jobs);
    assert_eq!(shown.listen.h2c, default.listen.h2c);
    let settings = |config: &Config| {
        let c = &config.channels[0];
        let timeouts = [
            c.connect_timeout,
            c.answer_timeout,
            c.read_timeout,
            c.idle_timeout,
        ];
        (c.auth.clone(), c.http2, timeouts, c.min_download_rate)
    };
    assert_eq!(settings(&shown), settings(&default));
}

#[test]
fn the_demo_keys_may_what_the_demo_says() {
    let config = accepted(&conf("demo.yaml"));
    let asked = |key: &[u8], model, seconds, size| {
        let asked = Asked {
            model: Some(model),
            seconds: Some(seconds),
            size: Some(size),
        };
        let key = &config.digests[&KeyDigest::of(key)].key;
        let permit = permit(&config.catalog, key, asked).ok()?;
        Some(permit.quote().billed.to_string())
    };
    let demo = b"sk-tollgate-demo";
    let studio = b"sk-tollgate-studio";
    assert_eq!(
        asked(demo, "sora-2-pro", "12", "1024x1792").as_deref(),
        Some("30.00")
    );
    assert_eq!(
        asked(studio, "sora-2", "4", "1280x720").as_deref(),
        Some("2.00")
    );
    assert_eq!(asked(studio, "sora-2", "12", "1280x720"), None);
    assert_eq!(asked(studio, "sora-2-pro", "4", "1280x720"), None);
}
