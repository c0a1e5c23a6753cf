//! What is said of charges that are not what the channel makes, or may not be.

use std::net::SocketAddr;

use crate::gate::{Gate, configuration};
use crate::support::client::{Body, Request};
use crate::support::folder::Folder;
use crate::support::{form, form_type, mock_options, plain_form, png, start_mock};

fn url(channel: SocketAddr) -> String {
    format!("http://{channel}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_of_a_charge_is_named_and_counted() {
    let folder = Folder::new();
    let mut options = mock_options();
    options.faults = vec!["other-seconds=8".parse().unwrap()];
    let mock = start_mock(options).await;
    let (url, ledger) = (url(mock.addr()), folder.join("tollgate.db"));
    let replace = [
        ("http://127.0.0.1:8081", &*url),
        (
            "ledger: memory",
            &format!("ledger: sqlite:{}", ledger.display()),
        ),
        (
            "    group: sora2\n  - name: studio-a",
            "    group: sora2\n    limits: { list_cost_usd: 0.5/total }\n  - name: studio-a",
        ),
    ];
    let gate = Gate::start(&configuration(&folder, &replace), "");
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let created = create.send(gate.address).await.unwrap();
    assert_eq!(
        (created.status, &created.json()["seconds"]),
        (200, &"8".into())
    );
    let job = created.json()["id"].as_str().unwrap().to_owned();
    let line = format!(
        "channel mock renders 8 s in 1280x720 for job {job}, for which the limit 0.50/total of \
         list_cost_usd of key demo has no room: it stays charged for 4 s in 1280x720"
    );
    gate.logged(&line).await;
    let metrics = Request::get("/metrics").send(gate.admin).await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let value = |family: &str| -> f64 {
        let samples = metrics.lines().filter(|line| line.starts_with(family));
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    };
    assert_eq!(
        value("tollgate_corrections_left_out_total{"),
        1.0,
        "{metrics}"
    );
    assert!(value("tollgate_ledger_wal_bytes ") > 0.0, "{metrics}");
}

/// Of two requests of one key, one has made a job: which of them, no list tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_may_be_that_of_two_requests_is_named() {
    let folder = Folder::new();
    let mock = start_mock(mock_options()).await;
    let url = format!(
        "{}\n    answer_timeout: 1s\n    read_timeout: 1s",
        url(mock.addr())
    );
    let replace = [
        ("http://127.0.0.1:8081", &*url),
        (
            "",
            "jobs: { poll_after: 50ms, polls_per_second: 100, unknown_grace: 4s }\n",
        ),
    ];
    let gate = Gate::start(&configuration(&folder, &replace), "");
    for (name, fault, length) in [("a", "drop-before", 3000), ("b", "drop-after", 4000)] {
        mock.set_faults(vec![fault.parse().unwrap()], None);
        let body = form(&[
            ("model", b"sora-2"),
            ("prompt", b"a cat"),
            ("size", b"1280x720"),
            ("input_reference", &png(length)),
        ]);
        let create = Request::create(&form_type(), Body::Length(body, vec![]));
        let create = create.header("Idempotency-Key", name);
        assert_eq!(create.send(gate.address).await.unwrap().status, 502);
    }
    mock.set_faults(vec![], None);
    let job = mock.jobs()[0].job.id.clone().unwrap();
    let line = format!("job {job:?} may be its own or that of another request of the same key");
    gate.logged(&line).await;
}
