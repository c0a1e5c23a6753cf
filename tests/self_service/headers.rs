//! `x-ratelimit-*` of answers to creates, and what a refusal says.

use super::engines::{self, Engine};
use super::support::STUDIO;
use super::{clock, create, limited, rate_limits};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_tells_how_its_limits_stand() {
    engines::on(Engine::all(), async |engine| {
        let own =
            "requests: [3/min, 50/day], video_seconds: 60/hour, in_flight: 9, list_cost_usd: 9/day";
        let mut setup = limited(own, "requests: 100/hour");
        setup.ledger = engine.open();
        let stand = setup.start_with_clock(clock()).await;
        for (requests, seconds, jobs) in [("2", "56", "8"), ("1", "52", "7"), ("0", "48", "6")] {
            let answer = create().send(stand.gate).await.unwrap();
            assert_eq!(answer.status, 200);
            let expected = [
                ("x-ratelimit-limit-in-flight", "9"),
                ("x-ratelimit-limit-requests", "3"),
                ("x-ratelimit-limit-video-seconds", "60"),
                ("x-ratelimit-remaining-in-flight", jobs),
                ("x-ratelimit-remaining-requests", requests),
                ("x-ratelimit-remaining-video-seconds", seconds),
                ("x-ratelimit-reset-requests", "40s"),
                ("x-ratelimit-reset-video-seconds", "40s"),
            ];
            let answer = lower(&answer);
            assert_eq!(rate_limits(&answer), expected, "{}", engine.name());
        }
        // The refusal tells the limit that was reached, by the same names.
        let refused = lower(&create().send(stand.gate).await.unwrap());
        assert_eq!(refused.status, 429);
        assert_eq!(
            rate_limits(&refused),
            [
                ("x-ratelimit-limit-requests", "3"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "40s"),
            ],
            "{}",
            engine.name()
        );
        assert_eq!(refused.header("retry-after"), Some("40"));
        // Another key is told of its own limits, and one without limits of nothing.
        let other = lower(&create().by(STUDIO).send(stand.gate).await.unwrap());
        let limit = ("x-ratelimit-limit-requests", "60");
        assert!(rate_limits(&other).contains(&limit), "{}", other.head);
    })
    .await;
}

/// Header names come in any case.
fn lower(answer: &super::Answer) -> super::Answer {
    super::Answer {
        status: answer.status,
        head: answer.head.to_ascii_lowercase(),
        body: answer.body.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_limits_and_after_a_channels_refusal_nothing_is_told() {
    let stand = super::Setup::default().start_with_clock(clock()).await;
    let answer = lower(&create().send(stand.gate).await.unwrap());
    assert_eq!((answer.status, rate_limits(&answer)), (200, vec![]));
    // The channel's own are about its account.
    stand.mock.set_faults(vec!["429".parse().unwrap()], Some(1));
    let answer = lower(&create().send(stand.gate).await.unwrap());
    assert_eq!((answer.status, rate_limits(&answer)), (429, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_remains_what_is_asked_and_when_more_is_there() {
    engines::on(Engine::all(), async |engine| {
        for (own, shared, code, message) in [
            (
                "list_cost_usd: 0.5/day",
                "",
                "insufficient_quota",
                "You exceeded your current quota: this key may spend 0.50 USD (2.50 CNY billed) of list \
                 price a day (UTC), with 0.10 USD (0.50 CNY billed) remaining. This request costs 0.40 \
                 USD (2.00 CNY billed). All of it is there again at 2026-11-29T00:00:00Z, in about 12 hours.",
            ),
            (
                "",
                "billed_cost: 3/total",
                "insufficient_quota",
                "You exceeded your current quota: this key's group may spend 3.00 CNY in all, with \
                 1.00 CNY remaining. This request costs 2.00 CNY. It is not renewed: ask whoever runs this \
                 service for more.",
            ),
            (
                "video_seconds: 6/hour",
                "",
                "rate_limit_exceeded",
                "Rate limit reached: this key may ask for 6 seconds of video an hour, with 2 seconds \
                 remaining. This request takes 4 seconds. All of it is there again at \
                 2026-11-28T12:00:00Z, in 40 seconds.",
            ),
            (
                "requests: 1/min",
                "",
                "rate_limit_exceeded",
                "Rate limit reached: this key may make 1 request a minute, with 0 requests remaining. \
                 All of it is there again at 2026-11-28T12:00:00Z, in 40 seconds.",
            ),
        ] {
            let mut setup = limited(own, shared);
            setup.ledger = engine.open();
            let stand = setup.start_with_clock(clock()).await;
            assert_eq!(create().send(stand.gate).await.unwrap().status, 200);
            let refused = create().send(stand.gate).await.unwrap();
            assert_eq!((refused.status, &*refused.code()), (429, code));
            let told = &refused.json()["error"]["message"];
            assert_eq!(told, message, "{}", engine.name());
            if let Engine::Sqlite(_) | Engine::Postgres(_) = engine {
                // What stands in a database stays for the next limit: enough of it.
                break;
            }
        }
    })
    .await;
}
