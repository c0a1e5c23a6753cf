//! What SIGHUP says, and what SIGTERM does.

use std::path::Path;

use crate::gate::{Gate, configuration};
use crate::support::folder::Folder;

fn replace(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(config, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_restart_is_named_and_nothing_else() {
    let folder = Folder::new();
    let config = configuration(&folder, &[]);
    let gate = Gate::start(&config, "");
    replace(&config, "multiplier: 5", "multiplier: 6");
    gate.signal("HUP");
    gate.logged("configuration loaded anew").await;
    assert!(!gate.log().contains("next start"), "{}", gate.log());

    replace(
        &config,
        "ledger: memory",
        "ledger: sqlite:new.db\nserver: { threads: 3 }",
    );
    let bounds = "\nbounds: { connections: 9, read_timeout: 9s, shutdown_timeout: 9s }\n";
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + bounds).unwrap();
    gate.signal("HUP");
    gate.logged(
        "configuration loaded anew, but for what takes effect at the next start only: \
         server.threads, ledger, bounds.connections",
    )
    .await;

    replace(
        &config,
        "usd_per_second: { 720x1280: 0.10",
        "usd_per_second: { 720x1280: -0.10",
    );
    gate.signal("HUP");
    gate.logged("this is negative").await;
    gate.logged("the old one stays in force").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_pay_in_another_currency_are_named() {
    let folder = Folder::new();
    let config = configuration(&folder, &[]);
    let gate = Gate::start(&config, "");
    replace(&config, "currency: CNY", "currency: EUR");
    gate.signal("HUP");
    gate.logged("key demo, studio-a: charged in EUR from now on, in CNY until now")
        .await;
}
