//! How the SDKs tell a refusal, and when they try again.

use std::net::SocketAddr;

use super::programs::Sdk;
use super::support::client::{Body, Request};
use super::support::{KEY, STUDIO, Setup, Stand, form_type, plain_form};
use super::{image, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_by_class_code_and_message() {
    for sdk in Sdk::all() {
        let stand = Stand::start().await;
        let ask = async |key, scenario: &[&str]| sdk.play(stand.gate, key, scenario).await;

        let got = ask(STUDIO, &["ask", "sora-2-pro", "4", "1280x720"]).await;
        assert_eq!(
            told(&got),
            ("PermissionDeniedError", 403, "model_not_allowed"),
            "{got}"
        );
        assert_eq!(got["param"], "model", "{got}");
        assert_eq!(got["type"], "invalid_request_error", "{got}");
        let message = got["message"].as_str().unwrap();
        assert!(message.contains("sora-2"), "says what is allowed: {got}");
        assert!(got["shown"].as_str().unwrap().contains(message), "{got}");

        let got = ask(KEY, &["ask", "sora-2", "5", "1280x720"]).await;
        assert_eq!(
            told(&got),
            ("BadRequestError", 400, "invalid_value"),
            "{got}"
        );
        assert_eq!(got["param"], "seconds", "{got}");

        let got = ask("sk-nobody", &["ask", "sora-2", "4", "1280x720"]).await;
        assert_eq!(
            told(&got),
            ("AuthenticationError", 401, "invalid_api_key"),
            "{got}"
        );

        let got = ask(KEY, &["retrieve", "video_0123456789"]).await;
        assert_eq!(told(&got), ("NotFoundError", 404, "not_found"), "{got}");
        assert_eq!(stand.mock.stats().creates_complete, 0);
    }
}

/// How many creates were answered with that status.
async fn answered(stand: &Stand, status: u16) -> f64 {
    let sample =
        format!("tollgate_requests_total{{code=\"{status}\",key=\"demo\",route=\"create\"}}");
    stand.metric(&sample).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_is_not_tried_again() {
    for sdk in Sdk::all() {
        let stand = limited("list_cost_usd: 0.80/total").start().await;
        let got = sdk.play(stand.gate, KEY, &["create", "plain"]).await;
        assert_eq!(got["status"], "queued", "{sdk:?} {got}");
        let got = sdk.play(stand.gate, KEY, &["retried", "plain"]).await;
        assert_eq!(
            told(&got),
            ("RateLimitError", 429, "insufficient_quota"),
            "{sdk:?} {got}"
        );
        assert_eq!(
            answered(&stand, 429).await,
            1.0,
            "{sdk:?}: x-should-retry counts"
        );
        assert_eq!(stand.mock.stats().creates_complete, 1);
    }
}

/// What a client sees of its limits: with an answer, when it asks, and with a refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_told_with_each_create_and_on_request() {
    for sdk in Sdk::all() {
        let stand = limited("requests: 5/total, list_cost_usd: 1/total")
            .start()
            .await;
        let got = sdk.play(stand.gate, KEY, &["limits"]).await;
        let what = format!("{sdk:?} {got:#}");
        let made = &got["made"];
        assert_eq!(made["x-ratelimit-limit-requests"], "5", "{what}");
        assert_eq!(made["x-ratelimit-remaining-requests"], "4", "{what}");
        let limits = got["usage"]["limits"].as_array().unwrap();
        assert_eq!(limits[0]["remaining"], 4, "{what}");
        assert_eq!(limits[1]["remaining"], "0.20", "{what}");
        assert_eq!(limits[1]["billed"]["remaining"], "1.00", "{what}");
        let message = got["refused"]["message"].as_str().unwrap();
        let words = "1.00 CNY billed) remaining. This request costs 0.80 USD (4.00 CNY billed).";
        assert!(message.contains(words), "{what}");
    }
}

/// The same setting shows that the count above would have seen a retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_channel_is_tried_again() {
    for sdk in Sdk::all() {
        let stand = Stand::start().await;
        stand.mock.set_faults(vec!["503".parse().unwrap()], Some(2));
        let got = sdk.play(stand.gate, KEY, &["retried", "plain"]).await;
        assert_eq!(got["status"], "queued", "{sdk:?} {got}");
        assert_eq!(answered(&stand, 503).await, 2.0, "{sdk:?}");
        assert_eq!(answered(&stand, 200).await, 1.0, "{sdk:?}");
        let stats = stand.mock.stats();
        assert_eq!((stats.creates_complete, stats.creates_accepted), (3, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_waited_for() {
    // All at once: it takes five seconds for each.
    let all = tokio::task::LocalSet::new();
    let waits = Sdk::all().into_iter();
    let waits: Vec<_> = waits
        .map(|sdk| all.spawn_local(waits_its_turn(sdk)))
        .collect();
    all.await;
    for wait in waits {
        wait.await.unwrap();
    }
}

/// One job at a time: the second create is refused with `Retry-After: 5` and comes back when
/// the first job has ended. Without that header the SDKs wait half a second and a second.
async fn waits_its_turn(sdk: Sdk) {
    let stand = limited("in_flight: 1").start().await;
    let create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    let first = create.send(stand.gate).await.unwrap().json();
    let poll = Request::get(&format!("/v1/videos/{}", first["id"].as_str().unwrap())).key(KEY);
    let play = tokio::spawn(async move { sdk.play(stand.gate, KEY, &["retried", "plain"]).await });
    stand
        .until("refused once", async || answered(&stand, 429).await > 0.0)
        .await;
    // The gate learns of a job's end by this poll only.
    stand
        .until("the first job has ended", async || {
            poll.send(stand.gate).await.unwrap().json()["status"] == "completed"
        })
        .await;
    let got = play.await.unwrap();
    assert_eq!(got["status"], "queued", "{sdk:?} {got}");
    assert_eq!(answered(&stand, 429).await, 1.0, "{sdk:?}");
    assert!(got["took"].as_f64().unwrap() >= 5.0, "{sdk:?} {got}");
}

fn limited(limit: &str) -> Setup {
    let key = "  - name: demo                    # sk-tollgate-demo\n";
    Setup::default().replacing(key, &format!("{key}    limits: {{ {limit} }}\n"))
}

/// How many uploads of each kind are refused.
pub fn rounds() -> u64 {
    let rounds = std::env::var("TOLLGATE_ROUNDS").ok();
    rounds.map_or(3, |text| text.parse().unwrap())
}

/// More than any buffer on the way holds.
pub const LARGE: usize = 40_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_amid_an_upload_arrives_every_time() {
    for sdk in Sdk::all() {
        let stand = Stand::start().await;
        for order in ["model-first", "model-last"] {
            for framing in ["length", "chunked"] {
                refused_uploads(sdk, stand.gate, order, framing).await;
            }
        }
        let stats = stand.mock.stats();
        assert_eq!((stats.creates_complete, stats.creates_accepted), (0, 0));
        // What began before the model was known was broken off. Whether one with the model
        // first began depends on how much came with its head.
        let max = 4 * rounds();
        stand
            .until("all are broken off", async || {
                stand.mock.stats().creates_in_flight == 0
            })
            .await;
        let broken = stand.mock.stats().creates_broken;
        assert!(
            (max / 2..=max).contains(&broken),
            "{sdk:?}: {broken} of {max}"
        );
    }
}

async fn refused_uploads(sdk: Sdk, gate: SocketAddr, order: &str, framing: &str) {
    let file = image(LARGE).to_str().unwrap();
    let rounds = rounds();
    let scenario = ["refused-upload", order, framing, file, &rounds.to_string()];
    let got = sdk.play(gate, STUDIO, &scenario).await;
    let expected = serde_json::json!({ "PermissionDeniedError model_not_allowed": rounds });
    assert_eq!(got["outcomes"], expected, "{sdk:?} {order} {framing}");
}
