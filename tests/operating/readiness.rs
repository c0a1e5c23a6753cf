//! What `/readyz` says of a gate that can serve a part of what it offers.

use std::process::Command;

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::{Setup, form, form_type, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_channel_hides_no_other() {
    let stand = Setup::default()
        .replacing(
            "    models: [sora-2, sora-2-pro]",
            "    models: [sora-2]\n  dead:\n    url: http://127.0.0.1:1\n    auth: none\n    \
             models: [sora-2-pro]",
        )
        .start()
        .await;
    let create = async |model: &str| {
        let body = form(&[("prompt", b"a cat"), ("model", model.as_bytes())]);
        let create = Request::create(&form_type(), Body::Length(body, vec![]));
        create.send(stand.gate).await.unwrap().status
    };
    // As often as the channel is kept away from for longer than the test lasts.
    for _ in 0..8 {
        assert_eq!(create("sora-2-pro").await, 503);
    }
    assert_eq!(create("sora-2").await, 200);
    let ready = async |path: &str| {
        let answer = Request::get(path).send(stand.admin).await.unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(ready("/readyz").await, (200, "ok\n".into()));
    let verbose = "ready\nledger: ok\nchannel mock: ok\nchannel dead: cannot be reached\n\
                   model sora-2: ok\nmodel sora-2-pro: only ejected channels, which are tried all \
                   the same\n";
    assert_eq!(ready("/readyz?verbose").await, (200, verbose.into()));
    for (sample, value) in [
        ("ready", 1.0),
        ("ledger_up", 1.0),
        ("model_available{model=\"sora-2\"}", 1.0),
        ("model_available{model=\"sora-2-pro\"}", 0.0),
        ("channel_up{channel=\"dead\"}", 0.0),
        (
            "upstream_requests_total{channel=\"mock\",code=\"200\"}",
            1.0,
        ),
    ] {
        let metrics = stand.metrics().await;
        assert_eq!(
            metrics.get(&format!("tollgate_{sample}")),
            Some(&value),
            "{sample}"
        );
    }
}

/// In a container there may be nothing but the program to ask with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_asks_a_gate_whether_it_is_ready() {
    let folder = Folder::new();
    let config = configuration(&folder, &[]);
    let gate = Gate::start(&config, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let health = || {
        let mut health = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        health.args(["health", "--address", &gate.admin.to_string()]);
        tokio::task::block_in_place(|| health.output().unwrap())
    };
    assert!(health().status.success());
    let models = "    models: [sora-2, sora-2-pro]";
    let off = text.replace(models, &format!("    state: off\n{models}"));
    std::fs::write(&config, off).unwrap();
    gate.signal("HUP");
    let not_ready = async || {
        let said = String::from_utf8_lossy(&health().stderr).into_owned();
        said.starts_with("not ready: ")
    };
    until("the gate is not ready", not_ready).await;
    gate.signal("TERM");
    let gone = async || String::from_utf8_lossy(&health().stderr).contains("refused");
    until("the gate is gone", gone).await;
}
