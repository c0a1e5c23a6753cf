//! What SIGHUP says, and what SIGTERM does.

use std::path::Path;

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::{form_type, mock_options, plain_form, start_mock};

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

/// An address that is removed is warned of once, and not again at each reload after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_with_unfinished_jobs_is_warned_of_once() {
    let folder = Folder::new();
    let (mut mocks, mut urls) = (vec![], vec![]);
    for _ in 0..3 {
        let mock = start_mock(mock_options()).await;
        urls.push(format!("http://{}", mock.addr()));
        mocks.push(mock);
    }
    let both = format!("urls: [\"{}\", \"{}\"]", urls[0], urls[1]);
    let other = format!(
        "  other:\n    url: {}\n    credential: {{ env: TOLLGATE_MOCK_CREDENTIAL }}\n    \
         models: [sora-2]\n",
        urls[2]
    );
    let catalog = format!("{other}\ncatalog:");
    let replaced = [
        ("url: http://127.0.0.1:8081", &*both),
        ("\ncatalog:", &catalog),
        ("", "jobs: { poll_after: 1h }\n"),
    ];
    let config = configuration(&folder, &replaced);
    let mut gate = Gate::start(&config, "");
    // Channels that are equally busy take turns, and so do the addresses of one.
    for _ in 0..8 {
        let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
        assert_eq!(create.send(gate.address).await.unwrap().status, 200);
    }
    replace(&config, &both, &format!("url: {}", urls[0]));
    gate.signal("HUP");
    let removed = |what: &str| {
        format!("{what} was removed from the configuration while the channel has 4 unfinished jobs")
    };
    let address = removed("] an address of channel mock");
    gate.logged(&address).await;
    replace(&config, &other, "");
    gate.signal("HUP");
    // What is said of `mock` would come before it.
    gate.logged(&removed("] channel other")).await;
    let log = gate.whole_log().await;
    assert_eq!(log.matches(&address).count(), 1, "{log}");
}
