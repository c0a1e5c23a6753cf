//! Channels that operators take out of use.

use std::time::Duration;

use tollgate::mock::{Mock, Options};

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::{CREDENTIAL, form_type, plain_form};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_sets_outlives_a_reload_and_open_jobs_are_missed() {
    let options = Options {
        credential: CREDENTIAL.into(),
        queued: Duration::from_secs(3600),
        ..Options::default()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mock = Mock::start(listener, options);
    let url = format!("http://{}", mock.addr());
    let folder = Folder::new();
    let config = configuration(&folder, &[("http://127.0.0.1:8081", &url)]);
    let gate = Gate::start(&config, "");
    let create = async || {
        let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
        create.send(gate.address).await.unwrap().status
    };
    assert_eq!(create().await, 200);
    let drain = Request::new("POST", "/channels/mock/drain");
    assert_eq!(drain.send(gate.admin).await.unwrap().status, 200);
    gate.logged("channel mock: its state is drain now, by an operator; it was active")
        .await;
    gate.signal("HUP");
    gate.logged("configuration loaded anew").await;
    assert_eq!(create().await, 503);

    let text = std::fs::read_to_string(&config).unwrap();
    let renamed = text.replacen("\n  mock:\n", "\n  renamed:\n", 1);
    assert_ne!(text, renamed);
    std::fs::write(&config, renamed).unwrap();
    gate.signal("HUP");
    gate.logged("jobs of channel mock that have not ended: 1. It was removed")
        .await;
    assert_eq!(create().await, 200);
}
