//! The whole way, once: create, poll, download, pay.

mod support;

use support::client::{Body, Request};
use support::{KEY, STUDIO, Stand, form, form_type, plain_form};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_is_created_polled_downloaded_and_paid_for() {
    let stand = Stand::start().await;
    let labels = "key=\"demo\",model=\"sora-2\",size=\"1280x720\"";
    let list_cost = |event: &str| {
        format!("tollgate_list_cost_usd_total{{channel=\"mock\",event=\"{event}\",{labels}}}")
    };
    // The series are there before the first create, so that its increase shows.
    let before = stand.metrics().await;
    for event in ["reserved", "posted"] {
        assert_eq!(before.get(&list_cost(event)), Some(&0.0), "{event}");
    }
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let answer = create.send(stand.gate).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();

    let poll = Request::get(&format!("/v1/videos/{id}")).key(KEY);
    stand
        .until("completed", async || {
            poll.send(stand.gate).await.unwrap().json()["status"] == "completed"
        })
        .await;
    let content = Request::get(&format!("/v1/videos/{id}/content")).key(KEY);
    let video = content.send(stand.gate).await.unwrap();
    assert_eq!(video.status, 200);
    assert_eq!(&video.body[4..8], b"ftyp");

    for event in ["reserved", "posted"] {
        let list = list_cost(event);
        stand
            .until(event, async || stand.metric(&list).await == 0.4)
            .await;
        let billed = format!(
            "tollgate_billed_cost_total{{channel=\"mock\",currency=\"CNY\",event=\"{event}\",group=\"sora2\",{labels}}}"
        );
        assert_eq!(stand.metric(&billed).await, 2.0);
    }
    assert_eq!(stand.mock.stats().creates_complete, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dearest_video_costs_what_the_list_says() {
    let stand = Stand::start().await;
    let body = form(&[
        ("model", b"sora-2-pro"),
        ("prompt", b"A calico cat playing a piano"),
        ("seconds", b"12"),
        ("size", b"1024x1792"),
    ]);
    let create = Request::create(&form_type(), Body::Length(body, vec![]));
    assert_eq!(create.send(stand.gate).await.unwrap().status, 200);
    let sum = async |family: &str| -> f64 {
        let metrics = stand.metrics().await;
        let reserved = metrics
            .iter()
            .filter(|(name, _)| name.starts_with(family) && name.contains("reserved"));
        reserved.map(|(_, value)| value).sum()
    };
    assert_eq!(sum("tollgate_list_cost_usd_total").await, 6.0);
    assert_eq!(sum("tollgate_billed_cost_total").await, 30.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_create_touches_no_channel() {
    let stand = Stand::start().await;
    let body = form(&[("model", b"sora-2-pro"), ("prompt", b"a cat")]);
    let mut create = Request::create(&form_type(), Body::Length(body, vec![]));
    create.headers.retain(|(name, _)| name != "Authorization");
    let answer = create.key(STUDIO).send(stand.gate).await.unwrap();
    assert_eq!(
        (answer.status, answer.code()),
        (403, "model_not_allowed".into())
    );
    assert_eq!(stand.mock.stats().requests_total, 0);
}
