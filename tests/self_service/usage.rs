//! `GET /v1/usage` on each engine, on real sockets.

use serde_json::{Value, json};

use super::engines::{self, Engine};
use super::support::client::Request;
use super::support::{CREDENTIAL, KEY, STUDIO, Setup, Stand};
use super::{clock, create, limited};

async fn usage(stand: &Stand, key: &str) -> Value {
    let answer = Request::get("/v1/usage").key(key).send(stand.gate).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.head);
    let text = String::from_utf8_lossy(&answer.body);
    for secret in [CREDENTIAL, KEY, STUDIO, "mock"] {
        assert!(!text.contains(secret), "{text}");
    }
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sees_how_its_limits_stand() {
    let own = "requests: 10/min, video_seconds: 60/hour, list_cost_usd: 1/day, \
               billed_cost: 9.5/month, in_flight: 4";
    engines::on(Engine::all(), async |engine| {
        let mut setup = limited(own, "requests: 100/day, billed_cost: 20/total");
        setup.ledger = engine.open();
        // Those of the channel are nobody's business.
        let models = "    models: [sora-2, sora-2-pro]\n";
        let limits = format!("{models}    limits: {{ requests: 77/min }}\n");
        let setup = setup.replacing(models, &limits);
        let stand = setup.start_with_clock(clock()).await;
        for _ in 0..2 {
            assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
        }
        let other = create().by(STUDIO);
        assert_eq!(other.send(stand.gate).await.unwrap().status, 200);
        let limit = |scope: &str, measure: &str, window: Value, numbers: [Value; 3]| {
            let [limit, used, remaining] = numbers;
            json!({
                "scope": scope, "measure": measure, "window": window,
                "limit": limit, "used": used, "remaining": remaining,
                "currency": null, "billed": null, "resets_at": null,
            })
        };
        let with = |mut limit: Value, members: Value| {
            let Value::Object(members) = members else {
                panic!()
            };
            limit.as_object_mut().unwrap().extend(members);
            limit
        };
        let counts = |limit: u64, used: u64| [limit, used, limit - used].map(Value::from);
        let money = |limit: &str, used: &str, left: &str| [limit, used, left].map(Value::from);
        let billed = json!({
            "limit": "5.00", "used": "4.00", "remaining": "1.00", "currency": "CNY",
        });
        let expected = json!({
            "object": "usage",
            "key": "demo",
            "currency": "CNY",
            "multiplier": "5.00",
            "as_of": 1_795_867_160,
            "limits": [
                with(
                    limit("key", "requests", json!("min"), counts(10, 2)),
                    json!({ "resets_at": 1_795_867_200 }),
                ),
                with(
                    limit("key", "video_seconds", json!("hour"), counts(60, 8)),
                    json!({ "resets_at": 1_795_867_200 }),
                ),
                with(
                    limit("key", "list_cost_usd", json!("day"), money("1.00", "0.80", "0.20")),
                    json!({ "resets_at": 1_795_910_400, "currency": "USD", "billed": billed }),
                ),
                with(
                    limit("key", "billed_cost", json!("month"), money("9.50", "4.00", "5.50")),
                    json!({ "resets_at": 1_796_083_200, "currency": "CNY" }),
                ),
                limit("key", "in_flight", Value::Null, counts(4, 2)),
                // What the other key has asked for counts as well.
                with(
                    limit("group", "requests", json!("day"), counts(100, 3)),
                    json!({ "resets_at": 1_795_910_400 }),
                ),
                with(
                    limit("group", "billed_cost", json!("total"), money("20.00", "6.00", "14.00")),
                    json!({ "currency": "CNY" }),
                ),
            ],
        });
        assert_eq!(usage(&stand, KEY).await, expected, "{}", engine.name());
        let asked = stand.mock.stats().requests_total;
        assert_eq!(asked, 3, "a question about usage asks no channel");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_told_to_its_key_alone() {
    let stand = Setup::default().start_with_clock(clock()).await;
    let free = usage(&stand, KEY).await;
    assert_eq!(free["limits"], json!([]), "{free}");
    let head = Request::new("HEAD", "/v1/usage").key(KEY);
    let head = head.send(stand.gate).await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("cache-control"), Some("private, no-store"));
    for (request, status) in [
        (Request::get("/v1/usage"), 401),
        (Request::get("/v1/usage").key("sk-nobody"), 401),
        (Request::new("POST", "/v1/usage").key(KEY), 405),
        (Request::get("/v1/usage/").key(KEY), 404),
        (Request::get("/v1/usage/demo").key(KEY), 404),
    ] {
        let answer = request.send(stand.gate).await.unwrap();
        assert_eq!(answer.status, status, "{}", request.path);
    }
    let answer = Request::get("/v1/usages").key(KEY).send(stand.gate).await;
    assert!(
        answer.unwrap().json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/v1/usage.")
    );
}
